"""Quantize: other dtypes for weights and activations, for all of a workload or for named parts.

A choice is ``fp8`` (everything that has the pipeline's dtype), or a comma-separated list of
``PART=DTYPE`` with PART one of: weights, activations, kv (keys and values of attention, with their
caches), a kind (linear, conv2d, attention …), a stage, or stage.part (``denoise.linear=fp8``).
What the model computes in a type of its own, such as fp32 norms, stays. Scales of block formats
are not counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..dtypes import BITS, CHOICES
from ..workload.expr import Poly
from ..workload.fold import unfold
from ..workload.records import KINDS, Op, Stage, Tensor, Workload


@dataclass(frozen=True)
class Rule:
    """One part of a choice: where (stage, kind; "" = every), which operands, and the dtype."""

    stage: str
    kind: str
    operands: str  # "", "weights", "activations" or "kv"
    dtype: str


def parse_precision(text: str, stages: Sequence[str]) -> list[Rule]:
    """Rules of a choice such as ``"denoise.linear=fp8,weights=int8"``; later ones override earlier ones.

    Raises `ValueError`, a sentence, for an unknown type or part, and for a part that is named twice.
    """
    rules: list[Rule] = []
    for item in text.split(","):
        part, equals, dtype = item.strip().rpartition("=")
        if dtype not in CHOICES:
            raise ValueError(f"unknown dtype {dtype!r}; known: {', '.join(CHOICES)}")
        if equals and not part:
            raise ValueError(f"{item!r} names no part; write PART={dtype} or just {dtype}")
        rule = _rule(part, dtype, stages)
        if any((r.stage, r.kind, r.operands) == (rule.stage, rule.kind, rule.operands) for r in rules):
            raise ValueError(f"{text!r} gives {part or 'everything'} two dtypes")
        rules.append(rule)
    return rules


def _rule(part: str, dtype: str, stages: Sequence[str]) -> Rule:
    stage, _, rest = part.partition(".")
    if stage not in stages:
        stage, rest = "", part
    if rest in ("", "weights", "activations"):
        return Rule(stage, "", rest, dtype)
    if rest == "kv":
        return Rule(stage, "attention", "kv", dtype)
    if rest in KINDS:
        return Rule(stage, rest, "", dtype)
    raise ValueError(
        f"unknown part {part!r}; parts are weights, activations, kv, a kind ({', '.join(KINDS)}), "
        f"or a stage ({', '.join(stages)}), alone or as stage.part"
    )


def set_precision(workload: Workload, choice: str) -> Workload:
    """The workload with the dtypes of `choice`; `ValueError` with a sentence for an unknown part or dtype."""
    if any(done.startswith("precision") for done in workload.passes):
        raise ValueError("the precision of this workload is already set; name all parts in one choice")
    rules = parse_precision(choice, [stage.name for stage in workload.stages])
    stages = tuple(_stage(stage, rules, workload.dtype) for stage in workload.stages)
    changed = workload.with_stages(stages, f"precision {choice}")
    return replace(changed, notes=(*workload.notes, *_copies(changed)))


def run_in(workload: Workload, dtype: str, stages: Sequence[str]) -> Workload:
    """The workload with these stages in `dtype`, as software runs them whatever was asked for; itself for none."""
    if not stages:
        return workload
    made, asked = workload.remembered, (run_in, dtype, tuple(stages))
    if asked not in made:
        rules = [Rule(stage, "", "", dtype) for stage in stages]
        each = tuple(_stage(s, rules, s.dtype or workload.dtype) if s.name in stages else s for s in workload.stages)
        made[asked] = workload.with_stages(each, f"runs {', '.join(stages)} in {dtype}")
    found: Workload = made[asked]
    return found


def _copies(workload: Workload) -> list[str]:
    """A sentence for stages that share weights and now use them in different dtypes."""
    sharing: dict[str, list[Stage]] = {}
    for stage in workload.stages:
        if stage.weights_name:
            sharing.setdefault(stage.weights_name, []).append(stage)
    return [
        f"{' and '.join(s.name for s in stages)} share weights but use them in different dtypes: memory holds a copy "
        "in each"
        for stages in sharing.values()
        if any(set(stage.weights) != set(stages[0].weights) for stage in stages)
    ]


def _stage(stage: Stage, rules: list[Rule], base: str) -> Stage:
    mine = [rule for rule in rules if rule.stage in ("", stage.name)]
    ops = tuple(_op(op, mine, base) for op in stage.ops)
    whole = [rule for rule in mine if not rule.kind and rule.operands != "weights"]
    dtype = whole[-1].dtype if whole else stage.dtype
    changed = replace(stage, ops=ops, weights=_weights(stage, mine, base), dtype=dtype)
    return _cache(changed, _dtype("kv", "attention", mine) or stage.dtype or base, base)


def _cache(stage: Stage, dtype: str, base: str) -> Stage:
    """The stage with its key-value caches in `dtype`, where that is not the dtype of its activations."""
    if not stage.cache.terms or stage.cache_dtype not in ("", base) or dtype == (stage.dtype or base):
        return stage
    cache_bytes = Poly({m: -(-c * BITS[dtype] // 8) for m, c in stage.cache.terms.items()})
    held = tuple(
        replace(h, elements=h.elements - stage.cache, fixed_bytes=h.fixed_bytes + cache_bytes) for h in stage.held
    )
    return replace(stage, held=held, cache_dtype=dtype)


def _op(op: Op, rules: list[Rule], base: str) -> Op:
    def changed(tensor: Tensor, operand: str) -> Tensor:
        if tensor.dtype != base:
            return tensor
        dtype = _dtype("weights" if tensor.weight else operand, op.kind, rules) or base
        return tensor if dtype == base else replace(tensor, dtype=dtype)

    kv = (1, 2) if op.kind == "attention" and "piece" not in op.attrs else ()
    reads = (changed(t, "kv" if at in kv else "activations") for at, t in enumerate(op.reads))
    return replace(op, reads=tuple(reads), writes=tuple(changed(t, "activations") for t in op.writes))


def _dtype(operand: str, kind: str, rules: list[Rule]) -> str | None:
    """The dtype that the rules give an operand (weights, activations or kv) of a kind; None if none does."""
    meant = ("", "activations", "kv") if operand == "kv" else ("", operand)
    for rule in reversed(rules):
        if rule.kind in ("", kind) and rule.operands in meant:
            return rule.dtype
    return None


def _weights(stage: Stage, rules: list[Rule], base: str) -> dict[str, int]:
    """Parameters by dtype: those of each kind move to that kind's dtype, the rest to the stage's."""
    weights = dict(stage.weights)
    left = weights.pop(base, 0)
    for kind, elements in _weights_by_kind(stage.ops, base).items():
        moved = min(elements, left)
        if not moved:
            continue
        dtype = _dtype("weights", kind, rules) or base
        weights[dtype] = weights.get(dtype, 0) + moved
        left -= moved
    if left:
        dtype = _dtype("weights", "", rules) or base
        weights[dtype] = weights.get(dtype, 0) + left
    return weights


def _weights_by_kind(ops: Sequence[Op], base: str) -> Mapping[str, int]:
    seen: set[tuple[str, int, Tensor]] = set()
    total: dict[str, int] = {}
    for op in ops:
        for at, tensor in enumerate(op.reads):
            if not tensor.weight or tensor.dtype != base:
                continue
            for path in unfold(op.path):
                if (path, at, tensor) not in seen:
                    seen.add((path, at, tensor))
                    total[op.kind] = total.get(op.kind, 0) + int(_constant(tensor.elements))
    return total


def _constant(value: Poly) -> int:
    return value.terms.get((), 0)
