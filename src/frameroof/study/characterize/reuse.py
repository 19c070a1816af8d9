"""Figure 13: cache behavior of temporal and spatial attention: counters where they were read, else a stated estimate.

The two are never mixed: with counters, only counters are shown. The estimate says how often the kernels of baseline
attention ask for each byte: tiles of a matrix product load their rows and columns again and again, softmax and
elementwise kernels touch everything once. It is no hit rate: it gives what caches could save at most.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

import polars as pl

from . import counters
from .claims import claim, statement
from .source import Claim, Experiment, Row, Source, columns
from .temporal import AXES, MODEL, video_models

TILE, BYTES, WIDE = 64, 2, 4
PAPER_MPKI = {"gemm": 1.96, "elementwise": 1.22}
PAPER_CYCLES = {"gemm": 28.0, "elementwise": 4.0, "softmax": 18.0}


def kernels(call: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Bytes asked for and bytes there are, by class of kernel, of one baseline attention.

    `call` has batch, heads, query_len, key_len, head_dim. A product of tiles of 64 x 64 loads ceil(M/64) times its
    columns and ceil(N/64) times its rows.
    """
    groups, q, k, d = call["batch"] * call["heads"], call["query_len"], call["key_len"], call["head_dim"]
    matrix = groups * q * k

    def product(m: int, n: int, inner: int) -> tuple[int, int]:
        rows, columns = math.ceil(m / TILE), math.ceil(n / TILE)
        asked = groups * BYTES * (m * inner * columns + n * inner * rows + m * n)
        return asked, groups * BYTES * (m * inner + n * inner + m * n)

    scores, values = product(q, k, d), product(q, d, k)
    soft = matrix * (BYTES + WIDE)
    point = matrix * (BYTES + BYTES) + matrix * (WIDE + BYTES)  # scale, and the cast back
    return {
        "gemm": (scores[0] + values[0], scores[1] + values[1]),
        "softmax": (soft, soft),
        "elementwise": (point, point),
    }


def figure_13(source: Source, exports: Mapping[str, str | os.PathLike[str]] | None = None) -> Experiment:
    """L1 and L2 behavior by class of kernel, temporal against spatial attention (figure 13).

    `exports`: CSV exports of Nsight Compute of ``temporal`` and ``spatial`` attention; else those of the source.
    Raises `ValueError`, a sentence, for anything but one export of each kind, and for files that are none.
    """
    if exports is not None and set(exports) != set(AXES):
        raise ValueError(
            f"counters need one export for temporal and one for spatial attention, not {', '.join(exports)}"
        )
    given = [{"kind": axis, **row} for axis, path in (exports or {}).items() for row in counters.read(path)]
    if given:
        return _counted(given, "the GPU of " + ", ".join(os.fspath(path) for path in (exports or {}).values()))
    read = source.extra("counters")
    return _counted(read, source.machine) if read else _estimated(source)


ESTIMATED_COLUMNS = columns(
    "model: name in the suite",
    "kind: temporal or spatial",
    "class: class of kernel",
    "asked_bytes [byte]: what the thread blocks of one call load and store",
    "unique_bytes [byte]: operands and results once",
    "reuse: asked over unique",
    "most_hit_rate: share of requests that an endless cache would serve",
    "matrix_bytes [byte]: the similarity matrix of the call",
    "matrix_in_l2: whether it fits the L2 cache, so that the next kernel can find it; None: unknown",
)


def _estimated(source: Source) -> Experiment:
    cache = source.node.device.l2_bytes if source.node else None
    rows: list[Row] = []
    for name in video_models(source):
        calls = source.calls(name, "baseline", {})
        for axis in AXES:
            call = calls.filter(pl.col("kind") == axis).row(0, named=True)
            matrix = call["batch"] * call["heads"] * call["query_len"] * call["key_len"] * BYTES
            rows += [
                {
                    "model": name,
                    "kind": axis,
                    "class": kernel,
                    "asked_bytes": asked,
                    "unique_bytes": unique,
                    "reuse": asked / unique,
                    "most_hit_rate": 1 - unique / asked,
                    "matrix_bytes": matrix,
                    "matrix_in_l2": matrix <= cache if cache else None,
                }
                for kernel, (asked, unique) in kernels(call).items()
            ]
    return Experiment(
        id="figure-13",
        title="Reuse in temporal and spatial attention (estimate, no counters)",
        how="estimated",
        machine=source.machine,
        columns=ESTIMATED_COLUMNS,
        rows=tuple(rows),
        claims=tuple(_estimated_claims(rows)),
        assumptions=(
            f"Analytic estimate: baseline attention, first call of each kind, tiles of {TILE} x "
            f"{TILE}, {BYTES} bytes an element, {WIDE} in the softmax. No hit rate was measured.",
        ),
        missing="" if rows else "None of these models has attention over time.",
    )


