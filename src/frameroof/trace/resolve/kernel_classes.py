"""The class of a kernel from its own name, and from its template arguments only where it launches what it is given.

The rules are tried in order on the own name (`kernel_name`), namespaces included. Where a kernel is such a wrapper
(`ck_tile::kentry`, `cutlass::Kernel2`, `elementwise_kernel`), the names inside it are tried first, the outermost first.
Sources of names: PyTorch, cuDNN, cuBLAS, CUTLASS, MIOpen, hipBLASLt, Composable Kernel, oneDNN, flash-attention,
FlashInfer, vLLM, SGLang, AITER, TensorRT-LLM, DeepEP, Liger, Apex, Transformer Engine (2021 to 2026).
"""

from __future__ import annotations

import re
from functools import lru_cache

from .class_names import (
    ATTENTION,
    BATCH_NORM,
    COMMUNICATION,
    CONVOLUTION,
    COPY,
    ELEMENTWISE,
    EMBEDDING,
    GROUP_NORM,
    LAYER_NORM,
    LINEAR,
    SOFTMAX,
)
from .kernel_name import kernel_name

_RULES: tuple[tuple[str, str], ...] = (
    (
        COMMUNICATION,
        r"nccl|rccl|nvshmem|rocshmem|mscclpp|all_?reduce|all_?gather|reduce_?scatter|all_?to_?all|all2all|"
        r"cross_device_reduce|quick_?reduce|(one|two)_?shot|multimem_|lamport|moeA2A|deep_?ep::|pplx|"
        r"(^|::)(inter|intra)node(_ll)?::|(^|::)ep_?(dispatch|combine)|^(notify_)?(dispatch|combine)(_kernel)?$",
    ),
    (
        COPY,
        r"(reshape|concat)_and_cache|(store|set|update|append|write)_?\w*kv_?(cache|buffer)|AppendPagedKV|"
        r"(copy|swap)_blocks|gather_\w*cache|ep_(scatter|gather)|copy_page_ind",
    ),
    (
        ELEMENTWISE,
        r"moe::dev::(finalize|routing|activation|permute)|finalize|moe_?align|moe_sum|moe_?sorting|quantize_with_block|"
        r"rotary|(^|_|::)m?rope(_|$)|QKNormRope|create_flash\w*indices|apply_repetition_penalt",
    ),
    (
        ATTENTION,
        r"flash(?!infer)|(Prefill|Decode)With\w*KV|Single(Prefill|Decode)|BatchMLA|fmha|attn|attention|sdpa|"
        r"(^|::)_(fwd|bwd)_(grouped_)?(kernel|preprocess)|(^|::)_fwd_(none_)?diag|(^|::)_fwd_kv_|(^|_)mha(_|$)|sage_(fwd|quant)|"
        r"splitkv|reduce_segments|MergeStates?|merge_(attn_)?state|(^|_|::)mla_|_mla_|_mla$|(^|::)pa_(fwd|decode|ragged|reduce|bf16|f?p?16)|"
        r"(^|::)bwd_(kernel_d[kq]|preprocess)|compute_dot_do_o|(^|::)_decode_(att_|softmax_reducev)",
    ),
    (BATCH_NORM, r"batch_?norm|bn_(fw|bw|fused)|bnorm"),
    (
        CONVOLUTION,
        r"conv(?!ert|_to)|implicit_gemm|igemm_(fwd|bwd|wrw|v\d)|cudnn_\w*\d+x\d+|winograd|wino_|fprop|dgrad|wgrad|"
        r"bwd_(weight|data)|cask_cudnn|batched_transpose|nchw_?to_?nhwc|nhwc_?to_?nchw|im2(d2)?col|vol2col|col2(im|vol)|im2d2col",
    ),
    (
        GROUP_NORM,
        r"group_?norm|instance_?norm|RowwiseMoments|Compute(1d)?(Backward)?FusedParams|ComputeInternalGrad|"
        r"GammaBeta(1d)?BackwardCUDAKernel[12]",
    ),
    (
        LAYER_NORM,
        r"layer_?norm|rms_?norm|(^|_|::)ln_(fwd|bwd)|lnorm|GammaBetaBackward|cuCompute(Part)?Grad(GammaBeta|Input)|"
        r"cuApply(Layer|RMS)",
    ),
    (SOFTMAX, r"softmax"),
    (
        EMBEDDING,
        r"embedding|vectorized_gather|krn_partial|partial_segments|compute_grad_weight|sum_and_scatter|indexSelect",
    ),
    (
        LINEAR,
        r"(?<!fb)gemm|(^|_)Cijk_|^bmm_|nvjet|cublas|splitKreduce|gemv|dot_kernel|(^|_)b?mm(_|$)|matmul|wmma|marlin|machete|"
        r"fused_moe_kernel|fused_moe_\w*wna16|moe_?(mm|stage\d)|fmoe|wv_?SplitK|LLMM1|grouped_mm|scaled_mm|reduce_1Block|"
        r"warp_specialized_mm",
    ),
    (
        COPY,
        r"memcpy|memset|copyBuffer|fill_?Buffer|direct_copy|copy(?!sign)|CatArray|index_elementwise|index_put|indexing_|scatter|gather(?!TopK)|"
        r"transpose|permute|FillFunctor|(reflection|replication|constant|circular)_pad|zero_pad|expandInputRows|(^|_|::)(convert|cvt)(_|$)|reorder|roll_cuda|slice_tensor",
    ),
    (
        ELEMENTWISE,
        r"elementwise|reduc|Functor|silu|gelu|swiglu|relu|sigmoid|upsample|interpol|SubTensorOp|OpTensor|tensor_transform|"
        r"arange|distribution|(^|_)scan|scan_|cumsum|quant|sort|top_?k|top_?p|sampl|pool|act_and_mul|multi_tensor|triu|tril|"
        r"cub::|rocprim|thrust|penalt|bincount|histogram|arg_?max|NLL|nll_|cross_entropy|loss|dropout|adam|foreach|nms_|"
        r"scalePackedTensor|clamp|write_indices|position|routing|bitmatrix|eltwise|binary|unary|activation|_gate_|indptr|MeanScale|fusion",
    ),
)
_PATTERNS = tuple((name, re.compile(pattern, re.I)) for name, pattern in _RULES)

