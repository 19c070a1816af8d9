"""Many sizes and machines at once: the same numbers as `estimate`, as arrays.

A stage is compiled once (`compiled`); a whole grid of sizes then costs a few matrix products.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dtypes import BITS
from ..hardware import Node
from ..passes import set_maths, with_plan
from ..passes.guidance import items_of
from ..roofline import Roofline
from ..workload.expr import Monomial, expr, names_in, poly
from ..workload.records import COLLECTIVE, Stage, Workload
from .by_size import CELLS, BySize, Shared, Sizes
from .compiled import Compiled, Seconds
from .cost import cost_of
from .expected import Expected, Spent, check_device, chosen
from .ladder import Asked, Rates, Rung
from .memory import resident_bytes

Floats = NDArray[np.float64]
CHUNK = 512  # configurations at a time: the working set then stays in cache
ROUNDING = 1e-12  # what two numbers may differ by that are the same
WIDE = 16 * CHUNK  # whose sizes are bound at a time: an expression costs some microseconds, whatever its length


@dataclass(frozen=True)
class Grid:
    """Results for every machine (rows) and configuration (columns); seconds, bytes, US dollars.

    `usd_per_item` is NaN for a machine without a known price. `low_s` and `high_s` are the ends of the interval of the
    expected time (80 %), NaN where the model of expected time has none.
    """

    nodes: tuple[Node, ...]
    sizes: Mapping[str, NDArray[np.int64]]
    limit_s: Floats
    expected_s: Floats
    peak_bytes: Floats
    usd_per_item: Floats
    low_s: Floats
    high_s: Floats


def estimate_grid(
    workload: Workload,
    nodes: Sequence[Node],
    sizes: Mapping[str, Sequence[int] | NDArray[np.int64]],
    expected: Expected | None = None,
    maths: str | None = None,
    *,
    bound: Rung = "fused",
    cold: bool = False,
) -> Grid:
    """Limit, expected time and its interval, peak memory and cost for arrays of sizes of one length, on every node.

    Sizes that are not named have their defaults. A workload without a plan is shared perfectly by each node's
    devices. `bound` and `cold` as of `estimate`. Equal to `estimate`, `memory_of` and `cost_of` at each point. Raises
    `ValueError` for an inadmissible size, arrays of differing length and what `estimate` refuses.
    """
    asked, expected = Asked(bound, cold), expected or chosen()
    for node in nodes:
        check_device(expected, node.device)
    workload = set_maths(workload, maths)
    values = _checked(workload, sizes)
    count = len(next(iter(values.values()), (0,)))
    planned = [with_plan(workload, node.count) for node in nodes]
    rooflines = [Roofline(node.device) for node in nodes]
    limit, times, low, high = np.zeros((4, len(nodes), count))
    held = np.zeros(count)
    for at, (stage, as_run) in enumerate(zip(workload.stages, expected.as_run(workload).stages, strict=True)):
        machines = [(each, float(plan.stages[at].share)) for each, plan in zip(rooflines, planned, strict=True)]
        own = Sums(np.zeros_like(limit), np.zeros_like(limit), held)
        _Stage(stage, workload.dtype, expected, asked).fill(values, machines, own)
        spent = BySize(as_run, expected, not asked.apart).add(values, machines, own.expected)
        limit += own.limit
        times += own.expected
        least = own
        if asked.apart:  # operations apart are no bound of a time
            least = Sums(np.zeros_like(limit), np.zeros_like(limit), np.zeros(count))
            _Stage(stage, workload.dtype, expected, Asked("fused", cold)).fill(values, machines, least)
        factors = _factors(expected, nodes, spent)
        for ends, factor in zip((low, high), factors, strict=True):
            ends += np.maximum(own.expected * factor, np.minimum(own.limit, least.limit))
    peak = np.broadcast_to(held + resident_bytes(workload), limit.shape)
    batch = values["batch"] if "batch" in values else np.ones(count, dtype=np.int64)
    prices = [cost_of(node, 1.0, 1).usd_per_hour for node in nodes]
    usd = np.array([np.nan if price is None else price / 3600 for price in prices])[:, None] * times / batch
    return Grid(tuple(nodes), values, limit, times, peak, usd, low, high)


def _factors(expected: Expected, nodes: Sequence[Node], spent: Spent) -> tuple[Floats, Floats]:
    """By what a stage's time may be shorter and longer on each node; NaN where nothing is known of that."""
    low, high = np.full((2, *spent.device_s.shape), np.nan)
    for at, node in enumerate(nodes):
        factors = expected.spread(Spent(spent.device_s[at], spent.host_s[at]), node.device)
        if factors is not None:
            low[at], high[at] = factors
    return low, high