def _misses(paper: float, kernel: str, ours: list[float], untested: str) -> Claim:
    text = f"Temporal attention has {paper:g}x the L2 misses per thousand instructions of spatial ({kernel})"
    return claim(text, "VI-A, figure 13", (paper,), ours, "x", "From hardware counters of both.", untested)


def _access(cycles: float, kernel: str, seen: str) -> Claim:
    why = f"Nsight Compute has no average access time. {seen}"
    text = f"Memory access takes {cycles:g} cycles longer in temporal attention ({kernel})"
    return statement(text, "VI-A, figure 13", f"{cycles:g} cycles", "", None, untested=why)


def _estimated_claims(rows: list[Row]) -> list[Claim]:
    mine = {(r["kind"], r["class"]): r for r in rows if r["model"] == MODEL}
    why = "Needs hardware counters: an Nsight Compute export of both. The estimate of reuse is not a miss rate."
    claims = [_misses(value, kernel, [], why) for kernel, value in PAPER_MPKI.items()]
    claims += [
        _access(value, kernel, "An export would show what warps wait for.") for kernel, value in PAPER_CYCLES.items()
    ]
    if mine:
        time, space = mine["temporal", "gemm"]["reuse"], mine["spatial", "gemm"]["reuse"]
        claims.append(
            statement(
                "The products of temporal attention find less in caches than those of spatial attention",
                "VI-A",
                "fewer hits",
                f"each byte is asked for {time:.3g} times, against {space:.3g}",
                time < space if max(time, space) > 1 else None,
                "Estimated reuse: short sequences fit one tile, so that nothing is asked for twice.",
                f"Both sequences fit one tile of {TILE} at these sizes: nothing is asked for twice.",
            )
        )
    return claims


COUNTED_COLUMNS = columns(
    "kind: temporal or spatial",
    "class: class of kernel",
    "kernels: kernels read",
    "time_s [s]: their time",
    "instructions: executed",
    "dram_bytes [byte]: read and written",
    "l1_mpki: L1 misses per thousand instructions",
    "l2_mpki: L2 misses per thousand instructions",
    "l1_hit_rate: share of sectors",
    "l2_hit_rate: share of sectors",
    "memory_stall: warps that wait for memory in a cycle that issues, where it was recorded",
)


def _counted(read: list[Row], machine: str) -> Experiment:
    rows: list[Row] = []
    for axis in AXES:
        grouped = counters.by_class([row for row in read if row["kind"] == axis])
        rows += [{"kind": axis, **row} for row in grouped.values()]
    by = {(r["kind"], r["class"]): r for r in rows}
    return Experiment(
        id="figure-13",
        title="Cache behavior of temporal and spatial attention (Nsight Compute)",
        how="measured",
        machine=machine,
        columns=COUNTED_COLUMNS,
        rows=tuple(rows),
        claims=tuple(_counted_claims(by)),
        assumptions=(
            "Hardware counters read from an Nsight Compute export, which does not name its GPU; hit rates and stalls "
            "weighted by time.",
        ),
    )


def _counted_claims(by: dict[tuple[str, str], Row]) -> list[Claim]:
    out = []
    for kernel, paper in PAPER_MPKI.items():
        time, space = (by.get((axis, kernel), {}).get("l2_mpki") for axis in ("temporal", "spatial"))
        missing = f"The exports have no L2 misses and instructions of {kernel} kernels of both."
        out.append(_misses(paper, kernel, [time / space] if time and space else [], missing))
    for kernel, cycles in PAPER_CYCLES.items():
        stalls = {axis: by.get((axis, kernel), {}).get("memory_stall") for axis in AXES}
        seen = ", ".join(f"{axis} {value:.3g}" for axis, value in stalls.items() if value is not None)
        words = (
            f"Warps that wait for memory in a cycle that issues: {seen}." if seen else "Nor do the exports have stalls."
        )
        out.append(_access(cycles, kernel, words))
    return out
