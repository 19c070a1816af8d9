"""Expected seconds of attention in one kernel, by the kernel that runs it: FlashAttention 2, 3, 4, TensorRT's, math.

Thread blocks of 128 queries run in waves over the multiprocessors, each passing over all keys and some more for its
beginning and end. A score takes its multiplications on the matrix units, by the (padded) width of a head, and an
exponential on the special function units; or, where a device was measured, a share of its peak by width. Which kernels
a device has is `KERNELS_OF`'s to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil
from typing import Any

import msgspec

from ...roofline import larger
from .chip import Chip
from .forms import whole

ROWS = 128
"""Queries of one thread block."""
WIDTHS = (64, 96, 128, 192, 256)
"""Widths of a head that kernels are made for; others are padded to the next."""
SPECIAL_PER_CLOCK = 16
"""Exponentials of one multiprocessor in a clock: its special function units."""
CAUSAL = 0.75
"""Below this share of all scores a call is causal: blocks on the diagonal cost more keys than are counted."""
FEW_QUERIES = 16
"""Up to which kernels split the keys over multiprocessors that have no queries (FlashDecoding): one token's, mostly."""
MOST_WIDE = 256
"""Of a head, in elements, that flash attention is made for (github.com/Dao-AILab/flash-attention, README)."""
READ = 0.9
"""Share of the bandwidth that reads of keys and values reach where they bound a call: of generation attention that
reads 1 GB or more in NVIDIA's tables of aiconfigurator-core 0.12.0, 0.88 to 0.90 on H100, 0.78 to 0.84 on L40S."""
MASKED = 3.0
"""How many times longer the work beside the matrix products of a score takes where a mask or a bias rules flash
attention out: chosen between what published times of HunyuanVideo on L20 ask for (next to nothing, their matrix units
are slow) and the factor of two between the first FlashAttention and the second (arXiv 2307.08691, abstract)."""

_PLAIN = ("fa2", "trt")
KERNELS_OF: Mapping[str, tuple[str, ...]] = {
    "ampere": _PLAIN,
    "ada": _PLAIN,
    "hopper": ("fa3", "fa2", "cudnn", "trt"),
    "blackwell": ("fa4", "fa2", "cudnn", "trt"),
    "blackwell-rtx": _PLAIN,
    "cdna2": ("fa2",),
    "cdna3": ("fa2",),
    "cdna4": ("fa2",),
}
"""Kernels by generation, the fastest first: FlashAttention-2 is for Ampere and later, and for CDNA (its README).
Elsewhere there is torch's own alone."""
SAME_AS = {"sdpa": "fa2", "cudnn": {"hopper": "fa3", "blackwell": "fa4"}}
"""What is as fast as another: torch's own is FlashAttention-2; cuDNN's are of the speed of FlashAttention 3 and 4."""


