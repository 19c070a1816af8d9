"""Attention as one thing: eager and fused, by hand-made traces; kinds, geometry, what a fused kernel could save."""

from __future__ import annotations

import pytest
from trace_made import H100, Made

from frameroof.hardware import device
from frameroof.trace.find.attention.calls import find_attention
from frameroof.trace.read.decode import read
from frameroof.trace.resolve.attention_call import AttentionCall
from frameroof.trace.resolve.work_table import make_work_table

BF16 = "c10::BFloat16"


def eager(t, start, batch=2, heads=3, q=16, k=16, d=8, module=None, between=(), step=10_000):
    """Softmax attention as separate kernels from `start` on, each 4 us long; returns when the next may start."""
    groups = batch * heads
    matrix = [batch, heads, q, k]
    todo = [
        ("aten::bmm", [[groups, q, d], [groups, d, k]]),
        *((name, [matrix, other]) for name, other in between),
        ("aten::_softmax", [matrix, [], []]),
        ("aten::bmm", [[groups, q, k], [groups, k, d]]),
    ]
    if module:
        t.module(module, start - 7_000, step * len(todo) + 7_000)
    for i, (operator, dims) in enumerate(todo):
        t.one(operator, start + i * step, 4_000, dims=dims, types=[BF16 if x else "" for x in dims])
    return start + step * len(todo) + 10_000


def fused(t, start, q, k, operator="aten::_scaled_dot_product_flash_attention", concrete=None, length=4_000):
    t.one(operator, start, length, "flash_fwd", [q, k, k], [BF16] * 3, concrete)


def found(t, tmp_path):
    return find_attention(t.place(tmp_path))


def test_the_eager_pattern_is_one_attention(tmp_path):
    """QK, scale, mask, softmax, dropout, AV are one; the projection before and the norm after are not."""
    t = Made(**H100)
    t.one("aten::addmm", 10_000, 1_000, dims=[[24], [32, 24], [24, 24]])
    end = eager(t, 30_000, between=[("aten::mul", []), ("aten::add", [1, 1, 16, 16])])
    t.one("aten::native_layer_norm", end, 1_000, dims=[[2, 16, 24]])
    run = t.run(tmp_path)
    (row,) = run.attention
    assert (row.batch, row.heads, row.query_len, row.key_len, row.head_dim) == (2, 3, 16, 16, 8)
    assert (row.fused, row.kind, row.count, row.time_ns, row.dtype) == (False, "self", 1, 5 * 4_000, "bf16")
    assert row.flops == 2 * 2 * 2 * 3 * 16 * 16 * 8
    assert row.bytes == 2 * 4 * (2 * 3 * 16 * 8)  # q, k, v and the output in bf16
    assert row.matrix_bytes == 2 * 2 * 3 * 16 * 16
    h100 = device("H100")
    limit = max(row.flops / h100.dense_flops["bf16"], row.bytes / h100.bandwidth)
    assert row.saved_at_most_ns == 20_000 - int(limit * 1e9)
    assert {c.name: c.time_ns for c in run.classes} == {"attention": 20_000, "linear": 1_000, "layer norm": 1_000}
    assert next(c for c in run.classes if c.name == "attention").flops == row.flops
    assert run.coverage.flops == 1.0  # that a softmax has no multiply-adds is known


@pytest.mark.parametrize("d", [8, 16])
@pytest.mark.parametrize("missing", [0, 2])
def test_a_product_belongs_to_one_attention_only(tmp_path, d, missing):
    """Three layers of the same size one after the other, one of the products of the second fused into something else.

    With a head dimension of 16 the second product of a layer has the sizes of a first one."""
    t = Made()
    at = eager(t, 10_000, d=d)
    second = [
        ("aten::bmm", [[6, 16, d], [6, d, 16]]),
        ("aten::_softmax", [[2, 3, 16, 16], [], []]),
        ("aten::bmm", [[6, 16, 16], [6, 16, d]]),
    ]
    for i, (name, dims) in enumerate(second):
        if i != missing:
            t.one(name, at + 10_000 * i, 4_000, dims=dims)
    eager(t, at + 40_000, d=d)
    calls = found(t, tmp_path)
    assert [len(c.rows) for c in calls] == [3, 3]
    assert len({r for c in calls for r in c.rows}) == 6


