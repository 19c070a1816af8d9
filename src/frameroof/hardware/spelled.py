"""Ways of writing a device's name that add to it or turn it round: words of drivers and sellers, and its memory.

It exists so that a name needs no alias for each of them: "NVIDIA H100 Tensor Core GPU", "H100 80GB SXM5", "RTX 4090
24GB" and "B200 192GB" are a name with words that tell nothing, in another order, or with what it has anyway.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

NEAR = 0.075
"""What a size that is typed may differ by from the catalogue's: a GiB is 1.074 GB, and a board leaves some of its chips
(the 192 GB of a B200 are 180 on a board)."""
SAYS_NOTHING = frozenset(
    {"gpu", "gpus", "graphics", "accelerator", "tensor", "core", "card", "edition", "oam", "nvlink", "hbm2", "hbm2e"}
    | {"hbm3", "hbm3e", "gddr6", "gddr6x", "gddr7"}
)
"""Words of drivers and sellers that tell no device from another."""
_SIZE_RE = re.compile(r"(\d{1,3})(?:gi?b?)")
_WORD_RE = re.compile(r"[^\W_]+")


class Spelling(NamedTuple):
    """Another way to write a name; `memory_gb` was named beside it, in GB or GiB (0: none was)."""

    name: str
    memory_gb: int = 0

    def fits(self, memory_bytes: int) -> bool:
        """Whether a device of that memory, in bytes, can be meant."""
        return not self.memory_gb or abs(self.memory_gb * 1e9 - memory_bytes) <= NEAR * memory_bytes


def spellings(name: str) -> Iterator[Spelling]:
    """Other ways to write `name`, the nearest first: sizes with their unit whole (80g as 80GB), without words that say
    nothing, sizes at the end or before the last word, and without the size, which the device must then have."""
    words = _joined(_WORD_RE.findall(name.casefold()))
    sizes = [word for word in words if _SIZE_RE.fullmatch(word)]
    rest = [word for word in words if word not in SAYS_NOTHING and word not in sizes]
    if len(sizes) > 1 or not rest:
        return
    if not sizes:
        yield Spelling(" ".join(rest))
        return
    count = int(sizes[0].rstrip("gib"))
    size = f"{count}gb"
    for written in ([*rest, size], [*rest[:-1], size, rest[-1]], [*rest[:1], size, *rest[1:]]):
        yield Spelling(" ".join(written))
    yield Spelling(" ".join(rest), count)


def _joined(words: list[str]) -> list[str]:
    """`words` with a number and the unit behind it as one word: 80 GB as 80gb."""
    found: list[str] = []
    for word in words:
        if word in ("g", "gb", "gib") and found and found[-1].isdigit():
            found[-1] += word
        else:
            found.append(word)
    return found
