"""An efficiency file from the rows of `calibrate`: what `frameroof predict --efficiency` reads.

Each share is what a row would take at a share of one (whole tiles and waves counted, by the rules that read the file)
over what it took; a curve's points are medians of rows of about one size. What was not measured keeps the stated number
with its source. The rows with all their samples, and the environment, stand in the same file.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from math import log2
from statistics import median
from typing import Any

from frameroof.dtypes import HALF
from frameroof.estimate.expected import About, Bounds, Work
from frameroof.estimate.expected.efficiency import Curve, Efficiency, Number, Sourced, Table
from frameroof.estimate.expected.uniform import LEAST

from . import works
from .record import Log, Row

SCHEMA = "frameroof.efficiency/1"
PER_OCTAVE = 0.5  # points of a curve: rows within a factor of four of each other make one
LONG = 1024  # queries of an attention whose share is a kernel's own
MADE_WITH = ("torch", "size", "commit", "command", "environment", "properties", "earlier")
Points = tuple[tuple[float, float], ...]


def write(log: Log) -> str:
    """Write DIR/DEVICE.efficiency.json and give its name; where there can be none, a sentence that says why."""
    device = log.session.machine.record
    if device is None:
        return f"None: no peaks of {log.session.machine.name} are known, and shares are of peaks."
    rows = [Timed.of(log, row) for row in log.rows.values() if row["state"] == "measured"]
    table = fitted(log, [row for row in rows if row])
    if table == log.session.machine.kernels.table:
        return "None: no row that a share could be taken of was measured."
    name = f"measured on {device}" + (" at tiny sizes" if log.session.tiny else "")
    data = {
        "schema": SCHEMA,
        "kind": "table",
        "name": name,
        "source": f"benchmarks/gpu.py calibrate, commit {log.about['commit']}, {len(rows)} rows",
        "date": _date(log),
        "device": device,
        **asdict(table),
        "made_with": {key: log.about[key] for key in MADE_WITH if key in log.about} | {"rows": list(log.rows.values())},
    }
    path = log.session.out / f"{device.replace(' ', '-').replace('/', '-')}.efficiency.json"
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", "utf-8")
    os.replace(beside, path)
    return path.name


@dataclass(frozen=True)
class Timed:
    """One measured row: what it says of itself, its work and roofline, and the median of its samples in seconds."""

    row: Row
    work: Work
    bounds: Bounds
    seconds: float

    @classmethod
    def of(cls, log: Log, row: Row) -> Timed | None:
        """None for what is no kernel of the device (a launch, the host's link) and for work without a peak."""
        op = works.of(row)
        bounds = None if op is None else log.session.machine.bounds(Work(op))
        return None if op is None or bounds is None else cls(row, Work(op), bounds, row["median_s"])


def fitted(log: Log, rows: list[Timed]) -> Table:
    """The stated table with everything replaced that these rows measure."""
    stated = log.session.machine.kernels.table
    perfect = _perfect(stated)
    fit = Fit(log, stated)
    dense = [r for r in rows if r.row["kind"] == "gemm" and r.row["dtype"] in HALF and _computes(r, perfect)]
    moved = [r for r in rows if r.row["kind"] in ("elementwise", "copy") and not _computes(r, perfect)]
    flash = [r for r in rows if r.row.get("kernel") == "flash" and r.row["q"] >= LONG and _computes(r, perfect)]
    other = [r for r in rows if r.row.get("kernel") == "efficient" and r.row["q"] >= LONG and _computes(r, perfect)]
    fit.curve("matrix", dense, perfect, 0, lambda r: _padded(r, perfect) / 1e9)
    fit.curve("memory", moved, perfect, 1, lambda r: r.work.bytes / 1e6)
    fit.curve("flash", flash, perfect, 0, lambda r: 64.0 * -(-r.row["d"] // 64))
    by_product = _perfect(stated, matrix=fit.found["matrix"])
    convolved = [r for r in rows if r.row.get("layout") == "channels_first" and _computes(r, by_product)]
    fit.share("convolution", ((r, by_product.parts_s(r.work, r.bounds)[0]) for r in convolved))
    fit.share("unfused", ((r, r.bounds.matrix_s) for r in other))
    fit.launch("kernel", "launch/graph-node")
    fit.launch("host", "launch/host")
    return replace(stated, **fit.found)


class Fit:
    """Entries of a table as they are measured; `found` begins with the stated ones."""

    def __init__(self, log: Log, stated: Table) -> None:
        self.log = log
        self.found: dict[str, Sourced] = {
            name: getattr(stated, name)
            for name in ("matrix", "memory", "flash", "convolution", "unfused", "kernel", "host")
        }

    def curve(self, name: str, rows: list[Timed], perfect: Efficiency, part: int, size: Callable[[Timed], Any]) -> None:
        """A curve of shares of compute (`part` 0) or bandwidth (1): a point for rows of about one size."""
        bins: dict[int, list[tuple[float, float]]] = defaultdict(list)
        for row in rows:
            share = float(perfect.parts_s(row.work, row.bounds)[part]) / row.seconds
            bins[round(PER_OCTAVE * log2(float(size(row))))].append((float(size(row)), share))
        if bins:
            points = [(median(s for s, _ in each), median(s for _, s in each)) for _, each in sorted(bins.items())]
            whole, cut = _shares([share for _, share in points])
            made = tuple((_short(size), share) for (size, _), share in zip(points, whole, strict=True))
            self.found[name] = replace(self.found[name], points=made, **self._source(len(rows), cut))

    def share(self, name: str, rows: Iterable[tuple[Timed, Any]]) -> None:
        """One share: the median over rows of what each would take at a share of one over what it took."""
        shares = [float(seconds) / row.seconds for row, seconds in rows]
        if shares:
            (value,), cut = _shares([median(shares)])
            source = self._source(len(shares), cut)
            self.found[name] = self._number(name, value, min(shares), max(shares), source)

    def launch(self, name: str, row: str) -> None:
        """Microseconds of a launch, the median of its samples."""
        measured = self.log.rows.get(row, {})
        if measured.get("state") == "measured":
            samples = measured["samples_s"]
            times = (1e6 * each for each in (measured["median_s"], min(samples), max(samples)))
            self.found[name] = self._number(name, *times, self._source(1, ""))

    def _number(self, name: str, value: float, least: float, most: float, source: dict[str, str]) -> Number:
        unit = getattr(self.log.session.machine.kernels.table, name).unit
        return Number(value=_short(value), least=_short(least), most=_short(most), unit=unit, **source)

    def _source(self, rows: int, cut: str) -> dict[str, str]:
        """Where an entry is from, and what had to be cut."""
        device = self.log.session.machine.record
        return {"source": f"median of {rows} rows of calibrate on {device}{cut}", "date": _date(self.log)}


def _perfect(stated: Table, **curves: Any) -> Efficiency:
    """The table with every share 1 but those given: seconds that a row would take at a share of one."""

    def one(curve: Curve) -> Curve:
        return replace(curve, points=((1.0, 1.0),))

    ones = {"matrix": one(stated.matrix), "memory": one(stated.memory), "flash": one(stated.flash)}
    number = replace(stated.convolution, value=1.0)
    table = replace(stated, **(ones | curves), convolution=number, unfused=number, kernel=replace(number, value=0.0))
    return Efficiency(table, About("efficiency", "every share is one", "by definition"))


def _computes(row: Timed, perfect: Efficiency) -> bool:
    """Whether the row's time is that of compute, and not of memory."""
    compute, memory = perfect.parts_s(row.work, row.bounds)
    return bool(compute > memory)


def _padded(row: Timed, perfect: Efficiency) -> float:
    """FLOPs of a product in whole tiles."""
    return float(row.work.executed * perfect.parts_s(row.work, row.bounds)[0] / row.bounds.matrix_s)


def _shares(shares: list[float]) -> tuple[list[float], str]:
    """Shares that a file may have, and in words how many had to be cut: none is above 1, none below the least."""
    said = [f"{sum(share > 1 for share in shares)} came out above 1 and stand as 1"] if max(shares) > 1 else []
    if min(shares) < LEAST:
        said.append(f"{sum(share < LEAST for share in shares)} came out below {LEAST:g} and stand as that")
    return [_short(min(max(share, LEAST), 1.0)) for share in shares], "".join(f"; {text}" for text in said)


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _date(log: Log) -> str:
    return str(log.about["environment"]["date"])[:10]
