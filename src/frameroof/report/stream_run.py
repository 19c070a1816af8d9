"""What `frameroof stream run` prints: the clip that was written, and how fast it was made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..units import format_seconds
from .console import console


def print_made(made: Any, clip: Any, c: Any, says: Sequence[str]) -> None:
    """Print what a run wrote: a `lab.stream.clip.Made`, its `Clip`, the stream's settings, what must be said."""
    page, total = console(), made.generate_s + made.decode_s
    page.print(
        f"wrote {clip.path}: {made.frames} frames of {c.width} x {c.height} at {c.fps} a second, "
        f"{clip.kind} ({clip.codec})"
    )
    page.print(
        f"made in {format_seconds(total)}: {format_seconds(made.generate_s)} generation, "
        f"{format_seconds(made.decode_s)} decoding; {made.frames / total:.1f} frames a second with both, "
        f"{made.frames / total / c.fps:.2f} of real time"
    )
    for block, frame, prompt in made.switches:
        page.print(f"switched with block {block}, frame {frame}: {prompt}")
    for text in (*clip.says, *says):
        page.print(text, style="dim")
