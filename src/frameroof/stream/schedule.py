"""The few-step schedule of a block: which timesteps, and how a velocity gives the next latents.

Flow matching with a shifted noise level: s -> shift*s / (1 + (shift-1)*s); x_t = (1-s)*x_0 + s*noise, and the
network predicts noise - x_0 (Self-Forcing and LongLive v1.0, whose four steps become 1000, 937.5, 833.3, 625).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Schedule:
    """Noise levels of a block's denoising steps, falling, in (0, 1]."""

    sigmas: tuple[float, ...]

    @classmethod
    def of(cls, steps: tuple[int, ...], shift: float) -> Schedule:
        """From steps of 1000, before the shift."""
        levels = (step / 1000 for step in steps)
        return cls(tuple(shift * s / (1 + (shift - 1) * s) for s in levels))

    @property
    def timesteps(self) -> tuple[float, ...]:
        return tuple(1000 * sigma for sigma in self.sigmas)

    def clean(self, step: int, x: torch.Tensor, velocity: torch.Tensor) -> torch.Tensor:
        """The latents without noise that step `step` predicts."""
        return x - self.sigmas[step] * velocity

    def noised(self, step: int, clean: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Clean latents at the noise level of step `step`."""
        sigma = self.sigmas[step]
        return (1 - sigma) * clean + sigma * noise
