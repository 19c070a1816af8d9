"""Rotary positions of latent frames in three axes, at any offset in time.

Of D/2 pairs of a head, D/6 (rounded down) belong to the rows, as many to the columns, the rest to time
(Wan 2.1: 22, 21, 21 of 64). Angles are exact to fp64 at any frame: there is no table of 1024 positions to run out of.
Shapes: N tokens, D head width; cosines and sines are (N, 1, D/2), fp32.
"""

from __future__ import annotations

import torch

from ..models.causal_wan import Rotary

THETA = 10000.0


def split(head_dim: int) -> tuple[int, int, int]:
    """Pairs of a head for time, rows, columns."""
    space = head_dim // 6
    return head_dim // 2 - 2 * space, space, space


def rates(pairs: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Radians per position of each pair of one axis, fp64."""
    exponents = torch.arange(pairs, dtype=torch.float64, device=device) / max(pairs, 1)
    return THETA**-exponents


class Rope:
    """Cosines and sines of consecutive frames; what belongs to rows and columns is computed once."""

    def __init__(self, rows: int, columns: int, head_dim: int, device: torch.device | str = "cpu") -> None:
        time, row, column = split(head_dim)
        self.rows, self.columns = rows, columns
        self._time = rates(time, device)
        angles = (
            _angles(rows, row, device)[:, None].expand(rows, columns, row),
            _angles(columns, column, device)[None].expand(rows, columns, column),
        )
        self._space = torch.cat(angles, dim=-1).flatten(0, 1)
        self._last: tuple[tuple[int, int], Rotary] | None = None

    def at(self, start: int, frames: int) -> Rotary:
        """Frames start .. start+frames-1 of the stream; no synchronization with the device.

        A block's later steps get what its first one got; nobody may write into it.
        """
        last = self._last
        if last is None or last[0] != (start, frames):
            last = self._last = (start, frames), self._made(start, frames)
        return last[1]

    def _made(self, start: int, frames: int) -> Rotary:
        positions = torch.arange(start, start + frames, dtype=torch.float64, device=self._time.device)
        tokens = len(self._space)
        time = (positions[:, None] * self._time)[:, None].expand(frames, tokens, -1)
        space = self._space.expand(frames, tokens, -1)
        angles = torch.cat((time, space), dim=-1).flatten(0, 1).unsqueeze(1)
        return angles.cos().float(), angles.sin().float()

    def shift(self, frames: int) -> Rotary:
        """What turns rotated keys on by so many frames in time: cosines and sines (1, 1, D/2)."""
        angles = torch.cat((self._time * frames, torch.zeros_like(self._space[0]))).reshape(1, 1, -1)
        return angles.cos().float(), angles.sin().float()


def _angles(count: int, pairs: int, device: torch.device | str) -> torch.Tensor:
    positions = torch.arange(count, dtype=torch.float64, device=device)
    return positions[:, None] * rates(pairs, device)
