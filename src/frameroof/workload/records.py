"""Op, Stage, Workload: what must be computed, with sizes as exact expressions in named parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any

from .. import rules
from ..dtypes import BITS, ORDER, TORCH, unit_of
from .expr import ONE, Poly, expr, total
from .size import Size

MATRIX_KINDS = ("linear", "matmul", "attention", "conv1d", "conv2d", "conv3d")
COLLECTIVE = "collective"
KINDS = (*MATRIX_KINDS, "norm", "softmax", "elementwise", "reduction", "embedding", "copy", COLLECTIVE, "other")

# The sizes that each kind's FLOP rule needs.
DIMS_OF = {
    "linear": ("b", "m", "n", "k"),
    "matmul": ("b", "m", "n", "k"),
    "attention": ("b", "heads", "kv_heads", "q", "kv", "d", "dv"),
    "conv1d": ("n", "k"),
    "conv2d": ("n", "k"),
    "conv3d": ("n", "k"),
}


CHIP, GIVEN, AGAIN = "chip", "given", "again"
TRAFFIC = ("", CHIP, GIVEN, AGAIN)
"""What an operand has to do with memory: see `Tensor`."""


@dataclass(frozen=True)
class Tensor:
    """One operand: its shape as polynomials, its dtype, and its part in the traffic.

    `weight` marks a parameter of the module. `traffic` is what it has to do with memory where regions run as one kernel
    each (`Op.region`):

    - ``chip``: nothing. Its own region made it, or reads it already, or nobody outside of its region needs it;
    - ``given``: a part of what the forward must move whatever it does: the first read of an input or a weight, or the
      write of what is handed back;
    - ``again``: an input or a weight that a region before it has read;
    - "": it passes from one region to another; of a weight that nothing is known of, as ``given``.
    """

    shape: tuple[Poly, ...]
    dtype: str
    weight: bool = False
    traffic: str = ""

    @property
    def fusable(self) -> bool:
        """Whether it stays on chip where its region is one kernel."""
        return self.traffic == CHIP

    @property
    def given(self) -> bool:
        """Whether it is a part of what every program of the same operations must move."""
        return self.traffic == GIVEN or (self.weight and not self.traffic)

    @cached_property
    def elements(self) -> Poly:
        """Number of elements."""
        return product(self.shape)

    @cached_property
    def bits(self) -> Poly:
        """Size in bits (a four-bit type has half bytes)."""
        return _bits(self.shape, self.dtype)


@lru_cache(maxsize=16384)
def _bits(shape: tuple[Poly, ...], dtype: str) -> Poly:
    return product(shape) * BITS[dtype]


@lru_cache(maxsize=16384)
def product(shape: tuple[Poly, ...]) -> Poly:
    """Elements of a shape."""
    made = ONE
    for dim in shape:
        made = made * dim
    return made


@dataclass(frozen=True)
class Op:
    """One operation, or several alike: `count` calls of the same sizes at the paths of `path`.

    `path` is the module path; alike layers are folded as ``blocks.[0-29].attn1.to_q``. `dims` are
    the sizes that the kind's FLOP rule needs: linear and matmul ``b m n k``; convolutions ``n``
    (output elements; input elements when transposed) and ``k`` (multiply-adds for each), and where they are known
    ``c`` (channels of the tensor whose elements ``n`` are) and ``g`` (groups), with which they are matrix products
    (`rules.convolution_product`): the two of a file before version 3 are known where its operands tell; attention
    ``b heads kv_heads q kv d dv``, and under a mask that is known ``twice_pairs``: twice the pairs of a query and a key
    that it leaves, over batch and heads (twice, so that a triangle has whole numbers). `attrs`: attention has
    ``causal``, ``align`` where it is causal (`rules.ALIGNMENTS`), ``role`` (self or cross) and
    ``axis`` (temporal, spatial or full; video only); convolutions have ``kernel`` (its sides, such as ``3x3``) and
    ``transposed``; a pointwise piece of a norm has ``part``; an
    operation whose size differs from call to call has ``total``: its sizes are sums over its calls;
    a ``piece`` of an attention is one kernel of its baseline form; matrix work on fp32 has ``maths`` where it is not
    as PyTorch's defaults (`dtypes.unit_of`). A ``collective`` is named after what it
    does (all_reduce, all_gather …); it reads and writes what one device has before and after it. Operations of a stage
    with one number `region` are of one region, or of as many alike as layers were folded; 0 is a region of its own.
    ``unused`` in `attrs`: only outputs that nobody reads need it.
    """

    path: str
    kind: str
    name: str
    reads: tuple[Tensor, ...]
    writes: tuple[Tensor, ...]
    dims: Mapping[str, Poly] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    count: Poly = ONE
    region: int = 0

    @property
    def times(self) -> Poly:
        """What one call's FLOPs and bytes are multiplied by: `count`, or 1 where sizes are sums."""
        return ONE if self.attrs.get("total") else self.count

    def flops(self) -> Poly:
        """Matrix FLOPs of one call: 2 per multiply-add; causal attention counts the full square."""
        d = self.dims
        if self.kind in ("linear", "matmul"):
            found: Poly = rules.matmul_flops(d["b"], d["m"], d["n"], d["k"])
        elif self.kind.startswith("conv"):
            found = rules.convolution_flops(d["n"], d["k"])
        elif self.kind == "attention":
            found = rules.attention_flops(d["b"], d["heads"], d["q"] * d["kv"], d["d"], d["dv"])
        else:
            found = Poly()
        return found

    def scores(self) -> Poly:
        """Elements of the similarity matrix of an attention, over batch and heads."""
        d = self.dims
        made: Poly = rules.scores(d["b"], d["heads"], d["q"], d["kv"])
        return made

    def executed_flops(self) -> Poly:
        """Matrix FLOPs that a kernel must execute: of causal attention those under its mask, aligned as ``align``
        says; a file that does not say it was recorded from torch's `is_causal`. Of another mask, ``twice_pairs``."""
        if self.kind == "attention" and (pairs := self.dims.get("twice_pairs")) is not None:
            left: Poly = rules.attention_flops(1, 1, pairs, self.dims["d"], self.dims["dv"]) // 2
            return left
        if self.kind != "attention" or not self.attrs.get("causal"):
            return self.flops()
        d, align = self.dims, self.attrs.get("align", rules.UPPER_LEFT)
        twice = rules.twice_causal_pairs(d["q"], d["kv"], align)
        found: Poly = rules.attention_flops(d["b"], d["heads"], twice, d["d"], d["dv"]) // 2
        return found

    def vector_flops(self) -> Poly:
        """Arithmetic outside of matrix work, by the conventions of `rules`; attention's is its softmax."""
        if self.kind == "attention":
            return self.scores() * rules.VECTOR_PER_SCORE[self.attrs.get("piece", "")]
        each = 1 if self.attrs.get("part") else rules.VECTOR_PER_ELEMENT.get(self.kind, 0)
        if not each:
            return Poly()
        read = self.kind in ("reduction", "norm", "softmax")
        if self.attrs.get("part"):  # a piece of a norm is a reduction or pointwise
            read = self.name in ("mean", "sum", "var", "std", "amax", "linalg_vector_norm")
        basis = self.reads[:1] if read else self.writes[:1]
        return basis[0].elements * each if basis else Poly()

    @property
    def unused(self) -> bool:
        """Whether only outputs that nobody reads need it."""
        return bool(self.attrs.get("unused"))

    def bits(self) -> Poly:
        """Bits read and written by one call that runs alone."""
        return total(t.bits for t in (*self.reads, *self.writes))

    def moved_bits(self) -> Poly:
        """Those of them that leave the chip where its region is one kernel; none where nobody needs it."""
        if self.unused:
            return Poly()
        return total(t.bits for t in (*self.reads, *self.writes) if not t.fusable)

    def weight_bits(self) -> Poly:
        """Bits of weights read by one call."""
        return total(t.bits for t in self.reads if t.weight)

    @property
    def unit(self) -> str:
        """The unit that does its matrix work: see `dtypes.unit_of`."""
        kind = "matmul" if "piece" in self.attrs else self.kind
        return unit_of(self.compute_dtype, kind, str(self.attrs.get("maths", TORCH)))

    @property
    def compute_dtype(self) -> str:
        """The widest dtype among the operands of matrix work."""
        operands = self.reads[:3] if self.kind == "attention" else self.reads
        names = [t.dtype for t in operands if t.dtype in ORDER]
        return max(names, key=ORDER.__getitem__) if names else "fp32"


