"""A source without a machine: counted workloads through a model of expected time (`estimate.expected`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ... import catalogue
from ...estimate.expected import Bounds, Clock, Expected, Work, check_device, total_s
from ...estimate.expected.kernels import Kernels
from ...estimate.expected.software import PRESETS
from ...estimate.ladder import Asked
from ...estimate.limits import Asking, OpEstimate, bounds_of, estimate_stage
from ...estimate.results import StageEstimate
from ...estimate.stages import Pass
from ...hardware import Node, parse_node
from ...roofline import Roofline
from ...workload.recipe import Size
from ...workload.records import Op, Stage, Tensor, Workload
from ..predict import prepare, state_of
from .classes import attention_kind, class_of
from .order import run_order
from .source import CALLS, Attention, How, Row, work_frame
from .suite import GOLDEN, model

SIDES = (64, 128, 256, 512, 768, 1024, 1536, 2048)
APART, FUSED = Asked("unfused", cold=True), Asked()
"""The rung of its counts: eager operations, each on its own, with a cold cache; regions where software fuses them."""
EAGER = Kernels(PRESETS["diffusers-eager"])
"""What is expected where nothing else is said: the paper ran PyTorch's eager execution."""
LEAN = "lean"  # baseline attention whose matrix is passed over four times
SMALLEST = {"stable-diffusion-1.5": 64}
"""Smaller images than the recorded range, for figure 10: matrix FLOPs stay exact (tested against torch's counter), some
copies at the level of 1 x 1 would not be made."""
Longs = NDArray[np.int64]


def workload_of(name: str, attention: str, expected: Expected = EAGER) -> Workload:
    """A model's workload as a model of expected time runs it: its guidance, and the types that its stages really have.

    `attention` is ``flash``, ``baseline``, or ``lean`` (a cheaper baseline).
    """
    state = tuple(state_of(expected, None).items())
    return expected.as_run(_prepared(name, attention, state))


@lru_cache(maxsize=64)
def _prepared(name: str, attention: str, state: tuple[tuple[str, Any], ...]) -> Workload:
    loaded = catalogue.load(model(name).workload)
    if loaded.name in SMALLEST:
        loaded = _relaxed(loaded, SMALLEST[loaded.name])
    whole, _ = prepare(loaded, None, "fused" if attention == "flash" else "baseline", **dict(state))
    if attention != LEAN:
        return whole
    return replace(whole, stages=tuple(replace(s, ops=_lean(s.ops), held=()) for s in whole.stages))


def _relaxed(workload: Workload, least: int) -> Workload:
    """The workload, down to images of `least` pixels a side."""

    def eased(sizes: Mapping[str, Size]) -> dict[str, Size]:
        return {n: replace(s, least=least) if n in ("height", "width") else s for n, s in sizes.items()}

    stages = tuple(replace(s, limits=eased(s.limits)) if s.name == "denoise" else s for s in workload.stages)
    return replace(workload, params=eased(workload.params), stages=stages)


def _lean(ops: Sequence[Op]) -> tuple[Op, ...]:
    """Baseline attention as diffusers' baddbmm: scale (and mask) in the product, softmax in the model's own type."""

    def narrow(op: Op) -> Op:
        if op.attrs.get("piece") != "softmax":
            return op
        own: Tensor = op.reads[0]
        return replace(op, writes=(own,))

    return tuple(narrow(op) for op in ops if op.attrs.get("piece") not in ("scale", "mask", "cast"))


def passes_of(
    name: str, attention: str, sizes: Mapping[str, int] | None = None, expected: Expected = EAGER
) -> tuple[Pass, ...]:
    """The stages of a model, counted, as the software of a model of expected time runs them."""
    workload = workload_of(name, attention, expected)
    chosen = workload.sizes(dict(sizes or {}))
    return tuple(run for run in (Pass.of(stage, chosen) for stage in workload.stages) if run.work)


def stage_of(
    name: str, attention: str, stage: str, sizes: Mapping[str, int] | None = None, expected: Expected = EAGER
) -> Pass:
    """One stage of a model, counted."""
    return next(run for run in passes_of(name, attention, sizes, expected) if run.stage.name == stage)


def _order(stage: Stage) -> Longs:
    made = stage.remembered
    if _order not in made:
        made[_order] = np.array(run_order(stage.ops), dtype=np.int64)
    found: Longs = made[_order]
    return found


