"""How fast could this model run there, and what does it cost: the parts put together."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import catalogue
from ..dtypes import BITS
from ..estimate import (
    RUNGS,
    Cost,
    Estimate,
    Expected,
    Ladder,
    Memory,
    Rung,
    Utilization,
    cost_of,
    estimate,
    memory_of,
)
from ..estimate.expected import Software, chosen
from ..estimate.expected.kernels import Kernels
from ..estimate.expected.pipelines import pipeline_of
from ..estimate.expected.software import BATCHED, Running
from ..estimate.ladder import Asked
from ..hardware import Node, parse_node
from ..passes.guidance import batch_guidance
from ..passes.maths import WORDS, maths_of, set_maths
from ..units import format_bytes
from ..workload.records import Workload
from ..workload.verified import outside

SCHEMA = "frameroof.predict/1"
FLOP_CONVENTION = "2 per multiply-add; causal attention counts the full square"
CLAIMS: Mapping[Rung, str] = {
    "compulsory": "compulsory: every distinct input and weight that is read, once, and what is handed back, over the "
    "bandwidth",
    "light": "light: the larger of compulsory traffic and of all FLOPs that are needed, each at the dense peak of its "
    "own precision; no program of these operations as written is faster",
    "fused": "fused: the sum over regions of the larger of compute at 100 % of dense peaks and traffic; no program of "
    "these operations as written is faster that runs each matrix operation as a kernel of its own with its pointwise "
    "epilogue, one region after another",
    "unfused": "unfused: the sum over operations, each on its own, of the larger of compute at 100 % of dense peaks "
    "and traffic; a description of eager code, no bound",
}
"""What each rung says."""


@dataclass(frozen=True)
class Prediction:
    """A workload on a node: limits, expected times, memory and cost, with everything assumed."""

    estimate: Estimate
    memory: Memory
    cost: Cost
    choices: Mapping[str, str]

    @property
    def limit_s(self) -> float:
        """Seconds of one run at the limit, the rung that was asked for."""
        return self.estimate.total.limit_s

    @property
    def bounds(self) -> Ladder:
        """Seconds of one run by rung: compulsory, light, fused, unfused."""
        return self.estimate.total.bounds or Ladder()

    @property
    def expected_s(self) -> float:
        """Seconds of one run by the model of expected time."""
        return self.estimate.total.expected_s

    @property
    def low_s(self) -> float | None:
        """The shorter end of the interval that holds 80 % of times like it, never below the limit; None if unknown."""
        return self.estimate.total.low_s

    @property
    def high_s(self) -> float | None:
        """The longer end."""
        return self.estimate.total.high_s

    @property
    def running(self) -> Running | None:
        """The software that expected times are of, for this model and machine; None where it was not told apart."""
        e = self.estimate
        return e.expected.running(e.workload, e.node.device) if isinstance(e.expected, Kernels) else None

    @property
    def items(self) -> int:
        """Items that one run yields: the batch."""
        return self.estimate.sizes.get("batch", 1)

    def assumptions(self) -> dict[str, Any]:
        """Everything the numbers rest on, by topic."""
        e = self.estimate
        return {
            "flops": FLOP_CONVENTION,
            "limit": CLAIMS[e.asked.bound],
            "cache": _cache(e),
            **_expected(e.expected),
            **self.choices,
            "sizes": dict(e.sizes),
            "price": self.cost.price_source,
            "energy": "TDP of the devices times the expected time: without hosts, and no bound of a run that is slower",
            "memory": _memory(e.workload),
            "machine": list(e.assumptions),
            "model": [*e.workload.notes, *outside(e.workload, e.sizes), *_without_regions(e.workload)],
        }

    def to_dict(self, ops: bool = False) -> dict[str, Any]:
        """The documented JSON form (docs/reference/json.rst): SI units, repeats included."""
        from .fits import what_fits

        e, total = self.estimate, self.estimate.total
        data: dict[str, Any] = {
            "schema": SCHEMA,
            "model": e.workload.name,
            "hardware": {"name": e.node.name, "device": e.node.device.name, "count": e.node.count},
            "item": e.workload.item,
            "rung": e.asked.bound,
            "cold": e.asked.cold,
            "bounds": _bounds(total.bounds),
            "software": self.running.to_dict() if self.running else None,
            "total": _sums(total),
            "throughput": {"items_per_hour": self.cost.items_per_hour},
            "cost": {
                "usd_per_item": self.cost.usd_per_item,
                "usd_per_hour": self.cost.usd_per_hour,
                "joules_per_item": self.cost.joules_per_item,
            },
            "memory": {
                "peak_bytes": self.memory.peak_bytes,
                "weight_bytes": self.memory.weight_bytes,
                "activation_bytes": self.memory.activation_bytes,
                "cache_bytes": self.memory.cache_bytes,
                "available_bytes": self.memory.available_bytes,
                "fits": self.memory.fits,
                "would_fit": what_fits(self),
            },
            "stages": [{"name": s.name, "repeat": s.repeat, "bound": s.bound, **_sums(s)} for s in e.stages],
            "assumptions": self.assumptions(),
            "uncounted": [{"name": n, "count": c} for n, c in e.workload.uncounted.items()],
        }
        if ops:
            data["ops"] = [_op(s.name, op) for s in e.stages for op in s.ops]
        return data


def _cache(e: Estimate) -> str:
    """What the last-level cache takes off the limits."""
    size = e.node.device.cache_bytes
    if e.asked.cold or not size:
        return "cold: nothing is taken off" if e.asked.cold else "none known: nothing is taken off"
    text = f"{format_bytes(size)} of each device: what passes between regions costs what is beyond it"
    return f"{text}; inputs, weights and what is handed back have it taken off once a run"


def _bounds(bounds: Ladder | None) -> dict[str, float]:
    return {f"{rung}_s": (bounds or Ladder()).at(rung) for rung in RUNGS}


def _expected(expected: Expected) -> dict[str, Any]:
    """What expected times rest on; a uniform model also as the text that it always was."""
    uniform = {"utilization": str(expected)} if isinstance(expected, Utilization) else {}
    return {**uniform, "expected": {**expected.about.to_dict(), "assumptions": list(expected.assumptions())}}


def _without_regions(workload: Workload) -> list[str]:
    """A sentence where operations were recorded without saying which run together, as in files of version 1."""
    ops = [op for stage in workload.stages for op in stage.ops]
    if len(ops) < 2 or any(op.region for op in ops):
        return []
    return [
        "this record does not say which operations run together: each is a region of its own, and a program that joins "
        "them may be faster than fused; count the model again"
    ]


def _memory(workload: Workload) -> str:
    text = "all weights resident; activations alive under the best freeing order, no allocator slack"
    short = [stage.name for stage in workload.stages if not stage.held_exact]
    return f"{text}; a lower bound in {', '.join(short)}, where what is alive follows no rule" if short else text


def _sums(part: Any) -> dict[str, Any]:
    names = (
        *("flops", "vector_flops", "bytes", "intensity", "compute_s", "memory_s"),
        *("limit_s", "expected_s", "low_s", "high_s"),
    )
    return {**{name: getattr(part, name) for name in names}, "bounds": _bounds(part.bounds)}


def _op(stage: str, op: Any) -> dict[str, Any]:
    names = (
        "flops",
        "vector_flops",
        "bytes",
        "count",
        "compute_s",
        "memory_s",
        "limit_s",
        "expected_s",
        "bound",
    )
    return {
        "path": op.op.path,
        "kind": op.op.kind,
        "name": op.op.name,
        "stage": stage,
        **{name: getattr(op, name) for name in names},
        **{name: value for name, value in op.op.attrs.items() if name in ("role", "axis", "causal", "align")},
    }


def prepare(
    workload: Workload,
    dtype: str | None = None,
    attention: str = "fused",
    elementwise: str = "fused",
    maths: str | None = None,
    guidance: str = "",
) -> tuple[Workload, dict[str, str]]:
    """Apply the chosen passes; the workload and what was chosen, in words.

    `guidance` is ``batched`` or ``twice``; "" as the model's own pipeline runs it. Raises `ValueError`, a sentence, for
    another choice than these, and for an unknown type.
    """
    if attention not in ("fused", "baseline"):
        raise ValueError(f"attention is fused or baseline, not {attention!r}")
    _check_elementwise(elementwise)
    choices = {
        "dtype": _said(dtype, workload),
        "attention": "fused: bytes linear in sequence length"
        if attention == "fused"
        else "baseline: the similarity matrix is written and read",
        "elementwise": "fused within its region (ideal)"
        if elementwise == "fused"
        else "eager: each operation reads and writes",
    }
    made, asked = workload.remembered, (prepare, dtype, attention)
    if asked not in made:
        made[asked] = _passed(workload, dtype, attention)
    prepared = set_maths(made[asked], maths)
    if (guidance or pipeline_of(workload.name).guidance) == BATCHED:
        prepared = batch_guidance(prepared)
    return prepared, {**choices, "maths": WORDS[maths_of(prepared)]}


def _said(dtype: str | None, workload: Workload) -> str:
    """What has which type, in words: fp8 alone is that of linear layers."""
    if not dtype or dtype == workload.dtype:
        return workload.dtype
    choice = meant(dtype, [stage.name for stage in workload.stages])
    return choice if choice in BITS else f"{choice} (the rest {workload.dtype})"


def state_of(expected: Expected, maths: str | None) -> dict[str, Any]:
    """What the software of a model of expected time decides for `prepare`; `maths` where it was given."""
    state = getattr(expected, "software", None)
    return {"maths": maths or (state and state.maths) or None, "guidance": state.guidance if state else ""}


def _check_elementwise(elementwise: str) -> None:
    if elementwise not in ("fused", "eager"):
        raise ValueError(f"elementwise is fused or eager, not {elementwise!r}")


def asked_of(bound: Rung | None = None, elementwise: str | None = None, cold: bool = False) -> Asked:
    """What was asked for: eager elementwise work is the rung *unfused*, and *fused* the rung where nothing is said.

    Raises `ValueError`, a sentence, for a choice that is none and for two that contradict each other.
    """
    if elementwise is not None:
        _check_elementwise(elementwise)
    if bound is None:
        return Asked("unfused" if elementwise == "eager" else "fused", cold)
    asked = Asked(bound, cold)
    if elementwise is not None and asked.apart != (elementwise == "eager"):
        raise ValueError(
            f"elementwise {elementwise} and the bound {bound} contradict each other: eager code is what unfused is"
        )
    return asked


def meant(dtype: str, stages: Sequence[str] = ()) -> str:
    """A choice of types as `passes.precision` takes it: ``fp8`` means linear layers, ``all=fp8`` everything.

    What runs in eight bits or fewer in practice is linear layers; a type of more bits is that of the whole pipeline.
    """
    items = [item.strip() for item in dtype.split(",")]
    narrow = [BITS.get(item, 16) <= 8 for item in items]
    items = [f"linear={item}" if few else item for item, few in zip(items, narrow, strict=True)]
    return ",".join(i.removeprefix("all=") if i.startswith("all=") and "all" not in stages else i for i in items)


def _passed(workload: Workload, dtype: str | None, attention: str) -> Workload:
    if dtype is not None and dtype != workload.dtype:
        from ..passes import set_precision

        workload = set_precision(workload, meant(dtype, [stage.name for stage in workload.stages]))
    if attention == "baseline":
        from ..passes import materialize_attention

        workload = materialize_attention(workload)
    return workload


def predict(  # twelve arguments: one an option of the command
    model: str | os.PathLike[str] | Workload,
    on: str | Node = "H100",
    *,
    sizes: Mapping[str, int] | None = None,
    dtype: str | None = None,
    utilization: Utilization | float | None = None,
    efficiency: str | os.PathLike[str] | Expected | None = None,
    software: str | Software | None = None,
    attention: str = "fused",
    elementwise: str | None = None,
    maths: str | None = None,
    bound: Rung | None = None,
    cold: bool = False,
    usd_per_device_hour: float | None = None,
    measured: str | None = None,
) -> Prediction:
    """Limit, expected time, memory and cost of a model on a machine; nothing is run.

    `model` is a name or alias of the catalogue, a workload file, or a `Workload`. `on` is a machine
    such as ``"H200"`` or ``"8xH100"``. `sizes` override the workload's default parameters (``batch``,
    ``height``, ``steps`` …; pixels, frames, tokens). `dtype` quantizes (see `passes.precision`). Expected times are
    those of measured kernels as `software` runs them (``"compiled"``, or ``"wan,attention=fa3"``: see
    `estimate.expected.software`), with an interval; `utilization` (a share of the limit, by kind where it is a
    `Utilization`) or `efficiency` (a file of ``--efficiency``, or any `estimate.Expected`) is another model.
    `attention` is ``fused`` or ``baseline``. `maths` is what multiplies fp32: ``torch``, ``strict`` or ``tf32`` (see
    `dtypes.unit_of`); by default as the workload has it, torch. `bound` is the rung that is the limit: ``compulsory``,
    ``light``, ``fused`` (the default) or ``unfused``, which `elementwise` ``eager`` chooses too; `cold` takes nothing
    off for the last-level cache. `measured` is a time that was seen of this model, ``"H100 batch=1 4.2s"``, which
    anchors expected times of other sizes and machines. Times are seconds, memory bytes, prices US dollars. Raises
    `ValueError`, a sentence, for anything that is not admissible. Method: the roofline of Williams et al. (2009) for
    every region, summed (docs/design/0007-limits.rst).
    """
    if usd_per_device_hour is not None and not 0 < usd_per_device_hour < 1e6:
        raise ValueError(f"a price is US dollars per device and hour, above 0, not {usd_per_device_hour:g}")
    expected = chosen(utilization, efficiency, software)
    if measured is not None:
        from .anchor import anchored

        same: dict[str, Any] = {"dtype": dtype, "attention": attention, "elementwise": elementwise, "maths": maths}
        expected = anchored(
            expected, measured, sizes, lambda on, sizes, e: predict(model, on, sizes=sizes, efficiency=e, **same)
        )
    workload = model if isinstance(model, Workload) else catalogue.load(model)
    node = on if isinstance(on, Node) else parse_node(on)
    asked = asked_of(bound, elementwise, cold)
    eager = "eager" if asked.apart else "fused"
    prepared, choices = prepare(workload, dtype, attention, eager, **state_of(expected, maths))
    result = estimate(prepared, node, sizes, expected, bound=asked.bound, cold=asked.cold)
    if not result.total.expected_s > 0:
        raise ValueError(f"{workload.name} computes nothing at these sizes, so that it has no rate and no cost")
    items = result.sizes.get("batch", 1)
    cost = cost_of(node, result.total.expected_s, items, usd_per_device_hour)
    return Prediction(result, memory_of(prepared, node, result.sizes), cost, choices)
