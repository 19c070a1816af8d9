"""What a block mask of `flex_attention` leaves: counted by asking the function that made it, row by row, on the CPU.

The function sees indices and what it has closed over: tensors whose values are known (`known`) are given as such. A
mask that was given as blocks keeps, of its partial blocks, what the function says, and its full blocks whole.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any

import torch
from torch import nn
from torch.nn.attention.flex_attention import create_mask
from torch.utils._python_dispatch import _disable_current_modes

from ..rules import LOWER_RIGHT, UPPER_LEFT
from .known import value_of

ALL_PAIRS = 1 << 22
"""Pairs up to which every one is looked at. Of a larger mask rows are looked at where the number that they keep does
not grow evenly (`_profile`)."""
MOST_PAIRS = 1 << 29
"""Pairs that are looked at of any mask: rows beyond are taken to keep as many as the one that keeps fewest of those
near by."""
AT_ONCE = 1 << 21  # pairs
CHECKED = 1024
"""Rows, drawn at random, that must be as expected before the others of a large mask are believed to be."""
BESIDE = 32
"""Rows looked at to either side, of which one that is not looked at keeps as many as the one that keeps fewest."""
_FAR = (0, 1, 2, 63, 64, 1000, 65_537, 1 << 20)  # rows at which a mask shows whether it is causal at every size
_FOLLOWS, _LEFT = "_frameroof_follows_function", "_frameroof_left"  # attributes of a mask's first tensor


@dataclass(frozen=True)
class Left:
    """Twice the pairs over batch and heads; how it is aligned where it is causal, else ""; rows and keys that any
    pair needs."""

    twice_pairs: int
    align: str
    queries: int
    keys: int
    exact: bool = True


NOTHING = Left(0, "", 0, 0)


def follows_function(mask: Any) -> None:
    """Note that the blocks of a mask are those of its function: they need not be known, nor those of a part of it."""
    setattr(mask.kv_num_blocks, _FOLLOWS, True)
    if isinstance(mask.mask_mod, FunctionType):
        setattr(mask.mask_mod, _FOLLOWS, True)


def left_by(mask: Any, dims: list[int]) -> Left | None:
    """What is left for `dims`: batch, heads, heads of keys, queries and keys first. None where that is not known."""
    found: dict[tuple[int, ...], Left | None] = vars(mask.kv_num_blocks).setdefault(_LEFT, {})
    key = tuple(dims[:5])
    if key not in found:
        with _disable_current_modes(), torch.device("cpu"):
            found[key] = _counted(mask, *dims[:5])
    return found[key]


class _Unknown(Exception):
    """A value that nobody knows decides."""


def _counted(mask: Any, b: int, heads: int, kv_heads: int, q: int, kv: int) -> Left | None:
    """Masks that differ by head are taken to need, of the keys of a group, those of the head that needs most."""
    own = mask.kv_num_blocks.shape[:2]
    ask = _valued(mask.mask_mod, {})
    try:
        kept = None if getattr(mask.kv_num_blocks, _FOLLOWS, False) else _kept(mask)
        looks = [_Look(ask, kept, mask.BLOCK_SIZE, (i, j), (q, kv)) for i in range(own[0]) for j in range(own[1])]
        most = max(ALL_PAIRS, MOST_PAIRS // max(1, 2 * len(looks)))
        rows = [_profile(look.rows, q, kv, most) for look in looks]
        columns = [_profile(look.columns, kv, q, most) for look in looks]
    except _Unknown:
        return None
    times = b * heads // max(1, len(looks))
    causal = {_causal(ask, profile, q, kv) for profile in rows} if kept is None else {""}
    needed = [sum(each) // len(looks) for each in ([p.some for p in rows], [p.some for p in columns])]
    if own[1] > 1:
        per_group = max(1, own[1] // kv_heads)
        best = [max(p.some for p in columns[at : at + per_group]) for at in range(0, len(columns), per_group)]
        needed[1] = sum(best) // len(best)
    align = causal.pop() if len(causal) == 1 else ""
    exact = all(p.exact for p in rows)
    return Left(2 * times * sum(p.total for p in rows), align, needed[0], needed[1], exact)


@dataclass(frozen=True)
class _Profile:
    """How many each row keeps: the rows that were looked at, their sum over all, and how many rows keep any."""

    counts: torch.Tensor
    at: torch.Tensor
    total: int
    some: int
    exact: bool


def _profile(look: Any, n: int, width: int, most: int) -> _Profile:
    """Counts of `n` rows of `width` pairs: all of a small mask, else as many rows as tell how the counts change.

    Where the rows looked at grow evenly from one to the next and to one between, those between are taken to do so; that
    is believed once `CHECKED` rows drawn at random are as expected. It is not where that takes more than `most` pairs.
    """
    if n * width <= ALL_PAIRS:
        return _whole(look, n)
    at = torch.cat([torch.linspace(0, n - 1, min(n, 64)).long(), torch.tensor([1, 2, n - 3, n - 2])]).unique()
    counts, even = look(at), torch.zeros(len(at) - 1, dtype=torch.bool)
    drawn, believed = torch.Generator().manual_seed(1), False
    while not believed:
        gap = at.diff()
        asked = ((gap > 1) & ~even).nonzero()[:, 0]
        within = at[asked] + gap[asked] // 2
        if not len(asked):
            within = torch.randint(0, n, (CHECKED,), generator=drawn).unique()
            within = within[~torch.isin(within, at)]
            asked = torch.searchsorted(at, within) - 1
        if (len(at) + len(within)) * width > most:
            break
        made, straight = look(within), _on_line(at, counts, asked, within)
        right = straight == made
        believed = bool(right.all()) and bool(even[asked].all())
        even[asked] = True
        even[asked[~right]] = False
        order = torch.cat([at, within]).argsort()
        was = torch.cat([even, torch.tensor([False]), even[asked]])[order]
        at, counts, even = torch.cat([at, within])[order], torch.cat([counts, made])[order], was[:-1]
    if len(at) > n // 4 and n * width <= most:  # of so uneven a mask all rows cost little more
        return _whole(look, n)
    inside = at.diff() - 1
    low = -torch.nn.functional.max_pool1d(-counts[None].double(), 2 * BESIDE + 1, 1, BESIDE)[0].long()
    few = torch.minimum(low[:-1], low[1:])
    between = (counts[:-1] + counts[1:]) * inside // 2 if believed else few * inside
    any_ = torch.where(counts[:-1] + counts[1:] > 0 if believed else few > 0, inside, 0)
    total, some = int(counts.sum() + between.sum()), int((counts > 0).sum() + any_.sum())
    return _Profile(counts, at, total, some, believed)


def _whole(look: Any, n: int) -> _Profile:
    counts = look(torch.arange(n))
    return _Profile(counts, torch.arange(n), int(counts.sum()), int((counts > 0).sum()), True)


def _on_line(at: torch.Tensor, counts: torch.Tensor, gaps: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """What rows within gaps keep where it grows evenly by whole numbers; -1 where it cannot."""
    first, grown, length = counts[gaps], counts[gaps + 1] - counts[gaps], at[gaps + 1] - at[gaps]
    line = first + grown // length * (rows - at[gaps])
    return torch.where(grown % length == 0, line, -1)


@dataclass(frozen=True)
class _Look:
    """One batch entry and head of a mask, of which rows or columns are looked at."""

    ask: Any
    kept: Any
    block: tuple[int, int]
    index: tuple[int, int]
    sizes: tuple[int, int]

    def rows(self, which: torch.Tensor) -> torch.Tensor:
        """How many keys each of these queries keeps."""
        step = max(1, AT_ONCE // max(1, self.sizes[1]))
        keys = torch.arange(self.sizes[1])
        return torch.cat([_number(self._made(part, keys), 1) for part in which.split(step)])

    def columns(self, which: torch.Tensor) -> torch.Tensor:
        """How many queries keep each of these keys."""
        step = max(1, AT_ONCE // max(1, self.sizes[0]))
        queries = torch.arange(self.sizes[0])
        return torch.cat([_number(self._made(queries, part), 0) for part in which.split(step)])

    def _made(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        def of(b: Any, h: Any, q: Any, k: Any) -> Any:
            return self.ask(b + self.index[0], h + self.index[1], queries[q], keys[k])

        try:
            made = create_mask(of, 1, 1, len(queries), len(keys), device="cpu")[0, 0]
        except RuntimeError as error:  # tensors of both devices meet: one of them has no values
            if "meta" in str(error):
                raise _Unknown from error
            raise
        if made.device.type != "cpu":
            raise _Unknown
        if self.kept is None:
            return made
        rows, columns = queries // self.block[0], keys // self.block[1]
        in_part, whole = (each[self.index][rows][:, columns] for each in self.kept)
        return (made & in_part) | whole


def _number(made: torch.Tensor, dim: int) -> torch.Tensor:
    return made.contiguous().view(torch.uint8).sum(dim, dtype=torch.int32).long()


def _kept(mask: Any) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The blocks of a mask that was given as such; None for a mask cut to a smaller size, whose function tells."""
    try:
        return _blocks(mask)
    except _Unknown:
        if getattr(mask.mask_mod, _FOLLOWS, False):
            return None
        raise