def _checked(workload: Workload, sizes: Mapping[str, Any]) -> dict[str, NDArray[np.int64]]:
    given = {name: np.atleast_1d(np.asarray(array)) for name, array in sizes.items()}
    for name, array in given.items():
        if array.dtype.kind not in "iu" or not array.size:
            raise ValueError(f"{name} must be an array of whole numbers")
    given = {name: array.astype(np.int64) for name, array in given.items()}
    lengths = {len(array) for array in given.values()} or {1}
    if len(lengths) > 1:
        raise ValueError(f"the arrays of sizes differ in length: {sorted(lengths)}")
    for name, array in given.items():
        if name not in workload.params:
            raise ValueError(f"{workload.name} has no size {name!r}; it has: {', '.join(workload.params)}")
        for value in np.unique(array):
            workload.params[name].check(name, int(value))
    count = lengths.pop()
    values = {n: given.get(n, np.full(count, s.default, dtype=np.int64)) for n, s in workload.params.items()}
    for at in _extremes(values):  # what a stage admits may depend on several sizes at once
        workload.sizes({n: int(v[at]) for n, v in values.items()})
    return values


def _extremes(values: Mapping[str, NDArray[np.int64]]) -> set[int]:
    return {int(pick(array)) for array in values.values() for pick in (np.argmin, np.argmax)}


@dataclass(frozen=True)
class Sums:
    """Where a stage adds its seconds (machines by configurations) and raises the bytes held."""

    limit: Floats
    expected: Floats
    held: Floats

    def of(self, part: slice) -> Sums:
        """Those of some configurations."""
        return Sums(self.limit[:, part], self.expected[:, part], self.held[part])


