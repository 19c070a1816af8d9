"""The class of a piece of work, in the words of Golden et al. (figure 7): from its operator, then from its kernel.

An operator says what was meant; a kernel says what ran. Where an operator launches several kinds of kernel (a
convolution that transposes first) all of it belongs to the operator. Kernels without an operator (a graph replay, a
trace of the device alone) are known by name; names that torch.compile makes list the operators it fused.
"""

from __future__ import annotations

import re
from functools import lru_cache

from ...annotations import COMPILED, STEP
from ..read.events import Kind

ATTENTION = "attention"
CONVOLUTION = "convolution"
LINEAR = "linear"
GROUP_NORM = "group norm"
LAYER_NORM = "layer norm"
ELEMENTWISE = "elementwise"
SOFTMAX = "softmax"
EMBEDDING = "embedding"
COPY = "copy"
COMMUNICATION = "communication"
OTHER = "other"
CLASSES = (
    ATTENTION, CONVOLUTION, LINEAR, GROUP_NORM, LAYER_NORM, ELEMENTWISE, SOFTMAX, EMBEDDING, COPY, COMMUNICATION, OTHER,
)  # fmt: skip
"""`linear` holds every matrix product outside attention; `layer norm` holds RMS norms too."""

NO_WORK = (
    r"_?empty\w*|new_empty\w*|resize_?|set_|_?(unsafe_)?view\w*|as_strided_?|_?reshape\w*|t|transpose_?|permute|expand(_as)?|"
    r"(un)?squeeze_?|flatten|unflatten|select|slice|narrow|(tensor_)?split\w*|_?unsafe_split\w*|chunk|unbind|detach_?|alias|"
    r"lift_fresh|resolve_(conj|neg)|result_type|record_stream|broadcast_(to|tensors)|movedim|swapaxes|diagonal|numpy_T|mT"
)
"""Operators that make or view a tensor and touch none of its elements: on the processor they take time all the same."""

_OPERATORS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (COPY, re.compile(r"(reshape|concat)_and_cache|^_C_cache_ops::")),
    (ELEMENTWISE, re.compile(r"rotary|(^|_|::)rope(_|$)")),
    (
        COMMUNICATION,
        re.compile(r"nccl|rccl|c10d::|record_param_comms|All2All|all_reduce|all_gather|all_to_all|reduce_scatter"),
    ),
    (
        ATTENTION,
        re.compile(r"attention|flash_attn|flash_fwd|flash_bwd|fmha|mha_|sageattn|sage_fwd|sage_attn|xformers|_attn"),
    ),
    (CONVOLUTION, re.compile(r"conv")),
    (GROUP_NORM, re.compile(r"group_?norm|batch_?norm|instance_?norm")),
    (LAYER_NORM, re.compile(r"layer_?norm|rms_?norm")),
    (SOFTMAX, re.compile(r"softmax")),
    (EMBEDDING, re.compile(r"embedding")),
    (
        LINEAR,
        re.compile(
            r"(^|::)(_?add(mm|mv)\w*|mm|mv|dot|vdot|bmm|baddbmm_?|matmul|linear|_?scaled_(grouped_)?mm\w*|_int_mm|"
            r"_grouped_mm)$|(?<!fb)gemm|_linear|^fbgemm::(f8|i8|bf16)"
        ),
    ),
    (
        COPY,
        re.compile(
            r"(^|::)(copy_|_to_copy|to|contiguous|clone|cat|stack|index(_select|_put_?)?|gather|scatter\w*|repeat\w*|roll|"
            r"permute_copy|constant_pad_nd|pad|pin_memory|fill_|zero_|zeros|ones|full|narrow_copy|_foreach_copy_|"
            r"slice_scatter|select_scatter|unfold\w*|im2col|col2im|pixel_(un)?shuffle|item|_local_scalar_dense)$"
        ),
    ),
    (OTHER, re.compile(rf"^aten::({NO_WORK})$")),
)  # fmt: skip