_WRAPPER = re.compile(
    r"(^|::)(kentry|kernel\d?|device_kernel|global_kernel|trampoline_kernel|enable_\w+|DefaultKernel\w*|run_kernel|"
    r"\w*elementwise_?kernel\w*|reduce_?kernel\w*|multi_tensor_apply_kernel|DeviceReduce\w*|for_each\w*|parallel_for\w*|"
    r"kernel_agent|launch_clusters\w*)$",
    re.I,
)
"""Kernels that launch what their first arguments name."""
_PRODUCTS = (ATTENTION, CONVOLUTION, LINEAR)


def class_of_kernel(text: str) -> str | None:
    """The class of a kernel by its name as a trace holds it; None where no rule knows it."""
    name = kernel_name(text)
    if not _WRAPPER.search(name.own):
        return _class_of(name.own)
    inner = filter(None, map(_class_of, name.inner))
    if "cutlass" in name.own:  # it only multiplies; what adds up the parts of a product belongs to it
        product = next((each for each in inner if each in _PRODUCTS), None)
        return product or (CONVOLUTION if "cudnn" in name.own else LINEAR)
    return next(inner, None) or _class_of(name.own)


def telling_name(text: str) -> str:
    """What a kernel is called by: its own name, or of a wrapper the first name inside it that has a class."""
    name = kernel_name(text)
    if not _WRAPPER.search(name.own):
        return name.own
    return next((each for each in name.inner if _class_of(each)), name.own)


@lru_cache(maxsize=16384)
def _class_of(name: str) -> str | None:
    return next((found for found, pattern in _PATTERNS if pattern.search(name)), None)