def test_no_pattern_reaches_over_another_softmax(tmp_path):
    t = Made()
    matrix = [[2, 3, 16, 16], [], []]
    t.one("aten::bmm", 10_000, 4_000, dims=[[6, 16, 8], [6, 8, 16]])
    t.one("aten::_softmax", 20_000, 4_000, dims=matrix)
    t.one("aten::_softmax", 30_000, 4_000, dims=matrix)
    t.one("aten::bmm", 40_000, 4_000, dims=[[6, 16, 16], [6, 16, 8]])
    assert found(t, tmp_path) == []


def test_a_softmax_that_is_no_attention(tmp_path):
    t = Made()
    t.one("aten::mm", 10_000, 4_000, dims=[[16, 8], [8, 1000]])
    t.one("aten::_softmax", 20_000, 4_000, dims=[[16, 1000], [], []])
    t.one("aten::mm", 30_000, 4_000, dims=[[16, 1000], [1000, 8]])
    assert found(t, tmp_path) == []
    assert {c.name for c in t.run(tmp_path).classes} == {"linear", "softmax"}


def test_other_streams_do_not_mix(tmp_path):
    t = Made()
    eager(t, 10_000)
    for i in range(3):
        t.one("aten::bmm", 12_000 + 10_000 * i, 500, dims=[[6, 16, 8], [6, 8, 16]], stream=9)
    (call,) = found(t, tmp_path)
    assert call.duration == 12_000


@pytest.mark.parametrize(
    ("q", "k", "operator", "concrete", "want"),
    [
        # geometry: batch, heads, queries, keys, head dimension; heads of k and v; causal
        ([2, 24, 4096, 64], [2, 24, 4096, 64], None, None, (2, 24, 4096, 4096, 64, 24, None)),
        ([1, 32, 512, 128], [1, 8, 512, 128], None, ["", "", "", "0.", "True"], (1, 32, 512, 512, 128, 8, True)),
        ([2, 24, 4096, 64], [2, 24, 77, 64], None, ["", "", "", "0.", "False"], (2, 24, 4096, 77, 64, 24, False)),
        ([2, 4096, 24, 64], [2, 77, 24, 64], "aten::_flash_attention_forward", None, (2, 24, 4096, 77, 64, 24, None)),
        ([900, 8, 64], [900, 2, 64], "aten::_flash_attention_forward", None, (0, 8, 0, 0, 64, 2, None)),  # packed
        ([12, 900, 64], [12, 77, 64], "aten::scaled_dot_product_attention", None, (12, 1, 900, 77, 64, 1, None)),
        ([2, 4096, 24, 64], [2, 77, 24, 64], "flash_attn::fwd", None, (2, 24, 4096, 77, 64, 24, None)),
        ([2, 24, 4096, 64], [2, 24, 77, 64], "sageattn::qk_int8", None, (2, 24, 4096, 77, 64, 24, None)),
        ([1, 32, 4096, 128], [1, 8, 4096, 128], "my_flash_attn", None, (1, 32, 4096, 4096, 128, 8, None)),
        ([1, 4096, 32, 128], [1, 4096, 8, 128], "my_flash_attn", None, (1, 32, 4096, 4096, 128, 8, None)),
        ([1, 32, 1, 128], [1, 8, 500, 128], "my_flash_attn", None, (1, 32, 1, 500, 128, 8, None)),
        ([1, 16, 24, 64], [1, 4096, 24, 64], "my_flash_attn", None, (1, 24, 16, 4096, 64, 24, None)),
    ],
)
def test_fused_kernels(tmp_path, q, k, operator, concrete, want):
    t = Made()
    fused(t, 10_000, q, k, operator or "aten::_scaled_dot_product_flash_attention", concrete)
    (call,) = found(t, tmp_path)
    assert (*call.geometry, call.kv_heads, call.causal) == want
    batch, heads, n, m, d, kv, _ = want
    assert call.flops == (4 * batch * heads * n * m * d or None)
    assert call.bytes == (2 * 2 * batch * d * (heads * n + kv * m) or None)
    assert call.fused


