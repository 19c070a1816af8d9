"""Decoding in parallel (MaskGIT, Muse, Phenaki): all tokens are guessed at once, the surest are kept for good.

After step t of T a share cos(pi/2 * t/T) of the tokens is still masked (MaskGIT, arXiv:2202.04200, section 3.3; Muse
takes it over). Kept are those whose guess had the highest probability; what was kept once never changes.

Shape letters: B batch, N tokens, V codes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..profiler import stage

SCALE = 3.0
"""Guidance: how far beyond the unconditional forward. It changes no operation."""


def masked_after(step: int, steps: int, tokens: int) -> int:
    """Tokens still masked after `step` (1 to `steps`) of `steps`: the cosine schedule, rounded down, at last none.

    Raises `ValueError`, a sentence, for a step outside of these.
    """
    if not 1 <= step <= steps:
        raise ValueError(f"step {step} is outside 1 to {steps}")
    return math.floor(tokens * math.cos(math.pi / 2 * step / steps)) if step < steps else 0


def schedule(steps: int, tokens: int) -> list[int]:
    """Tokens still masked after each step; every step reveals at least one while there are any."""
    left, found = tokens, []
    for step in range(1, steps + 1):
        left = max(0, min(left - 1, masked_after(step, steps, tokens)))
        found.append(left)
    return found


def reveal(codes_BN: Tensor, logits_BNV: Tensor, masked: int, mask: int) -> Tensor:
    """The codes after a step: every masked token takes a drawn guess, then the `masked` least sure are masked again.

    `mask` is the code that stands for a masked token; logits need not have it.
    """
    probabilities_BNV = torch.softmax(logits_BNV.float(), dim=-1)
    noise_BNV = torch.empty_like(probabilities_BNV).exponential_()
    guess_BN = (probabilities_BNV / noise_BNV).argmax(dim=-1)  # a draw from the probabilities
    sure_BN = probabilities_BNV.gather(-1, guess_BN.unsqueeze(-1)).squeeze(-1)
    known_BN = codes_BN != mask
    codes_BN = torch.where(known_BN, codes_BN, guess_BN)
    sure_BN = sure_BN.masked_fill(known_BN, float("inf"))
    unsure_BM = sure_BN.topk(masked, dim=-1, largest=False).indices
    return codes_BN.scatter(-1, unsure_BM, mask)


def parallel_decode(  # six: what a loop needs
    name: str, model: Callable[[Tensor, Tensor], Tensor], codes_BN: Tensor, text: Tensor, steps: int, guidance: int
) -> Tensor:
    """Decode a grid that is masked whole: `model(codes, text)` gives logits over every code but the mask.

    Every step is one forward, which is the stage `name`; with guidance its batch is twice that of the codes: with the
    prompt, then without it. What chooses the tokens is the stage `name`_sampler.
    """
    for masked in schedule(steps, codes_BN.shape[1]):
        with stage(name):
            found = model(codes_BN.repeat(guidance, 1), text)
        with stage(f"{name}_sampler"):
            codes_BN = reveal(codes_BN, guided(found, guidance), masked, mask=found.shape[-1])
    return codes_BN


def guided(found: Tensor, guidance: int) -> Tensor:
    """Classifier-free guidance over a batch of [with the prompt, without it]; without guidance `found` itself."""
    if guidance == 1:
        return found
    given, nothing = found.chunk(2)
    return torch.lerp(nothing, given, SCALE)
