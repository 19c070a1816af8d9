"""One call of attention: the work that it is made of, its geometry, and what it must compute and move.

`find.attention` makes these from the work table, and `cost_of_work` counts by them: the record stands below both.
Legend: B batch, H heads, Q query length, K key length, D head dimension.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...rules import attention_elements, attention_flops, masked_pairs, scores


@dataclass
class AttentionCall:
    """One call of attention: which work it is made of, and its geometry (0: not recorded)."""

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
    item: int = 2
    """Bytes of an element of q, k and v."""
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
    def flops(self) -> int:
        """Two products over the full square, causal or not (torch's convention)."""
        batch, heads, query, key, head = self.geometry
        return int(attention_flops(batch, heads, query * key, head, head))

    @property
    def executed_flops(self) -> int:
        """FLOPs that a fused kernel must execute: of the pairs that the mask leaves."""
        batch, heads, query, key, head = self.geometry
        return int(attention_flops(batch, heads, masked_pairs(query, key, self.causal, self.align), head, head))

    @property
    def bytes(self) -> int:
        """q, k, v and the output once each: what a fused kernel must move."""
        batch, heads, query, key, head = self.geometry
        return self.item * int(attention_elements(batch, (heads, self.kv_heads or heads), query, key, head))

    @property
    def matrix_bytes(self) -> int:
        """The similarity matrix, written once."""
        return self.item * int(scores(*self.geometry[:4]))