def test_values_of_another_width_than_the_keys(tmp_path):
    """Latent attention read out: q and k of 192, v and the output of 128."""
    t = Made()
    dims = [[1, 16, 512, 192], [1, 16, 512, 192], [1, 16, 512, 128]]
    t.one("aten::_scaled_dot_product_cudnn_attention", 10_000, 9_000, "flash", dims, ["c10::BFloat16"] * 3)
    (call,) = found(t, tmp_path)
    assert call.flops == 2 * 16 * 512 * 512 * (192 + 128)
    assert call.bytes == 2 * 16 * 512 * 2 * (192 + 128)


def test_an_operator_inside_an_operator_is_one_attention(tmp_path):
    """The outer one fills a buffer by itself, the inner one holds the kernel."""
    t = Made()
    dims, types = [[1, 4, 64, 8]] * 3, [BF16] * 3
    t.op("aten::scaled_dot_product_attention", 0, 20_000, dims, types, ["", "", "", "", "0.", "True"])
    t.call(1_000, 500, 1)
    t.op("aten::_efficient_attention_forward", 5_000, 10_000, [[1, 64, 4, 8]] * 3, types)
    t.call(6_000, 500, 2)
    t.kernel(30_000, 1_000, 1, "fill")
    t.kernel(32_000, 9_000, 2, "fmha_cutlassF")
    (row,) = t.run(tmp_path).attention
    assert (row.count, row.time_ns, row.query_len, row.heads, row.causal) == (1, 10_000, 64, 4, True)


def test_helpers_join_their_attention(tmp_path):
    t = Made()
    t.one("sageattn::quant", 10_000, 1_000, "sage_quant_kernel")
    fused(t, 20_000, [1, 8, 64, 32], [1, 8, 64, 32])
    t.one("aten::flash_combine", 40_000, 500, "flash_splitkv_combine")
    (call,) = found(t, tmp_path)
    assert (call.duration, call.query_len) == (5_500, 64)


def test_kinds(tmp_path):
    t = Made()
    at = eager(t, 10_000, batch=1, q=64, k=64)  # 64 tokens of an image
    at = eager(t, at, batch=1, q=64, k=7)  # keys of other length: cross
    at = eager(t, at, batch=1, q=7, k=7, module="EncDecAttention_2")  # named cross
    at = eager(t, at, batch=2, q=16, k=16, module="TemporalBlock_0")  # named temporal
    fused(t, at, [1, 3, 1, 8], [1, 3, 90, 8])  # one query at a time: decoding, not cross
    fused(t, at + 20_000, [1, 3, 8, 8], [1, 3, 90, 8], concrete=["", "", "", "0.", "True"])  # a chunk, causal
    assert [c.kind for c in found(t, tmp_path)] == ["self", "cross", "cross", "temporal", "self", "self"]


def test_the_same_tokens_along_time_and_along_space(tmp_path):
    """16 frames of 256 positions: 256 sequences of 16 beside 16 sequences of 256 (and one class token)."""
    t = Made()
    at = eager(t, 10_000, batch=256, q=16, k=16)
    at = eager(t, at, batch=16, q=257, k=257)
    eager(t, at, batch=1, q=333, k=333)
    assert [(c.kind, c.query_len) for c in found(t, tmp_path)] == [("temporal", 16), ("spatial", 257), ("self", 333)]


def test_two_resolutions_of_an_image_are_not_time_and_space(tmp_path):
    t = Made()
    at = eager(t, 10_000, batch=2, q=1024, k=1024)
    at = eager(t, at, batch=2, q=256, k=256)
    at = eager(t, at, batch=20, q=300, k=300)  # as many tokens as the next, and no square as short
    eager(t, at, batch=30, q=200, k=200)
    assert [c.kind for c in found(t, tmp_path)] == ["self"] * 4


