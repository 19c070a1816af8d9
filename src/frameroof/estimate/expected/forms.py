"""Two rules that all curves share: waves of thread blocks over the multiprocessors, and two times side by side."""

from __future__ import annotations

from math import ceil
from typing import Any

JOIN = 4.0
"""How sharply two times that pass side by side are joined: the longer, where neither is much longer."""
FEW_WAVES = 8
"""Up to which waves are whole; more of them run into each other, and half of the last is lost on average."""


def joined(one: Any, other: Any) -> Any:
    """Two times that pass side by side, as one: numbers or arrays."""
    return (one**JOIN + other**JOIN) ** (1 / JOIN)


def whole(waves: Any) -> Any:
    """How long so many waves take, in waves: whole ones where they are few, half a wave more elsewhere."""
    if not hasattr(waves, "shape"):
        return ceil(waves) if waves <= FEW_WAVES else waves + 0.5
    import numpy as np

    return np.where(waves <= FEW_WAVES, np.ceil(waves), waves + 0.5)
