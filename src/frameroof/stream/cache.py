"""Keys and values as a ring with sinks: every block has its place, written once and read where it lies.

The first `sink` frames stay in the first places for good; later blocks share the others in turn. Attention does
not ask in which order its keys lie, so nothing is rolled, cloned or joined, and every shape is static.
Shapes: B batch, N new tokens, L places (tokens of a window), H heads, D head width.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import torch
from torch.profiler import record_function

from ..models.causal_wan import KV, QKV, Attention, LayerCache, Ops, Rotary, rotated
from .config import StreamConfig
from .rope import Rope


@dataclass(frozen=True)
class Piece:
    """`count` new tokens from `start`; they are kept from `place` on, or not at all (None)."""

    start: int
    count: int
    place: int | None


@dataclass(frozen=True)
class Part:
    """New tokens that are written together and then attend to the first `length` places."""

    pieces: tuple[Piece, ...]
    length: int


Plan = tuple[Part, ...]


@dataclass(frozen=True)
class RingLayer:
    """One layer of the ring during forwards of one plan; views of its places are made once."""

    k_BLHD: torch.Tensor
    v_BLHD: torch.Tensor
    plan: Plan
    views: dict[Piece, KV] = field(default_factory=dict)

    def attend(self, attn: Attention, qkv: QKV, rotary: Rotary, ops: Ops) -> torch.Tensor:
        """Part by part: a later part may write where an earlier one has read."""
        outs = [self._part(part, attn, qkv, rotary, ops) for part in self.plan]
        return outs[0] if len(outs) == 1 else torch.cat(outs, dim=1)

    def _part(self, part: Part, attn: Attention, qkv: QKV, rotary: Rotary, ops: Ops) -> torch.Tensor:
        queries = [self._write(piece, attn, qkv, rotary, ops) for piece in part.pieces]
        q_BNHD = queries[0] if len(queries) == 1 else torch.cat(queries, dim=1)
        return ops.attention(q_BNHD, self.k_BLHD[:, : part.length], self.v_BLHD[:, : part.length])

    def _write(self, piece: Piece, attn: Attention, qkv: QKV, rotary: Rotary, ops: Ops) -> torch.Tensor:
        q, k, v = (x[:, piece.start : piece.start + piece.count] for x in qkv)
        turned = (
            rotary[0][piece.start : piece.start + piece.count],
            rotary[1][piece.start : piece.start + piece.count],
        )
        with record_function("cache.write"):
            return ops.write(attn, (q, k, v), turned, self._into(piece))

    def _into(self, piece: Piece) -> KV:
        """The places of a piece; room to be forgotten where it has none."""
        if piece.place is None:
            shape = (self.k_BLHD.shape[0], piece.count, *self.k_BLHD.shape[2:])
            return self.k_BLHD.new_empty(shape), self.v_BLHD.new_empty(shape)
        if piece not in self.views:
            places = slice(piece.place, piece.place + piece.count)
            self.views[piece] = self.k_BLHD[:, places], self.v_BLHD[:, places]
        return self.views[piece]


class RingCache:
    """The ring of all layers of a batch; forwards open it and attend through what they get."""

    def __init__(self, c: StreamConfig, batch: int, device: torch.device | str, dtype: torch.dtype) -> None:
        self.c = c
        shape = (c.model.layers, batch, c.window * c.frame_tokens, c.model.heads, c.model.head_dim)
        self.k, self.v = (torch.zeros(shape, device=device, dtype=dtype) for _ in range(2))
        self._layers: dict[Hashable, list[RingLayer]] = {}  # by plan and samples: as few as there are places
        self._sinks: torch.Tensor | None = None  # keys of the sinks where they were made, for moving_sinks
        self._moved = 0

    def open(
        self, start: int, frames: int, *, rows: slice = slice(None), recache: bool = False
    ) -> Sequence[LayerCache]:
        """The layers for a forward over frames start .. start+frames-1, for the samples `rows`.

        A forward over two blocks is a context pass and the next block's first step; with `recache` any number
        of the last blocks is written again, sinks apart.
        """
        plan = self.plan_of(start, frames, recache)
        key = (plan, rows.start, rows.stop)
        if key not in self._layers:
            self._layers[key] = [RingLayer(k[rows], v[rows], plan) for k, v in zip(self.k, self.v, strict=True)]
        return self._layers[key]

    def close(self, layers: Sequence[LayerCache]) -> None:
        """Nothing: what was written lies in its place."""

    def reset(self) -> None:
        """As for a new stream; what lies in the places is never read before it is written."""
        self._sinks, self._moved = None, 0

    def take(self, other: RingCache) -> None:
        """What another ring of this shape holds, in this one's dtype."""
        self.k.copy_(other.k)
        self.v.copy_(other.v)
        self._sinks = None if other._sinks is None else other._sinks.to(self.k.dtype)
        self._moved = other._moved

    def plan_of(self, start: int, frames: int, recache: bool) -> Plan:
        """Where these frames are written and what they see."""
        first, count = start // self.c.block, frames // self.c.block
        return self.plan_recache(first, count) if recache else self.plan(first, count)

    def overwritten(self, plan: Plan, rows: slice) -> list[torch.Tensor]:
        """The places, in all layers, that a forward reads before it writes them: those of its later parts."""
        places = [
            slice(piece.place, piece.place + piece.count)
            for part in plan[1:]
            for piece in part.pieces
            if piece.place is not None
        ]
        return [x[:, rows, each] for each in places for x in (self.k, self.v)]

    def place(self, block: int) -> int:
        """The first place of a block."""
        c = self.c
        if block >= c.window_blocks:
            block = c.sink_blocks + (block - c.sink_blocks) % (c.window_blocks - c.sink_blocks)
        return block * c.block_tokens

    def plan(self, first: int, count: int) -> Plan:
        """Blocks one after the other, each seeing what lies there after it was written."""
        n = self.c.block_tokens
        return tuple(Part((Piece(i * n, n, self.place(first + i)),), self._length(first + i)) for i in range(count))

    def plan_recache(self, first: int, count: int) -> Plan:
        """The last blocks written together; sinks, and what the window has left behind, are not kept."""
        c, n = self.c, self.c.block_tokens
        oldest = max(c.sink_blocks, first + count - (c.window_blocks - c.sink_blocks))
        pieces = tuple(Piece(i * n, n, self.place(first + i) if first + i >= oldest else None) for i in range(count))
        return (Part(_joined(pieces), self._length(first + count - 1)),)

    def move_sinks(self, end: int, rope: Rope) -> None:
        """With `moving_sinks`: turn the sinks' keys to just before the window that ends at frame `end`.

        Always from the keys as they were made, so that no error adds up. Nothing while the window fills.
        """
        moved = max(0, end - self.c.window)
        if not self.c.moving_sinks or moved == self._moved:
            return
        tokens = self.c.sink * self.c.frame_tokens
        if self._sinks is None:
            self._sinks = self.k[:, :, :tokens].clone()
        turn = rope.shift(moved)
        for k_BLHD, made in zip(self.k, self._sinks, strict=True):
            k_BLHD[:, :tokens].copy_(rotated(made, turn))
        self._moved = moved

    def _length(self, newest: int) -> int:
        return min(newest + 1, self.c.window_blocks) * self.c.block_tokens


def _joined(pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """Pieces that lie next to each other in both places as one."""
    out: list[Piece] = []
    for piece in pieces:
        last = out[-1] if out else None
        if last and (
            last.place == piece.place is None
            or (last.place is not None and piece.place is not None and last.place + last.count == piece.place)
        ):
            out[-1] = Piece(last.start, last.count + piece.count, last.place)
        else:
            out.append(piece)
    return tuple(out)