def test_the_sequence_over_the_run(tmp_path):
    t = Made()
    for i, n in enumerate((90, 180, 270)):  # a cache that grows
        fused(t, 10_000 * (i + 1), [1, 4, 90, 8], [1, 4, n, 8])
    run = t.run(tmp_path)
    assert [(s.query_len, s.key_len, s.time_ns) for s in run.sequence] == [
        (90, 90, 4_000),
        (90, 180, 4_000),
        (90, 270, 4_000),
    ]
    assert [s.start_ns for s in run.sequence] == [10_000, 20_000, 30_000]


def test_sizes_that_were_not_recorded(tmp_path):
    t = Made()
    t.kernel(10_000, 5_000, 1, "flash_fwd_kernel")
    run = t.run(tmp_path)
    (row,) = run.attention
    assert (row.time_ns, row.query_len, row.saved_at_most_ns) == (5_000, 0, 0)
    assert run.summary.flops is None
    assert run.coverage.flops == 0.0


def test_flops_of_a_processor_run_with_eager_attention(tmp_path):
    """The wrappers of the processor (`matmul` around `bmm`, `softmax` around `_softmax`) make one attention."""
    torch = pytest.importorskip("torch")
    from torch.profiler import ProfilerActivity, profile

    q = torch.ones(2, 3, 32, 8)
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], record_shapes=True) as recorded:
        for _ in range(3):
            weights = torch.softmax(torch.matmul(q, q.transpose(-1, -2)) * 0.3, -1)
            torch.matmul(weights, q)
    recorded.export_chrome_trace(str(tmp_path / "cpu.json"))
    from frameroof.trace.to_run import analyze

    run = analyze(tmp_path / "cpu.json")
    (row,) = run.attention
    assert (row.count, row.batch, row.heads, row.query_len, row.key_len, row.head_dim) == (3, 2, 3, 32, 32, 8)
    assert run.summary.flops == row.flops == 3 * 4 * 2 * 3 * 32 * 32 * 8


def test_bytes_are_linear_and_flops_square():
    one, two = (AttentionCall([], True, 1, 8, n, n, 64) for n in (1000, 2000))
    assert two.bytes == 2 * one.bytes
    assert two.flops == 4 * one.flops


def test_copies_of_the_factors_stand_around_their_attention(tmp_path):
    """`matmul` makes its factors contiguous first: beside the attention, in the class of copies, and known to it."""
    t = Made(**H100)
    for i, (name, dims) in enumerate([
        ("aten::matmul", [[2, 3, 16, 8], [2, 3, 8, 16]]),
        ("aten::softmax", [[2, 3, 16, 16], [], []]),
        ("aten::matmul", [[2, 3, 16, 16], [2, 3, 16, 8]]),
    ]):  # fmt: skip
        at = 100_000 * i
        t.op(name, at, 50_000, dims, ["float", "float"])
        if name == "aten::matmul":
            t.op("aten::clone", at + 1_000, 9_000, [dims[1]], ["float"])
            t.op("aten::copy_", at + 2_000, 5_000, [dims[1], dims[1]], ["float", "float"])
            t.call(at + 3_000, 500, 1000 * i + 901)
            t.kernel(at + 20_000, 700, 1000 * i + 901, "direct_copy")
            (batch, heads, n, d), m = dims[0], dims[1][3]
            dims = [[batch * heads, n, d], [batch * heads, d, m]]
        t.op(name.replace("matmul", "bmm").replace("soft", "_soft"), at + 20_000, 5_000, dims, ["float", "float"])
        t.call(at + 21_000, 500, 1000 * i + 902)
        t.kernel(at + 60_000, 4_000, 1000 * i + 902, "work")
    t.one("aten::copy_", 400_000, 900, "direct_copy", [[2, 16, 24]] * 2, ["float"] * 2)  # of what follows
    (call,) = found(t, tmp_path)
    work_table = t.place(tmp_path)
    assert [work_table.kernel[row] for row in call.rows] == ["work"] * 3
    assert [work_table.kernel[row] for row in call.around] == ["direct_copy"] * 2
    assert call.duration == 3 * 4_000
    run = t.run(tmp_path)
    assert {c.name: c.time_ns for c in run.classes} == {"attention": 12_000, "copy": 2 * 700 + 900}


