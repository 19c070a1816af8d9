"""A predicted source of four models, made once for all tests that ask the experiments."""

from __future__ import annotations

from functools import cache

from frameroof.study.characterize.predicted import Predicted

MODELS = ("llama", "stable-diffusion", "make-a-video", "parti")


@cache
def predicted() -> Predicted:
    """The four models on an A100."""
    return Predicted("A100", MODELS)