class Attention(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The numbers of one kernel on one device, or on all of a generation.

    `matrix` is the share that its matrix products reach of the dense peak, or of `per_clock` FLOPs of a multiprocessor
    in a clock where its instructions do not reach the peak; `exponential`, how many operations of the special function
    units a score costs beside them. `shares`, by width of a head, are measured shares of the peak in place of both.
    `keys` is what the beginning and end of a block of `block` queries are worth, `causal_keys` what the diagonal is,
    beside the scores that are counted. `rows` were measured; `error_median` and `error_p90` are what the curve missed
    of bidirectional calls of lengths from 1,000 on that it had not seen.
    """

    launch_us: float
    matrix: float
    exponential: float
    source: str
    date: str
    per_clock: float | None = None
    shares: dict[str, float] = {}
    keys: float = 0.0
    causal_keys: float = 0.0
    block: int = ROWS
    rows: int = 0
    error_median: float | None = None
    error_p90: float | None = None

    def seconds(self, chip: Chip, unit: str, sizes: Mapping[str, Any], pairs: Any) -> Any:
        """Of one call; `sizes` are those of an attention (``b heads q kv d dv``), `pairs` the scores that are computed.

        Numbers or arrays. Raises `ValueError` where the device states no peak of the unit.
        """
        width = padded(larger(sizes["d"], sizes["dv"]))
        rows = sizes["b"] * sizes["heads"] * sizes["q"]
        keys = pairs / rows
        extra = self.keys + self.causal_keys * below(pairs, CAUSAL * rows * sizes["kv"])
        sms = chip.sms or 1
        blocks = sizes["b"] * sizes["heads"] * ceiling(sizes["q"] / self.block)
        waves = in_waves(blocks / sms, sizes["q"] <= FEW_QUERIES)
        return self.launch_us * 1e-6 + waves * sms * self.block * (keys + extra) * self.score_s(chip, unit, width)

    def masked(self) -> Attention:
        """The kernel that runs in place of this one where there is a mask; where shares were measured, of them.

        What a share leaves of the peak is taken for the work beside the products.
        """
        shares = {w: 1 / (1 + MASKED * (1 / share - 1)) for w, share in self.shares.items()}
        return msgspec.structs.replace(self, exponential=self.exponential * MASKED, shares=shares)

    def faults(self) -> Iterator[str]:
        """What of it cannot be, as ends of a sentence."""
        for name, share in {"matrix": self.matrix, **self.shares}.items():
            if not 0 < share <= 1:
                yield f"has the share {share:g} of {name}; nothing runs above its peak: it is above 0 and at most 1"
        if min(self.launch_us, self.keys, self.causal_keys, self.exponential) < 0 or self.block < 1:
            yield "has a time or a size below 0"

    def score_s(self, chip: Chip, unit: str, width: Any) -> Any:
        """Seconds of one score of heads so wide, the whole device at work; errors as `Chip.peak`."""
        rate = chip.peak(unit)
        if self.shares:
            return 4 * width / (rate * by_width(self.shares, width))
        if self.per_clock and chip.ticks:
            rate = min(rate, self.per_clock * chip.ticks)
        special = self.exponential / (SPECIAL_PER_CLOCK * chip.ticks) if chip.ticks else 0.0
        return 4 * width / (rate * self.matrix) + special


def kernel_of(chip: Chip, asked: str) -> str:
    """The kernel that runs where `asked` was: the fastest for ``best``. `ValueError`, a sentence, for one it has
    not."""
    known = KERNELS_OF.get(chip.generation, ())
    if asked == "best":
        return known[0] if known else "sdpa"
    if asked in ("sdpa", "math"):
        return asked
    if asked not in known:
        raise ValueError(f"{chip.name} has no attention kernel {asked}; it has {', '.join((*known, 'sdpa', 'math'))}")
    return asked


def too_wide(width: Any) -> bool:
    """Whether flash attention is not made for a head of a width (a number, or an array of one width or several)."""
    return bool(width > MOST_WIDE if not hasattr(width, "shape") else (width > MOST_WIDE).all())


def padded(width: Any) -> Any:
    """The width that a kernel is made for: the next of `WIDTHS`, or of their last step."""
    if not hasattr(width, "shape"):
        return next((each for each in WIDTHS if width <= each), ceil(width / 64) * 64)
    import numpy as np

    found = np.ceil(width / 64) * 64
    for each in reversed(WIDTHS):
        found = np.where(width <= each, each, found)
    return found


def by_width(shares: Mapping[str, float], width: Any) -> Any:
    """The share at a width: that of the next wider one that there is a share of, else of the widest."""
    known = sorted((int(name), share) for name, share in shares.items())
    if not hasattr(width, "shape"):
        return next((share for at, share in known if width <= at), known[-1][1])
    import numpy as np

    found = np.full(width.shape, known[-1][1])
    for at, share in reversed(known):
        found = np.where(width <= at, share, found)
    return found


def ceiling(value: Any) -> Any:
    """Rounded up: a number, or an array."""
    if not hasattr(value, "shape"):
        return ceil(value)
    import numpy as np

    return np.ceil(value)


def in_waves(waves: Any, split: Any) -> Any:
    """`forms.whole`; where keys are split over multiprocessors (`split`), less than a wave is as long as it is."""
    if not hasattr(waves, "shape") and not hasattr(split, "shape"):
        return waves if split and waves < 1 else whole(waves)
    import numpy as np

    return np.where(split & (waves < 1), waves, whole(np.asarray(waves)))


def below(one: Any, other: Any) -> Any:
    """1 where the first is less than the second, 0 where not."""
    return (one < other) * 1.0