def _blocks(mask: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Which blocks are kept in part and whole: Booleans of (batch, heads, rows of blocks, columns of blocks)."""
    pairs = [(mask.kv_num_blocks, mask.kv_indices), (mask.full_kv_num_blocks, mask.full_kv_indices)]
    found: list[torch.Tensor] = []
    for many, which in pairs:
        if many is None:
            found.append(torch.zeros_like(found[0]))
            continue
        many, which = (t if t.device.type == "cpu" else value_of(t) for t in (many, which))
        if many is None or which is None:
            raise _Unknown
        listed = torch.arange(which.shape[-1]) < many[..., None]
        columns = torch.where(listed, which, which.shape[-1]).long()  # what is not listed goes beyond the last
        made = torch.zeros(*which.shape[:-1], which.shape[-1] + 1, dtype=torch.bool)
        found.append(made.scatter_(-1, columns, torch.ones_like(listed))[..., :-1])
    return found[0], found[1]


def _causal(ask: Any, profile: _Profile, q: int, kv: int) -> str:
    """How a mask is aligned that is causal here, row by row, and far beyond; "" for another."""
    for align, shift in ((UPPER_LEFT, 0), (LOWER_RIGHT, kv - q)):
        if (profile.counts != (profile.at + 1 + shift).clamp(0, kv)).any():
            continue
        row = torch.tensor([r for r in _FAR if r + shift >= 0])[:, None]
        last = row + shift
        keys = torch.cat([last * 0, last // 2, (last - 1).clamp(0), last, last + 1, last + 1000], 1)
        try:
            zero = torch.zeros((), dtype=torch.int64)
            if (ask(zero, zero, row.expand_as(keys), keys) == (keys <= last)).all():
                return align
        except Exception:  # a function over tables of this size ends there, and is none of all sizes
            continue
    return ""


def _valued(each: Any, memo: dict[int, Any]) -> Any:
    """A function with the values of what it has closed over; what has none stays as it is."""
    if id(each) in memo:
        return memo[id(each)]
    if isinstance(each, torch.Tensor):
        value = value_of(each) if each.device.type == "meta" else each
        return each if value is None else value
    if isinstance(each, FunctionType) and each.__closure__:
        cells = tuple(CellType() for _ in each.__closure__)
        made = FunctionType(each.__code__, each.__globals__, each.__name__, each.__defaults__, cells)
        made.__kwdefaults__ = each.__kwdefaults__
        memo[id(each)] = made
        for cell, old in zip(cells, each.__closure__, strict=True):
            cell.cell_contents = _valued(old.cell_contents, memo)
        return made
    if isinstance(each, partial):
        given = {n: _valued(v, memo) for n, v in each.keywords.items()}
        return partial(_valued(each.func, memo), *(_valued(a, memo) for a in each.args), **given)
    if isinstance(each, MethodType):
        return MethodType(each.__func__, _valued(each.__self__, memo))
    if isinstance(each, (list, tuple)) and type(each) in (list, tuple):
        return type(each)(_valued(x, memo) for x in each)
    if isinstance(each, type) or not hasattr(each, "__dict__") or isinstance(each, FunctionType):
        return each
    made = memo[id(each)] = copy.copy(each)  # an object whose attributes are asked for
    own = {**vars(made), **({"_buffers": dict(each._buffers)} if isinstance(each, nn.Module) else {})}
    for table in (own, own.get("_buffers", {})):
        table |= {n: _valued(v, memo) for n, v in table.items() if isinstance(v, torch.Tensor)}
    vars(made).update(own)
    return made


def tensors_of(function: Any) -> list[torch.Tensor]:
    """The tensors that a function has closed over, itself or through the functions that it calls."""
    found: dict[int, torch.Tensor] = {}
    waiting, seen = [function], set[int]()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, torch.Tensor):
            found[id(each)] = each
        elif isinstance(each, FunctionType):
            inner = [cell.cell_contents for cell in each.__closure__ or ()]
            names = each.__code__.co_names
            waiting += [i for i in inner if isinstance(i, (torch.Tensor, FunctionType, partial, MethodType))]
            waiting += [vars(i)[n] for i in inner for n in names if not callable(i) and n in getattr(i, "__dict__", ())]
            waiting += [getattr(i, n) for i in inner if isinstance(i, nn.Module) for n in names if hasattr(i, n)]
        elif isinstance(each, partial):
            waiting += [each.func, *each.args, *each.keywords.values()]
        elif isinstance(each, MethodType):
            waiting += [getattr(each.__self__, n) for n in each.__func__.__code__.co_names if hasattr(each.__self__, n)]
    return list(found.values())
