"""FLOPs and bytes from recorded inputs, against torch's own counter on meta tensors and against sums by hand."""

from __future__ import annotations

import json

import pytest
from trace_made import Made

from frameroof.report.analysis import print_run
from frameroof.trace.read.columns import Arguments
from frameroof.trace.read.events import Kind
from frameroof.trace.resolve.classify import CLASSES, classify
from frameroof.trace.resolve.cost_of_work import MATRIX
from frameroof.trace.resolve.operator_cost import Cost, cost, matmul
from frameroof.trace.resolve.recorded_inputs import parse


def given(dims, types=None, concrete=()):
    types = types or ["float" if d else "Scalar" for d in dims]
    found = parse(Arguments(*(json.dumps(x).encode() for x in (dims, types, list(concrete)))))
    assert found is not None
    return found


def meta(*dims):
    import torch

    return torch.empty(*dims, device="meta")


def counted(run):
    """FLOPs by torch's counter."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


# (dimensions of the inputs in the operator's order, operator)
PRODUCTS = [
    ("mm", [[5, 7], [7, 3]]),
    ("addmm", [[3], [5, 7], [7, 3]]),
    ("bmm", [[4, 5, 7], [4, 7, 3]]),
    ("baddbmm", [[4, 5, 3], [4, 5, 7], [4, 7, 3]]),
]


@pytest.mark.parametrize(("name", "dims"), PRODUCTS)
def test_products_as_torch_counts_them(name, dims):
    torch = pytest.importorskip("torch")
    tensors = [meta(*d) for d in dims]
    want = counted(lambda: getattr(torch, name)(*tensors))
    output = getattr(torch, name)(*tensors).numel()
    read = sum(x.numel() for x in tensors)
    for operator in (f"aten::{name}", f"aten::{name}_"):
        assert cost(operator, given(dims)) == Cost(want, 4 * (read + output))
    assert cost(f"aten::{name}", given(dims, ["c10::BFloat16"] * len(dims))).bytes == 2 * (read + output)


@pytest.mark.parametrize(
    ("dims", "name", "sizes"),
    [
        ([[2, 3, 5, 7], [11, 7]], "linear", (1, 30, 7, 11)),
        ([[2, 3, 5, 7], [2, 3, 7, 11]], "matmul", (6, 5, 7, 11)),
        ([[5, 7], [7]], "mv", (1, 5, 7, 1)),
        ([[7], [7]], "dot", (1, 1, 7, 1)),
        ([[5, 7], [8, 3]], "mm", None),
        ([[5, 7], []], "mm", None),
        ([], "mm", None),
    ],
)
def test_sizes_of_products(dims, name, sizes):
    assert matmul(name, given(dims)) == sizes


CONVOLUTIONS = [
    # x, weight, stride, padding, dilation, groups, transposed
    ([2, 6, 20], [8, 6, 3], [1], [1], [1], 1, False),
    ([2, 6, 17, 13], [8, 6, 3, 5], [1, 1], [0, 2], [1, 1], 1, False),
    ([2, 6, 17, 13], [8, 6, 3, 3], [2, 3], [1, 1], [1, 1], 1, False),
    ([2, 6, 17, 13], [8, 2, 3, 3], [1, 1], [1, 1], [1, 1], 3, False),
    ([2, 6, 17, 13], [6, 1, 5, 5], [1, 1], [2, 2], [1, 1], 6, False),
    ([2, 6, 17, 13], [8, 6, 3, 3], [1, 2], [4, 4], [2, 4], 1, False),
    ([1, 4, 5, 9, 8], [6, 4, 3, 3, 3], [1, 2, 2], [1, 1, 1], [1, 1, 1], 1, False),
    ([1, 4, 5, 9, 8], [6, 2, 1, 3, 3], [1, 1, 1], [0, 1, 1], [1, 1, 1], 2, False),
    ([2, 6, 9, 7], [6, 8, 4, 4], [2, 2], [1, 1], [1, 1], 1, True),
    ([2, 6, 9], [6, 4, 3], [3], [0], [2], 2, True),
    ([1, 4, 3, 5, 6], [4, 6, 3, 3, 3], [2, 2, 2], [1, 1, 1], [1, 1, 1], 1, True),
]


def recorded(operator, one):
    """The inputs of one convolution as the profiler records them for each of ATen's operators."""
    x, w, stride, padding, dilation, groups, transposed = one
    s, p, d = (str(list(v)) for v in (stride, padding, dilation))
    rest = {
        "aten::convolution": ["", s, p, d, str(transposed), "[0]", str(groups)],
        "aten::cudnn_convolution": [p, s, d, str(groups), "False", "False", "True"],
        "aten::miopen_convolution": ["", p, s, d, str(groups), "False", "False"],
        "aten::mkldnn_convolution": ["", p, s, d, str(groups)],
        "aten::conv2d": ["", s, p, d, str(groups)],
        "aten::cudnn_convolution_transpose": [p, "[0]", s, d, str(groups), "False", "False", "True"],
        "aten::miopen_convolution_transpose": ["", p, "[0]", s, d, str(groups), "False", "False"],
        "aten::conv_transpose2d": ["", s, p, "[0]", str(groups), d],
    }[operator]
    return given([x, w] + [[]] * len(rest), None, ["", "", *rest])


