"""A frame of video as text: two rows of pixels to a line, as colored half blocks. H rows, W columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.style import Style
from rich.text import Text

HALF = "\u2580"


def frame_text(rgb_HW3: np.ndarray[Any, Any], columns: int = 64) -> Text:
    """A picture of bytes (H, W, 3), at most so many columns wide, as text for a terminal with colors."""
    height, width, _ = rgb_HW3.shape
    columns = max(1, min(columns, width))
    rows = max(2, round(height * columns / width) // 2 * 2)
    at_H = (np.arange(rows) + 0.5) * height / rows
    at_W = (np.arange(columns) + 0.5) * width / columns
    small = rgb_HW3[at_H.astype(int)][:, at_W.astype(int)].tolist()
    out = Text()
    for upper, lower in zip(small[::2], small[1::2], strict=True):
        for a, b in zip(upper, lower, strict=True):
            out.append(HALF, Style(color=f"rgb({a[0]},{a[1]},{a[2]})", bgcolor=f"rgb({b[0]},{b[1]},{b[2]})"))
        out.append("\n")
    return out
