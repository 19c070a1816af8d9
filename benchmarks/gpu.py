"""Everything that is measured on a GPU: `python benchmarks/gpu.py SECTION … [--out DIR] [--resume]`.

Sections: check (is everything right?), calibrate (what does the machine reach?), stream (the engine, all variants),
suite (whole models, baseline and flash attention), quant (8-bit linears). Each writes DIR/SECTION.json with the
environment, a prediction made before the measurement, and all samples; DIR is $OUT by default. The device's settings
are never changed. `--device cpu --size tiny` runs the same code in seconds, to see that it works.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent / "src"):  # frameroof need not be installed
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

SECTIONS = ("check", "calibrate", "stream", "suite", "quant")
SECONDS = 450  # of one section: where a command may take 600


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="+", choices=(*SECTIONS, "all"))
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--size", default="full", choices=("full", "tiny"))
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "gpu-results")))
    parser.add_argument("--samples", type=int, default=20, help="of each row")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="no new group of rows begins after so many")
    parser.add_argument("--only", nargs="*", default=(), help="rows whose name holds one of these")
    parser.add_argument("--no-flush", action="store_true", help="leave the L2 cache as it is between samples")
    parser.add_argument("--resume", action="store_true", help="skip the finished rows of files that are there")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> int:
    """Run the sections in order; 0, 1 where a check was wrong, 2 for input that cannot be run."""
    options = arguments(given)
    import torch

    from gpu.limits import machine
    from gpu.record import Session, printed

    if options.device == "cuda" and not torch.cuda.is_available():
        print("No CUDA device is here; --device cpu --size tiny runs without one.", file=sys.stderr)
        return 2
    device = torch.device(options.device)
    wrong = False
    for name in SECTIONS if "all" in options.sections else options.sections:
        torch.manual_seed(options.seed)
        session = Session(
            device=device,
            size=options.size,
            out=options.out,
            machine=machine(device),
            samples=options.samples,
            flush=not options.no_flush,
            resume=options.resume,
            only=tuple(options.only),
            deadline=time.monotonic() + options.seconds,
            seed=options.seed,
        )
        try:
            log = import_module(f"gpu.{name}").run(session)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
        log.save(finished=all(row["state"] != "predicted" for row in log.rows.values()))
        print(printed(log), flush=True)
        wrong |= any(row.get("ok") is False for row in log.rows.values())
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
