"""Traces made by hand, event by event, and those in files, real or made, analyzed once for all tests.

Times are nanoseconds.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from frameroof.trace.read.decode import read
from frameroof.trace.resolve.link import link
from frameroof.trace.resolve.work_table import make_work_table
from frameroof.trace.to_run import analyze

SHARED = Path(__file__).parents[3] / "shared"
REAL = SHARED / "traces" / "real"
INDEX = SHARED / "traces" / "INDEX.json"
TRUTH = {entry["file"]: entry for entry in json.loads(INDEX.read_text("utf-8"))} if INDEX.is_file() else {}
STORED = Path(__file__).parents[1] / "golden" / "traces"
"""Small made traces that stand in the repository: what holds for every file is shown with them too."""
STANDING = sorted(path.name for path in STORED.glob("*.json"))
FILES = [
    *STANDING,
    *(pytest.param(name, marks=pytest.mark.shared) for name in sorted(TRUTH)),
]
"""Every trace in a file: those in the repository, and the real ones where they are."""


def place_of(name):
    """Where the trace of a name in `FILES` is."""
    return STORED / name if (STORED / name).is_file() else REAL / name


@cache
def real(name, capture=None):
    """A trace of `FILES`, analyzed."""
    return analyze(place_of(name), capture=capture and place_of(capture))


class Made:
    """A trace as the profiler writes it; every method adds one event."""

    def __init__(self, **header):
        self.header = header
        self.events = []

    def _add(self, cat, name, start, length, tid, pid=100, **args):
        one = {"ph": "X", "cat": cat, "name": name, "pid": pid, "tid": tid, "ts": start / 1000, "dur": length / 1000}
        self.events.append({**one, "args": args} if args else one)

    def op(self, name, start, length, dims=None, types=None, concrete=None, tid=1, ext=None):
        args = {} if ext is None else {"External id": ext}
        if dims is not None:
            args["Input Dims"] = dims
            args["Input type"] = types or ["float" if d else "" for d in dims]
        if concrete is not None:
            args["Concrete Inputs"] = concrete
        self._add("cpu_op", name, start, length, tid, **args)

    def call(self, start, length=1000, corr=0, name="cudaLaunchKernel", tid=1, **args):
        self._add("cuda_runtime", name, start, length, tid, **({"correlation": corr} if corr else {}), **args)

    def kernel(self, start, length, corr=0, name="k", stream=7, device=0, cat="kernel", **args):
        args = {"device": device, "stream": stream, **({"correlation": corr} if corr else {}), **args}
        self._add(cat, name, start, length, stream, pid=device, **args)

    def module(self, name, start, length, tid=1):
        self._add("python_function", f"nn.Module: {name}", start, length, tid)

    def frame(self, name, start, length, tid=1):
        self._add("python_function", name, start, length, tid)

    def note(self, name, start, length, tid=1):
        self._add("user_annotation", name, start, length, tid)

    def overhead(self, start, length):
        self._add("overhead", "Activity Buffer Request", start, length, 0, pid=-1)

    def one(self, operator, start, length, kernel="k", dims=None, types=None, concrete=None, stream=7):
        """An operator with its launch 5 us before its kernel, which starts at `start`."""
        corr = len(self.events) + 1
        self.op(operator, start - 5500, 1500, dims, types, concrete)
        self.call(start - 5000, 500, corr)
        self.kernel(start, length, corr, kernel, stream)

    def arrows(self):
        """From every launch to its work, as the profiler draws them."""
        for phase, cat in (("s", "cuda_runtime"), ("f", "kernel")):
            for one in self.events:
                if one["cat"] == cat and one.get("args", {}).get("correlation"):
                    place = {"pid": one["pid"], "tid": one["tid"], "ts": one["ts"]}
                    yield {"ph": phase, "cat": "ac2g", "name": "ac2g", "id": one["args"]["correlation"], **place}

    def write(self, folder, name="made.json"):
        path = folder / name
        events = [*self.events, *self.arrows()]
        path.write_text(json.dumps({"schemaVersion": 1, **self.header, "traceEvents": events}), "utf-8")
        return path

    def run(self, folder, **options):
        return analyze(self.write(folder), **options)

    def place(self, folder):
        return make_work_table(read(self.write(folder)))

    def link(self, folder):
        """(trace, links, name of the operator of each piece of work)."""
        trace = read(self.write(folder))
        links = link(trace)
        return trace, links, [trace.names[trace.host.name[r]] if r >= 0 else None for r in links.work_operator.tolist()]


H100 = {"deviceProperties": [{"id": 0, "name": "NVIDIA H100 80GB HBM3", "totalGlobalMem": 85_000_000_000}]}
