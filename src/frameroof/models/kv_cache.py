"""The cache a decoding step is counted with: allocated once, written in place, never copied.

Transformers' own caches would put their bookkeeping into the count: the dynamic one concatenates, so
every step reads and rewrites all cached tokens; the static one computes over its whole capacity under
a mask. What a serving engine does, and what a limit must assume, lies between: the new token's keys and
values are written next to the old ones, and attention reads exactly the entries that are in use.

A cache belongs to one forward pass. It does not advance, so that the same pass can be run again, for
timing or for a second trace, and do the same work. Import this file inside builders: it needs transformers.

Shape letters: B batch, H key/value heads, N new tokens, K entries in use afterwards, D head dimension.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from .common import activations


class Heads(Protocol):
    """What of a text configuration a cache is sized by."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int


class InPlaceLayer(CacheLayerMixin):
    """One layer's keys and values: `seen` tokens are there, the rest of the buffer is for the new ones."""

    is_sliding = False

    def __init__(self, keys_BHKD: torch.Tensor, values_BHKD: torch.Tensor, seen: int) -> None:
        super().__init__()
        self.keys, self.values = keys_BHKD, values_BHKD
        self.seen = seen
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing to do: the buffers exist from the start."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new tokens behind the seen ones; return everything in use, as views."""
        end = self.seen + key_states.shape[-2]
        self.keys[:, :, self.seen : end].copy_(key_states)
        self.values[:, :, self.seen : end].copy_(value_states)
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.seen + query_length, 0

    def get_seq_length(self) -> int:
        return self.seen

    def get_max_length(self) -> int:
        return int(self.keys.shape[-2])


def in_place_layer(config: Heads, batch: int, entries: int, seen: int) -> InPlaceLayer:
    """A layer with room for `entries` tokens, of which `seen` are already there."""
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    shape = (batch, config.num_key_value_heads, entries, head_dim)
    return InPlaceLayer(activations(*shape), activations(*shape), seen)


def in_place_cache(config: Heads, batch: int, entries: int, seen: int) -> Cache:
    """A cache whose layers all have room for `entries` tokens and hold `seen`."""
    return Cache(layers=[in_place_layer(config, batch, entries, seen) for _ in range(config.num_hidden_layers)])
