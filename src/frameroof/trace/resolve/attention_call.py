"""One call of attention: the work that it is made of, its geometry, and what it must compute and move.

`find.attention` makes these from the work table, and `cost_of_work` counts by them: the record stands below both.
Legend: B batch, H heads, Q query length, K key length, D head dimension.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...rules import attention_backward_flops, attention_elements, attention_flops, masked_pairs, scores
from ...run import Packed


@dataclass
class AttentionCall:
    """One call of attention: which work it is made of, and its geometry (0: not recorded, or not one number)."""

    rows: list[int]
    fused: bool
    batch: int = 0
    heads: int = 0
    query_len: int = 0
    key_len: int = 0
    head_dim: int = 0
    causal: bool | None = None
    align: str = ""
    """Of its causal mask (`rules.ALIGNMENTS`); "" where it has none."""
    kv_heads: int = 0
    """Heads of keys and values where they are fewer (grouped queries); 0: as many."""
    value_dim: int = 0
    """Head dimension of the values where it is another one (latent attention); 0: the same."""
    packed: Packed | None = None
    """What is known of its lengths where its sequences are packed into one tensor or read from a cache. Query and key
    length are then those of every sequence, or 0 where they differ or are unknown."""
    item: int = 2
    """Bytes of an element of q."""
    kv_item: int = 0
    """Bytes of an element of k and v where they are kept in another type; 0: as q."""
    backward: bool = False
    """Whether it computes the gradients."""
    module: str = ""
    start: int = 0
    duration: int = 0
    kind: str = "self"
    """self, cross, temporal or spatial."""
    around: list[int] = field(default_factory=list)
    """Work inside its operators that is none of its own: a product that first copies its factors, a buffer's fill, a
    view. Not part of `duration`."""

    @property
    def geometry(self) -> tuple[int, int, int, int, int]:
        """(batch, heads, query length, key length, head dimension)."""
        return self.batch, self.heads, self.query_len, self.key_len, self.head_dim

    @property
    def measured(self) -> bool:
        """Whether its size is known."""
        return self.packed.pairs is not None if self.packed else self.query_len > 0

    @property
    def flops(self) -> int | None:
        """Two products over the full square, causal or not, five for the gradients (torch's convention); None where its
        size is unknown."""
        return self._products(self.packed.pairs if self.packed else self.query_len * self.key_len)

    @property
    def executed_flops(self) -> int | None:
        """FLOPs that a fused kernel must execute: of the pairs that the mask leaves."""
        if self.packed:
            return self._products(self.packed.least_pairs)
        return self._products(masked_pairs(self.query_len, self.key_len, self.causal, self.align))

    def _products(self, pairs: int | None) -> int | None:
        if not self.measured or pairs is None:
            return None
        batch = 1 if self.packed else self.batch
        rule = attention_backward_flops if self.backward else attention_flops
        return int(rule(batch, self.heads, pairs, self.head_dim, self.value_dim or self.head_dim))

    @property
    def bytes(self) -> int | None:
        """q, k, v and the output once each, and the gradient of each: what a fused kernel must move; None where its
        size is unknown."""
        if not self.measured:
            return None
        times = self.item * (2 if self.backward else 1)
        if self.packed is None:
            heads = self.heads, self.kv_heads or self.heads
            both = self.head_dim + (self.value_dim or self.head_dim)
            return times * int(attention_elements(self.batch, heads, self.query_len, self.key_len, both)) // 2
        if self.packed.keys is None or not self.kv_heads:
            return None
        values = self.value_dim or self.head_dim
        cached = self.head_dim if self.packed.latent else self.head_dim + values  # a latent is keys and values at once
        own = self.heads * self.packed.queries * (self.head_dim + values)
        if self.backward:  # of keys and values that were just made, in their own type
            return times * (own + self.kv_heads * self.packed.keys * cached)
        return times * own + (self.kv_item or self.item) * self.kv_heads * self.packed.keys * cached

    @property
    def matrix_bytes(self) -> int | None:
        """The similarity matrix, written once; None where its size is unknown."""
        if not self.measured:
            return None
        if self.packed and self.packed.pairs is not None:
            return self.item * int(scores(1, self.heads, 1, self.packed.pairs))
        return self.item * int(scores(*self.geometry[:4]))