class _Stage:
    """One compiled stage, and what it holds."""

    def __init__(self, stage: Stage, base: str, expected: Expected, asked: Asked) -> None:
        self.stage, self.cold = stage, asked.cold
        for op in stage.ops:
            if op.kind == COLLECTIVE:
                raise ValueError(f"{op.path}: a grid has no collectives; `estimate` takes one configuration at a time")
        bits = BITS[stage.dtype or base]
        held = [h.elements * bits + h.fixed_bytes * 8 for h in stage.held]
        made, key = stage.remembered, (Compiled, asked, bits, tuple(map(expected.share, stage.ops)))
        if key not in made:
            made[key] = Compiled(stage, expected, asked, held)
        self.of: Compiled = made[key]

    def fill(self, sizes: Sizes, machines: Sequence[Shared], out: Sums) -> None:
        """`add` for any number of sizes."""
        for start in range(0, len(out.held), WIDE):
            part = slice(start, start + WIDE)
            self.add({name: array[part] for name, array in sizes.items()}, machines, out.of(part))

    def add(self, sizes: Sizes, machines: Sequence[Shared], out: Sums) -> None:
        """Add this stage's seconds at every size, and raise the memory held to its activations."""
        repeat = np.broadcast_to(np.asarray(expr(self.stage.repeat)(sizes), dtype=float), out.held.shape)
        bound = sizes if self.stage.loop else self.stage.bind(sizes)
        named = {name: np.asarray(bound[name]) for name in (bound if self.stage.loop else self.of.names)}
        items = np.broadcast_to(np.asarray(items_of(self.stage, sizes)), out.held.shape)
        for start in range(0, len(repeat), CHUNK):
            part = slice(start, start + CHUNK)
            rates = [Rates(roofline, share, self.cold, items[part]) for roofline, share in machines]
            env = {name: value[part] if value.ndim else value for name, value in named.items()}
            if self.stage.loop:
                self._loop(env, repeat[part], rates, out.of(part))
            else:
                self._once(env, repeat[part], rates, out.of(part))

    def _loop(self, sizes: Sizes, repeat: Floats, rates: Sequence[Rates], out: Sums) -> None:
        assert self.stage.loop
        turns = np.broadcast_to(np.asarray(expr(self.stage.loop[1])(sizes)), out.held.shape)
        if not (self._affine() and self._by_ends(sizes, repeat, turns, rates, out)):
            self._by_turns(sizes, repeat, turns, rates, out)

    def _bound(self, sizes: Sizes, turn: NDArray[np.int64]) -> Mapping[str, Any]:
        assert self.stage.loop
        return self.stage.bind({**sizes, self.stage.loop[0]: turn})

    def _affine(self) -> bool:
        """Whether every quantity is a straight line over the turns of the loop."""
        assert self.stage.loop
        bound = {self.stage.loop[0]}
        for name, text in self.stage.let.items():
            names = expr(text).names & bound
            if not names:
                continue
            try:
                terms = poly(text).terms
            except ValueError:  # a division, a maximum
                return False
            if any(sum(n in bound for n in m) > 1 for m in terms) or _bends(terms, bound):
                return False
            bound.add(name)
        monomials = self.of.monomials
        if _bends(monomials, bound):
            return False
        fixed = not any(p.names & bound for p in self.of.columns["each"])
        return fixed and all(sum(n in bound for n in m) <= 1 for m in monomials)

    def _by_ends(
        self, sizes: Sizes, repeat: Floats, turns: NDArray[np.int64], rates: Sequence[Rates], out: Sums
    ) -> bool:
        """The sum over a loop from its first and last turn; False, and nothing done, where that is not it.

        Where the seconds are a straight line over the turns, their sum is as many turns times the mean of the ends.
        """
        ends = [self._bound(sizes, np.maximum(turn, 0)) for turn in (np.zeros_like(turns), turns - 1)]
        values = [self.of.values(env, len(turns)) for env in ends]
        means = self._means_quickly(values, rates) if self.of.quick else self._means(values, rates)
        if means is None:
            return False
        found = [
            (limit * rate.share, expected * rate.share) for (limit, expected), rate in zip(means, rates, strict=True)
        ]
        for at, (limit, expected) in enumerate(found):
            out.limit[at] += limit * repeat * turns
            out.expected[at] += expected * repeat * turns
        for value in values:
            self._hold(value, repeat * turns, out)
        return True

    def _means(self, values: list[Floats], rates: Sequence[Rates]) -> list[tuple[Floats, Floats]] | None:
        """Limits and expected times at the mean of the ends, by machine; None where they are not straight lines.

        Everything that is compared is a straight line, or made of some by comparisons before it: no comparison may come
        out otherwise at the last turn than at the first.
        """
        amounts = [self.of.amounts(each) for each in values]
        means = []
        for rate in rates:
            seen: tuple[list[Any], list[Any]] = [], []
            first, last = (self.of.compared(a, rate, s) for a, s in zip(amounts, seen, strict=True))
            if any((a * b < 0).any() for a, b in zip(*seen, strict=True)):
                return None
            means.append(((first.limit + last.limit) / 2, (first.expected + last.expected) / 2))
        return means

    def _means_quickly(self, values: list[Floats], rates: Sequence[Rates]) -> list[tuple[Floats, Floats]] | None:
        """The same by what lies between: a convex (or concave) function that is there the mean of its ends is straight.

        So are sums of them, and each of their parts. What is compared in the end is made of sums that were seen to be
        straight before it.
        """
        between = (values[0] + values[1]) / 2
        found: list[list[Seconds]] = []
        for each in (*values, between):
            amounts = self.of.amounts(each, quick=True)
            found.append([self.of.seconds(amounts, rate) for rate in rates])
        means = []
        for first, last, middle in zip(*found, strict=True):
            limit, expected = (first.limit + last.limit) / 2, (first.expected + last.expected) / 2
            sums = ((a + b) / 2 for a, b in zip(first.sums, last.sums, strict=True))
            pairs = zip((limit, expected, *sums), (middle.limit, middle.expected, *middle.sums), strict=True)
            if any((np.abs(mean - seen) > ROUNDING * np.abs(seen)).any() for mean, seen in pairs):
                return None
            means.append((limit, expected))
        return means

    def _by_turns(
        self, sizes: Sizes, repeat: Floats, turns: NDArray[np.int64], rates: Sequence[Rates], out: Sums
    ) -> None:
        """The sum over a loop turn by turn; turns whose sizes do not change (a full window) are one."""
        used = self.of.names
        waiting: tuple[Mapping[str, Any], Floats] | None = None
        last, step = int(turns.max()), max(1, CELLS // len(turns))
        for start in range(0, last, step):
            many = np.arange(start, min(start + step, last), dtype=np.int64)[:, None]
            bound = self._bound(
                sizes, np.minimum(many, np.maximum(turns - 1, 0))
            )  # beyond its turns one weighs nothing
            named = {name: np.asarray(bound[name]) for name in used}
            for at, turn in enumerate(many[:, 0]):
                env = {name: value[at] if value.ndim == 2 else value for name, value in named.items()}
                weight = repeat * (turn < turns)
                if waiting and all(np.array_equal(env[name], waiting[0][name]) for name in used):
                    waiting = (env, waiting[1] + weight)
                    continue
                if waiting:
                    self._once(*waiting, rates, out)
                waiting = (env, weight)
        if waiting:
            self._once(*waiting, rates, out)

    def _once(self, env: Mapping[str, Any], weight: Floats, rates: Sequence[Rates], out: Sums) -> None:
        values = self.of.values(env, len(weight))
        amounts = self.of.amounts(values, quick=True)
        for at, rate in enumerate(rates):
            found = self.of.seconds(amounts, rate)
            out.limit[at] += found.limit * weight * rate.share
            out.expected[at] += found.expected * weight * rate.share
        self._hold(values, weight, out)

    def _hold(self, values: Floats, weight: Floats, out: Sums) -> None:
        if self.stage.held:
            alive = np.max(np.floor(self.of.more(values) / 8), axis=1) * (weight > 0)
            np.maximum(out.held, alive, out=out.held)


def _bends(monomials: Iterable[Monomial], bound: set[str]) -> bool:
    """Whether one of some products has a minimum of what changes with the turn."""
    return any(names_in(n) & bound for m in monomials for n in m if not n.isidentifier())