_KERNELS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (COMMUNICATION, re.compile(r"nccl|rccl|nvshmem|all_?reduce_|one_shot_all|cross_device_reduce")),
    (COPY, re.compile(r"(reshape|concat)_and_cache")),
    (
        ELEMENTWISE,
        re.compile(r"moe::dev::(finalize|routing|activation|permute)|finalizeKernel|moe_align|quantize_with_block"),
    ),
    (
        ATTENTION,
        re.compile(
            r"[Ff]lash(?!infer)|(Prefill|Decode)With\w*KV|Single(Prefill|Decode)|fmha|attn_fwd|^_fwd_kernel|attn_bwd|attention|sage_(fwd|attn|quant)|sageattn|_attn_|^attn|mha_fwd|splitkv|flex_attn"
        ),
    ),
    (
        CONVOLUTION,
        re.compile(
            r"conv|implicit_gemm|igemm|scudnn|winograd|xmma_(fprop|dgrad|wgrad)|fprop|dgrad|wgrad|miopen|cask_cudnn|"
            r"batched_transpose|nchwToNhwc|nhwcToNchw|im2col"
        ),
    ),
    (GROUP_NORM, re.compile(r"group_?norm|groupnorm|batch_?norm|bn_fw|bn_bw|RowwiseMoments", re.I)),
    (LAYER_NORM, re.compile(r"layer_?norm|rms_?norm|layernorm|rmsnorm", re.I)),
    (SOFTMAX, re.compile(r"softmax", re.I)),
    (EMBEDDING, re.compile(r"(?<!rotary_)embedding|vectorized_gather|indexSelect", re.I)),
    (
        LINEAR,
        re.compile(
            r"(?<!fb)gemm|^Cijk_|^bmm_|cutlass|nvjet|cublas|splitKreduce|gemv|dot_kernel|_mm_|^mm|matmul|"
            r"triton_tem_fused|wmma",
            re.I,
        ),
    ),
    (
        COPY,
        re.compile(
            r"memcpy|memset|copyBuffer|fillBuffer|direct_copy|copy_kernel|CatArray|index_elementwise|scatter|gather|"
            r"transpose|permute|FillFunctor|copy_device_to_device",
            re.I,
        ),
    ),
    (
        ELEMENTWISE,
        re.compile(
            r"elementwise|reduce_kernel|Functor|silu|gelu|upsample|SubTensorOp|OpTensor|tensor_transform|arange|"
            r"distribution|_scan|quant|sort|topk|pool|rotary|rope|act_and_mul",
            re.I,
        ),
    ),
)  # fmt: skip

_TRITON = re.compile(r"^triton_(?P<sort>poi|red|per|tem|for|mm|bmm|conv\w*)_fused_?(?P<names>.*?)(_\d+)?$")
_MEANS_NOTHING = ("hipGraphLaunch", "cudaGraphLaunch")
_REGION = re.compile("|".join(map(re.escape, (*COMPILED, STEP.removesuffix("#")))))


@lru_cache(maxsize=65536)
def classify(operator: str, kernel: str, kind: int) -> str:
    """The class of work `kernel` of `kind` (schema.Kind) under `operator` ("" if none is known)."""
    if kind != Kind.KERNEL and kind != Kind.OPERATOR:
        return COPY
    if operator and not _REGION.match(operator):
        found = _fused(operator) or _first(_OPERATORS, operator)
        if found:
            return found
    found = _fused(kernel) or _first(_KERNELS, kernel)
    if found:
        return found
    return ELEMENTWISE if operator.startswith("aten::") else OTHER


def is_region(operator: str) -> bool:
    """Whether an operator is only the range around compiled code or a step of the profiler."""
    return bool(_REGION.match(operator))


def _first(rules: tuple[tuple[str, re.Pattern[str]], ...], text: str) -> str | None:
    return next((name for name, pattern in rules if pattern.search(text)), None)


def _fused(name: str) -> str | None:
    """The class of a Triton kernel of torch.compile, from its sort and the operators in its name.

    `tem` kernels come from a template (matrix product, convolution, attention); `red` and `per` reduce, so a norm in
    their name is theirs; `poi` kernels are elementwise, and only copy where all they name is moving.
    """
    found = _TRITON.match(name)
    if not found:
        return None
    names, sort = found["names"], found["sort"]
    if sort in ("tem", "mm", "bmm") or sort.startswith("conv"):
        return CONVOLUTION if "conv" in name else ATTENTION if "attention" in names or "flex" in names else LINEAR
    if sort in ("red", "per"):
        for wanted, pattern in ((GROUP_NORM, "group_norm"), (LAYER_NORM, "layer_norm"), (SOFTMAX, "softmax")):
            if pattern in names:
                return wanted
        if "rms_norm" in names or {"mean", "pow", "rsqrt"} <= set(names.split("_")) or "mean_pow" in names:
            return LAYER_NORM
    moved = names
    for word in _MOVES:
        moved = moved.replace(word, "")
    return ELEMENTWISE if moved.strip("_") or not names else COPY


_MOVES = (
    "_unsafe_view", "_to_copy", "empty_like", "constant_pad_nd", "slice_scatter", "unsqueeze", "transpose", "permute",
    "squeeze", "expand", "reshape", "unbind", "select", "slice", "split", "stack", "clone", "zeros", "full", "view",
    "copy", "cat", "_",
)  # fmt: skip
