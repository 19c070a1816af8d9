"""A prediction as a table: stages, limits, expected, memory, cost, and what it all rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..estimate import RUNGS, OpEstimate, StageEstimate
from ..passes.maths import matters
from ..study.anchor import words_of
from ..study.predict import Prediction
from ..units import format_bytes, format_count, format_flops, format_seconds, format_usd
from .console import console, table

if TYPE_CHECKING:
    from ..study.target import Target
    from ..study.versus import Versus


def print_prediction(
    prediction: Prediction, ops: bool = False, target: Target | None = None, beside: Versus | None = None
) -> None:
    """Print one prediction for a person."""
    out = console()
    e = prediction.estimate
    sizes = "  ".join(f"{name} {value}" for name, value in e.sizes.items())
    out.print(f"{e.workload.title or e.workload.name} on {e.node.name}", style="bold")
    out.print(sizes)
    out.print(_stages(prediction))
    if ops:
        out.print(_ops(prediction))
    for line in (*_summary(prediction).splitlines(), *_answers(prediction, target)):
        out.print(line)
    if beside is not None:
        from .versus import print_versus

        print_versus(beside)
    out.print()
    for line in _assumptions(prediction):
        out.print(line, style="dim")


def _stages(prediction: Prediction) -> Any:
    total = prediction.estimate.total
    rows = [_stage_row(s.name, s, total) for s in prediction.estimate.stages]
    if len(rows) > 1:
        rows.append(_stage_row("total", total, total))
    columns = (
        "stage",
        "runs",
        "FLOPs",
        "bytes",
        "FLOP/B",
        "compute",
        "memory",
        f"limit ({prediction.estimate.asked.bound})",
        "expected",
        "share",
        "bound",
    )
    return table(columns, rows)


def _stage_row(name: str, s: StageEstimate, total: StageEstimate) -> tuple[str, ...]:
    share = s.limit_s / total.limit_s if total.limit_s else 0.0
    return (
        name,
        "" if name == "total" else str(s.repeat),
        format_flops(s.flops),
        format_bytes(s.bytes),
        f"{s.intensity:,.0f}",
        format_seconds(s.compute_s),
        format_seconds(s.memory_s),
        format_seconds(s.limit_s),
        format_seconds(s.expected_s),
        f"{share:.1%}",
        s.bound,
    )


def _ops(prediction: Prediction) -> Any:
    rows = []
    for stage in prediction.estimate.stages:
        rows += [_op_row(stage.name, op) for op in stage.ops]
    rung = "unfused" if prediction.estimate.asked.apart else "fused"  # no other has limits of operations
    columns = ("stage", "operation", "kind", "calls", "FLOPs", "bytes", "compute", "memory", f"limit ({rung})", "bound")
    return table(columns, rows, left=3)


def _op_row(stage: str, op: OpEstimate) -> tuple[str, ...]:
    attrs = op.op.attrs
    kind = " ".join(str(v) for v in (attrs.get("axis"), attrs.get("role"), op.op.kind) if v)
    return (
        stage,
        f"{op.op.path or '(root)'} {'' if op.op.kind == op.op.name else op.op.name}".strip(),
        kind,
        f"{op.count:,}",
        format_flops(op.flops or op.vector_flops),
        format_bytes(op.bytes),
        format_seconds(op.compute_s),
        format_seconds(op.memory_s),
        format_seconds(op.limit_s),
        op.bound,
    )


def _summary(prediction: Prediction) -> str:
    e, m = prediction.estimate, prediction.memory
    items = e.workload.item + ("s" if prediction.items > 1 else "")
    kinds: dict[str, float] = {}
    for op in e.total.ops:
        kinds[op.op.kind] = kinds.get(op.op.kind, 0.0) + op.limit_s
    largest = sorted(kinds.items(), key=lambda pair: -pair[1])[:3]
    whole = sum(kinds.values())
    where = ", ".join(f"{kind} {value / whole:.0%}" for kind, value in largest) if whole else ""
    params = sum({s.weights_name or s.name: sum(s.weights.values()) for s in e.workload.stages}.values())
    fits = "fits" if m.fits else "DOES NOT FIT"
    return (
        f"limit     {format_seconds(prediction.limit_s)} per run of {prediction.items} {items}"
        f"   where: {where}\n"
        f"bounds    {_bounds(prediction)}\n"
        f"expected  {format_seconds(prediction.expected_s)}{_interval(prediction)}   {_why(prediction)}\n"
        f"{_software(prediction)}"
        f"memory    {format_bytes(m.peak_bytes)} at the peak ({format_bytes(m.weight_bytes)} weights of "
        f"{format_count(params)} parameters, {format_bytes(m.activation_bytes)} activations in {m.peak_stage}"
        + (f", {format_bytes(m.cache_bytes)} caches" if m.cache_bytes else "")
        + f"); {fits} in {format_bytes(m.available_bytes)}"
        + _would_fit(prediction)
    )


def _would_fit(prediction: Prediction) -> str:
    if prediction.memory.fits:
        return ""
    from ..study.fits import what_fits

    return f"\n          what would fit: {'; '.join(what_fits(prediction))}"


def _interval(prediction: Prediction) -> str:
    low_s, high_s = prediction.low_s, prediction.high_s
    if low_s is None or high_s is None:
        return ""
    shared = " if shared perfectly" if prediction.estimate.node.count > 1 else ""
    return f" ({format_seconds(low_s)} to {format_seconds(high_s)}, 80 %{shared})"


def _why(prediction: Prediction) -> str:
    """Where the expected time goes, and, where it waits for its host, that it does; or the share that it is."""
    e = prediction.estimate
    if prediction.running is None:
        return e.expected.described()
    kinds: dict[str, float] = {}
    for op in e.total.ops:
        kinds[op.op.kind] = kinds.get(op.op.kind, 0.0) + op.expected_s
    largest = sorted(kinds.items(), key=lambda pair: -pair[1])[:3]
    whole = sum(kinds.values())
    text = "where: " + ", ".join(f"{kind} {seconds / whole:.0%}" for kind, seconds in largest)
    spent = e.total.spent
    return f"{text}; the host launches for {format_seconds(spent.host_s)}" if spent.host_s > spent.device_s else text


def _software(prediction: Prediction) -> str:
    if not prediction.running:
        return ""
    anchor = getattr(prediction.estimate.expected, "anchor", None)
    anchored = f"measured  {words_of(anchor)}\n" if anchor else ""
    return f"software  {prediction.running.line}\n{anchored}"


def _bounds(prediction: Prediction) -> str:
    return "   ".join(f"{rung} {format_seconds(prediction.bounds.at(rung))}" for rung in RUNGS)


def _answers(prediction: Prediction, target: Target | None) -> list[str]:
    item, cost = prediction.estimate.workload.item, prediction.cost
    lines = [f"rate      {cost.items_per_hour:,.4g} {item}s/hour expected"]
    if cost.usd_per_item is not None and cost.usd_per_hour is not None:
        lines[0] += f"   {format_usd(cost.usd_per_item)} per {item} at {format_usd(cost.usd_per_hour)}/h"
    if cost.joules_per_item is not None:
        lines[0] += f"   {cost.joules_per_item / 3600:,.3g} Wh per {item} at TDP, devices alone"
    if target is not None:
        price = (
            ", price unknown (--price gives one)"
            if target.usd_per_hour is None
            else f", {format_usd(target.usd_per_hour)}/h"
        )
        device = prediction.estimate.node.device.name
        lines.append(f"target    {target.items_per_hour:,.4g} {item}s/hour need {target.devices:,} x {device}{price}")
    return lines


def _assumptions(prediction: Prediction) -> list[str]:
    e, a = prediction.estimate, prediction.assumptions()
    lines = [
        f"FLOPs: {a['flops']}. Limit: {a['limit']}. Last-level cache: {a['cache']}.",
        *e.expected.assumptions(),
        *([f"Maths {a['maths']}."] if matters(e.workload) else []),
        f"Attention {a['attention']}. Elementwise {a['elementwise']}. Precision {a['dtype']}. Price: {a['price']}.",
        f"Memory: {a['memory']}.",
        *(f"{text}." for text in a["machine"]),
        *(text if text.endswith(".") else f"{text}." for text in a["model"]),
    ]
    uncounted = e.workload.uncounted
    if uncounted:
        names = ", ".join(f"{name} ({calls} calls)" for name, calls in uncounted.items())
        lines.append(f"Without a FLOP rule (bytes counted): {names}.")
    return lines
