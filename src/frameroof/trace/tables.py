"""Sums over the rows of work, by whatever names them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..dtypes import TORCH, unit_of
from ..hardware import Device
from ..roofline import Roofline
from ..run import Coverage, GroupRow, ModuleRow, OperatorRow, ShapeRow, Summary
from .find.idle import Idle
from .find.stages import Stage
from .find.which_device import device_name
from .grouped import Grouped
from .read.columns import Array
from .read.events import Kind
from .resolve.attention_call import AttentionCall
from .resolve.cost_of_work import MATRIX, over_link
from .resolve.work_table import WorkTable

SHORT_NS = 10_000
MOST_LEVELS = 100
"""Modules inside each other that a path may name; what is deeper is one."""


_TF32 = re.compile(r"tf32|xf32|tensorop_s\d+gemm", re.IGNORECASE)
"""Kernels that multiply operands in fp32 on the matrix units, in TF32 (cuBLAS, cuDNN, CUTLASS, hipBLASLt)."""


class Table:
    """The rows of a trace with what they computed and moved, summed as the report shows them."""

    def __init__(  # six: one field each
        self,
        work_table: WorkTable,
        flops: Array,
        moved: Array,
        on: Device | None,
        stage: Sequence[str],
        maths: str = TORCH,
    ) -> None:
        self.work_table, self.flops, self.moved, self.device = work_table, flops, moved, on
        self.stage, self.maths = stage, maths
        self.total = max(1, int(work_table.duration.sum()))
        by_inputs = [inputs.dtype if inputs else None for inputs in work_table.inputs]
        self._types = [*dict.fromkeys(dtype for dtype in by_inputs if dtype), "tf32"]
        numbers = [self._types.index(dtype) if dtype else -1 for dtype in by_inputs]
        self._dtypes = np.array([*numbers, -1], dtype=np.int64)[work_table.arguments]  # -1, none recorded, is the last
        if "fp32" in self._types:
            named = {name: bool(_TF32.search(name)) for name in set(work_table.kernel)}
            told = np.array([named[name] for name in work_table.kernel], dtype=bool)
            self._dtypes[told & (self._dtypes == self._types.index("fp32"))] = len(self._types) - 1
        self.memory = np.isin(np.array(work_table.kind), (int(Kind.MEMCPY), int(Kind.MEMSET)))

    def summary(self, idle: Idle) -> Summary:
        """The run as a whole."""
        p = self.work_table
        kernels = ~self.memory
        return Summary(
            device="CPU" if p.on_cpu else device_name(p),
            hardware=self.device.name if self.device else None,
            busy_ns=idle.busy_ns,
            span_ns=idle.span_ns,
            idle_ns=idle.idle_ns,
            kernel_ns=int(p.duration[kernels].sum()),
            memory_ns=int(p.duration[self.memory].sum()),
            kernels=int(kernels.sum()),
            copies=int(self.memory.sum()),
            events=p.trace.events,
            streams=len(set(zip(p.device.tolist(), p.stream.tolist(), strict=True))),
            devices=len(set(p.device.tolist())),
            short_kernels=int((p.duration[kernels] < SHORT_NS).sum()),
            flops=_known_sum(self.flops),
            bytes=_known_sum(self.moved),
            on_cpu=p.on_cpu,
            host_only=p.host_only,
        )

    def groups(self, names: Sequence[str]) -> list[GroupRow]:
        """Time by name, the longest first."""
        found = self._by(names)
        flops, moved = found.known_sums(self.flops), found.known_sums(self.moved)
        timed = found.sums(np.where(self.flops >= 0, self.work_table.duration, 0))
        return [
            GroupRow(name, time, count, time / self.total, *sums)
            for name, time, count, *sums in zip(found.keys, found.times, found.counts, flops, moved, timed, strict=True)
        ]

    def operators(self, hidden: Array) -> list[OperatorRow]:
        """Time by class and operator, with what it achieved; `hidden` FLOPs of a row are counted and not computed."""
        p = self.work_table
        names = [o or f"(kernel) {k}" for o, k in zip(p.operator, p.kernel, strict=True)]
        by = self._by(list(zip(p.classes, names, strict=True)))
        timed = by.sums(np.where(self.flops >= 0, p.duration, 0))
        known = zip(by.known_sums(self.flops), by.known_sums(self.moved), timed, by.distinct(p.call), strict=True)
        roofline = Roofline(self.device, ran=True) if self.device else None
        masked = by.sums(hidden)
        found = []
        for i, (flops, moved, ran, calls) in enumerate(known):
            (name, operator), time, dtype = by.keys[i], by.times[i], self.dtype(by.rows(i))
            rate = flops / ran * 1e9 if flops and ran and not p.host_only else None
            through = moved / time * 1e9 if moved and time and not p.host_only else None
            unit = unit_of(dtype, name, self.maths)
            peak = roofline.peak(unit) if roofline and dtype and roofline.states(unit) else None
            done = (flops or 0) - masked[i]  # 0: what of it is done is not known
            found.append(
                OperatorRow(
                    name, operator, time, calls, by.counts[i], flops, moved,
                    rate, through, done / ran * 1e9 / peak if rate and peak and done > 0 else None, dtype,
                )
            )  # fmt: skip
        return found

    def shapes(self) -> list[ShapeRow]:
        """Time by class, operator ("" unknown), inputs and stage; copies to and from the host apart."""
        p = self.work_table
        by = self._by(list(zip(p.classes, p.operator, p.arguments, self.stage, over_link(p), strict=True)))
        known = zip(by.distinct(p.call), by.known_sums(self.flops), by.known_sums(self.moved), strict=True)
        kernels = by.longest(p.kernel, p.duration)
        found = []
        for i, (calls, flops, moved) in enumerate(known):
            name, operator, at, stage, link = by.keys[i]
            inputs = p.inputs[at] if at >= 0 else None
            found.append(
                ShapeRow(
                    name, operator, stage, common(p.module[r] for r in by.rows(i).tolist()),
                    _lists(inputs.dims) if inputs else [], self.dtype(by.rows(i)),
                    by.times[i], calls, flops, moved, link, kernels[i],
                )
            )  # fmt: skip
        return found

    def modules(self, idle: Idle, most: int = 400) -> list[ModuleRow]:
        """Time and gaps under every module path and all that encloses it, the longest first, at most `most`."""
        by = self._by(self.work_table.module)
        sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        for path, *own in zip(by.keys, by.times, by.counts, by.sums(idle.before(len(self.work_table))), strict=True):
            for part in enclosing(path):
                held = sums[part]
                held[0] += own[0]
                held[1] += own[1]
                held[2] += own[2]
        ordered = sorted(sums.items(), key=lambda item: (-item[1][0], item[0]))[:most]
        return [ModuleRow(path, t, n, t / self.total, gap, gap / n) for path, (t, n, gap) in ordered]

    def coverage(
        self, stages: Sequence[Stage], graph_capture: float | None, attention: Sequence[AttentionCall] = ()
    ) -> Coverage:
        """Shares of the time that could be told."""
        p = self.work_table

        def share(mask: Any) -> float:
            return float(p.duration[np.asarray(mask, dtype=bool)].sum() / self.total) if len(p) else 0.0

        called = sum(a.duration for a in attention)
        matrix = np.array([c in MATRIX for c in p.classes], dtype=bool) & ~self.memory
        staged = np.zeros(len(p), dtype=bool)
        for stage in stages:
            if stage.source:
                staged[stage.rows] = True
        return Coverage(
            operator=share([bool(o) for o in p.operator]),
            module=share([bool(m) for m in p.module]),
            stage=share(staged),
            shapes=share([a >= 0 for a in p.arguments]),
            graph_capture=graph_capture,
            flops=share(matrix & (self.flops >= 0)) / share(matrix) if share(matrix) else None,
            attention=sum(a.duration for a in attention if a.measured) / called if called else None,
        )

    def _by(self, names: Sequence[Any]) -> Grouped:
        return Grouped(names, self.work_table.duration)

    def dtype(self, rows: Array | list[int]) -> str | None:
        """The type of the inputs in most of the time of some rows."""
        kinds, spent = self._dtypes[rows], self.work_table.duration[rows]
        times = [int(spent[kinds == i].sum()) if (kinds == i).any() else -1 for i in range(len(self._types))]
        return self._types[times.index(max(times))] if max(times, default=-1) >= 0 else None


def enclosing(path: str) -> list[str]:
    """ "a/b/c" -> a, a/b, a/b/c; "a.b" -> a, a.b; "" -> nothing."""
    if not path:
        return []
    sign = "/" if "/" in path else "."
    parts = path.split(sign, MOST_LEVELS - 1)
    return [sign.join(parts[: i + 1]) for i in range(len(parts))]


def common(paths: Iterable[str]) -> str:
    """The deepest path that encloses all of `paths`."""
    found = sorted(set(paths))
    first, last = enclosing(found[0]), enclosing(found[-1])
    same = [a for a, b in zip(first, last, strict=False) if a == b]
    return same[-1] if same else ""


def _lists(dims: Any) -> Any:
    """Dimensions as JSON holds them."""
    return [_lists(d) for d in dims] if isinstance(dims, tuple) else dims


def _known_sum(values: Array) -> float | None:
    known = values[values >= 0]
    return float(known.sum()) if len(known) else None
