"""Causal attention from its operation to its limit: recorded, predicted, read from a trace, advised on.

The chunk of 512 queries over 8,192 keys computes, aligned at the lower right, 97 % of its rectangle.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention.bias import causal_lower_right, causal_upper_left
from trace_made import H100, Made

from frameroof.count.record import trace
from frameroof.estimate import estimate
from frameroof.estimate.grid import estimate_grid
from frameroof.gap import find_gap
from frameroof.hardware import device, parse_node
from frameroof.passes import materialize_attention
from frameroof.rules import LOWER_RIGHT, UPPER_LEFT
from frameroof.workload.expr import poly
from frameroof.workload.file import dumps, loads
from frameroof.workload.recipe import Size
from frameroof.workload.records import Op, Stage, Tensor, Workload

NODE, BF16 = parse_node("H100"), "c10::BFloat16"
PEAK = device("H100").dense_flops["bf16"]
PAIRS = {UPPER_LEFT: 512 * 513 // 2, LOWER_RIGHT: 512 * 7680 + 512 * 513 // 2}
OPERATOR = {UPPER_LEFT: "aten::_scaled_dot_product_efficient_attention", LOWER_RIGHT: "aten::_flash_attention_forward"}
FLASH = "aten::_scaled_dot_product_flash_attention"


def workload(q: str, kv: str, loop: tuple[str, str] | None = None, **attrs: str) -> Workload:
    sizes = {"b": "1", "heads": "32", "kv_heads": "32", "q": q, "kv": kv, "d": "128", "dv": "128"}
    query, keys = (Tensor((poly("1"), poly("32"), poly(n), poly("128")), "bf16") for n in (q, kv))
    dims = {name: poly(text) for name, text in sizes.items()}
    op = Op("attn", "attention", "sdpa", (query, keys, keys), (query,), dims, {"causal": True, **attrs})
    let = {"k": "n+i*512"} if loop else {"k": "n"}
    return Workload("chunk", {"n": Size(8192, 1)}, (Stage("prefill", (op,), let, loop=loop),))


def measured(tmp_path, operator: str, q: int, kv: int):
    """The gap of one call that took 1 ms."""
    t = Made(**H100)
    bnhd = operator.endswith("_attention_forward")
    shapes = [[1, n, 32, 128] if bnhd else [1, 32, n, 128] for n in (q, kv, kv)]
    concrete = ["", "", "", "", "", "512", "8192", "0.", "True"] if bnhd else ["", "", "", "", "", "0.", "True"]
    dims = [*shapes, *[[]] * (len(concrete) - 3)]
    t.one(operator, 10_000, 1_000_000, "flash_fwd_kernel", dims, [BF16] * 3 + [""] * (len(dims) - 3), concrete)
    run = t.run(tmp_path)
    return run, find_gap(run, device("H100")).rows[0]


@pytest.mark.parametrize("align", [UPPER_LEFT, LOWER_RIGHT])
def test_a_chunk_has_one_limit_predicted_and_measured(tmp_path, align):
    predicted = estimate(workload("512", "k", align=align), NODE, cold=True).total
    run, row = measured(tmp_path, OPERATOR[align], 512, 8192)
    flops = 4 * 32 * PAIRS[align] * 128
    moved = 2 * 32 * 128 * 2 * (512 + 8192)
    assert predicted.limit_s == pytest.approx(max(flops / PEAK, moved / device("H100").bandwidth))
    assert row.limit_ns == pytest.approx(predicted.limit_s * 1e9, abs=1)
    assert row.mfu == pytest.approx(flops / PEAK / 1e-3)
    assert (run.attention[0].causal, run.attention[0].align) == (True, align)
    assert run.attention[0].executed_flops == flops
    assert predicted.flops == 4 * 32 * 512 * 8192 * 128  # the convention: whole


@pytest.mark.parametrize("align", [UPPER_LEFT, LOWER_RIGHT])
@pytest.mark.parametrize("loop", [None, ("i", "3")])
def test_which_is_longer_may_depend_on_the_sizes(align, loop):
    """At 1 to 8,192 keys, in a grid and one by one, beside a count of the mask's pairs row by row."""
    made = workload("512", "k", loop, align=align)
    at = np.array([1, 40, 511, 512, 513, 8192])
    one = [estimate(made, NODE, {"n": int(n)}).total for n in at]
    grid = estimate_grid(made, [NODE], {"n": at})
    assert np.ravel(grid.limit_s) == pytest.approx([found.limit_s for found in one])
    (op,) = made.stages[0].ops
    for keys in (int(n) for n in at):
        shift = keys - 512 if align == LOWER_RIGHT else 0
        pairs = sum(min(max(row + 1 + shift, 0), keys) for row in range(512))
        assert op.executed_flops()({"k": keys}) == 4 * 32 * pairs * 128


