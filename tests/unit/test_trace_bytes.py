"""Bytes of operators, against sums by hand: overloads with ``out=``, types, parts of tables, kernels of others."""

from __future__ import annotations

import pytest
from test_trace_shapes import given
from trace_made import H100, SHARED, TRUTH, Made, real

from frameroof.gap import find_gap
from frameroof.report.analysis import print_run
from frameroof.trace.resolve.operator_cost import Cost, cost
from frameroof.trace.to_run import analyze

BF16, FLOAT, LONG, INT, BOOL, FP8, UINT8 = (
    "c10::BFloat16", "float", "long int", "int", "bool", "c10::Float8_e4m3fn", "unsigned char",
)  # fmt: skip
S, N = "Scalar", ""


def moved(operator, dims, types, concrete=()):
    found = cost(operator, given(dims, types, concrete))
    return found and (found.bytes if found.bytes >= 0 else None)


OUT = [
    ("aten::mm", [[8, 4], [4, 6], [8, 6]], [BF16] * 3, 2 * (32 + 24 + 48)),
    ("aten::bmm", [[2, 8, 4], [2, 4, 6], [2, 8, 6]], [BF16] * 3, 4 * (32 + 24 + 48)),
    ("aten::addmm", [[6], [8, 4], [4, 6], [], [], [8, 6]], [BF16] * 3 + [S, S, BF16], 2 * (6 + 32 + 24 + 48)),
    ("aten::clamp_min", [[10, 4], [], [10, 4]], [FLOAT, S, FLOAT], 2 * 160),
    ("aten::clamp_min", [[10, 4], [10, 4]], [FLOAT] * 2, 3 * 160),  # of two tensors: no result among them
    ("aten::mul", [[10, 4], [10, 4], [10, 4]], [BF16, FLOAT, BF16], 80 + 160 + 80),
    ("aten::div", [[10], [10], []], [FLOAT, FLOAT, N], 3 * 40),  # the third is a way of rounding
    ("aten::add", [[10, 4], [10, 4], [], [10, 4]], [BF16, BF16, S, BF16], 3 * 80),
    ("aten::where", [[10], [10], [10]], [BOOL, FLOAT, FLOAT], 10 + 3 * 40),
    ("aten::where", [[10], [10], [10], [10]], [BOOL, FLOAT, FLOAT, FLOAT], 10 + 3 * 40),
    ("aten::cat", [[[4, 6], [2, 6]], [], [6, 6]], ["TensorList", S, BF16], 2 * 2 * 36),
    ("aten::sum", [[10, 4], [], [], [], [10]], [FLOAT, "ScalarList", S, N, FLOAT], 160 + 40),
    ("aten::arange", [[], [], [], [10]], [S, S, S, LONG], 80),
    ("aten::sigmoid", [[10, 4], [10, 4]], [FLOAT] * 2, 2 * 160),
    ("aten::_softmax", [[10, 4], [], [], [10, 4]], [BF16, S, S, FLOAT], 80 + 160),
]


@pytest.mark.parametrize(("operator", "dims", "types", "want"), OUT)
def test_a_tensor_for_the_result_is_written_and_not_read(operator, dims, types, want):
    assert moved(operator, dims, types) == want


