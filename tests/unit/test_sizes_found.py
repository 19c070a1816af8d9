"""Sizes that a builder does not declare: found, and exact against fresh counts at sizes that were never traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from frameroof.count.probe import recipe_of  # noqa: E402
from frameroof.count.record import record_recipe, trace  # noqa: E402
from frameroof.count.verify import trace_totals  # noqa: E402


class Does(nn.Module):
    """A module whose forward is given, with a linear layer of 16."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        super().__init__()
        self.proj = nn.Linear(16, 16)
        self.table = nn.Parameter(torch.empty(77, 16))
        self.does = forward

    def forward(self, x: Any) -> Any:
        return self.does(self, x)


def channels_last(height: int = 8, width: int = 8):
    """A copy that nothing needs at 1x1."""
    return Does(lambda m, x: m.proj(x.permute(0, 2, 3, 1).contiguous())), (torch.empty(1, 16, height, width),), {}


def unpadded(batch: int = 1, frames: int = 9, height: int = 16, width: int = 16):
    """(t-2)(h-2)(w-2), then a stride."""
    net = nn.Sequential(nn.Conv3d(3, 8, 3), nn.Conv3d(8, 8, 3, stride=(1, 2, 2), padding=1))
    return net, (torch.empty(batch, 3, frames, height, width),), {}


def strides(height: int = 30, width: int = 33):
    """Floors of floors."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.MaxPool2d(3, 2, 1), nn.Conv2d(8, 8, 3))
    return net, (torch.empty(1, 3, height, width),), {}


def heads(batch: int = 1, tokens: int = 8):
    """A copy that a batch of one does not need."""
    shape = (batch, tokens, 4, 16)
    return Does(lambda m, x: m.proj(x.permute(0, 2, 1, 3).flatten(0, 1))), (torch.empty(shape),), {}


def padded(tokens: int = 128):
    """Padding to a multiple that the default is."""
    return Does(lambda m, x: m.proj(F.pad(x, (0, 0, 0, -x.shape[1] % 64)))), (torch.empty(1, tokens, 16),), {}


def windows(height: int = 28, width: int = 30):
    """Windows of 7, padded only where they must be."""

    def forward(m: Any, x: Any) -> Any:
        b, h, w, c = x.shape
        if -h % 7 or -w % 7:
            x = F.pad(x, (0, 0, 0, -w % 7, 0, -h % 7))
        h, w = x.shape[1:3]
        return m.proj(x.view(b, h // 7, 7, w // 7, 7, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 49, c))

    return Does(forward), (torch.empty(1, height, width, 16),), {}


def numbered(n1: int = 8, n2: int = 12):
    """Two sizes whose names differ by a digit."""
    return Does(lambda m, x: m.proj(x).transpose(1, 2) @ torch.empty_like(x)), (torch.empty(n2, n1, 16),), {}


def positions(text: int = 77):
    """A table that ends at the default."""
    return Does(lambda m, x: m.proj(x + m.table[: x.shape[1]])), (torch.empty(1, text, 16),), {}


CASES = {
    channels_last: [(1, 1), (1, 5), (4, 1), (3, 17)],
    unpadded: [(1, 3, 3, 3), (2, 11, 31, 18), (5, 4, 28, 29)],
    strides: [(28, 31), (31, 46), (46, 29)],
    heads: [(1, 1), (1, 9), (6, 1), (3, 20)],
    padded: [(1,), (63,), (64,), (65,), (1000,), (1024,)],
    windows: [(7, 8), (7, 14), (14, 11), (20, 21), (35, 28)],
    numbered: [(1, 1), (30, 5)],
    positions: [(1,), (40,), (77,)],
}


@pytest.mark.parametrize("build", CASES, ids=lambda build: build.__name__)
def test_every_size_is_found_and_exact(build):
    workload = record_recipe(recipe_of(build, "case"))
    (stage,) = workload.stages
    assert all(size.step == 1 and size.least != size.most for size in workload.params.values())
    for case in CASES[build]:
        values = dict(zip(workload.params, case, strict=True))
        env = stage.bind(workload.sizes(values))
        found = {
            "flops": sum(op.flops()(env) * op.times(env) for op in stage.ops),
            "bits": sum(op.bits()(env) * op.times(env) for op in stage.ops),
            "calls": sum(op.count(env) for op in stage.ops),
        }
        assert found == trace_totals(trace(build, values)), values


def test_flops_of_an_unpadded_convolution_by_hand():
    def build(height: int = 16, width: int = 16):
        return nn.Conv2d(3, 8, 3, bias=False), (torch.empty(1, 3, height, width),), {}

    workload = record_recipe(recipe_of(build, "valid"))
    env = workload.stages[0].bind(workload.sizes({"height": 40, "width": 21}))
    assert [op.flops()(env) for op in workload.stages[0].ops] == [2 * 27 * 8 * 38 * 19]


def test_a_size_that_ends_at_its_default_says_why():
    recipe = recipe_of(positions, "positions")
    assert recipe.params["text"].most == 77
    assert any("text holds up to 77" in note and "Attempting to broadcast" in note for note in recipe.notes)


def test_a_size_that_stays_fixed_names_the_operation_and_the_remedy():
    def build(channels: int = 16):
        return nn.Linear(16, 16), (torch.empty(channels**3 // 7, 16),), {}

    (note,) = recipe_of(build, "cube").notes
    assert "linear" in note
    assert "declare the sizes with frameroof.workload.recipe.sizes" in note
