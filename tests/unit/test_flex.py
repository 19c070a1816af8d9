"""`flex_attention` is one attention: FLOPs of the rectangle, a limit of the pairs that its mask leaves, at every size.

What is right is a count of the mask itself, or a formula by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.attention.flex_attention import (  # noqa: E402
    BlockMask,
    and_masks,
    create_block_mask,
    flex_attention,
)
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from frameroof import count  # noqa: E402
from frameroof.count import masks  # noqa: E402
from frameroof.count.record import trace  # noqa: E402
from frameroof.passes import materialize_attention  # noqa: E402

compiled = torch.compile(flex_attention)


class Attends(nn.Module):
    """Attention over given queries and keys, which are the values, too."""

    def __init__(self, mask: Any = None, run: Any = flex_attention, **options: Any) -> None:
        super().__init__()
        self.mask, self.run, self.options = mask, run, options

    def forward(self, q: Any, k: Any) -> Any:
        mask = self.mask(q, k) if isinstance(self.mask, Callable) else self.mask
        return self.run(q, k, k, block_mask=mask, **self.options)


def tokens(q: int, kv: int = 0, b: int = 2, heads: tuple[int, int] = (4, 4)) -> tuple[Any, Any]:
    return torch.empty(b, heads[0], q, 16), torch.empty(b, heads[1], kv or q, 16)


def attention(stage: Any) -> Any:
    (op,) = (op for op in stage.ops if op.kind == "attention")
    return op


def made(function: Any, q: int, kv: int = 0, b: Any = None, heads: Any = None, **more: Any) -> Any:
    return create_block_mask(function, b, heads, q, kv or q, **more)


def pairs_of(function: Any, q: int, kv: int) -> int:
    return int(function(0, 0, torch.arange(q)[:, None], torch.arange(kv)[None]).sum())


def causal(b: Any, h: Any, q: Any, k: Any) -> Any:
    return q >= k


def window(b: Any, h: Any, q: Any, k: Any) -> Any:
    return (q >= k) & (q - k < 32)


@pytest.mark.parametrize("run", [flex_attention, compiled])
@pytest.mark.parametrize("options", [{}, {"score_mod": lambda s, b, h, q, k: s + q - k}])
def test_plain_is_the_rectangle_as_torch_counts_it(run, options):
    found = trace(lambda: (Attends(run=run, **options), tokens(40, 56), {}), {})
    (op,) = found.ops
    q, k = (torch.zeros(x.shape) for x in tokens(40, 56))
    with FlopCounterMode(display=False) as counter:  # of what off a GPU it is made of
        (q @ k.mT) @ k
    assert (op.kind, op.dims) == (
        "attention",
        {"b": 2, "heads": 4, "kv_heads": 4, "q": 40, "kv": 56, "d": 16, "dv": 16},
    )
    assert counter.get_total_flops() == 2 * 2 * 4 * 40 * 56 * 32
    assert [raw.shape for raw in op.reads] == [(2, 4, 40, 16), (2, 4, 56, 16), (2, 4, 56, 16)]
    assert not found.uncounted


@pytest.mark.parametrize("run", [flex_attention, compiled])
@pytest.mark.parametrize("where", ["builder", "forward", "cpu", "compiled"])
def test_a_causal_mask_is_causal_attention(run, where):
    def build(batch: int = 2, n: int = 48) -> Any:
        mask = made(causal, n) if where == "builder" else lambda q, k: made(causal, n, device=q.device)
        mask = made(causal, n, device="cpu", BLOCK_SIZE=16) if where == "cpu" else mask
        mask = torch.compile(create_block_mask)(causal, None, None, n, n) if where == "compiled" else mask
        return Attends(mask, run), tokens(n, b=batch), {}

    stage = count(build).stages[0]
    op = attention(stage)
    assert len(stage.ops) == 1  # the mask is not counted
    assert (op.attrs["causal"], op.attrs["align"]) == (True, "upper_left")
    env = {"b": 3, "u_n": 100}
    assert op.flops()(env) == 4 * 3 * 4 * 100**2 * 16
    assert op.executed_flops()(env) == 4 * 3 * 4 * (100 * 101 // 2) * 16


def test_a_causal_mask_beside_a_cache_is_aligned_at_the_lower_right():
    def build(new: int = 16, past: int = 40) -> Any:
        return Attends(made(lambda b, h, q, k: q + past >= k, new, new + past)), tokens(new, new + past), {}

    op = attention(count(build).stages[0])
    assert op.attrs["align"] == "lower_right"
    assert op.executed_flops()({"u_new": 5, "u_past": 7}) == 4 * 2 * 4 * (5 * 7 + 15) * 16


def test_grouped_keys_are_read_once_and_every_query_head_computes():
    (op,) = trace(lambda: (Attends(made(window, 64), enable_gqa=True), tokens(64, heads=(8, 2)), {}), {}).ops
    assert (op.dims["heads"], op.dims["kv_heads"]) == (8, 2)
    assert op.dims["twice_pairs"] == 2 * 2 * 8 * (32 * 33 // 2 + 32 * 32)
    assert op.reads[1].shape == (2, 2, 64, 16)


def test_a_window_follows_a_formula_where_it_is_full():
    def build(batch: int = 1, n: int = 256) -> Any:
        return Attends(made(window, n)), tokens(n, b=batch), {}

    workload = count(build)
    op = attention(workload.stages[0])
    assert workload.params["n"].least == 128  # from half of the default on: below the window it is another formula
    for n in (128, 200, 1000):
        assert op.executed_flops()({"b": 3, "u_n": n}) == 4 * 3 * 4 * pairs_of(window, n, n) * 16
    pieces = materialize_attention(workload).stages[0].ops
    env = {"b": 1, "u_n": 256}
    assert sum(piece.executed_flops()(env) for piece in pieces) == 4 * 4 * 256**2 * 16
    assert "attention.mask" in {piece.name for piece in pieces}


def test_frames_that_see_those_before_them():
    def build(frames: int = 3, height: int = 2) -> Any:
        size = height * 2
        return Attends(made(lambda b, h, q, k: q // size >= k // size, frames * size)), tokens(frames * size), {}

    op = attention(count(build).stages[0])
    env = {"t": 7, "h": 5}
    assert op.executed_flops()(env) == 4 * 2 * 4 * 16 * (10**2 * 7 * 8 // 2)


def test_known_lengths_leave_out_keys():
    def build(n: int = 64) -> Any:
        lengths = torch.tensor([n // 2, n // 2])
        return Attends(made(lambda b, h, q, k: k < lengths[b], n, b=2)), tokens(n), {}

    op = attention(count(build).stages[0])
    env = {"u_n": 20}  # in steps of two
    assert op.dims["twice_pairs"](env) == 2 * 2 * 4 * 40 * 20
    assert [tensor.shape[2](env) for tensor in op.reads] == [40, 20, 20]


def test_masks_that_differ_by_head_and_those_put_together():
    sizes = torch.tensor([1, 2, 4, 8])
    near = made(lambda b, h, q, k: (q - k).abs() < sizes[h], 64, heads=4)
    (op,) = trace(lambda: (Attends(near), tokens(64), {}), {}).ops
    by_hand = sum(64 + 2 * sum(64 - i for i in range(1, w)) for w in (1, 2, 4, 8))
    assert op.dims["twice_pairs"] == 2 * 2 * by_hand
    both = made(and_masks(causal, partial(lambda size, b, h, q, k: q - k < size, 8)), 64)
    (op,) = trace(lambda: (Attends(both), tokens(64), {}), {}).ops
    assert op.dims["twice_pairs"] == 2 * 2 * 4 * (36 + 56 * 8)


def test_blocks_that_are_given_are_kept_as_their_function_says():
    """Two rows of blocks: the first keeps block 0, the second block 0 whole and its own by the function."""
    many, which = torch.tensor([[[1, 1]]]), torch.tensor([[[[0, 1], [1, 0]]]])
    full, full_which = torch.tensor([[[0, 1]]]), torch.tensor([[[[0, 1], [0, 1]]]])
    mask = BlockMask.from_kv_blocks(
        many.int(), which.int(), full.int(), full_which.int(), BLOCK_SIZE=16, mask_mod=causal
    )
    (op,) = trace(lambda: (Attends(mask), tokens(32), {}), {}).ops
    assert op.dims["twice_pairs"] == 2 * 2 * 4 * (136 + 256 + 136)


def test_a_mask_cut_to_a_smaller_size_is_that_of_its_function():
    def build() -> Any:
        return Attends(made(window, 512)._adjust(200, 200)), tokens(200), {}

    (op,) = trace(build, {}).ops
    assert op.dims["twice_pairs"] == 2 * 2 * 4 * pairs_of(window, 200, 200)


def test_a_module_that_exists_has_real_blocks():
    module = Attends(create_block_mask(window, None, None, 300, 300, device="cpu"))
    op = attention(count(module, (torch.zeros(2, 4, 300, 16), torch.zeros(2, 4, 300, 16))).stages[0])
    assert op.dims["twice_pairs"]({}) == 2 * 2 * 4 * pairs_of(window, 300, 300)


def test_what_nobody_knows_is_limited_as_if_nothing_were_kept():
    def build() -> Any:
        learned = torch.empty(32)
        return Attends(made(lambda b, h, q, k: learned[q] > learned[k], 32)), tokens(32), {}

    workload = count(build, fixed=True)
    op = attention(workload.stages[0])
    assert op.executed_flops()({}) == 0 < op.flops()({})
    assert any("depends on values that are not known" in note for note in workload.notes)


def test_statistics_that_are_asked_for_are_written_and_a_dense_bias_is_read():
    def build() -> Any:
        bias = torch.empty(4, 64, 64)
        return Attends(score_mod=lambda s, b, h, q, k: s + bias[h, q, k], return_lse=True), tokens(32, 48), {}

    op = trace(build, {}).ops[0]
    assert [raw.shape for raw in op.reads[3:]] == [(4, 32, 48)]
    assert [(raw.shape, raw.dtype) for raw in op.writes] == [((2, 4, 32, 16), "bf16"), ((2, 4, 32), "fp32")]


def test_torch_s_own_functions_are_left_as_they_were():
    before = flex_attention.__code__, create_block_mask.__code__
    trace(lambda: (Attends(made(causal, 16)), tokens(16), {}), {})
    assert (flex_attention.__code__, create_block_mask.__code__) == before
    assert create_block_mask(causal, None, None, 256, 256, device="cpu").sparsity() == 25


@pytest.mark.parametrize("n", [400, 777])
@pytest.mark.parametrize(
    "function",
    [
        causal,
        window,
        lambda b, h, q, k: q // 52 >= k // 52,
        lambda b, h, q, k: (q < 150) & (k < 99),
        lambda b, h, q, k: ((q // 9 - k // 9).abs() < 3) & ((q % 9 - k % 9).abs() < 3),
    ],
)
def test_some_rows_of_a_large_mask_tell_the_rest(monkeypatch, function, n):
    monkeypatch.setattr(masks, "ALL_PAIRS", 1)
    dims = [1, 1, 1, n, n]
    (op,) = trace(lambda: (Attends(made(function, n)), (torch.empty(1, 1, n, 8),) * 2, {}), {}).ops
    if op.attrs["causal"]:
        assert function is causal
    else:
        assert op.dims["twice_pairs"] == 2 * pairs_of(function, *dims[3:])
        assert op.reads[1].shape[2] == int(function(0, 0, torch.arange(n)[:, None], torch.arange(n)[None]).any(0).sum())


def test_an_irregular_mask_that_is_too_large_is_never_overstated(monkeypatch):
    monkeypatch.setattr(masks, "ALL_PAIRS", 1)
    monkeypatch.setattr(masks, "MOST_PAIRS", 2 * 120 * 4000)
    n, uneven = 4000, lambda b, h, q, k: k < 100 + (q * 7919) % 500
    found = trace(lambda: (Attends(made(uneven, n)), (torch.empty(1, 1, n, 8),) * 2, {}), {})
    assert 2 * 100 * n <= found.ops[0].dims["twice_pairs"] <= 2 * pairs_of(uneven, n, n)
    assert any("fewest of those near by" in note for note in found.notes)
