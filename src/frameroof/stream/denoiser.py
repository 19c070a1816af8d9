"""Runs the transformer over blocks: schedule, positions, timesteps and caches put together; all tensors live here.

Shapes: B batch, T groups of frames that share a timestep, C channels; latents are (B, C, frames, rows, columns).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from ..models.causal_wan import KV, PLAIN, Block, CausalWan, Conditioning, LayerCache, Ops, Rotary
from .baseline import BaselineCache
from .cache import RingCache
from .config import StreamConfig
from .rope import Rope
from .schedule import Schedule

CONTEXT = -1  # the row of the context pass, t = 0, beside those of the denoising steps 0, 1 …
KINDS = ("step 1", "step", "folded step 1", "context", "recache")  # of forwards


class Cache(Protocol):
    """What a session keeps of keys and values."""

    def open(
        self, start: int, frames: int, *, rows: slice = slice(None), recache: bool = False
    ) -> Sequence[LayerCache]: ...

    def close(self, layers: Sequence[LayerCache]) -> None: ...

    def reset(self) -> None: ...

    def take(self, other: Any) -> None: ...

    def move_sinks(self, end: int, rope: Rope) -> None: ...


@dataclass(frozen=True)
class Forward:
    """One forward: the frames from `start` on, one row of the schedule for each block of them."""

    start: int
    rows: tuple[int, ...]
    recache: bool = False
    sample: int | None = None  # one of the batch, or all

    @property
    def kind(self) -> str:
        """One of `KINDS`: a block's first step moves the window on, its later ones overwrite their own places."""
        if self.recache:
            return "recache"
        if len(self.rows) > 1:
            return "folded step 1"
        return "context" if self.rows[0] == CONTEXT else "step 1" if self.rows[0] == 0 else "step"

    @property
    def samples(self) -> slice:
        return slice(None) if self.sample is None else slice(self.sample, self.sample + 1)


@dataclass(frozen=True)
class Tabulated:
    """Modulation of all layers for given rows of the schedule, made once."""

    layers: torch.Tensor  # (layers, 1, T, 6, C)
    head: torch.Tensor  # (1, T, 2, C)

    def of_block(self, block: Block) -> torch.Tensor:
        return self.layers[block.index]

    def of_head(self, head: nn.Parameter) -> torch.Tensor:
        return self.head


class Denoiser:
    """The model with its schedule and positions; it keeps nothing of a stream.

    Raises `ValueError`, a sentence, for fused kernels without the ring cache.
    """

    def __init__(self, c: StreamConfig, model: CausalWan, ops: Ops = PLAIN) -> None:
        if c.cache == "baseline" and type(ops) is not Ops and type(ops).write is not Ops.write:
            raise ValueError("Fused kernels write into the ring cache; the baseline copies. Take cache 'ring'.")
        self.c, self.model, self.ops = c, model.eval(), ops
        weight = model.patch_embedding.weight
        self.device, self.dtype = weight.device, weight.dtype
        self.schedule = Schedule.of(c.steps, c.shift)
        self.rope = Rope(c.rows, c.columns, c.model.head_dim, self.device)
        self._tables: dict[tuple[int, ...], Tabulated] = {}

    def cache(self, batch: int) -> Cache:
        """An empty cache for a stream of `batch` samples."""
        kind = RingCache if self.c.cache == "ring" else BaselineCache
        return kind(self.c, batch, self.device, self.dtype)

    @torch.inference_mode()
    def text(self, text_BSC: torch.Tensor) -> list[KV]:
        """Keys and values of encoded prompts for every layer."""
        return self.model.text_kv(text_BSC.to(self.device, self.dtype))

    @torch.inference_mode()
    def velocity(self, x_BCTHW: torch.Tensor, what: Forward, cache: Cache, texts: Sequence[KV]) -> torch.Tensor:
        """The network's answer for latents in fp32, in fp32; keys and values go into the cache."""
        frames = x_BCTHW.shape[2]
        cache.move_sinks(what.start + frames, self.rope)
        layers = cache.open(what.start, frames, rows=what.samples, recache=what.recache)
        rotary = self.rope.at(what.start, frames)
        times = self.times(what.rows, x_BCTHW.shape[0])
        out = self.forward(x_BCTHW, times, rotary, layers, texts)
        cache.close(layers)
        return out

    def forward(  # the inputs of a forward
        self,
        x_BCTHW: torch.Tensor,
        times: Conditioning | torch.Tensor,
        rotary: Rotary,
        layers: Sequence[LayerCache],
        texts: Sequence[KV],
    ) -> torch.Tensor:
        """The model itself; what a compiled or captured forward replaces."""
        return self.model(x_BCTHW.to(self.dtype), times, rotary, layers, texts, self.ops).float()

    def times(self, rows: tuple[int, ...], batch: int) -> Conditioning | torch.Tensor:
        """What the model is told of the timesteps: a table's entries, or timesteps (B, frames)."""
        if self.c.tabulate:
            return self.table(rows)
        each = [torch.full((batch, self.c.block), self._timestep(row), device=self.device) for row in rows]
        return each[0] if len(each) == 1 else torch.cat(each, dim=1)

    @torch.inference_mode()
    def table(self, rows: tuple[int, ...]) -> Tabulated:
        """The modulation of every layer at these rows; blocks at one timestep share one group."""
        groups = rows if len(set(rows)) > 1 else rows[:1]
        if groups not in self._tables:
            timesteps = torch.tensor([[self._timestep(row) for row in groups]], device=self.device)
            embedded = self.model.conditioning(timesteps, self.dtype)
            layers = torch.stack([embedded.of_block(block) for block in self.model.blocks])
            self._tables[groups] = Tabulated(layers, embedded.of_head(self.model.modulation))
        return self._tables[groups]

    def _timestep(self, row: int) -> float:
        return 0.0 if row == CONTEXT else self.schedule.timesteps[row]
