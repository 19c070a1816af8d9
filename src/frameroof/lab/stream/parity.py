"""Whether a variant gives the baseline's numbers, and how far it is from full precision where it is not meant to.

The reference is the baseline in fp32, with the same weights and the same noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from ...stream import Block, Engine
from ...stream.quality import BlockError, error
from .variants import Setup

EQUAL = 1e-5  # largest relative L2 error of a block, fp32
TESTED = 9  # blocks, with a switch once the window is full


@dataclass(frozen=True)
class Parity:
    """`equal` at `tolerance`, as checked in fp32 on the model `model`."""

    equal: bool
    relative: float
    tolerance: float
    model: str


@dataclass(frozen=True)
class Quality:
    """Latents beside the reference's, block by block.

    `free`: errors add up, as they would. `taught`: before every block the stream is given what the reference made so
    far, so that each block's error stands alone. `floor`: the largest relative error between two runs of the
    baseline. `psnr_db` and `ssim` are of decoded frames, where weights are real.
    """

    free: tuple[BlockError, ...]
    taught: tuple[BlockError, ...] = ()
    floor: float = 0.0
    psnr_db: float | None = None
    ssim: float | None = None

    @property
    def relative(self) -> float:
        """Of the worst block of the free run."""
        return max(e.relative for e in self.free)

    @property
    def cosine(self) -> float:
        return min(e.cosine for e in self.free)

    @property
    def taught_relative(self) -> float | None:
        """Of the worst block of the taught run."""
        return max((e.relative for e in self.taught), default=None)

    def text(self) -> str:
        frames = "" if self.ssim is None else f", SSIM {self.ssim:.4f}"
        return f"relative error {self.relative:.2g}, cosine {self.cosine:.6f}{frames}"

    def to_dict(self) -> dict[str, Any]:
        """As in the JSON; an infinite PSNR, of equal frames, is null."""
        psnr = self.psnr_db if self.psnr_db is not None and self.psnr_db < float("inf") else None
        return {
            "relative": self.relative,
            "cosine": self.cosine,
            "taught_relative": self.taught_relative,
            "floor": self.floor,
            "free_blocks": [e.relative for e in self.free],
            "taught_blocks": [e.relative for e in self.taught],
            "psnr_db": psnr,
            "ssim": self.ssim,
        }


def latents(
    engine: Engine, prompts: Sequence[str], switches: Mapping[int, str], blocks: int = TESTED
) -> list[torch.Tensor]:
    """The blocks of a stream of its own, on the CPU."""
    with without_tf32():
        return [block.latents.cpu() for block in engine.prepare(prompts).run(blocks, switches)]


def taught(
    engine: Engine, prompts: Sequence[str], switches: Mapping[int, str], reference: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """The blocks of a stream that is given the reference's block after each of its own."""
    session = engine.prepare(prompts)
    made = []
    with without_tf32():
        for block, right in zip(session.run(len(reference), switches), reference, strict=True):
            made.append(block.latents.cpu())
            session.teach(right)
    return made


@contextmanager
def without_tf32() -> Iterator[None]:
    """On CUDA torch lets convolutions in fp32 round their inputs to 10 bits, in some algorithms and not in others."""
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, products.allow_tf32
    cudnn.allow_tf32 = products.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.allow_tf32, products.allow_tf32 = before


def errors(reference: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> tuple[BlockError, ...]:
    """Each block of a run against the reference."""
    return tuple(error(number, a, b) for number, (a, b) in enumerate(zip(reference, other, strict=True)))


def full_precision(setup: Setup, baseline: Engine) -> Engine:
    """The baseline in fp32 with the same weights: itself, where it is so already."""
    if setup.dtype == torch.float32:
        return baseline
    made = replace(setup, dtype=torch.float32, decoder=None, files=None, precision="own").engine("baseline")
    made.denoiser.model.load_state_dict(baseline.denoiser.model.state_dict())
    made.encode = baseline.encode
    return made


class Checks:
    """Checks variants against the reference's latents, which are made once.

    Numbers that should be equal are compared in fp32: on the model itself where it is fp32 (a CPU), else on the tiny
    one on the same device. Quality is always the model's own; its reference is the baseline in fp32, or with
    `own_dtype`, which takes less time, in the model's.
    """

    def __init__(self, setup: Setup, baseline: Engine, blocks: int = TESTED, own_dtype: bool = False) -> None:
        self.setup, c = setup, setup.config()
        blocks, switches = max(blocks, c.window_blocks + 3), {c.window_blocks + 1: "a fox sleeps"}
        self.run, self.says = (setup.prompts, switches), tuple(baseline.says)
        again = latents(baseline, *self.run, blocks)
        other = baseline if own_dtype else full_precision(setup, baseline)
        self.reference = latents(other, *self.run, blocks)
        self.floor = max(e.relative for e in errors(again, latents(baseline, *self.run, blocks)))
        self.video = self._frames(baseline, self.reference) if setup.real else None
        self.own = setup.dtype == torch.float32
        small = {name: value for name, value in setup.changes.items() if name in ("window", "sink", "block")}
        self.small = replace(setup, model="tiny", dtype=torch.float32, decoder=None, files=None, changes=small)
        self.tiny = None if self.own else latents(self.small.engine("baseline"), *self.run, blocks)

    def of(self, name: str, engine: Engine) -> tuple[Parity | None, Quality]:
        """Parity (None where numbers are not meant to be equal), and quality."""
        made = latents(engine, *self.run, len(self.reference))
        quality = self.quality(engine, made)
        if not self.setup.variant(name).exact:
            return None, quality
        if self.tiny is None:
            return Parity(quality.relative <= EQUAL, quality.relative, EQUAL, self.setup.model), quality
        small = latents(self.small.engine(name), *self.run, len(self.tiny))
        near = max(e.relative for e in errors(self.tiny, small))
        return Parity(near <= EQUAL, near, EQUAL, "tiny"), quality

    def quality(self, engine: Engine, made: Sequence[torch.Tensor] | None = None) -> Quality:
        """Of an engine of this model at any window, sink and precision."""
        made = made or latents(engine, *self.run, len(self.reference))
        free = errors(self.reference, made)
        alone = errors(self.reference, taught(engine, *self.run, self.reference))
        psnr = ssim = None
        if self.video is not None:
            psnr, ssim = frames_beside(self.video, self._frames(engine, made))
        return Quality(free, alone, self.floor, psnr, ssim)

    def _frames(self, engine: Engine, made: Sequence[torch.Tensor]) -> torch.Tensor:
        """The decoded video of these blocks, (B, 3, frames, height, width), on the CPU."""
        session = engine.prepare(self.setup.prompts)
        blocks = (Block(number, x.to(engine.denoiser.device), ()) for number, x in enumerate(made))
        return torch.cat([session.decode(block).float().cpu() for block in blocks], dim=2)


def frames_beside(reference: torch.Tensor, other: torch.Tensor) -> tuple[float, float]:
    """PSNR in dB and SSIM of videos (B, 3, frames, height, width) in [-1, 1], over all their frames.

    Raises `ValueError`, a sentence, where torchmetrics is missing.
    """
    try:
        from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
    except ImportError as error:
        raise ValueError("PSNR and SSIM of frames need torchmetrics: pip install 'frameroof[quality]'.") from error
    a, b = ((x.transpose(1, 2).flatten(0, 1) + 1) / 2 for x in (reference, other))
    psnr: Any = peak_signal_noise_ratio(b, a, data_range=1.0)
    ssim: Any = structural_similarity_index_measure(b, a, data_range=1.0)
    return float(psnr), float(ssim)