def test_an_alignment_is_kept_in_files_and_torch_s_where_there_is_none():
    lower, none = workload("512", "k", align=LOWER_RIGHT), workload("512", "k")
    assert loads(dumps(lower)) == lower
    (op,) = none.stages[0].ops
    assert op.executed_flops()({"k": 8192}) == 4 * 32 * PAIRS[UPPER_LEFT] * 128
    with pytest.raises(ValueError, match="operation 'attn': align is upper_left or lower_right, not 'middle'"):
        loads(dumps(workload("512", "k", align="middle")))


def test_eager_attention_computes_what_its_mask_hides():
    made = estimate(materialize_attention(workload("512", "k", align=LOWER_RIGHT)), NODE).total
    assert sum(op.op.executed_flops()({"k": 8192}) for op in made.ops) == made.flops == 4 * 32 * 512 * 8192 * 128


def test_a_fast_causal_kernel_is_not_beyond_the_peak(tmp_path):
    """80 % of the peak by what it computes is 160 % by the square, which is no reason to doubt the device."""
    t, shape = Made(**H100), [1, 32, 4096, 128]
    flops = 4 * 32 * (4096 * 4097 // 2) * 128
    concrete = ["", "", "", "0.", "True"]
    time = round(flops / PEAK / 0.8 * 1e9)
    t.one(FLASH, 10_000, time, "flash_fwd", [*[shape] * 3, [], []], [BF16] * 3 + ["", ""], concrete)
    run = t.run(tmp_path)
    (row,) = run.operators
    assert row.share_of_peak == pytest.approx(0.8, rel=1e-4)
    assert row.flops == 4 * 32 * 4096**2 * 128
    assert not [p for p in run.problems if "peak" in p.what]


@pytest.mark.parametrize("causal", ["True", "False"])
def test_what_fused_attention_could_save_is_above_what_its_mask_leaves(tmp_path, causal):
    """SDPA's plain fallback: products and softmax of the whole square inside the operator that says it is causal."""
    t, n = Made(**H100), 4096
    q, scores = [1, 32, n, 128], [1, 32, n, n]
    dims = [q, q, q, [], [], []]
    t.op(
        "aten::scaled_dot_product_attention",
        10_000,
        90_000,
        dims,
        [BF16] * 3 + [""] * 3,
        ["", "", "", "", "0.", causal],
    )
    rows = [
        ("aten::bmm", [[32, n, 128], [32, 128, n]], 20_000),
        ("aten::_softmax", [scores, [], []], 40_000),
        ("aten::bmm", [[32, n, n], [32, n, 128]], 60_000),
    ]
    for name, shapes, at in rows:
        types = [BF16 if shape else "" for shape in shapes]
        t.one(name, at, 1_000_000, name, shapes, types)
    run = t.run(tmp_path)
    (row,) = run.attention
    pairs = n * (n + 1) // 2 if causal == "True" else n * n
    limit = 4 * 32 * pairs * 128 / PEAK * 1e9
    assert (row.fused, row.causal) == (False, causal == "True")
    assert row.saved_at_most_ns == pytest.approx(row.time_ns - limit, abs=1)
    (gap,) = (r for r in find_gap(run, device("H100")).rows if r.class_ == "attention")
    assert gap.limit_ns == pytest.approx(limit, abs=1)
    assert gap.mfu == pytest.approx(4 * 32 * n * n * 128 / PEAK * 1e9 / row.time_ns)  # it computes the square


# ------------------------------------------------------------------------------------------------ recorded


class Chunk(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        if self.how == "flash_attn":
            return torch.ops.flash_attn._flash_attn_forward(
                q.mT.mT.transpose(1, 2), k.transpose(1, 2), k.transpose(1, 2), 0.0, True
            )
        if self.how == "is_causal":
            return F.scaled_dot_product_attention(q, k, k, is_causal=True)
        bias = {"upper": causal_upper_left, "lower": causal_lower_right}[self.how](q.shape[-2], k.shape[-2])
        return F.scaled_dot_product_attention(q, k, k, bias)


@pytest.fixture(scope="module")
def flash_attn():
    """The operator of the package of that name, which is not installed here."""
    with torch.library._scoped_library("flash_attn", "DEF") as library:
        library.define("_flash_attn_forward(Tensor q, Tensor k, Tensor v, float dropout_p, bool causal) -> Tensor")
        library.impl("_flash_attn_forward", lambda q, k, v, p, causal: torch.empty_like(q), "Meta")
        yield


@pytest.mark.parametrize(
    ("how", "align"),
    [("is_causal", UPPER_LEFT), ("upper", UPPER_LEFT), ("lower", LOWER_RIGHT), ("flash_attn", LOWER_RIGHT)],
)
def test_the_alignment_is_recorded(flash_attn, how, align):
    found = trace(lambda: (Chunk(how), (torch.empty(2, 4, 8, 16), torch.empty(2, 4, 24, 16)), {}), {})
    (op,) = (op for op in found.ops if op.kind == "attention")
    assert {name: op.attrs[name] for name in ("causal", "align")} == {"causal": True, "align": align}
    assert op.dims == {"b": 2, "heads": 4, "kv_heads": 4, "q": 8, "kv": 24, "d": 16, "dv": 16}
    assert len(op.reads) == 3  # no mask is made
    assert not found.uncounted
    assert causal_lower_right(2, 3)._materialize().sum() == 5  # torch's own is as it was


# ------------------------------------------------------------------------------------------------ traces


@pytest.mark.parametrize(
    ("operator", "concrete", "told"),
    [
        ("aten::scaled_dot_product_attention", {5: "True"}, (True, UPPER_LEFT)),
        ("aten::_scaled_dot_product_flash_attention", {4: "True"}, (True, LOWER_RIGHT)),
        ("aten::_scaled_dot_product_flash_attention", {4: "False"}, (False, "")),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", {4: "True"}, (True, UPPER_LEFT)),
        ("aten::_efficient_attention_forward", {9: "0"}, (False, "")),
        ("aten::_efficient_attention_forward", {9: "1"}, (True, UPPER_LEFT)),
        ("aten::_efficient_attention_forward", {9: "2"}, (True, LOWER_RIGHT)),
        ("flash_attn::_flash_attn_forward", {5: "True"}, (True, LOWER_RIGHT)),
        ("flash_attn::_flash_attn_forward", {}, (None, "")),
    ],
)
def test_an_operator_s_mask_is_what_it_means(tmp_path, operator, concrete, told):
    t = Made(**H100)
    dims = [[1, 8, 4, 64], [1, 8, 4, 64], [1, 8, 4, 64], *[[]] * 7]
    values = [concrete.get(at, "") for at in range(10)]
    t.one(operator, 10_000, 50_000, "fmha_fwd", dims, [BF16] * 3 + [""] * 7, values)
    (row,) = t.run(tmp_path).attention
    assert (row.causal, row.align) == told
