"""Golden numbers: what every part computes today, so that a refactoring can be held against them.

    python tests/golden/golden_numbers.py check           # what differs from numbers.json; exit code 1 if anything
    python tests/golden/golden_numbers.py make            # writes numbers.json anew; the commit says why
    python tests/golden/golden_numbers.py check predict   # one section: predict, characterize, stream, traces

Counts are exact; seconds are written to 12 significant digits, so that a sum in another order is no difference.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from frameroof import analyze, catalogue
from frameroof.estimate import DEFAULT_UTILIZATION, RUNGS, estimate, memory_of
from frameroof.gap import find_gap
from frameroof.hardware import device, parse_node
from frameroof.study import stream
from frameroof.study.characterize import experiments
from frameroof.study.characterize.predicted import Predicted
from frameroof.study.predict import asked_of, prepare

HERE = Path(__file__).parent
FILE = HERE / "numbers.json"
TRACES = HERE / "traces"
CAPTURE = "_capture"
"""A trace of this ending is the capture of the graph that the one without it replays."""
MACHINES = ("H100", "MI300X", "A100")
COUNTS = (1, 8)
DTYPES = (None, "weights=int8", "kv=fp8")
SECONDS = ("compute_s", "memory_s", "limit_s", "expected_s")
DIGITS = 12
Tree = dict[str, Any]


def plain(value: Any) -> Any:
    """`value` as JSON holds it: floats to `DIGITS` significant digits, numbers that are none as text."""
    if isinstance(value, bool | str | int) or value is None:
        return value
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    number = float(value)
    if not math.isfinite(number):
        return str(number)
    return float(f"{number:.{DIGITS}g}")


# ------------------------------------------------------------------------------------------------- predict


def predicted(model: str) -> Tree:
    """One workload of the catalogue, with every choice of passes, by stage and machine: `SECONDS`, then every rung."""
    found: Tree = {}
    loaded = catalogue.load(model)
    for attention in ("fused", "baseline"):
        for elementwise in ("fused", "eager"):
            for dtype in DTYPES:
                workload, _ = prepare(loaded, dtype, attention)
                asked = asked_of(elementwise=elementwise)
                found[f"{attention}, {elementwise}, {dtype or 'default'}"] = _estimated(workload, asked)
    return found


def _estimated(workload: Any, asked: Any) -> Tree:
    sizes, first = workload.sizes(), parse_node(MACHINES[0])
    stages: Tree = {
        stage.name: {"peak_bytes": memory_of(replace(workload, stages=(stage,)), first, sizes).peak_bytes}
        for stage in workload.stages
    }
    for machine in MACHINES:
        for count in COUNTS:
            where = f"{count}x{machine}"
            try:
                result = estimate(workload, parse_node(where), expected=DEFAULT_UTILIZATION, bound=asked.bound)
            except ValueError:
                stages[f"{where} refuses"] = True
                continue
            for stage in result.stages:
                row = stages[stage.name]
                counts = {"flops": stage.flops, "vector_flops": stage.vector_flops, "bytes": stage.bytes}
                assert row.setdefault("counts", counts) == counts, "counts do not depend on the machine"
                rungs = [stage.bounds.at(rung) for rung in RUNGS]
                row[where] = plain([*(getattr(stage, name) for name in SECONDS), *rungs])
    return stages


# --------------------------------------------------------------------------------------- the other sections


def characterized(name: str) -> Tree:
    """The rows and the claims' own numbers of one predicted experiment."""
    made = next(experiments.run(Predicted("A100"), [name]))
    claims = [[claim.ours, claim.verdict] for claim in made.claims]
    return {"rows": plain([list(row.values()) for row in made.rows]), "claims": plain(claims)}


def streamed(choice: str) -> Tree:
    """Limits of a stream on a machine in a precision, ``H100 linear=fp8``."""
    machine, _, dtype = choice.partition(" ")
    made = stream.predict(machine, dtype=dtype or None, expected=DEFAULT_UTILIZATION)
    parts = {f"{group}: {part.name}": part for group in ("layer", "copies") for part in getattr(made, group)}
    return plain({name: part.to_dict() for name, part in {**made.parts, **parts}.items()})


def traced(name: str) -> Tree:
    """What a small made trace says, and its distance from the limits of the machine it names (a processor: H100)."""
    capture = TRACES / f"{name}{CAPTURE}.json"
    run = analyze(TRACES / f"{name}.json", capture=capture if capture.is_file() else None)
    data = run.to_dict()
    kept = ("summary", "classes", "operators", "attention", "stages", "idle", "launch", "coverage")
    advice = [[each.title, each.max_gain_s] for each in run.advice]
    found = find_gap(run, device(run.summary.hardware or "H100"))
    gaps = [[r.name, r.stage, r.dims, r.count, r.time_ns, r.limit_ns, r.mfu, r.mbu, r.bound] for r in found.rows]
    return plain({**{part: data[part] for part in kept}, "advice": advice, "gap": gaps})


def _traces() -> list[str]:
    return [path.stem for path in TRACES.glob("*.json")]


SECTIONS: dict[str, tuple[Callable[[], list[str]], Callable[[str], Tree]]] = {
    "predict": (lambda: list(catalogue.names()), predicted),
    "characterize": (lambda: list(experiments.EXPERIMENTS), characterized),
    "stream": (lambda: ["H100", "H100 linear=fp8", "A100", "MI300X kv=fp8"], streamed),
    "traces": (lambda: sorted(each for each in _traces() if not each.endswith(CAPTURE)), traced),
}


def read() -> Tree:
    """The golden numbers as they stand."""
    found: Tree = json.loads(FILE.read_text())
    return found


def differences(golden: Any, now: Any, where: str = "") -> Iterator[str]:
    """Where two trees differ, one sentence each."""
    if isinstance(golden, dict) and isinstance(now, dict):
        for key in sorted({*golden, *now}):
            yield from differences(golden.get(key), now.get(key), f"{where} / {key}" if where else key)
    elif isinstance(golden, list) and isinstance(now, list) and len(golden) == len(now):
        for at, (before, after) in enumerate(zip(golden, now, strict=True)):
            yield from differences(before, after, f"{where} [{at}]")
    elif golden != now:
        yield f"{where}: {golden!r} -> {now!r}"


def main(verb: str, *only: str) -> int:
    """Make or check the sections named, or all."""
    golden = read() if FILE.exists() else {}
    changed = 0
    for section in only or SECTIONS:
        names, make = SECTIONS[section]
        made = {}
        for name in names():
            made[name] = make(name)
            for line in differences(golden.get(section, {}).get(name), made[name], f"{section} / {name}"):
                changed += 1
                print(line)
        golden[section] = made
    if verb == "make":
        FILE.write_text(_lines(golden))
    print(f"{changed} differences")
    return 1 if changed and verb == "check" else 0


def _lines(tree: Tree) -> str:
    """JSON with one stage, experiment or part a line: small, and fit for a diff."""

    def text(value: Any, depth: int, deepest: int) -> str:
        if depth == deepest or not isinstance(value, dict):
            return json.dumps(value, separators=(",", ":"))
        pad = " " * (depth + 1)
        rows = (f"{pad}{json.dumps(key)}: {text(each, depth + 1, deepest)}" for key, each in value.items())
        return "{\n" + ",\n".join(rows) + "\n" + " " * depth + "}"

    parts = (f" {json.dumps(name)}: {text(each, 1, 4 if name == 'predict' else 3)}" for name, each in tree.items())
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in ("make", "check") or {*sys.argv[2:]} - {*SECTIONS}:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
