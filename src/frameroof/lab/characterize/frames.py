"""A recorded trace -> the frames of a `Source`: work by stage, module and class, and every attention in order."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from ...study.characterize.source import CALLS, WORK
from ...trace.find.attention.calls import find_attention
from ...trace.find.stages import find_stages
from ...trace.read.decode import read
from ...trace.read.events import Kind
from ...trace.resolve.attention_call import AttentionCall
from ...trace.resolve.classify import ATTENTION, classify
from ...trace.resolve.cost_of_work import account, reclassify
from ...trace.resolve.work_table import WorkTable, make_work_table


@dataclass
class Recorded:
    """The frames of one trace, as it was run."""

    work_table: WorkTable
    attention: list[AttentionCall]

    @staticmethod
    def of(path: str | os.PathLike[str]) -> Recorded:
        """Read a trace and find its attention, which here has all work of its operators: also the copies that a product
        of baseline attention makes of its factors, since a flash kernel makes none."""
        work_table = make_work_table(read(path))
        attention = find_attention(work_table)
        for call in attention:
            call.rows, call.around = call.rows + call.around, []
            call.duration = int(work_table.duration[call.rows].sum())
        return Recorded(work_table, attention)

    @cached_property
    def stage(self) -> list[str]:
        """Of every row, its stage."""
        names = [""] * len(self.work_table)
        for stage in find_stages(self.work_table):
            for row in stage.rows:
                names[row] = stage.name
        return names

    @cached_property
    def costs(self) -> tuple[Any, Any]:
        """FLOPs and bytes of every row; -1 unknown. Afterwards all rows of an attention have its class."""
        found = account(self.work_table, self.attention)
        reclassify(self.work_table, self.attention)
        return found

    def work(self) -> pl.DataFrame:
        """One row per stage, module (or operator outside of modules), class and kind; columns of `WORK`."""
        work_table, (flops, moved), tops = self.work_table, self.costs, self._tops()
        kind_of = {row: call.kind for call in self.attention for row in call.rows}
        heads = {call.rows[0] for call in self.attention}
        groups: dict[tuple[str, str, str, str], list[int]] = defaultdict(list)
        for row in range(len(work_table)):
            name = work_table.module[row] or work_table.operator[row] or work_table.kernel[row]
            groups[self.stage[row], name, work_table.classes[row], kind_of.get(row, "")].append(row)
        rows = []
        for (stage, name, kind_class, kind), at in groups.items():
            called = sum(row in heads for row in at) if kind_class == ATTENTION else len({tops[row] for row in at})
            rows.append({
                "stage": stage, "name": name, "class": kind_class, "kind": kind, "count": called,
                "time_ns": int(work_table.duration[at].sum()), "flops": _sum(flops[at]), "bytes": _sum(moved[at]),
            })  # fmt: skip
        return pl.DataFrame(rows, schema=WORK)

    def _tops(self) -> list[int]:
        """Of every row, what counts as one call: on the processor the outermost operator around it of its class."""
        work_table, host = self.work_table, self.work_table.trace.host
        if not work_table.on_cpu:
            return [call if call >= 0 else -2 - row for row, call in enumerate(work_table.call.tolist())]
        parent, names = work_table.links.parent.tolist(), work_table.trace.names
        label, kind = host.name.tolist(), host.kind.tolist()
        found = []
        for row, at in enumerate(work_table.operator_row.tolist()):
            top, wanted = at, work_table.classes[row]
            while at >= 0 and kind[at] != int(Kind.MODULE):
                if kind[at] == int(Kind.OPERATOR) and classify(names[label[at]], "", kind[at]) == wanted:
                    top = at
                at = parent[at]
            found.append(top)
        return found

    def calls(self) -> pl.DataFrame:
        """Every call of attention in the order of the run; columns of `CALLS`. Baseline: its pieces together."""
        flops, moved = self.costs
        rows = []
        for number, call in enumerate(self.attention):
            rows.append({
                "call": number, "start_ns": call.start, "stage": self.stage[call.rows[0]], "kind": call.kind,
                "batch": call.batch, "heads": call.heads, "query_len": call.query_len, "key_len": call.key_len,
                "head_dim": call.head_dim, "time_ns": call.duration, "flops": _sum(flops[call.rows]),
                "bytes": _sum(moved[call.rows]),
            })  # fmt: skip
        return pl.DataFrame(rows, schema=CALLS)


def _sum(values: Any) -> int | None:
    """The sum of what is known; None where nothing is."""
    known = values[values >= 0]
    return int(known.sum()) if len(known) else None


# --------------------------------------------------------------------------------- identical steps


def whole_work(work: pl.DataFrame, repeats: Mapping[str, int]) -> pl.DataFrame:
    """The work of all identical steps from that of those which were run: stage -> how many times they stand for."""
    times = pl.col("stage").replace_strict(dict(repeats), default=1, return_dtype=pl.Int64)
    return work.with_columns(pl.col("count", "time_ns", "flops", "bytes") * times)


def whole_calls(calls: pl.DataFrame, repeats: Mapping[str, int]) -> pl.DataFrame:
    """The calls of all identical steps: each loop's calls as often as they stand for, later starts moved."""
    parts, shift = [], 0
    for first, last in _runs(calls["stage"].to_list()):
        part = calls[first:last]
        again = repeats.get(str(part["stage"][0]), 1)
        end = calls["start_ns"][last] if last < len(calls) else part["start_ns"][-1] + part["time_ns"][-1]
        period = int(end - part["start_ns"][0])
        parts += [part.with_columns(pl.col("start_ns") + shift + period * i) for i in range(again)]
        shift += period * (again - 1)
    whole = pl.concat(parts) if parts else calls
    return whole.with_columns(call=pl.int_range(pl.len(), dtype=pl.Int64)).select(*CALLS)


def _runs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Where one name follows itself: [(first, behind the last)]."""
    cuts = [i for i in range(1, len(names)) if names[i] != names[i - 1]]
    return list(zip([0, *cuts], [*cuts, len(names)], strict=True)) if names else []
