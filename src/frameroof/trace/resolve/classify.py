"""The class of a piece of work, in the words of Golden et al. (figure 7): from its operator, then from its kernel.

An operator says what was meant; a kernel says what ran. Where an operator launches several kinds of kernel (a
convolution that transposes first) all of it belongs to the operator. Kernels without an operator (a graph replay, a
trace of the device alone) are known by name (`kernel_classes`); names that torch.compile makes list the operators it
fused.
"""

from __future__ import annotations

import re
from functools import lru_cache

from ...annotations import COMPILED, STEP
from ..read.events import Kind
from .class_names import (
    ATTENTION,
    BATCH_NORM,
    CLASSES,
    COMMUNICATION,
    CONVOLUTION,
    COPY,
    ELEMENTWISE,
    EMBEDDING,
    GROUP_NORM,
    LAYER_NORM,
    LINEAR,
    OTHER,
    SOFTMAX,
)
from .kernel_classes import class_of_kernel

__all__ = [
    "ATTENTION", "BATCH_NORM", "CLASSES", "COMMUNICATION", "CONVOLUTION", "COPY", "ELEMENTWISE", "EMBEDDING",
    "GROUP_NORM", "LAYER_NORM", "LINEAR", "NO_WORK", "OTHER", "SOFTMAX", "classify", "is_region",
]  # fmt: skip

NO_WORK = (
    r"(?!\w+_copy_?$)(?:_?empty\w*|new_empty\w*|resize_?|set_|_?(unsafe_)?view\w*|as_strided_?|_?reshape\w*|t|transpose_?|permute|expand(_as)?|"
    r"(un)?squeeze_?|flatten|unflatten|select|slice|narrow|(tensor_)?split\w*|_?unsafe_split\w*|chunk|unbind|detach_?|alias|"
    r"lift_fresh|resolve_(conj|neg)|result_type|record_stream|broadcast_(to|tensors)|movedim|swapaxes|diagonal|numpy_T|mT)"
)
"""Operators that make or view a tensor and touch none of its elements: on the processor they take time all the same."""

_OPERATORS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        COPY,
        re.compile(
            r"(reshape|concat)_and_cache|^_C_cache_ops::|kv_?cache_(update|store|scatter)|(store|update|append)_\w*kv_?cache|"
            r"set_kv_buffer|^fsdp::(all_gather_copy_in|split_with_sizes_copy|chunk_cat)"
        ),
    ),
    (ELEMENTWISE, re.compile(r"rotary|(^|_|::)rope(_|$)")),
    (
        COMMUNICATION,
        re.compile(
            r"nccl|rccl|c10d::|record_param_comms|all_?to_?all|all2all|all_?reduce|all_?gather|reduce_?scatter|deep_?ep::|"
            r"nvshmem|rocshmem",
            re.I,
        ),
    ),
    (
        ATTENTION,
        re.compile(
            r"attention|flash_?attn|flash_fwd|flash_bwd|flash_?mla|fmha|mha_|sage_?attn|sage_fwd|xformers|_attn|sdpa|"
            r"varlen_(fwd|bwd)|fwd_kvcache|_fa\d_C::|^sgl_kernel::fwd|^flash_\w*::(fwd|bwd)|mla_(decode|prefill)|"
            r"(Prefill|Decode)_?With\w*KV|(^|::)pa_(fwd|decode|ragged|persistent)",
            re.I,
        ),
    ),
    (CONVOLUTION, re.compile(r"conv(?!ert)")),
    (BATCH_NORM, re.compile(r"batch_?norm")),
    (GROUP_NORM, re.compile(r"group_?norm|instance_?norm")),
    (LAYER_NORM, re.compile(r"layer_?norm|rms_?norm")),
    (SOFTMAX, re.compile(r"softmax")),
    (EMBEDDING, re.compile(r"embedding")),
    (
        LINEAR,
        re.compile(
            r"(^|::)(_?add(mm|mv)\w*|mm|mv|dot|vdot|bmm|baddbmm_?|matmul|linear|_?(\w+_)?scaled_(grouped_)?mm\w*|_int_mm|"
            r"_?(\w+_)?grouped_mm|machete_mm|cutlass_\w*mm|wvSplitK\w*|LLMM1|fmoe\w*|ck_moe\w*)$|(?<!fb)gemm|_linear|_matmul$|::gemv|"
            r"^fbgemm::(f8|i8|bf16)|fused_(experts|moe)|marlin(?!_repack)"
        ),
    ),
    (
        COPY,
        re.compile(
            r"(^|::)(copy_|\w+_copy|to|contiguous|clone|cat|stack|index(_select|_put_?|_copy_?)?|gather|scatter\w*|repeat\w*|roll|"
            r"constant_pad_nd|pad|_?(reflection|replication|circular)_pad\w*|_pad_circular|pin_memory|fill_|"
            r"zero_|zeros|ones|full|_foreach_copy_|slice_scatter|select_scatter|unfold\w*|im2col|col2im|"
            r"pixel_(un)?shuffle|item|_local_scalar_dense)$"
        ),
    ),
    (OTHER, re.compile(rf"^aten::({NO_WORK})$")),
    (ELEMENTWISE, re.compile(r"_and_mul|(^|_|:)(silu|gelu|swiglu)(_|$)|quant|moe_(sum|align)", re.I)),
)  # fmt: skip

_TRITON = re.compile(r"^triton_(?P<sort>[a-z]+)_fused_?(?P<names>.*?)(_\d+)?$")
_TEMPLATE = re.compile(r"^triton_(?P<names>\w*?(mm|bmm|convolution\w*|flex_(attention|decoding)\w*?))(_\d+)*$")
"""What a template alone is named: `triton_mm_5`, `triton_flex_attention_0`."""
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
    found = _fused(kernel) or class_of_kernel(kernel)
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
    if not name.startswith("triton_"):
        return None
    found = _TRITON.match(name)
    if not found:
        template = _TEMPLATE.match(name)
        return _by_template(template["names"]) if template else None
    names, sort = found["names"], found["sort"]
    if sort in ("tem", "mm", "bmm") or sort.startswith("conv"):
        return _by_template(f"{sort}_{names}")
    if sort in ("red", "per"):
        for wanted, pattern in _NORMS:
            if pattern in names:
                return wanted
        if "rms_norm" in names or {"mean", "pow", "rsqrt"} <= set(names.split("_")) or "mean_pow" in names:
            return LAYER_NORM
    moved = names
    for word in _MOVES:
        moved = moved.replace(word, "")
    return ELEMENTWISE if moved.strip("_") or not names else COPY


_NORMS = ((GROUP_NORM, "group_norm"), (BATCH_NORM, "batch_norm"), (LAYER_NORM, "layer_norm"), (SOFTMAX, "softmax"))


def _by_template(names: str) -> str:
    """The class of a kernel from a template, which multiplies whatever else it does."""
    if "attention" in names or "flex" in names:
        return ATTENTION
    return CONVOLUTION if "conv" in names.replace("convert", "") else LINEAR


_MOVES = (
    "_unsafe_view", "_to_copy", "empty_like", "constant_pad_nd", "slice_scatter", "unsqueeze", "transpose", "permute",
    "squeeze", "expand", "reshape", "unbind", "select", "slice", "split", "stack", "clone", "zeros", "full", "view",
    "copy", "cat", "_",
)  # fmt: skip
