"""Recurrent layers and loops of many steps: folded rows, right at sizes never traced, found at few steps."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import frameroof  # noqa: E402
from frameroof.count import CannotCount, loops  # noqa: E402
from frameroof.workload.verified import verified  # noqa: E402

WIDTH, HIDDEN = 6, 8


class Steps(nn.Module):
    """A cell called step by step; beyond `most` steps, one layer more."""

    def __init__(self, most=10**9):
        super().__init__()
        self.cell, self.most, self.more = nn.GRUCell(WIDTH, HIDDEN), most, nn.Linear(HIDDEN, HIDDEN)

    def forward(self, x_BTC):
        state, seen = None, []
        for x_BC in x_BTC.unbind(1):
            state = self.cell(x_BC, state)
            seen.append(state)
        out = torch.stack(seen, 1)
        return self.more(out) if len(seen) > self.most else out


def lstm(tokens, gates=4, ways=1, inputs=(WIDTH, HIDDEN), read=HIDDEN):
    """Multiply-adds of each of its layers by hand: gates times (input and state) times hidden."""
    return sum(tokens * ways * gates * HIDDEN * (width + read) for width in inputs)


LAYERS = {
    "lstm": (lambda: nn.LSTM(WIDTH, HIDDEN, 2), lambda t: lstm(t)),
    "gru": (lambda: nn.GRU(WIDTH, HIDDEN, 2), lambda t: lstm(t, 3)),
    "rnn": (lambda: nn.RNN(WIDTH, HIDDEN, 2), lambda t: lstm(t, 1)),
    "both ways": (
        lambda: nn.LSTM(WIDTH, HIDDEN, 2, bidirectional=True),
        lambda t: lstm(t, ways=2, inputs=(WIDTH, 2 * HIDDEN)),
    ),
    "projected": (
        lambda: nn.LSTM(WIDTH, HIDDEN, 2, proj_size=4),
        lambda t: lstm(t, inputs=(WIDTH, 4), read=4) + 2 * t * HIDDEN * 4,
    ),
}


def flops(workload, sizes):
    values = workload.stages[0].bind(workload.sizes(sizes))
    return sum(op.flops()(values) * op.times(values) for op in workload.stages[0].ops)


@pytest.mark.parametrize("name", LAYERS)
def test_a_recurrent_layer_is_rows_that_hold_at_every_length(name):
    make, by_hand = LAYERS[name]

    def build(batch=2, tokens=9):
        return make(), (torch.empty(tokens, batch, WIDTH),), {}

    workload = frameroof.count(build)
    assert {n: s.most for n, s in workload.params.items()} == {"batch": None, "tokens": None}
    assert len(workload.stages[0].ops) < 25
    for batch, tokens in ((2, 9), (5, 33), (3, 70)):
        assert flops(workload, {"batch": batch, "tokens": tokens}) == 2 * batch * by_hand(tokens)


def test_a_long_loop_is_traced_once_and_its_rule_found_at_few_steps(monkeypatch):
    monkeypatch.setattr(loops, "LONG", 100)
    traced = []

    def build(batch=2, tokens=120):
        traced.append(tokens)
        return Steps(), (torch.empty(batch, tokens, WIDTH),), {}

    workload = frameroof.count(build)
    assert [tokens for tokens in traced if tokens > 100] == [120]
    assert workload.params["tokens"].default == 120
    assert verified(workload)["tokens"] == (1, 120)
    assert flops(workload, {"tokens": 500}) == 2 * 2 * lstm(500, 3, inputs=(WIDTH,))


class Stacked(nn.Module):
    """Layers whose steps are stacked under one path: sums of one size, each of its own."""

    def __init__(self):
        super().__init__()
        self.cells = nn.ModuleList(nn.RNNCell(HIDDEN, HIDDEN) for _ in range(3))

    def forward(self, x_BTC):
        for cell in self.cells:
            x_BTC = torch.stack([cell(x_BC) for x_BC in x_BTC.unbind(1)], 1)
        return x_BTC


def test_sums_of_one_size_are_not_folded_into_one():
    def build(tokens=6):
        return Stacked(), (torch.empty(2, tokens, HIDDEN),), {}

    ops = frameroof.count(build).stages[0].ops
    stacks = [op for op in ops if op.name in ("stack", "cat")]
    assert [op.bits()({"u_tokens": 6}) * op.times({"u_tokens": 6}) for op in stacks] == [2 * 2 * 6 * HIDDEN * 16] * 3


def test_a_rule_of_few_steps_that_many_do_not_follow_is_dropped(monkeypatch):
    monkeypatch.setattr(loops, "LONG", 50)

    def build(tokens=32):
        return Steps(most=30), (torch.empty(2, tokens, WIDTH),), {}

    many = 2 * 2 * (lstm(32, 3, inputs=(WIDTH,)) + 32 * HIDDEN * HIDDEN)
    assert flops(frameroof.count(build), {}) == many


def test_a_packed_sequence_is_refused_with_what_to_give():
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.LSTM(WIDTH, HIDDEN, batch_first=True)

        def forward(self, x, lengths):
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
            return self.layer(packed)[0].data

    with pytest.raises(CannotCount, match="give the padded batch"):
        frameroof.count(Packed(), (torch.empty(2, 5, WIDTH), torch.tensor([5, 3])))
