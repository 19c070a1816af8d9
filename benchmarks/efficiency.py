"""Curves of expected time, fitted to kernels that others measured: `python benchmarks/efficiency.py [WHEEL]`.

WHEEL is aiconfigurator-core 0.12.0, which is taken from PyPI (82 MB, by version and SHA-256) where no path is given;
`--neusight DIR` is the folder of NeuSight's tables, as Parquet, for fp32, `--aiter DIR` a checkout of ROCm/aiter, for
AMD's accelerators. What is read stays where it is. Each part (`efficiency_gemm.py` …) fits its class of work on every
device and says what it misses of what it left out; `--write` puts the curves into
`src/frameroof/estimate/expected/measured`, one file a device, and leaves the parts that were not fitted as they are.
Attention, links and traffic have scripts of their own, which this one runs, with `--write`, on the same wheel.
`--only` takes some parts, `--devices` some devices. It takes minutes and says how far it is.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent / "src"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import msgspec  # noqa: E402

import efficiency_gemm as gemm  # noqa: E402
import efficiency_products as sources  # noqa: E402
from efficiency_wheel import PACKAGE, SHA256, pinned  # noqa: E402
from frameroof.estimate.expected.curves import KIND, MEASURED, SCHEMA, Curves, file_of, read_curves, shipped  # noqa: E402
from frameroof.hardware import device as find  # noqa: E402

Fitted = tuple[dict[str, dict[str, Any]], dict[str, Any]]
"""Curves by device and name, and what goes into the results."""


def products(asked: argparse.Namespace) -> Fitted:
    """The part `gemm`."""
    dropped = sources.Dropped()

    def every() -> Iterator[sources.Products]:
        yield from sources.measured(asked.wheel, dropped)
        if asked.neusight:
            yield from sources.neusight(asked.neusight, dropped)
        if asked.aiter:
            yield from sources.aiter(asked.aiter, dropped)

    chosen = (own for own in every() if not asked.devices or own.device in asked.devices)
    curves, found = gemm.fitted(chosen, dropped, date.today().isoformat())
    return curves, {**found, "dropped": dropped.to_dict()}


PARTS: dict[str, Callable[[argparse.Namespace], Fitted]] = {"gemm": products}
"""Fields of `Curves`, and what fits them."""
SCRIPTS = ("attention", "links", "traffic")
"""Parts with scripts of their own, ``efficiency_PART.py``, which write what they fit."""


def run(part: str, asked: argparse.Namespace) -> None:
    """A part by its own script, with its results beside those of `--out`."""
    command = [sys.executable, str(HERE / f"efficiency_{part}.py"), str(asked.wheel)]
    command += [str(asked.neusight)] if part == "traffic" and asked.neusight else []
    if asked.out:
        named = asked.out.name.replace("efficiency", f"efficiency-{part}", 1)
        command += ["--out", str(asked.out.with_name(named))]
    subprocess.run(command, check=True)


def write(part: str, curves: dict[str, dict[str, Any]]) -> None:
    """Put the curves of one part into the files of their devices."""
    MEASURED.mkdir(exist_ok=True)
    for device, own in curves.items():
        told = {
            "schema": SCHEMA,
            "kind": KIND,
            "name": device,
            "source": "measured by others and fitted by benchmarks/efficiency.py; each curve names its source",
            "date": date.today().isoformat(),
            "device": device,
            "generation": find(device).generation,
        }
        there = shipped(device)
        made = {**(msgspec.to_builtins(there) if there else {}), **told, part: msgspec.to_builtins(own)}
        read_curves(made, device)
        data = msgspec.json.encode(msgspec.convert(made, Curves))
        (MEASURED / file_of(device)).write_bytes(msgspec.json.format(data, indent=1) + b"\n")


def main(given: list[str] | None = None) -> int:
    """Fit what is asked for, print what is missed, and write what is to be written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, nargs="?")
    parser.add_argument("--neusight", type=Path)
    parser.add_argument("--aiter", type=Path)
    parser.add_argument("--only", nargs="+", choices=(*PARTS, *SCRIPTS), default=[*PARTS, *SCRIPTS])
    parser.add_argument("--devices", nargs="+")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args(given)
    asked.wheel = pinned(asked.wheel)
    results: dict[str, Any] = {}
    for part in asked.only:
        if part in SCRIPTS:
            if asked.write:
                run(part, asked)
            continue
        curves, results[part] = PARTS[part](asked)
        if asked.write:
            write(part, curves)
    if asked.out:
        about = {
            "date": date.today().isoformat(),
            "command": f"python benchmarks/efficiency.py {' '.join(Path(each).name for each in given or sys.argv[1:])}",
            "commit": subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip(),
            "data": {
                "wheel": PACKAGE,
                "sha256": SHA256,
                "neusight": bool(asked.neusight),
                "aiter": bool(asked.aiter),
            },
            "machine": platform.processor() or platform.machine(),
            "versions": {name: version(name) for name in ("frameroof", "numpy", "polars", "scipy")},
        }
        asked.out.write_text(json.dumps({**about, **results}, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
