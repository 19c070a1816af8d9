"""Bytes that each fused operation moves: every input read once, every output written once. No torch needed.

What stays in the L2 cache between two launches is counted as moved, so a limit made from these bytes holds for
tensors larger than the cache. Repeated reads of small rows (weights, modulation, angles) are counted once.
"""

from __future__ import annotations

from dataclasses import dataclass

FP32 = 4
SLOT = 8  # int64


@dataclass(frozen=True)
class Sizes:
    """The new tokens of one forward, and their width.

    Attributes:
        samples: B.
        frames: T, each with its own scale, shift and gate.
        per_frame: tokens of a frame.
        channels: C.
        head_width: D.
        item: bytes of an activation (2 for bf16).
    """

    samples: int = 1
    frames: int = 3
    per_frame: int = 1560
    channels: int = 1536
    head_width: int = 128
    item: int = 2

    @property
    def rows(self) -> int:
        """Tokens of all samples."""
        return self.samples * self.frames * self.per_frame

    @property
    def activation(self) -> int:
        """Bytes of one activation of C channels."""
        return self.rows * self.channels * self.item


def qk_norm_rope_write(s: Sizes) -> int:
    """q, k and v read and written; two weights; cosine and sine of each token; the slots."""
    angles = s.frames * s.per_frame * s.head_width * FP32  # D/2 cosines and D/2 sines
    return 6 * s.activation + 2 * s.channels * s.item + angles + s.frames * SLOT


def norm_modulate(s: Sizes, eight_bit: bool = False) -> int:
    """x read, the norm written, and a frame's scale and shift."""
    return s.activation + quantised(s, eight_bit) + 2 * _modulation(s)


def gate_residual_norm(s: Sizes, eight_bit: bool = False, gated: bool = True, own: bool = False) -> int:
    """x and y read, the sum and its norm written.

    ``gated``: with a gate for each frame. ``own``: the norm's own weight and bias, not modulation by frame.
    """
    rows = (1 if gated else 0) * _modulation(s) + (2 * s.channels * s.item if own else 2 * _modulation(s))
    return 3 * s.activation + quantised(s, eight_bit) + rows


def gate_residual(s: Sizes) -> int:
    """x and y read, the sum written, and a frame's gate."""
    return 3 * s.activation + _modulation(s)


def quantise_rows(s: Sizes) -> int:
    """One activation read, written in 8 bits with a scale for each row."""
    return s.activation + quantised(s, True)


def quantised(s: Sizes, eight_bit: bool) -> int:
    """One activation written: in its own type, or as one byte a value and an fp32 scale a row."""
    return s.rows * (s.channels + FP32) if eight_bit else s.activation


def layer(s: Sizes, eight_bit: bool = False) -> dict[str, int]:
    """The fused operations of one layer of Wan's transformer, in order; GELU is the first MLP product's epilogue.

    A layer's last sum and the next layer's first norm are two operations, as ``ops`` runs them.
    ``cross_q_norm`` is the RMS norm of the cross-attention's queries: read and written once.
    """
    return {
        "norm_modulate": norm_modulate(s, eight_bit),
        "qk_norm_rope_write": qk_norm_rope_write(s),
        "gate_residual_norm": gate_residual_norm(s, eight_bit, own=True),
        "cross_q_norm": 2 * s.activation + s.channels * s.item,
        "residual_norm_modulate": gate_residual_norm(s, eight_bit, gated=False),
        "gate_residual": gate_residual(s),
    }


def _modulation(s: Sizes) -> int:
    return s.samples * s.frames * s.channels * s.item
