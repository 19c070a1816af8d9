"""Which attention is which: self, cross, temporal, spatial; from module names, shapes and the pattern of the calls.

A name decides first, then the lengths, then what the other calls of the run are:

    the owner      a block that calls attention itself is told by the projections around the call: `blocks.0` by
                   `blocks.0.cross_attn.wq` before it and `blocks.0.cross_attn.wo` after it
    the keys       a cache grows by as many keys as there are queries; those of cross attention stay
    the place      `attn2`, or the second attention of a block, has one kind at every resolution, also at the one
                   where there happen to be as many queries as keys
    the axes       the same tokens regrouped, (positions, frames) beside (frames, positions), are a video along time
                   and along space; which is which the images of its convolutions tell, or the length that stays the
                   same at all resolutions (frames), or else that the shorter one is time
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from ...resolve.attention_call import AttentionCall
from ...resolve.classify import CONVOLUTION, LINEAR
from ...resolve.work_table import WorkTable

NEAR = 6
"""Linear layers before and after an attention among which its own projections are looked for."""
APART = 4
"""How many times longer than time space must be where nothing else tells them apart."""

_CROSS = re.compile(r"cross|encoder_attn|EncDecAttention|(?<=\w)(?<!Efficient)CrossAtt")
_SELF = re.compile(r"self_?att|^self$", re.I)
_TIME = re.compile(r"(^|_)(temporal|temp|motion|time)(_|$)|Temporal")
_SPACE = re.compile(r"(^|_)spati(al|o)(_|$)|Spati(al|o)")
_NUMBER = re.compile(r"_\d+$")

Geometry = tuple[int, int]
"""(batch, length)"""


def tell_apart(work_table: WorkTable, calls: Sequence[AttentionCall]) -> None:
    """Set `kind` of every call; they stand in order of start."""
    owners = _owners(work_table, calls)
    named = {owner: _named(owner) for owner in set(owners)}
    cached = _cached(calls, owners)
    blocks = {_parent(owner) for owner in cached}
    for call, owner in zip(calls, owners, strict=True):
        call.kind = _by_keys(call, owner, named[owner], owner in cached, _parent(owner) in blocks)
    if any(call.kind == "cross" for call in calls):
        _by_place(calls, owners)
    _by_axes(work_table, calls, [named[owner] for owner in owners])


# ---------------------------------------------------------------------------------------------- names


def _owners(work_table: WorkTable, calls: Sequence[AttentionCall]) -> list[str]:
    """Of every call, the module whose attention it is: its own, or the one whose projections stand around it."""
    linear = [row for row, name in enumerate(work_table.classes) if name == LINEAR]
    hold = _holders({work_table.module[row] for row in linear})
    found = []
    for call in calls:
        owner = call.module
        if owner in hold:
            at, to = bisect_left(linear, min(call.rows)), bisect_right(linear, max(call.rows))
            before = _below(owner, (work_table.module[row] for row in reversed(linear[max(0, at - NEAR) : at])))
            after = _below(owner, (work_table.module[row] for row in linear[to : to + NEAR]))
            if before and after and _parent(before) == _parent(after):
                owner = _parent(before)
        found.append(owner)
    return found


def _holders(projections: Iterable[str]) -> set[str]:
    """The modules that hold modules with projections."""
    found: set[str] = set()
    for path in projections:
        above = _parent(_parent(path))
        while above not in found and path:
            found.add(above)
            path, above = above, _parent(above)
    return found


def _below(path: str, others: Iterable[str]) -> str:
    """The first of some paths that lies below `path`."""
    size = len(path)
    return next((p for p in others if len(p) > size and p.startswith(path) and (not path or p[size] in "./")), "")


def _parent(path: str) -> str:
    return path[: max(path.rfind("/" if "/" in path else "."), 0)]


def _split(path: str) -> list[str]:
    return path.split("/" if "/" in path else ".")


def _named(owner: str) -> str:
    """The kind that a module's name says: cross, self, temporal or spatial; "" where it says none.

    `attn2` says none: it is cross attention in most models, and a second self-attention in some.
    """
    parts = [part for part in _split(owner) if not part.isdigit()]
    near = parts[-2:]
    if any(_CROSS.search(part) for part in near):
        return "cross"
    for part in reversed(near if "/" in owner else parts[-3:]):  # classes higher up are named after all they hold
        time, space = bool(_TIME.search(part)), bool(_SPACE.search(part))
        if time != space:
            return "temporal" if time else "spatial"
    return "self" if any(_SELF.search(part) for part in near) and "/" not in owner else ""


# ---------------------------------------------------------------------------------------------- keys


def _cached(calls: Sequence[AttentionCall], owners: Sequence[str]) -> set[str]:
    """The modules whose keys grow from one call to the next by as many as there are queries."""
    found, last = set(), dict[str, AttentionCall]()
    for call, owner in zip(calls, owners, strict=True):
        before = last.get(owner)
        grown = call.key_len - before.key_len if before is not None and before.batch == call.batch else 0
        if owner and grown and grown == call.query_len < call.key_len:
            found.add(owner)
        last[owner] = call
    return found


def _by_keys(call: AttentionCall, owner: str, name: str, cached: bool, beside: bool) -> str:
    """Self or cross; `cached`: the keys of its module grow; `beside`: those of another one in the same block do."""
    if name in ("cross", "self"):
        return name
    if not call.query_len:
        return "cross" if owner.endswith("attn2") else "self"
    if call.query_len == call.key_len or cached or call.causal:
        return "self"
    return "self" if call.query_len == 1 and not beside else "cross"


def _by_place(calls: Sequence[AttentionCall], owners: Sequence[str]) -> None:
    """Cross attention with as many queries as keys, or with one, told by the attention in the same place of other
    blocks."""
    children: dict[str, list[str]] = defaultdict(list)
    for owner in dict.fromkeys(owners):
        children[_parent(owner)].append(owner)
    places: dict[tuple[str, ...], list[AttentionCall]] = defaultdict(list)
    signs: dict[str, tuple[str, ...]] = {}
    for inner in children.values():
        for number, owner in enumerate(inner):
            parts = [_NUMBER.sub("", part) for part in _split(owner) if not part.isdigit()]
            signs[owner] = (*parts[-2:], str(number) if "/" in owner else "")
    for call, owner in zip(calls, owners, strict=True):
        if _parent(owner):
            places[signs[owner]].append(call)
    for these in places.values():
        asked = {call.key_len for call in these if call.kind == "cross"}
        own = [call for call in these if call.kind == "self" and call.query_len in (1, call.key_len)]
        if asked.issuperset(call.key_len for call in own):
            for call in own:
                call.kind = "cross"


# ---------------------------------------------------------------------------------------------- axes


def _by_axes(work_table: WorkTable, calls: Sequence[AttentionCall], names: Sequence[str]) -> None:
    """Temporal and spatial among the self-attention, by name or by how they share the tokens."""
    told: dict[Geometry, str] = {}
    unnamed: list[AttentionCall] = []
    for call, name in zip(calls, names, strict=True):
        if call.kind != "self":
            continue
        if name in ("temporal", "spatial"):
            call.kind = name
            told[call.batch, call.query_len] = name
        elif call.query_len == call.key_len > 1:
            unnamed.append(call)
    pairs = list(_regrouped({(call.batch, call.query_len) for call in unnamed} | set(told)))
    if not pairs:
        return
    partners: dict[int, set[int]] = defaultdict(set)
    for one, other in pairs:
        partners[one[1]].add(other[1])
        partners[other[1]].add(one[1])
    images = _images(work_table)

    def looks_like_time(one: Geometry) -> tuple[int, bool, int]:
        name = {"temporal": 1, "spatial": -1}.get(told.get(one, ""), 0)
        return name, not any(one[0] == n and 0 <= one[1] - tokens <= 1 for n, tokens in images), len(partners[one[1]])

    found: dict[Geometry, str] = {}
    for pair in sorted(pairs, key=lambda pair: told.keys().isdisjoint(pair)):  # names first
        short, long = pair
        if looks_like_time(short) != looks_like_time(long):
            short, long = sorted(pair, key=looks_like_time, reverse=True)
        elif long[1] < APART * short[1]:
            continue
        found.setdefault(short, "temporal")
        found.setdefault(long, "spatial")
    for call in unnamed:
        call.kind = found.get((call.batch, call.query_len), "self")


def _regrouped(geometries: Iterable[Geometry]) -> Iterator[tuple[Geometry, Geometry]]:
    """(shorter, longer): sequences of the same tokens, where each one's batch holds the other's length."""
    ordered = sorted(geometries, key=math.prod)
    for i, one in enumerate(ordered):
        for other in ordered[i + 1 :]:
            if math.prod(other) > 1.02 * math.prod(one):
                break
            if one[1] != other[1] and one[0] >= 0.98 * other[1] and other[0] >= 0.98 * one[1]:
                yield (one, other) if one[1] < other[1] else (other, one)


def _images(work_table: WorkTable) -> set[Geometry]:
    """(images, positions) of what convolutions read, and of the patches that they make of it."""
    found = set()
    for at in {work_table.arguments[row] for row, name in enumerate(work_table.classes) if name == CONVOLUTION} - {-1}:
        inputs = work_table.inputs[at]
        x, w = (inputs.tensor(0), inputs.tensor(1)) if inputs else (None, None)
        if x and w and len(x) == len(w) in (4, 5):
            count = math.prod((x[0], *x[2:-2]))  # of a video, its frames
            found.add((count, x[-2] * x[-1]))
            found.add((count, (x[-2] // w[-2]) * (x[-1] // w[-1])))
    return found