@pytest.mark.parametrize("one", CONVOLUTIONS, ids=str)
def test_convolutions_as_torch_counts_them(one):
    torch = pytest.importorskip("torch")
    x, w, stride, padding, dilation, groups, transposed = one

    def run():
        zero = [0] * len(stride)
        return torch.convolution(meta(*x), meta(*w), None, stride, padding, dilation, transposed, zero, groups)

    want = counted(run)
    moved = 4 * (meta(*x).numel() + meta(*w).numel() + run().numel())
    names = ["cudnn_convolution_transpose", "miopen_convolution_transpose", "conv_transpose2d"]
    if not transposed:
        names = ["cudnn_convolution", "miopen_convolution", "mkldnn_convolution", "conv2d"]
    for name in ("convolution", *names):
        operator = f"aten::{name}"
        assert cost(operator, recorded(operator, one)) == Cost(want, moved), operator


def test_convolutions_without_their_stride_are_unknown_not_zero():
    assert cost("aten::convolution", given([[2, 6, 17, 13], [8, 6, 3, 3]])).flops == -1
    assert cost("aten::mm", given([[5, 7], [8, 3]])).flops == -1


def test_without_types_a_product_has_flops_and_no_bytes():
    """Ranges of `emit_nvtx` hold dimensions alone: no bytes, and nothing at all of what needs strides or moves data."""
    assert cost("aten::mm", given([[2, 3], [3, 5]], ["", ""])) == Cost(2 * 2 * 3 * 5, -1)
    assert cost("aten::mul", given([[2, 3]], [""])) is None
    assert cost("aten::conv2d", given([[1, 3, 8, 8], [4, 3, 3, 3]], ["", ""])) is None