TYPES = [
    ("aten::gt", [[10], []], [FLOAT, S], ["", "0"], 40 + 10),
    ("aten::eq", [[10], [10]], [LONG] * 2, [], 160 + 10),
    ("aten::logical_not", [[10]], [BOOL], [], 20),
    ("aten::__and__", [[10], [10]], [BOOL] * 2, [], 30),
    ("aten::gt_", [[10], []], [FLOAT, S], ["", "0"], 80),  # in place it keeps its type
    ("aten::add", [[10], [10], []], [BF16, FLOAT, S], ["", "", "1"], 20 + 40 + 40),
    ("aten::add", [[10], [10], []], [BF16, "c10::Half", S], [], 20 + 20 + 40),
    ("aten::mul", [[10], []], [BF16, "double"], [], 20 + 20),  # a number of Python's widens no tensor of its sort
    ("aten::mul", [[10], []], [LONG, "double"], [], 80 + 40),  # but makes integers floating
    ("aten::mul", [[10], []], [BOOL, LONG], [], 10 + 80),
    ("aten::add", [[10], [10], []], [BOOL, BOOL, S], ["", "", "1"], 30),
    ("aten::div", [[10], [10]], [LONG, LONG], [], 160 + 40),
    ("aten::sqrt", [[10]], [INT], [], 80),
    ("aten::where", [[10], [10], []], [BOOL, BF16, S], ["", "", "0."], 10 + 20 + 20),
    ("aten::masked_fill", [[10, 4], [4], []], [FLOAT, BOOL, S], ["", "", "0."], 160 + 4 + 160),
    ("aten::add", [[10, 1], [1, 4], []], [FLOAT, FLOAT, S], [], 40 + 16 + 160),
    ("aten::_to_copy", [[10], [], [], [], [], [], []], [FLOAT, S, N, N, N, S, N], ["", "15"], 40 + 20),
    ("aten::_softmax", [[10], [], []], ["c10::Half", S, S], ["", "0", "True"], 20 + 40),
    ("aten::argmax", [[10, 4], [], []], [FLOAT, S, S], ["", "1", "False"], 160 + 80),
    ("aten::any", [[10, 4], [], []], [FLOAT, S, S], ["", "1", "False"], 160 + 10),
    ("aten::mean", [[10, 4], [], [], []], [BF16, "ScalarList", S, N], ["", "[1]", "False", ""], 80 + 20),
    ("aten::cumsum", [[10], [], []], [BOOL, S, N], ["", "0", ""], 10 + 80),
    ("aten::sort", [[10], [], []], [FLOAT, S, S], ["", "0", "False"], 80 + 80),
    ("aten::topk", [[10, 8], [], [], [], []], [BF16, S, S, S, S], ["", "2", "-1", "True", "True"], 160 + 20 * 10),
    ("aten::native_dropout", [[10], [], []], [BF16, S, S], [], 20 + 20 + 10),
    ("aten::uniform_", [[10], [], [], []], [FLOAT, S, S, N], [], 40),
    ("aten::glu", [[10, 4], []], [FLOAT, S], ["", "1"], 160 + 80),
    ("aten::mul", [[10], [10]], ["c10::Unheard", FLOAT], [], None),  # a type that nothing is known of
    ("aten::fused_of_tomorrow", [[10], [10]], [FLOAT] * 2, [], None),  # an operator that no rule knows
]


@pytest.mark.parametrize(("operator", "dims", "types", "concrete", "want"), TYPES)
def test_results_have_the_type_that_torch_gives_them(operator, dims, types, concrete, want):
    assert moved(operator, dims, types, concrete) == want


