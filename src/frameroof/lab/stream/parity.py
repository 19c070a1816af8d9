"""Whether a variant gives the baseline's numbers, and how far it is from them where it is not meant to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from frameroof.stream import Engine
from frameroof.stream.quality import error

from .variants import Setup, find

EQUAL = 1e-5  # largest relative L2 error of a block, fp32
TESTED = 9  # blocks, with a switch once the window is full


@dataclass(frozen=True)
class Drift:
    """A free run beside the baseline's from the same noise: the worst block."""

    relative: float
    cosine: float
    psnr_db: float

    def text(self) -> str:
        return f"relative error {self.relative:.2g}, cosine {self.cosine:.6f}"


@dataclass(frozen=True)
class Parity:
    """`equal` at `tolerance`, as checked in fp32 on the model `model`."""

    equal: bool
    relative: float
    tolerance: float
    model: str


def latents(engine: Engine, blocks: int, switches: Mapping[int, str]) -> list[torch.Tensor]:
    """The blocks of a stream of its own, on the CPU."""
    return [block.latents.cpu() for block in engine.prepare("a cat runs").run(blocks, switches)]


def drift(reference: list[torch.Tensor], other: list[torch.Tensor]) -> Drift:
    """The worst block of a run against the reference."""
    found = [error(number, a, b) for number, (a, b) in enumerate(zip(reference, other, strict=True))]
    return Drift(max(e.relative for e in found), min(e.cosine for e in found), min(e.psnr_db for e in found))


class Checks:
    """Checks variants against the baseline's latents, which are made once.

    Numbers that should be equal are compared in fp32: on the model itself where it is fp32 (a CPU), else on the tiny
    one on the same device. The drift is always the model's own.
    """

    def __init__(self, setup: Setup, baseline: Engine, blocks: int = TESTED) -> None:
        self.setup, c = setup, setup.config()
        self.blocks, self.switches = max(blocks, c.window_blocks + 3), {c.window_blocks + 1: "a fox sleeps"}
        self.reference = latents(baseline, self.blocks, self.switches)
        self.own = setup.dtype == torch.float32
        small = {name: value for name, value in setup.changes.items() if name in ("window", "sink", "block")}
        self.small = replace(setup, model="tiny", dtype=torch.float32, decoder=None, files=None, changes=small)
        self.tiny = None if self.own else latents(self.small.engine("baseline"), self.blocks, self.switches)

    def of(self, name: str, engine: Engine) -> tuple[Parity | None, Drift]:
        """Parity (None where numbers are not meant to be equal) and drift, which is run to run for the baseline."""
        away = drift(self.reference, latents(engine, self.blocks, self.switches))
        if not find(name).exact:
            return None, away
        if self.tiny is None:
            return Parity(away.relative <= EQUAL, away.relative, EQUAL, self.setup.model), away
        near = drift(self.tiny, latents(self.small.engine(name), self.blocks, self.switches))
        return Parity(near.relative <= EQUAL, near.relative, EQUAL, "tiny"), away
