"""Keys and values as LongLive v1.0 keeps them, the reference for parity and for what the ring saves.

Each layer of each forward clones its cache, rolls the clone when it is full, inserts the new keys and values, and
joins sinks and window; the real cache is rolled and written after the last layer (facts: github:NVlabs/LongLive
branch v1.0). The names of `record_function` are the kinds of the latency report.
Shapes: B batch, N new tokens, L places (tokens of a window), H heads, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch.profiler import record_function

from ..models.causal_wan import KV, QKV, Attention, LayerCache, Ops, Rotary
from .config import StreamConfig
from .rope import Rope


@dataclass(frozen=True)
class Move:
    """What one forward does to a cache, in tokens: `evict` oldest ones go, new ones lie at start .. end.

    The first `skip` new tokens are not kept, the first `sink` places not rolled.
    """

    evict: int
    start: int
    end: int
    skip: int
    sink: int

    def roll(self, x_BLHD: torch.Tensor) -> None:
        """Shift what is behind the sinks left by `evict`."""
        kept = self.start - self.sink
        if self.evict and kept > 0:
            moved = x_BLHD[:, self.sink + self.evict : self.sink + self.evict + kept].clone()
            x_BLHD[:, self.sink : self.sink + kept] = moved

    def insert(self, x_BLHD: torch.Tensor, new_BNHD: torch.Tensor) -> None:
        x_BLHD[:, self.start + self.skip : self.end] = new_BNHD[:, self.skip :]


@dataclass
class BaselineLayer:
    """One layer during one forward; `new` is what the real cache gets afterwards."""

    k_BLHD: torch.Tensor
    v_BLHD: torch.Tensor
    move: Move
    new: KV | None = field(default=None)

    def attend(self, attn: Attention, qkv: QKV, rotary: Rotary, ops: Ops) -> torch.Tensor:
        q_BNHD, k_BNHD, v_BNHD = qkv
        self.new = (k_BNHD, v_BNHD)
        with record_function("cache.clone"):
            k, v = self.k_BLHD.clone(), self.v_BLHD.clone()
        with record_function("cache.roll"):
            self.move.roll(k)
            self.move.roll(v)
        with record_function("cache.insert"):
            self.move.insert(k, k_BNHD)
            self.move.insert(v, v_BNHD)
        with record_function("cache.concatenate"):
            sink = self.move.sink
            k, v = (torch.cat((x[:, :sink], x[:, sink : self.move.end]), dim=1) for x in (k, v))
        return ops.attention(q_BNHD, k, v)

    def update(self) -> None:
        """Do to the real cache what was done to its clone.

        Raises `RuntimeError` where the cache was closed before: a fault of the engine.
        """
        if self.new is None:
            raise RuntimeError("A cache was closed before its forward ran.")
        for x, new in zip((self.k_BLHD, self.v_BLHD), self.new, strict=True):
            self.move.roll(x)
            self.move.insert(x, new)


class BaselineCache:
    """The caches of all layers of a batch."""

    def __init__(self, c: StreamConfig, batch: int, device: torch.device | str, dtype: torch.dtype) -> None:
        self.c = c
        shape = (c.model.layers, batch, c.window * c.frame_tokens, c.model.heads, c.model.head_dim)
        self.k, self.v = (torch.zeros(shape, device=device, dtype=dtype) for _ in range(2))
        self.seen = 0  # tokens of the stream that were written
        self.filled = 0  # places in use

    def open(
        self, start: int, frames: int, *, rows: slice = slice(None), recache: bool = False
    ) -> Sequence[LayerCache]:
        """The layers for a forward over frames start .. start+frames-1, for the samples `rows`."""
        c = self.c
        size, sink = c.window * c.frame_tokens, c.sink * c.frame_tokens
        new, stop = frames * c.frame_tokens, (start + frames) * c.frame_tokens
        end = self.filled + stop - self.seen
        evict = max(0, end - size)
        first = end - evict - new
        skip = max(0, sink - first) if recache else 0
        move = Move(evict, first, end - evict, skip, min(sink, end))
        if stop > self.seen:
            self.seen, self.filled = stop, end - evict
        return [BaselineLayer(k[rows], v[rows], move) for k, v in zip(self.k, self.v, strict=True)]

    def close(self, layers: Sequence[LayerCache]) -> None:
        """The real caches are written after the last layer."""
        with record_function("cache.update"):
            for layer in layers:
                if isinstance(layer, BaselineLayer):
                    layer.update()

    def reset(self) -> None:
        """As for a new stream."""
        self.seen = self.filled = 0

    def take(self, other: BaselineCache) -> None:
        """What another cache of this shape holds, in this one's dtype."""
        self.k.copy_(other.k)
        self.v.copy_(other.v)
        self.seen, self.filled = other.seen, other.filled

    def move_sinks(self, end: int, rope: Rope) -> None:
        """Sinks keep their first positions here."""