PARTS = [
    ("aten::embedding", [[10, 64], [500]], [FLOAT, LONG], [], (10 + 500) * 256 + 4000),  # no more rows than there are
    ("aten::index_select", [[1000, 64], [], [7]], [FLOAT, S, LONG], ["", "0"], 2 * 7 * 256 + 56),
    ("aten::gather", [[10, 64], [], [10, 2]], [FLOAT, S, LONG], ["", "1"], 2 * 20 * 4 + 160),
    ("aten::scatter_", [[10, 64], [], [10, 2], [10, 2]], [FLOAT, S, LONG, FLOAT], ["", "1"], 2 * 80 + 160),
    ("aten::scatter_add_", [[10, 64], [], [10, 2], [10, 2]], [FLOAT, S, LONG, FLOAT], ["", "1"], 3 * 80 + 160),
    ("aten::index_add_", [[100, 8], [], [5], [5, 8], []], [FLOAT, S, LONG, FLOAT, S], ["", "0"], 3 * 160 + 40),
    ("aten::index_copy_", [[100, 8], [], [5], [5, 8]], [FLOAT, S, LONG, FLOAT], ["", "0"], 2 * 160 + 40),
    ("aten::index_put_", [[100, 8], [], [5, 8], []], [FLOAT, N, FLOAT, S], ["", "", "", "False"], 2 * 160),
    ("aten::index_put_", [[100, 8], [], [], []], [FLOAT, N, FLOAT, S], ["", "", "", "False"], None),
    ("aten::index_put_", [[100, 8], [], [5, 8], []], [FLOAT, N, FLOAT, S], ["", "", "", "True"], 3 * 160),
    ("aten::index", [[100, 8], [[5], [5]]], [FLOAT, "TensorList"], [], 2 * 20 + 80),
    ("aten::index", [[100, 8, 4], [[5], [5]]], [FLOAT, "TensorList"], [], None),  # of which dimensions?
    ("aten::index", [[100, 8], []], [FLOAT, N], [], None),  # the places were not recorded
    ("aten::nonzero", [[100]], [BOOL], [], None),
    ("aten::nll_loss_forward", [[8, 100], [8], [], [], []], [FLOAT, LONG, N, S, S], [], 8 * 4 + 64),
    ("aten::repeat", [[2, 3], []], [FLOAT, "ScalarList"], ["", "[2, 1, 2]"], 24 + 96),
    ("aten::constant_pad_nd", [[2, 3], [], []], [FLOAT, "ScalarList", S], ["", "[1, 1]", "0."], 24 + 40),
    ("aten::upsample_nearest2d", [[1, 2, 3, 4], [], []], [FLOAT, N, "ScalarList"], ["", "", "[2., 2.]"], 96 * 5),
    ("aten::upsample_bilinear2d", [[1, 2, 3, 4], []], [FLOAT, "ScalarList"], ["", "[6, 4]"], 96 * 3),
    (
        "aten::max_pool2d_with_indices", [[1, 2, 8, 8], [], [], [], [], []],
        [FLOAT, *["ScalarList"] * 4, S], ["", "[3, 3]", "[2, 2]", "[1, 1]", "[1, 1]", "False"], 512 + 32 * 12,
    ),
    ("aten::_adaptive_avg_pool2d", [[1, 2, 8, 8], []], [FLOAT, "ScalarList"], ["", "[1, 1]"], 512 + 8),
    ("aten::_foreach_add_", [[[10], [6]], [[10], [6]], []], ["TensorList", "TensorList", S], [], 3 * 32),
    ("aten::_foreach_norm", [[[10], [6]], [], []], ["TensorList", S, N], [], 32),  # two bytes: no type
    (  # weights, gradients, two states; none for the largest, and the numbers of steps
        "aten::_fused_adamw_", [*[[[10], [6]]] * 4, [], [[1], [1]], *[[]] * 5], [*["TensorList"] * 6, *[S] * 5], [],
        2 * 3 * 32 + 32,
    ),
    ("aten::_foreach_mul_", [[[10], [6]], []], ["TensorList", S], [], 2 * 32),
    ("aten::_foreach_copy_", [[[10], [6]], [[10], [6]], []], ["TensorList", "TensorList", S], [], 2 * 32),
    ("aten::baddbmm", [[4, 5, 3], [4, 5, 7], [4, 7, 3], [], []], [BF16] * 3 + [S, S], ["", "", "", "0", "1"], 2 * 284),
    ("aten::_weight_int8pack_mm", [[5, 7], [3, 7], [3]], [BF16, "signed char", BF16], [], 70 + 21 + 6 + 30),
    (
        "aten::cudnn_convolution_add_relu", [[1, 2, 8, 8], [4, 2, 1, 1], [1, 4, 8, 8], [], [4], *[[]] * 4],
        [FLOAT] * 3 + [S, FLOAT] + ["ScalarList"] * 3 + [S], ["", "", "", "1", "", "[1, 1]", "[0, 0]", "[1, 1]", "1"],
        4 * (128 + 8 + 256 + 4 + 256),
    ),
    ("aten::_int_mm", [[5, 7], [7, 3]], ["signed char"] * 2, [], 35 + 21 + 60),
    ("aten::view_copy", [[10, 6], []], [FLOAT, "ScalarList"], ["", "[60]"], 2 * 240),
    ("aten::unbind_copy", [[10, 6], []], [FLOAT, S], ["", "0"], 2 * 240),
    (
        "aten::split_with_sizes_copy", [[10, 6], [], [], [[4, 6], [6, 6]]], [BF16, "ScalarList", S, "TensorList"],
        ["", "[4, 6]", "0", ""], 2 * 120,
    ),
    ("aten::mm", [[5, 7], [7, 3], []], [BF16, BF16, S], ["", "", "6"], 2 * 56 + 4 * 15),  # asked for float
    ("aten::bmm", [[4, 5, 7], [4, 7, 3], [], [4, 5, 3]], [BF16, BF16, S, FLOAT], ["", "", "6", ""], 4 * (112 + 60)),
    ("aten::addmm", [[3], [5, 7], [7, 3], [], [], []], [BF16] * 3 + [S] * 3, ["", "", "", "6", "0", "1"], 112 + 60),
    (
        "aten::convolution_overrideable", [[1, 2, 8, 8], [4, 2, 3, 3], [4], *[[]] * 6], [FLOAT] * 3 + [S] * 6,
        ["", "", "", "[2, 2]", "[1, 1]", "[1, 1]", "False", "[0, 0]", "1"], 4 * (128 + 72 + 4 + 64),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "dims", "types", "concrete", "want"), PARTS)
