"""What operations touch of the tensors that they are called with, against what a hand counts: bounds rest on it."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from frameroof.count.record import trace
from frameroof.count.recorder import CannotCount
from frameroof.count.traffic import mark_traffic


def traced(forward, *given, **modules):
    class Forward(nn.Module):
        def forward(self, *tensors):
            return forward(self, *tensors)

    def build():
        net = Forward()
        for name, module in modules.items():
            net.add_module(name, module())
        return net.eval(), tuple(t() if callable(t) else torch.empty(t) for t in given), {}

    found = trace(build, {}, "fp32")
    mark_traffic([found])
    return found


def moved(forward, *given, **modules):
    """Elements that leave the chip, operation by operation."""
    every = [
        (op.name, sum(torch.Size(t.touched).numel() for t in (*op.reads, *op.writes) if t.traffic != "chip"))
        for op in traced(forward, *given, **modules).ops
    ]
    return [pair for pair in every if pair[1]]


def places(n):
    return lambda: torch.zeros(n, dtype=torch.long)


@pytest.mark.parametrize(
    ("forward", "given", "elements"),
    [
        (lambda _, x, y: torch.add(x, 1, out=y), ((4, 8), (4, 8)), 32 + 32),
        (lambda _, x, y: torch.cat([x, x[:2]], out=y), ((4, 8), (6, 8)), 32 + 48),
        (lambda _, x, y, z: torch.baddbmm(z, x, y, beta=0), ((2, 4, 8), (2, 8, 4), (2, 4, 4)), 64 + 64 + 32),
        (lambda _, x, y, z: torch.baddbmm(z, x, y), ((2, 4, 8), (2, 8, 4), (2, 4, 4)), 64 + 64 + 32 + 32),
        (lambda _, x: x.unfold(0, 16, 4).relu(), ((64,),), 64 + 13 * 16),
        (lambda _, x: x[:, ::2].relu(), ((4, 9),), 20 + 20),
        (lambda _, x: torch.diag(x).relu(), ((8, 8),), 8 + 8),
        (lambda _, x, y, i: x.index_add_(0, i, y), ((4, 8), (100, 8), places(100)), 800 + 100 + 32),
        (lambda _, x, y, i: x.index_add_(0, i, y), ((4, 8), (2, 8), places(2)), 16 + 2 + 16),
    ],
)
def test_what_one_operation_moves(forward, given, elements):
    assert sum(n for _, n in moved(forward, *given)) == elements


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "read"),
    [(1, 2, 0, 8 * 8), (2, 4, 0, 8 * 8), (2, 2, 0, 16 * 16), (3, 2, 1, 16 * 16), (1, 1, 0, 16 * 16)],
)
def test_a_stride_longer_than_the_kernel_steps_over_what_nobody_reads(kernel, stride, padding, read):
    net = nn.Conv2d(3, 5, kernel, stride, padding, bias=False, device="meta")
    made = 5 * net(torch.empty(1, 3, 16, 16, device="meta"))[0, 0].numel()
    weight = 15 * kernel * kernel
    conv = lambda: nn.Conv2d(3, 5, kernel, stride, padding, bias=False)  # noqa: E731
    assert moved(lambda m, x: m.conv(x), (1, 3, 16, 16), conv=conv) == [("convolution", 3 * read + weight + made)]


def test_a_norm_by_given_statistics_is_the_epilogue_of_a_convolution():
    """Input 768, weight 540, four numbers for each of 20 channels, output 5120: nothing in between."""
    net = {"conv": lambda: nn.Conv2d(3, 20, 3, padding=1, bias=False), "norm": lambda: nn.BatchNorm2d(20)}
    found = moved(lambda m, x: m.norm(m.conv(x)).relu(), (1, 3, 16, 16), **net)
    assert found == [("convolution", 768 + 540), ("batch_norm", 80), ("relu", 5120)]
    own = moved(lambda m, x: F.batch_norm(m.conv(x), None, None, training=True).relu(), (1, 3, 16, 16), **net)
    assert own == [("convolution", 768 + 540 + 5120), ("batch_norm", 5120), ("relu", 5120)]


@pytest.mark.parametrize(("product", "lead", "b"), [(torch.mm, (), 1), (torch.bmm, (2,), 2)])
def test_a_product_into_a_tensor_that_is_given_counts(product, lead, b):
    found = traced(lambda _, x, y, z: product(x, y, out=z), (*lead, 4, 8), (*lead, 8, 6), (*lead, 4, 6))
    assert [(op.kind, op.dims) for op in found.ops] == [("matmul", {"b": b, "m": 4, "n": 6, "k": 8})]
    assert not found.uncounted


def test_an_operation_that_returns_nothing_moves_what_it_reads_and_writes():
    """Two tensors of 32, read and written; there is no rule for lists, which is said."""
    found = traced(lambda _, x, y: torch._foreach_add_([x, y], 1.0), (4, 8), (4, 8))
    assert found.uncounted == {"aten._foreach_add_.Scalar": 1}
    assert moved(lambda _, x, y: torch._foreach_add_([x, y], 1.0), (4, 8), (4, 8)) == [("_foreach_add_", 4 * 32)]


def test_what_entries_are_added_to_is_needed():
    """More entries than the target has elements cover none of it for certain: the product stays."""
    found = traced(lambda _, x, w, y, i: (x @ w).index_add_(0, i, y) + 1, (4, 8), (8, 8), (100, 8), places(100))
    assert [op.name for op in found.ops if not op.attrs.get("unused")] == ["matmul", "index_add_", "add"]


def test_a_forward_that_yields_is_asked_for_all():
    def forward(m, x):
        for _ in range(3):
            x = m.linear(x)
            yield x

    found = traced(forward, (4, 8), linear=lambda: nn.Linear(8, 8))
    assert [op.name for op in found.ops if not op.attrs.get("unused")] == ["linear"] * 3


def test_a_forward_that_never_ends_or_never_begins_gets_a_sentence():
    def forever(_, x):
        while True:
            yield x

    async def waits(_, x):
        return x

    with pytest.raises(CannotCount, match="its forward yields results without an end"):
        traced(forever, (4, 8))
    with pytest.raises(CannotCount, match="its forward is a coroutine"):
        traced(waits, (4, 8))
