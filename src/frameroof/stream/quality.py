"""What a faster way costs in quality: its latents beside the full-precision ones, block by block, from the same noise.

With random weights pictures mean nothing, so latents are compared. *Forced*: before every block the other stream gets
the reference's cache and past, so that each block's error stands alone. *Free*: errors add up, as they would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from .session import Session


@dataclass(frozen=True)
class BlockError:
    """One block against the reference: relative L2 error, cosine, and PSNR in dB against the reference's range."""

    number: int
    relative: float
    cosine: float
    psnr_db: float


def error(number: int, reference: torch.Tensor, other: torch.Tensor) -> BlockError:
    """The error of a block's latents; an equal block has cosine 1 and infinite PSNR.

    Raises `ValueError`, a sentence, for blocks of other shapes.
    """
    if reference.shape != other.shape:
        raise ValueError(f"Blocks of other shapes are not compared: {tuple(reference.shape)} and {tuple(other.shape)}.")
    a, b = reference.double().flatten(), other.double().flatten()
    gap = float((a - b).square().mean())
    span = float(a.max() - a.min())
    return BlockError(
        number=number,
        relative=float((a - b).norm() / a.norm()),
        cosine=float(torch.nn.functional.cosine_similarity(a, b, dim=0)),
        psnr_db=10 * float(torch.log10(torch.tensor(span**2 / gap, dtype=torch.float64))) if gap else float("inf"),
    )


def drift(
    reference: Session, other: Session, blocks: int, switches: Mapping[int, str] | None = None, *, forced: bool = False
) -> tuple[BlockError, ...]:
    """Each block's error. Both streams must be new, of one size and prompt, with the same seeds.

    Raises `ValueError`, a sentence, where one is not new or not of that size.
    """
    for session in (reference, other):
        if session.number:
            raise ValueError(f"Drift is measured from the first block; a stream has made {session.number}.")
    if reference.c.latent_shape(reference.batch) != other.c.latent_shape(other.batch):
        raise ValueError("Drift is measured between streams of one size.")
    if forced:
        other.check_follows(reference)
    found = []
    for number in range(blocks):
        if forced:
            other.follow(reference)
        made = []
        for session in (reference, other):
            if number in (switches or {}):
                session.switch((switches or {})[number])
            made.append(session.generate_block().latents)
        found.append(error(number, *made))
    return tuple(found)


def floor(prepare: Callable[[], Session], blocks: int, switches: Mapping[int, str] | None = None) -> float:
    """The noise floor: the largest relative error between two runs of the same stream."""
    return max(each.relative for each in drift(prepare(), prepare(), blocks, switches))