def test_what_a_call_touches(operator, dims, types, concrete, want):
    assert moved(operator, dims, types, concrete) == want


@pytest.mark.parametrize(
    "operator",
    [
        "CompiledFunction", "CompiledFunctionBackward", "Torch-Compiled Region: 0/0", "FlashAttnFunc", "MmBackward0",
        "autograd::engine::evaluate_function: MmBackward0", "torch::autograd::AccumulateGrad", "record_param_comms",
    ],
)  # fmt: skip
def test_what_only_hands_tensors_on_costs_nothing_that_is_told(operator):
    assert cost(operator, given([[4096, 4096], [4096, 4096]], [BF16] * 2)) == Cost(0, -1)


@pytest.mark.parametrize(
    ("mask", "flops", "size"),
    [("[True, True, False]", 2, 1024 + 288 + 512 + 512 + 288), ("[False, True, True]", 1, 1024 + 512 + 288 + 16),
     ("[True, False, False]", 1, 1024 + 288 + 512)],
)  # fmt: skip
def test_gradients_of_a_convolution_that_are_wanted(mask, flops, size):
    """64 places of 4 channels, each of 2 x 9 multiply-adds, for each of the two; gradient, weight, input are read."""
    dims = [[1, 4, 8, 8], [1, 2, 8, 8], [4, 2, 3, 3], *[[]] * 8]
    values = ["", "", "", "[4]", "[1, 1]", "[1, 1]", "[1, 1]", "False", "[0, 0]", "1", mask]
    found = cost("aten::convolution_backward", given(dims, [FLOAT] * 3 + [S] * 8, values))
    assert (found.flops, found.bytes) == (flops * 2 * 64 * 4 * 18, size)