@dataclass(frozen=True)
class Held:
    """What is allocated while operation `row` runs, without weights: a candidate for the peak.

    `elements` have the pipeline's dtype, `fixed_bytes` belong to tensors of a dtype of their own.
    """

    row: int
    elements: Poly
    fixed_bytes: Poly


BATCH = "batch"
"""The size that says how many items one run yields."""
WHOLE = Fraction(1)


class Remembering:
    """A record that keeps what was made of it; copies and pickles hold the record alone, and start anew."""

    @cached_property
    def remembered(self) -> dict[Any, Any]:
        """What pure functions made of this record, by what was asked, so that asking again costs nothing."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "remembered"}


@dataclass(frozen=True)
class Stage(Remembering):
    """One stage of a pipeline: a table of operations, run `repeat` times (and for each loop value).

    `let` binds, in order, the names its polynomials use to expressions of the workload's parameters
    (and of the loop variable). `weights` are the elements of its parameters by dtype; stages with
    the same `weights_name` share them. `held` are the candidates for the peak of its activations;
    where `held_exact` is false they fall short of it at some sizes. `cache` counts the elements of
    key-value caches that it is given, of `cache_dtype` ("" = the dtype of its activations). `dtype` is
    that of its activations where a pass changed it ("" = the workload's).
    """

    name: str
    ops: tuple[Op, ...]
    let: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, Size] = field(default_factory=dict)
    repeat: str = "1"
    loop: tuple[str, str] | None = None
    weights: Mapping[str, int] = field(default_factory=dict)
    weights_name: str = ""
    dtype: str = ""
    held: tuple[Held, ...] = ()
    held_exact: bool = True
    cache: Poly = Poly()
    cache_dtype: str = ""
    uncounted: Mapping[str, int] = field(default_factory=dict)
    share: Fraction = WHOLE

    def bind(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Every name this stage's polynomials use, for parameters that include the loop variable."""
        env = dict(params)
        for name, text in self.let.items():
            env[name] = expr(text)(env)
        return env


@dataclass(frozen=True)
class Workload(Remembering):
    """A whole pipeline: named parameters with admissible sizes, and stages that add up to the whole."""

    name: str
    params: Mapping[str, Size]
    stages: tuple[Stage, ...]
    title: str = ""
    item: str = "run"
    dtype: str = "bf16"
    notes: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    made_by: Mapping[str, str] = field(default_factory=dict)
    passes: tuple[str, ...] = ()
    devices: int = 1
    plan: str = ""
    """How `devices` devices share the work, in a sentence; "" for one device."""

    def sizes(self, chosen: Mapping[str, int] | None = None) -> dict[str, int]:
        """Defaults overlaid with `chosen`; `ValueError` with a sentence for what is not admissible."""
        given = dict(chosen or {})
        unknown = sorted(set(given) - set(self.params))
        if unknown:
            raise ValueError(f"{self.name} has no size {unknown[0]!r}; it has: {', '.join(self.params)}")
        for name, value in given.items():
            self.params[name].check(name, value)
        values = {name: given.get(name, size.default) for name, size in self.params.items()}
        for stage in self.stages:
            self._check_stage(stage, values)
        return values

    def _check_stage(self, stage: Stage, values: Mapping[str, int]) -> None:
        if not stage.limits:
            return
        ends = [dict(values)]
        if stage.loop:
            last = expr(stage.loop[1])(values) - 1
            ends = [{**values, stage.loop[0]: i} for i in ((0, last) if last >= 0 else ())]
        for env in ends:
            bound = stage.bind(env)
            for name, size in stage.limits.items():
                try:
                    size.check(name, int(bound[name]))
                except ValueError as error:
                    raise ValueError(f"stage {stage.name}: {error}") from error

    def with_stages(self, stages: Iterator[Stage] | tuple[Stage, ...], done: str) -> Workload:
        """The same pipeline with other stages, and the pass that changed them written down."""
        return replace(self, stages=tuple(stages), passes=(*self.passes, done))

    @property
    def uncounted(self) -> dict[str, int]:
        """Operations without a rule, by name, with their calls in one run of each stage."""
        total: dict[str, int] = {}
        for stage in self.stages:
            for name, calls in stage.uncounted.items():
                total[name] = total.get(name, 0) + calls
        return total
