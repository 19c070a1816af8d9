"""Teacher forcing by latents: a taught stream goes on as one that was handed the teacher's cache and past."""

from __future__ import annotations

import pytest
import torch
from stream_made import distance, engine

VARIANTS = ("baseline", "ring", "context-before", "fold")


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_taught_stream_equals_one_with_the_teacher_s_cache(variant: str) -> None:
    """6 blocks, the window full after 4: sinks, a filling window and a moving one."""
    teacher, taught, handed = (engine(variant).prepare("a cat runs", seed=seed) for seed in (0, 7, 7))
    for number in range(6):
        right = teacher.generate_block().latents.clone()
        own = taught.generate_block().latents.clone()
        assert distance(own, handed.generate_block().latents) < 1e-5, number
        assert distance(own, right) > 0.1  # other noise: what is equal comes from the past
        taught.teach(right)
        handed.follow(teacher)


def test_a_stream_that_is_taught_what_it_made_is_unchanged() -> None:
    alone, taught = (engine("fold").prepare("a cat runs") for _ in range(2))
    for _ in range(6):
        block = alone.generate_block().latents.clone()
        made = taught.generate_block().latents.clone()
        assert torch.equal(block, made)
        taught.teach(made)


def test_what_cannot_be_taught_is_a_sentence() -> None:
    session = engine("ring").prepare("a cat runs")
    with pytest.raises(ValueError, match="A stream is taught after a block; none is done"):
        session.teach(torch.zeros(1))
    session.generate_block()
    with pytest.raises(ValueError, match=r"The last block is \(1, 4, 3, 4, 6\); \(1, 2\) was taught"):
        session.teach(torch.zeros(1, 2))
