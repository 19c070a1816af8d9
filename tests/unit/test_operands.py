"""What operations touch of the tensors that they are called with, against what a hand counts: bounds rest on it."""

import pytest
import torch
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