def profiled(tmp_path, work):
    torch = pytest.importorskip("torch")
    from torch.profiler import ProfilerActivity, profile

    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], record_shapes=True) as recorded:
        work(torch)
    recorded.export_chrome_trace(str(tmp_path / "cpu.json"))
    work_table = make_work_table(read(tmp_path / "cpu.json"))
    return work_table, find_attention(work_table)


def test_the_eager_pattern_inside_of_pytorchs_function_is_one_attention(tmp_path):
    """PyTorch's plain fallback of `scaled_dot_product_attention`: matmul, softmax, matmul within one operator."""

    def work(torch):
        from torch.nn.attention import SDPBackend, sdpa_kernel

        q, k = torch.ones(2, 3, 32, 8), torch.ones(2, 3, 20, 8)
        with sdpa_kernel(SDPBackend.MATH):
            torch.nn.functional.scaled_dot_product_attention(q, k, k)

    work_table, calls = profiled(tmp_path, work)
    (call,) = calls
    assert (call.geometry, call.fused, call.causal, call.kind) == ((2, 3, 32, 20, 8), False, False, "cross")
    whole = {
        row for row, at in enumerate(work_table.operator_row.tolist()) if at >= call_of(work_table, "aten::scaled_dot")
    }
    assert set(call.rows) | set(call.around) == whole  # nothing else was run


def call_of(work_table, prefix):
    """The first call of an operator."""
    return min(
        at for at, name in zip(work_table.operator_row.tolist(), work_table.operator, strict=True) if prefix in name
    )


def test_heads_folded_into_the_batch_are_told_by_the_layer_that_follows(tmp_path):
    """`nn.MultiheadAttention` multiplies (batch x heads, tokens, width of a head)."""

    def work(torch):
        attend = torch.nn.MultiheadAttention(24, 3, batch_first=True).eval()
        x = torch.ones(2, 32, 24)
        attend(x, x, x, need_weights=True)

    _, (call,) = profiled(tmp_path, work)
    assert (call.geometry, call.fused) == ((2, 3, 32, 32, 8), False)


def test_pytorchs_fast_path_of_an_encoder_layer_is_one_attention(tmp_path):
    """`_native_multi_head_attention` holds its projections too: those stay linear layers."""

    def work(torch):
        attend = torch.nn.MultiheadAttention(32, 4, batch_first=True).eval()
        x = torch.ones(2, 16, 32)
        attend(x, x, x, need_weights=False)

    work_table, (call,) = profiled(tmp_path, work)
    assert (call.geometry, call.fused, call.kind) == ((2, 4, 16, 16, 8), False, "self")
    operators = [work_table.operator[row] for row in (*call.rows, *call.around)]
    assert "aten::_native_multi_head_attention" in operators
    assert not {"aten::mm", "aten::addmm", "aten::linear"} & set(operators)


@pytest.mark.parametrize(
    ("operator", "dims", "concrete"),
    [
        ("aten::_scaled_dot_product_flash_attention_backward", ([2, 8, 64, 32], [2, 8, 96, 32]), 11),
        ("aten::_flash_attention_backward", ([2, 64, 8, 32], [2, 96, 8, 32]), 11),
        ("flash_attn::_flash_attn_backward", ([2, 64, 8, 32], [2, 96, 8, 32]), 11),
    ],
)
def test_the_gradients_are_five_products(tmp_path, operator, dims, concrete):
    """The gradient of the output stands before the queries; each tensor has a gradient."""
    q, k = dims
    t = Made(**H100)
    t.one(operator, 10_000, 9_000, "flash_bwd", [q, q, k, k, q], [BF16] * 5, [""] * concrete + ["False"])
    fused(t, 30_000, [2, 8, 64, 32], [2, 8, 96, 32])
    backward, forward = t.run(tmp_path).attention
    one = 2 * 2 * 8 * 64 * 96 * 32
    assert (backward.backward, backward.flops, backward.executed_flops, backward.causal) == (
        True,
        5 * one,
        5 * one,
        False,
    )
    assert (forward.backward, forward.flops, forward.executed_flops) == (False, 2 * one, 2 * one)
    assert backward.bytes == 2 * forward.bytes