def _row(stage: str, found: OpEstimate) -> Row:
    op = found.op
    return {
        "stage": stage,
        "name": op.path or op.name,
        "class": class_of(op),
        "kind": attention_kind(op),
        "count": found.count,
        "time_ns": round(found.expected_s * 1e9),
        "flops": found.flops,
        "bytes": found.bytes,
    }


class Predicted:
    """Golden et al.'s questions answered from workloads: see `Source`. Nothing is run."""

    how: How = "predicted"
    dtype = "bf16"
    caveat = ""

    def __init__(
        self,
        on: str | Node = "A100",
        models: Sequence[str] = GOLDEN,
        expected: Expected | None = None,
        clock: Clock = "kernel",
    ) -> None:
        """`on` a machine of one device, `models` names or aliases, `expected` a model of expected time (None: measured
        kernels as eager PyTorch runs them, `EAGER`).

        Raises `ValueError`, a sentence, for an unknown machine or model and for a device that `expected` is not for.
        """
        self.node: Node = on if isinstance(on, Node) else parse_node(on)
        self.expected: Expected = (expected or EAGER).on(clock)
        check_device(self.expected, self.node.device)
        self.clock: Clock = clock
        self._where = (Roofline(self.node.device), self.node)
        self.machine = self.node.name
        self._models = tuple(dict.fromkeys(model(name).name for name in models))
        self._made: dict[Any, pl.DataFrame] = {}
        self.assumptions = (
            f"Nothing was run: operations counted from the modules, on {self.node.name}.",
            *self.expected.assumptions(),
            "Baseline attention: scores, scale, mask, softmax in fp32, cast, values, each a kernel (as transformers' "
            "eager attention).",
            "The halves of classifier-free guidance run as each model's pipeline runs them: most as one batch.",
        )

    def other(
        self, on: str | Node | None = None, models: Sequence[str] | None = None, expected: Expected | None = None
    ) -> Predicted:
        """The same, also at sizes that were asked for, with another machine, models or model of expected time."""
        made = copy(self)
        Predicted.__init__(made, on or self.node, models or self._models, expected or self.expected, self.clock)
        return made

    def holds(self, on: str) -> bool:
        """Whether its model of expected time says something of another device."""
        return self.expected.refusal(parse_node(on).device) is None

    def bounds(self, work: Work) -> Bounds:
        """The limits of one call on the source's machine."""
        return bounds_of(work, self._where)

    def call_s(self, work: Work) -> Any:
        """Expected seconds of one call: see `Expected.call_s`."""
        return self.expected.call_s(work, self.bounds(work))

    def total_s(self, work: Work) -> Any:
        """Expected seconds of all calls, for each turn of a loop."""
        return total_s(self.expected, work, self.bounds(work))

    def models(self) -> tuple[str, ...]:
        """See `Source.models`."""
        return self._models

    def sizes(self, model: str) -> dict[str, int]:
        """See `Source.sizes`: the workload's defaults."""
        return workload_of(model, "flash").sizes()

    def sides(self, model: str) -> tuple[int, ...]:
        """See `Source.sides`: those the workload admits."""
        params = workload_of(model, "flash").params
        if "height" not in params or "width" not in params:
            return ()
        return tuple(side for side in SIDES if _admits(model, side))

    def parameters(self, model: str) -> int:
        """See `Source.parameters`."""
        return sum(parameters_of(model).values())

    def work(self, model: str, attention: Attention | str, sizes: Mapping[str, int]) -> pl.DataFrame:
        """See `Source.work`."""
        key = ("work", model, attention, tuple(sorted(sizes.items())))
        if key not in self._made:
            stages = self.stages(model, attention, sizes)
            self._made[key] = work_frame([_row(stage.name, op) for stage in stages for op in stage.ops])
        return self._made[key]

    def stages(self, model: str, attention: Attention | str, sizes: Mapping[str, int]) -> list[StageEstimate]:
        """Counts and expected seconds of every row of a model, by stage: what `work` shows in whole nanoseconds."""
        asking = Asking(self.expected, self._where, FUSED if self.expected.fused else APART)
        return [estimate_stage(run, asking) for run in passes_of(model, attention, sizes, self.expected)]

    def calls(self, model: str, attention: Attention | str, sizes: Mapping[str, int]) -> pl.DataFrame:
        """See `Source.calls`. Calls that a folded table cannot tell apart follow one another."""
        key = ("calls", model, attention, tuple(sorted(sizes.items())))
        if key not in self._made:
            frames, start = [], 0
            for run in passes_of(model, attention, sizes, self.expected):
                frame, start = self._calls(run, _order(run.stage), start)
                frames.append(frame)
            whole = pl.concat(frames).with_columns(call=pl.int_range(pl.len(), dtype=pl.Int64))
            self._made[key] = whole.select(*CALLS)
        return self._made[key]

    def _calls(self, run: Pass, order: Longs, start: int) -> tuple[pl.DataFrame, int]:
        paths = np.maximum(np.bincount(order, minlength=len(run.work)), 1)
        each = [run.over_turns(self._path_ns(work, n)) for work, n in zip(run.work, paths, strict=True)]
        spent = np.stack(each)[order]  # order x turns
        ends = np.cumsum(spent, axis=0)
        begins, wall = ends - spent, ends[-1]
        offset = start + np.concatenate([[0], np.cumsum(wall)[:-1]])
        whole = int(wall.sum())
        wanted = [at for at, row in enumerate(order) if _begins(run.work[row])]
        if not wanted:
            return pl.DataFrame(schema=CALLS), start + whole * run.repeat
        rows = [int(order[at]) for at in wanted]
        shapes = {row: self._shape(run, row, int(paths[row])) for row in dict.fromkeys(rows)}
        columns = [{"start_ns": begins[at] + offset, **shapes[row]} for at, row in zip(wanted, rows, strict=True)]
        table = {name: np.stack([c[name] for c in columns]).T.reshape(-1) for name in columns[0]}  # turn by turn
        kinds = [attention_kind(run.work[row].op) for row in rows] * run.turns
        once = pl.DataFrame({**table, "stage": [run.stage.name] * len(kinds), "kind": kinds}).with_columns(
            call=pl.lit(0, dtype=pl.Int64)
        )
        again = [once.with_columns(pl.col("start_ns") + whole * turn) for turn in range(run.repeat)]
        return pl.concat(again).select(*CALLS), start + whole * run.repeat

    def _path_ns(self, work: Work, paths: int) -> Longs:
        """Nanoseconds of an operation at one of its paths, for each turn."""
        seconds = np.asarray(self.total_s(work), dtype=np.float64)
        return np.asarray(np.rint(seconds * 1e9 / paths), dtype=np.int64)

    def _shape(self, run: Pass, row: int, paths: int) -> dict[str, Longs]:
        """Sizes, time, FLOPs and bytes of the attention that begins at a row, for each turn."""
        names = {"batch": "b", "heads": "heads", "query_len": "q", "key_len": "kv", "head_dim": "d"}
        parts = _parts(run.work, row)
        out = {
            **{name: parts[0].dims[dim] for name, dim in names.items()},
            "time_ns": sum(self._path_ns(part, paths) for part in parts),
            "flops": sum(part.flops for part in parts),
            "bytes": sum(part.bytes for part in parts),
        }
        return {name: np.asarray(run.over_turns(value), dtype=np.int64) for name, value in out.items()}

    def extra(self, name: str) -> list[Row]:
        """See `Source.extra`. This source has ``lean``."""
        return [_totals(each, self.work(each, LEAN, {})) for each in self._models] if name == LEAN else []


def parameters_of(name: str) -> dict[str, int]:
    """Parameters of a model by the name of its weights, which stages may share, in the order of the run."""
    held: dict[str, int] = {}
    for stage in workload_of(name, "flash").stages:
        part = stage.weights_name or stage.name
        held[part] = max(held.get(part, 0), sum(stage.weights.values()))
    return held


def _totals(name: str, work: pl.DataFrame) -> Row:
    mine = work.filter(pl.col("class") == "attention")["time_ns"].sum()
    return {"model": name, "time_ns": work["time_ns"].sum(), "attention_ns": mine}


def _begins(work: Work) -> bool:
    return work.op.kind == "attention" and work.piece in ("", "scores")


def _parts(works: Sequence[Work], row: int) -> list[Work]:
    """One attention: itself when fused, else its pieces, which follow one another."""
    parts = [works[row]]
    while parts[-1].piece not in ("", "values"):
        parts.append(works[row + len(parts)])
    return parts


@cache
def _admits(model: str, side: int) -> bool:
    try:
        workload_of(model, "flash").sizes({"height": side, "width": side})
    except ValueError:
        return False
    return True