@pytest.mark.parametrize(
    ("operator", "dims", "types", "want"),
    [
        ("aten::add", [[10, 4], [10, 4]], None, 3 * 160),
        ("aten::add", [[10, 4], [4]], None, 160 + 16 + 160),
        ("aten::copy_", [[10, 4], [10, 4]], ["c10::BFloat16", "float"], 80 + 160),  # reads one, writes the other
        ("aten::fill_", [[10, 4], []], None, 160),
        ("aten::cat", [[[10, 4], [6, 4]], []], ["TensorList", "Scalar"], 2 * 2 * 64),
        ("aten::mean", [[10, 4]], None, 160),
        ("aten::view", [[10, 4], []], None, 0),
        ("aten::transpose", [[10, 4], [], []], None, 0),
        ("aten::embedding", [[1000, 64], [3, 5]], ["float", "long int"], 2 * 15 * 64 * 4 + 15 * 8),
        ("aten::gather", [[1000, 64], [], [3, 64]], ["float", "Scalar", "long int"], 2 * 192 * 4 + 192 * 8),
        ("aten::index", [[1000, 64], [[7]]], ["float", "TensorList"], -1),
        ("_C_cache_ops::reshape_and_cache_flash", [[8, 4, 16], [9000, 16, 4, 16]], None, -1),
        ("aten::native_layer_norm", [[10, 4], [], [4], [4], []], None, 2 * 160 + 32),
        ("triton_poi_fused_add_mul_7", [[10, 4], [10, 4]], None, 160 + 160),  # its output is among its inputs
        ("triton_poi_fused_clone_slice_7", [[90, 4], [10, 4]], None, -1),  # how much of the first is not told
    ],
)
def test_bytes_of_what_is_no_product(operator, dims, types, want):
    found = cost(operator, given(dims, types))
    assert (found.flops, found.bytes) == (0, want)


@pytest.mark.parametrize(
    "text", ["", "{}", "[[1,2]", '["a"]', "[[-1]]", "[[1e30]]", "[[[[[]]]]]", "[null]", "[[true]]", "3", "[" * 2000]
)
def test_inputs_that_no_profiler_writes(text):
    found = parse(Arguments(text.encode(), b"[3]", b"{}" if text else b"[]"))
    assert found is None or cost("aten::mm", found) is None


def test_a_profile_of_the_processor_counts_every_product_once(tmp_path):
    """`linear` holds `addmm`, `conv2d` three more, `scaled_dot_product_attention` its kernel: each counts once."""
    torch = pytest.importorskip("torch")
    from torch.nn import functional
    from torch.profiler import ProfilerActivity, profile

    def run(device):
        x, w = torch.ones(2, 4, 12, 12, device=device), torch.ones(6, 2, 3, 3, device=device)
        q, k = torch.ones(2, 3, 16, 8, device=device), torch.ones(2, 3, 24, 8, device=device)
        functional.conv2d(x, w, padding=1, groups=2)
        functional.conv_transpose2d(x, torch.ones(4, 3, 2, 2, device=device), stride=2)
        functional.linear(
            torch.ones(2, 5, 7, device=device), torch.ones(3, 7, device=device), torch.ones(3, device=device)
        )
        torch.matmul(q, k.transpose(-1, -2))
        torch.einsum("bhid,bhjd->bhij", q, k)
        functional.scaled_dot_product_attention(q, k, k)
        functional.softmax(x, -1).mean()

    want = counted(lambda: run("meta"))
    run("cpu")
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], record_shapes=True) as recorded_run:
        run("cpu")
    recorded_run.export_chrome_trace(str(tmp_path / "cpu.json"))
    from frameroof.trace.to_run import analyze

    found = analyze(tmp_path / "cpu.json")
    assert found.summary.flops == want
    assert found.coverage.flops == 1.0
    assert {o.name for o in found.operators if o.class_ == "attention" and o.flops} == {
        "aten::_scaled_dot_product_flash_attention_for_cpu"  # what works, not what calls it
    }
    assert [(a.query_len, a.key_len, a.heads, a.head_dim, a.count) for a in found.attention] == [(16, 24, 3, 8, 1)]


def test_an_unknown_call_around_a_known_one_stays_unknown(tmp_path):
    """`index` launches a kernel of its own beside those of the `copy_` inside it: how much it moves is not told."""
    t = Made()
    t.op("aten::index", 0, 9_000, [[100, 4], [7]], ["float", "long int"])
    t.op("aten::copy_", 1_000, 2_000, [[7], [7]], ["float", "float"])
    t.call(1_500, 500, 1)
    t.kernel(10_000, 1_000, 1)
    t.call(5_000, 500, 2)
    t.kernel(20_000, 5_000, 2, "index_kernel")
    moved = {o.name: o.bytes for o in t.run(tmp_path).operators}
    assert moved == {"aten::index": None, "aten::copy_": 2 * 28}