X, W = 32 * 128 * 2, 128 * 2  # 32 tokens of 128 in bf16, and a weight
CUSTOM = [
    ("_C::rms_norm", [[32, 128], [32, 128], [128], []], [BF16] * 3 + [S], [], 2 * X + W),  # the result first
    ("aiter::rms_norm", [[32, 128], [128], []], [BF16, BF16, S], [], 2 * X + W),  # the result is new
    ("sgl_kernel::rmsnorm", [[1, 128], [1, 128], [128], [], []], [BF16] * 3 + [S, S], [], 3 * W),
    ("_C::fused_add_rms_norm", [[32, 128], [32, 128], [128], []], [BF16] * 3 + [S], [], 4 * X + W),
    (
        "aiter::rmsnorm2d_fwd_with_add", [[32, 128]] * 4 + [[128], []], [BF16] * 5 + [S], [], 4 * X + W,
    ),
    ("_C::rms_norm_static_fp8_quant", [[32, 128], [32, 128], [128]], [FP8, BF16, BF16], [], X // 2 + X + W),
    ("_C::silu_and_mul", [[32, 64], [32, 128]], [BF16] * 2, [], X + X // 2),  # the result first
    ("sgl_kernel::gelu_tanh_and_mul", [[32, 64], [32, 128]], [BF16] * 2, [], X + X // 2),
    ("aiter::silu_and_mul", [[32, 128]], [BF16], [], X + X // 2),
    ("_C::silu_and_mul_quant", [[32, 64], [32, 128], [1]], [FP8, BF16, FLOAT], [], X + X // 4 + 4),
    ("_C::static_scaled_fp8_quant", [[32, 128], [32, 128], []], [FP8, BF16, FLOAT], [], X // 2 + X),
    (  # queries and keys in place, 32 positions, of the table a row for each
        "_C::rotary_embedding", [[32], [32, 512], [32, 128], [], [9001, 64], []],
        [LONG, BF16, BF16, S, BF16, S], ["", "", "", "64", "", "True"], 2 * 32 * 640 * 2 + 32 * 8 + 32 * 64 * 2,
    ),
    (  # half of each head is turned
        "_C::rotary_embedding", [[32], [32, 512], [32, 128], [], [9001, 32], []],
        [LONG, BF16, BF16, S, BF16, S], ["", "", "", "64", "", "True"], 32 * 640 * 2 + 32 * 8 + 32 * 32 * 2,
    ),
    (  # to tensors of their own
        "sgl_kernel::apply_rope_pos_ids_cos_sin_cache",
        [[32, 8, 64], [32, 2, 64], [32, 8, 64], [32, 2, 64], [4096, 64], [32]],
        [BF16] * 4 + [FLOAT, LONG], [], 2 * 32 * 640 * 2 + 32 * 8 + 32 * 64 * 4,
    ),
    (
        "_C_cache_ops::reshape_and_cache_flash",
        [[32, 2, 64], [32, 2, 64], [9000, 16, 2, 64], [9000, 16, 2, 64], [32], []],
        [BF16, BF16, UINT8, UINT8, LONG, N], [], 2 * X + 2 * X // 2 + 32 * 8,
    ),
    (  # keys and values of 40 rows for graphs, of which 32 have a place
        "_C_cache_ops::reshape_and_cache_flash",
        [[40, 2, 64], [40, 2, 64], [9000, 16, 2, 64], [9000, 16, 2, 64], [32], []],
        [BF16, BF16, UINT8, UINT8, LONG, N], [], 2 * X + 2 * X // 2 + 32 * 8,
    ),
    (
        "_C_cache_ops::concat_and_cache_mla", [[32, 512], [32, 64], [900, 64, 576], [32], [], []],
        [BF16, BF16, BF16, LONG, N, FLOAT], [], 2 * 32 * 576 * 2 + 32 * 8,
    ),
    (
        "sgl_kernel::store_kv_cache", [[90000, 128], [90000, 128], [32], [32, 128], [32, 128]],
        [BF16, BF16, LONG, BF16, BF16], [], 4 * X + 32 * 8,
    ),
    ("_C::gelu_fast", [[32, 128], [32, 128]], [BF16] * 2, [], 2 * X),
    ("aiter::gelu_tanh", [[32, 128]], [BF16], [], 2 * X),
    ("_moe_C::moe_sum", [[32, 4, 128], [32, 128]], [BF16] * 2, [], 5 * X),
    ("vllm::moe_forward", [[32, 128], [32, 8]], [BF16] * 2, [], None),
    ("vllm::unheard_of", [[32, 128], [32, 128]], [BF16] * 2, [], None),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "dims", "types", "concrete", "want"), CUSTOM)
def test_operators_of_serving_engines(operator, dims, types, concrete, want):
    assert moved(operator, dims, types, concrete) == want


@pytest.mark.parametrize(
    ("operator", "dims", "types", "want"),
    [  # (m, k) (k, n), with the result first, last or not at all, and a weight of (n, k)
        ("_C::cutlass_scaled_mm", [[5, 3], [5, 7], [7, 3], [5, 1], [1, 3]], [BF16, FP8, FP8, FLOAT, FLOAT], (3, 118)),
        ("_C::cutlass_scaled_mm", [[5, 7], [5, 7], [7, 7], [5, 1]], [BF16, FP8, FP8, FLOAT], (7, 70 + 35 + 49 + 20)),
        ("vllm::rocm_unquantized_gemm", [[5, 7], [3, 7]], [BF16] * 2, (3, 2 * (35 + 21 + 15))),
        ("sgl_kernel::fp8_scaled_mm", [[5, 7], [7, 3], [5], [3]], [FP8, FP8, FLOAT, FLOAT], (3, -1)),
    ],
)
def test_products_of_serving_engines(operator, dims, types, want):
    found = cost(operator, given(dims, types))
    assert (found.flops, found.bytes) == (2 * 5 * 7 * want[0], want[1])


COMPILED = [
    # a bias and an activation in place: the first tensor is read and written
    ("triton_poi_fused_addmm_gelu_2", [[2, 64], [64], []], [BF16, BF16, S], ["", "", "128"], 2 * 256 + 128),
    ("triton_poi_fused_addmm_gelu_2", [[2, 64], [64], [2, 64], []], [BF16] * 3 + [S], ["", "", "", "128"], 640),
    ("triton_poi_fused_silu_3", [[2, 64], []], [BF16, S], ["", "128"], 2 * 256),
    ("triton_poi_fused_zeros_3", [[2, 64], []], [BF16, S], ["", "128"], 256),  # made, not changed
    # sizes vary: another number stands before that of the elements
    ("triton_poi_fused_add_4", [[2, 64], [64], [], []], [BF16, BF16, S, S], ["", "", "2", "128"], 2 * 256 + 128),
    # two dimensions of a tile, whose second is the length of the bias
    ("triton_poi_fused_add_5", [[2, 64], [64], [], []], [BF16, BF16, S, S], ["", "", "2", "64"], 2 * 256 + 128),
    # a reduction whose result is one number a row, and one in place
    ("triton_red_fused_mean_6", [[8, 64], [8], [], []], [BF16, FLOAT, S, S], ["", "", "8", "64"], 1024 + 32),
    ("triton_red_fused_layer_norm_7", [[8, 64], [64], [], []], [BF16, BF16, S, S], ["", "", "8", "64"], 2 * 1024 + 128),
    # a part of an input is read, of which the names do not tell how much
    ("triton_poi_fused_split_8", [[2, 192], [2, 64], []], [BF16, BF16, S], ["", "", "128"], None),
    ("triton_poi_fused_index_9", [[2, 64], [2, 64], []], [BF16, BF16, S], ["", "", "128"], None),
]


@pytest.mark.parametrize(("operator", "dims", "types", "concrete", "want"), COMPILED)
def test_kernels_of_torch_compile_that_work_in_place(operator, dims, types, concrete, want):
    assert moved(operator, dims, types, concrete) == want


def test_the_bias_of_a_convolution_is_a_pass_of_its_own(tmp_path):
    """MIOpen adds it by an inner call: the convolution moves its input, its weight and its result."""
    t = Made(**H100)
    dims, types = [[1, 8, 16, 16], [4, 8, 3, 3], [4], *[[]] * 6], [BF16] * 3 + ["ScalarList"] * 3 + [S] * 3
    numbers = ["", "", "", "[1, 1]", "[1, 1]", "[1, 1]", "1", "False", "False"]
    t.op("aten::miopen_convolution", 0, 9_000, dims, types, numbers)
    t.call(500, 300, 1)
    t.kernel(10_000, 5_000, 1)
    t.op("aten::add_", 2_000, 3_000, [[1, 4, 16, 16], [1, 4, 1, 1], []], [BF16, BF16, S], ["", "", "1"])
    t.call(3_000, 300, 2)
    t.kernel(20_000, 1_000, 2)
    found = {o.name: o.bytes for o in t.run(tmp_path).operators}
    x, w, y = 2 * 8 * 256, 2 * 4 * 8 * 9, 2 * 4 * 256
    assert found == {"aten::miopen_convolution": x + w + y, "aten::add_": 2 * y + 8}


def test_the_type_of_a_list_is_told_by_its_kernel(tmp_path):
    """The file has no type of a list's tensors: the kernel's template has, else they are taken to be of two bytes."""
    t = Made(**H100)
    at = 10_000
    for kernel in (
        "void at::native::CatArrayBatchedCopy_contig<at::native::OpaqueType<4u>, unsigned int, 2, 128, 1>",
        "void multi_tensor_apply_kernel<TensorListMetadata<1>, BinaryOpScalarFunctor<double, 1, 1, 0>>",
        "unknown_kernel",
    ):
        t.one("aten::cat", at, 2_000, kernel, [[[10], [6]], []], ["TensorList", S], ["", "0"])
        at += 10_000
    assert [s.bytes for s in t.run(tmp_path).shapes] == [2 * 16 * (4 + 8 + 2)]


def test_an_expanded_tensor_is_read_as_often_as_it_is_there(tmp_path):
    """Keys of 2 heads expanded to 8 and copied: a quarter is read; a row of places expanded over 16 columns."""
    t = Made(**H100)
    t.one("aten::copy_", 10_000, 2_000, dims=[[2, 4, 10, 16]] * 2 + [[]], types=[BF16, BF16, S])
    t.events[0]["args"]["Input Strides"] = [[640, 160, 16, 1], [160, 0, 16, 1], []]
    t.one("aten::gather", 20_000, 2_000, dims=[[9, 16], [], [5, 16]], types=[FLOAT, S, LONG])
    t.events[3]["args"]["Input Strides"] = [[16, 1], [], [1, 0]]
    t.one("aten::copy_", 30_000, 2_000, dims=[[2, 4, 10, 16]] * 2 + [[]], types=[BF16, BF16, S])
    t.events[6]["args"]["Input Strides"] = [[640, 160, 16, 1], [640, 160, 16, 1], []]
    found = sorted((s.name, s.bytes) for s in t.run(tmp_path).shapes)
    assert found == [("aten::copy_", 2_560 + 640), ("aten::copy_", 2 * 2_560), ("aten::gather", 2 * 320 + 40)]


def test_what_the_cache_may_have_kept_is_said_in_its_row(tmp_path, capsys):
    """24 MiB in 5 us are 5.0 TB/s on a memory of 3.35; the other 8.4 MB fit a cache of 50 MB."""
    t = Made(**H100)
    t.one("aten::mul", 10_000, 5_000, dims=[[2048, 2048], [2048, 2048]], types=[BF16] * 2)
    run = t.run(tmp_path)
    assert [(o.bytes, o.bytes_per_s, o.above) for o in run.operators] == [(3 * 2 * 2048**2, None, "in the cache")]
    print_run(run)
    assert "in the cache" in capsys.readouterr().out


@pytest.mark.shared
@pytest.mark.parametrize("name", sorted(TRUTH))
def test_no_row_of_a_real_trace_is_above_its_bandwidth_but_by_the_cache(name):
    """Neither an operator nor a shape, and none above a peak; traces of devices that are not known have no limits."""
    run = real(name)
    on = {"v100": "V100", "mi210": "MI210"}.get(name.partition("_")[0], run.summary.hardware)
    if on is None:
        assert name.startswith("edge_")
        return
    gap = find_gap(run, on)
    assert {v.reason for v in gap.violations} <= {"in the cache"}
    assert not gap.above_peak
    assert {o.above for o in run.operators} <= {"", "in the cache"}


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("mm_with_out_tensor", [50_331_648, 50_331_648, 2 * 32 * (12288 + 24576)]),
        ("miopen_conv_with_bias_add", [537_165_824, 2 * 268_435_456 + 256]),
    ],
)
def test_bytes_of_the_cases(name, want):
    assert [s.bytes for s in analyze(SHARED / "cases" / "traces" / f"{name}.json").shapes] == want
