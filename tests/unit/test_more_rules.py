"""Operations with rules of their own: what they move, by hand, and FLOPs of custom operators as torch counts them."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula  # noqa: E402

from frameroof.count.probe import recipe_of  # noqa: E402
from frameroof.count.record import record_recipe, trace  # noqa: E402


class Does(nn.Module):
    """A forward that is given."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        super().__init__()
        self.does = forward

    def forward(self, *given: Any) -> Any:
        return self.does(*given)


def of(shape: tuple[int, ...]) -> Any:
    return torch.empty(shape)


def chosen(*shape: int) -> Any:
    return torch.zeros(shape, dtype=torch.long)


# forward, inputs, kind, elements read, elements written
MOVES = {
    "hardswish": (F.hardswish, lambda: [of((8, 16))], "elementwise", 128, 128),
    "prelu": (F.prelu, lambda: [of((8, 16)), of((16,))], "elementwise", 128 + 16, 128),
    "nll_loss": (F.nll_loss, lambda: [of((64, 100)), chosen(64)], "reduction", 64 + 64, 2),
    "smooth_l1_loss": (F.smooth_l1_loss, lambda: [of((8, 16)), of((8, 16))], "reduction", 256, 1),
    "diag_embed": (torch.diag_embed, lambda: [of((8, 16))], "copy", 128, 8 * 16 * 16),
    "cdist": (torch.cdist, lambda: [of((64, 16)), of((32, 16))], "reduction", 96 * 16, 64 * 32),
    "bilinear": (F.bilinear, lambda: [of((8, 3)), of((8, 5)), of((7, 3, 5))], "reduction", 24 + 40 + 105, 56),
    "max_pool": (lambda x: F.max_pool2d(x, 2), lambda: [of((1, 4, 8, 8))], "reduction", 256, 64),
    "embedding_bag": (F.embedding_bag, lambda: [chosen(8, 4), of((100, 16))], "reduction", 32 * 16 + 32 + 8, None),
}


@pytest.mark.parametrize("name", MOVES)
def test_what_an_operation_moves(name):
    forward, inputs, kind, read, written = MOVES[name]
    found = trace(lambda: (Does(forward), tuple(inputs()), {}), {})
    op = next(op for op in found.ops if op.kind == kind)
    assert sum(prod(raw.shape) for raw in op.reads) == read
    assert written is None or sum(prod(raw.shape) for raw in op.writes) == written
    assert not found.uncounted


def test_cross_entropy_reads_its_logits_once_and_one_of_each_row_again():
    found = trace(lambda: (Does(F.cross_entropy), (of((64, 100)), chosen(64)), {}), {})
    assert [op.kind for op in found.ops] == ["softmax", "reduction"]


def test_a_custom_operator_has_the_flops_of_its_formula():
    @torch.library.custom_op("frameroof_tests::product", mutates_args=())
    def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a @ b

    @product.register_fake
    def _(a, b):
        return a.new_empty(*a.shape[:-1], b.shape[-1])

    @register_flop_formula(torch.ops.frameroof_tests.product)
    def _(a, b, *args, out_shape=None, **kwargs):
        return 2 * prod(a) * b[-1]

    def build(batch: int = 1, tokens: int = 256):
        module = Does(lambda x, w: torch.ops.frameroof_tests.product(x, w))
        return module, (of((batch, tokens, 64)), of((64, 128))), {}

    workload = record_recipe(recipe_of(build, "custom"))
    (stage,) = workload.stages
    for sizes in ({"batch": 1, "tokens": 256}, {"batch": 3, "tokens": 77}):
        env = stage.bind(workload.sizes(sizes))
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            module, given, _ = build(**sizes)
            module(*given)
        assert sum(op.flops()(env) * op.times(env) for op in stage.ops) == counter.get_total_flops()
        assert counter.get_total_flops() == 2 * sizes["batch"] * sizes["tokens"] * 64 * 128
    assert not workload.uncounted