def test_what_no_rule_counts_is_said(tmp_path, capsys):
    t = Made()
    t.one("aten::mm", 10_000, 6_000, dims=[[64, 32], [32, 16]])
    t.one("vllm::moe_forward", 20_000, 2_000, kernel="bmm_e4m3", dims=[[64, 32], [64, 8]])
    run = t.run(tmp_path)
    assert run.coverage.flops == 0.75
    linear = run.classes[0]
    assert (linear.name, linear.time_ns, linear.flops_ns, linear.flops) == ("linear", 8_000, 6_000, 2 * 64 * 32 * 16)
    rate = {o.name: o.flops_per_s for o in run.operators}
    assert rate == {"aten::mm": pytest.approx(2 * 64 * 32 * 16 / 6e-6), "vllm::moe_forward": None}
    print_run(run)
    shown = " ".join(capsys.readouterr().out.split())
    assert "known for 75.0% of the time in attention, convolution and linear" in shown


@pytest.mark.parametrize(
    ("operator", "kernel", "want"),
    [
        ("aten::mm", "x", "linear"),
        ("aten::addmv_", "", "linear"),
        ("fbgemm::f8f8bf16_rowwise", "x", "linear"),
        ("fbgemm::permute_sparse_features", "permute_kernel", "copy"),
        ("aten::cudnn_convolution", "nchwToNhwcKernel", "convolution"),
        ("aten::native_group_norm", "", "group norm"),
        ("aten::_softmax", "", "softmax"),
        ("aten::embedding", "", "embedding"),
        ("_C::rotary_embedding", "vllm::rotary_embedding_kernel", "elementwise"),
        ("_C_cache_ops::reshape_and_cache_flash", "reshape_and_cache_flash_kernel", "copy"),
        ("aten::gelu", "", "elementwise"),
        ("aten::to", "", "copy"),
        ("aten::empty", "", "other"),
        ("aten::as_strided", "", "other"),
        ("record_param_comms", "ncclDevKernel_AllGather", "communication"),
        ("", "Cijk_Ailk_Bljk_BBS_BH_MT64x64x64", "linear"),
        ("", "nvjet_tst_64x64", "linear"),
        ("", "ncclDevKernel_AllReduce", "communication"),
        ("", "fmhaSm100aKernel_QkvE4m3", "attention"),
        ("", "void flash_fwd_kernel<...>", "attention"),
        ("Torch-Compiled Region", "_fwd_kernel_aligned_0d1d2d", "attention"),
        ("", "flashinfer::BatchPrefillWithPagedKVCacheKernel", "attention"),
        ("vllm::moe_forward", "quantize_with_block_size<x>(flashinfer::QuantizationSFLayout)", "elementwise"),
        ("vllm::moe_forward", "moe::dev::finalize::finalizeKernel<cutlass::bfloat16_t>", "elementwise"),
        ("", "triton_poi_fused_add_mul_3", "elementwise"),
        ("", "triton_poi_fused_clone_transpose_3", "copy"),
        ("", "triton_red_fused_native_layer_norm_0", "layer norm"),
        ("", "triton_per_fused_mean_pow_rsqrt_0", "layer norm"),
        ("", "triton_tem_fused_addmm_7", "linear"),
        ("hipGraphLaunch", "_attn_fwd.kd", "attention"),
        ("Torch-Compiled Region: 0/0", "triton_red_fused_native_group_norm_0", "group norm"),
        ("", "some_kernel", "other"),
    ],
)
def test_classes(operator, kernel, want):
    assert classify(operator, kernel, int(Kind.KERNEL)) == want
    assert want in CLASSES


def test_copies_and_fills_are_copies_whatever_asked_for_them():
    assert classify("aten::mm", "Memset (Device)", int(Kind.MEMSET)) == "copy"
    assert set(MATRIX) < set(CLASSES)
