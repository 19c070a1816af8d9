"""Kernels by their own names: what each is comes from the libraries' sources, beside names that only look alike."""

from __future__ import annotations

import pytest
from trace_made import Made

from frameroof.trace.read.events import Kind
from frameroof.trace.resolve.classify import CLASSES, classify
from frameroof.trace.resolve.kernel_name import kernel_name
from frameroof.trace.to_run import analyze

NATIVE = "void at::native::"
HIDDEN = NATIVE + "(anonymous namespace)::"
KERNELS = {
    "attention": [
        "flash_fwd_splitkv_mla_combine_kernel",
        "void qk_int_sv_f8_attn_kernel<128u>",
        "void ck_tile::kentry<2, ck_tile::FmhaBwdOGradDotOKernel<P>>",
        "cutlass::fmha::kernel::XeFMHAFwdKernel",
        "void ck_tile::kentry<2, ck_tile::FmhaFwdKernel<ck_tile::BlockFmhaPipelineQRKSVSAsync<..., "
        "ck_tile::BlockAttentionQuantScaleEnum::NO_SCALE>>>",
        "_ZN7ck_tile6kentryILi2ENS_38FmhaBatchPrefillWithPagedKVCacheKernelINS_30BlockFmhaBatchPrefillPipelineQRKSVS",
        "void pytorch_flash::flash_fwd_kernel<pytorch_flash::Flash_fwd_kernel_traits<64, 128, 128, 4, false>>(Params)",
        "void pytorch_flash::flash_bwd_dq_dk_dv_loop_seqk_parallel_kernel<Flash_bwd_kernel_traits<64>>(Params)",
        "void flash::flash_fwd_splitkv_combine_kernel<Flash_fwd_kernel_traits<128>, 4, 5, true>(P)",
        "void cutlass::device_kernel<flash::enable_sm90_or_later<flash::FlashAttnFwdSm90<flash::CollectiveMainloop>>>",
        "fmha_cutlassF_bf16_aligned_64x128_rf_sm80(PyTorchMemEffAttention::AttentionKernel<cutlass::bfloat16_t>::Params)",
        "fmha_cutlassB_f16_aligned_64x64_k64_sm80(PyTorchMemEffAttention::AttentionBackwardKernel<cutlass::half_t>)",
        "cudnn_generated_fort_native_sdpa_sm80_flash_fprop_wmma_f16_knob_31_64x64x64_4x1x1_kernel0_0",
        "cudnn_generated_fort_native_sdpa_sm90_flash_bprop_wgmma_f16_knob_2_64x64x128_4x1x1_kernel0_0",
        "fmhaSm100aKernel_QkvE4m3OBfloat16H64PagedKvCausalP16VarSeqQ128Kv128PersistentContext",
        "kernel_unified_attention_2d",
        "kernel_unified_attention_3d.kd",
        "reduce_segments",
        "micro_sdpa",
        "_fwd_grouped_kernel_stage1",
        "_fwd_kernel_stage1",
        "_fwd_kernel_stage2",
        "_fwd_kernel",
        "_attn_fwd",
        "attn_fwd",
        "_fwd_kernel_aligned_0d1d2d3d45d6de7de8c9de10de",
        "_bwd_kernel_dk_dv",
        "bwd_kernel_dk_dv",
        "bwd_preprocess",
        "_decode_att_m_fwd",
        "_decode_softmax_reducev_fwd",
        "aiter::pa_bf16_noquant_a16w16_gqa16_1tg_4w_mtp_msk0.kd",
        "cudnn::fusion::compute_dot_do_o_specialized<true, __nv_bfloat16, 128>",
        "_bwd_preprocess_do_o_dot",
        "sage_fwd",
        "void paged_attention_ll4mi_QKV_mfma16_kernel<0, __hip_bfloat16, (vllm::Fp8KVCacheDataType)0, 16>",
        "void vllm::paged_attention_v2_reduce_kernel<unsigned short, 128, 128, 512>(unsigned short*)",
        "void flashinfer::BatchPrefillWithPagedKVCacheKernel<flashinfer::KernelTraits<(flashinfer::MaskMode)1, 128>>",
        "void flashinfer::BatchDecodeWithPagedKVCacheKernel<(flashinfer::PosEncodingMode)0, 2u, 4u>(P)",
        "void flashinfer::PersistentVariableLengthMergeStatesKernel<8u, 16u>",
        "aiter::fmha_fwd_hd128_bf16_rtz",
        "aiter::mla_a16w16_decode",
        "triton_flex_attention_0",
        "flash_fwd_kernel",
        "triton_tem_fused_flex_attention_1",
        "void vllm::merge_attn_states_kernel<unsigned short, unsigned int, 128>",
    ],
    "convolution": [
        "nchw_to_nhwc",
        "naive_conv_ab_packed_fwd_ncdhw_half_double_half",
        "sm80_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tilesize128x128x32_stage4_kernel",
        "sm80_xmma_wgrad_implicit_gemm_indexed_tf32f32_tf32f32_f32_nhwckrsc_nhwc_tilesize128x128x16",
        "void cutlass__5x_cudnn::Kernel<cutlass_tensorop_bf16_s16816fprop_optimized_bf16_128x128_32x4_nhwc_align8>(P)",
        "_ZN19cutlass_cudnn_train6KernelINS_4conv6kernel23ImplicitGemmConvolutionINS1_11threadblock22ImplicitGemmMulti",
        "void cutlass_cudnn_train::Kernel<cutlass_cudnn_train::reduction::kernel::ReduceSplitK<1>>",
        "volta_scudnn_128x64_relu_interior_nn_v1",
        "void implicit_convolve_sgemm<float, float, 1024, 5, 5, 3, 3, 3, 1>",
        "turing_fp16_s1688cudnn_fp16_256x128_ldg8_relu_f2f_exp_small_nhwc_tn_v1",
        "void fft2d_r2c_conv_32x32<float>",
        "igemm_fwd_gtcx3_nhwc_bf16_bx0_ex1_bt128x128x32_wt32x32x8",
        "naive_conv_ab_nonpacked_fwd_nchw_half_double_half",
        "miopenSp3AsmConv_v30_3_1_gfx94x_fp16_dot2_edc_f2x3",
        "Im2d2Col_v2",
        "MIOpenConvUni",
        "gen_conv_kernel",
        "_ZN2ck16tensor_operation6device37kernel_batched_gemm_xdlops_bwd_weightINS0_9GridwiseGemm",
        "gen_conv",
        HIDDEN + "im2col_kernel<float>(long, float const*)",
        NATIVE + "vol2col_kernel<c10::BFloat16>(long)",
        NATIVE + "col2im_kernel<float, float>(long)",
        HIDDEN + "conv_depthwise2d_forward_kernel<3, float, int>",
        "_causal_conv1d_fwd_kernel",
        "triton_convolution2d_4",
        "triton_tem_fused_convolution_2",
        "void cudnn::winograd_nonfused::winogradForwardData4x4<float, float>",
        "gen9_wino_conv_fwd",
    ],
    "linear": [
        "wv_splitk_small_fp16_bf16_kernel",
        "deep_gemm::sm90_fp8_gemm_1d2d_impl<P>",
        "gemm_fusion_dot_4",
        "void kgemm_4bit_inference_naive<__nv_bfloat16, 128, 16>",
        "Cijk_Ailk_Bljk_BBS_BH_Bias_HA_S_SAV_UserArgs_MT256x256x64_MI16x16x1_SN",
        "nvjet_tst_128x256_64x4_1x2_h_bz_coopA_TNT",
        "Custom_Cijk_Alik_Bljk_BBS_BH_MT256x256x64",
        "ampere_bf16_s16816gemm_bf16_128x128_ldg8_f2f_stages_32x5_tn",
        "void cutlass::Kernel2<cutlass_80_wmma_tensorop_f16_s161616gemm_f16_32x32_64x1_tn_align8>(Params)",
        "void cutlass::device_kernel<at::cuda::detail::enable_3x_kernel_for_sm9x<cutlass::gemm::kernel::GemmUniversal<"
        "cute::tuple<int>, cutlass::epilogue::fusion::Sm90Compute<cutlass::NumericArrayConverter>>>>",
        "sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64_warpgroupsize1x1x1_execute_segment_k_off_kernel",
        "std::enable_if<!(false), void>::type internal::gemvx::kernel<int, int, __nv_bfloat16, float, true>(Params)",
        "void ck::kernel_gemm_xdl_cshuffle_v3<ck::GridwiseGemm_xdl_cshuffle_v3<ck::tensor_layout::gemm::RowMajor>>",
        "void ck_tile::kentry<1, ck_tile::GemmKernel<ck_tile::GemmSpatiallyLocalTilePartitioner<256>>>",
        "gemm_kernel",
        "void cublasLt::splitKreduce_kernel<32, 16, int, float, __nv_bfloat16>(cublasLt::Params)",
        "fused_moe_kernel",
        "void marlin::Marlin<nv_bfloat16, 1125899907892224l, 256, 4, 16, 4, true, 4, 8, false>(int4 const*)",
        "triton_mm_5",
        "void marlin_moe_wna16::Marlin<1>(int4 const*)",
        "fused_moe_kernel_gptq_awq",
        "_matmul_ogs_NNT_bf16xbf16xmxfp4",
        "turing_igemm_int8_128x64_ldg4_relu_nn",
        "triton_tem_fused_mm_t_view_3",
        "triton_tem_fused_addmm_7",
        "triton_bmm_2",
        "bmm_MxE4m3_MxE2m1MxE4m3_Fp32_t128x16x256u2_s3_et128x16_m128x16x64",
        "void wvSplitK_hf_sml_<__hip_bfloat16, 64>",
        "deep_gemm::fp8_gemm_kernel",
        "void vllm::awq::gemm_forward_4bit_cuda_m16nXk32<128>",
        "_w8a8_block_fp8_matmul",
        "void kernel_moe_gemm<ck::GridwiseMoeGemmBlockScale<1>>",
        "aiter::fmoe_bf16_blockscaleFp8_g1u1_silu",
        "void dot_kernel<float, 128, 0, cublasDotParams<float>>",
        "matmul_kernel",
        "_gemm_a16_w16_kernel",
    ],
    "batch norm": [
        "MIOpenBatchNormFwdTrainSpatialNorm",
        "void cudnn::bn_fw_tr_1C11_singleread<float, 512, true, 1, 2, 0>",
        NATIVE + "batch_norm_transform_input_kernel<float, float, float, true, int>",
        "gen9_bnorm_fwd",
        NATIVE + "unrolled_elementwise_kernel<at::native::(anonymous namespace)::batch_norm_elementwise(at::Tensor)>",
        "triton_red_fused__native_batch_norm_legit_functional_3",
        "nhwc_batch_norm_fwd",
    ],
    "group norm": [
        HIDDEN + "RowwiseMomentsCUDAKernel<float>(long)",
        HIDDEN + "ComputeFusedParamsCUDAKernel<float>",
        "triton_red_fused_native_group_norm_0",
    ],
    "layer norm": [
        "typeinfo name for at::native::xpu::LayerNormForwardKernelFunctor<float>",
        HIDDEN + "vectorized_layer_norm_kernel<c10::BFloat16, float>(int)",
        "_layer_norm_fwd_1pass_kernel",
        "std::enable_if<(((8)>(0)))&&vllm::_typeConvert<c10::BFloat16>::exists, void>::type "
        "vllm::fused_add_rms_norm_kernel<c10::BFloat16, 8>(c10::BFloat16*)",
        "_rms_norm_forward_kernel",
        "_ZN7ck_tile6kentryILi1ENS_12Rmsnorm2dFwdINS_27Rmsnorm2dFwdPipelineOnePass",
        "_layer_norm_forward_kernel",
        "_ZN5aiter24add_rmsnorm_quant_kernelIDF16bDF16bLi256ELi16ELb0",
        "void cuApplyLayerNorm<float, float, float>",
        "void layer_norm::ln_fwd_kernel<layer_norm::Kernel_traits<float>>",
        "kernel_quack_rmsnorm_RMSNorm_object_at",
        "void flashinfer::norm::FusedAddRMSNormKernel<8u, __nv_bfloat16>",
        HIDDEN + "cuComputeGradGammaBeta<float>",
        "void transformer_engine::normalization::rmsnorm_fwd_tuned_kernel<1>",
        "vectorized_lnorm_fwd",
    ],
    "softmax": [
        "void (anonymous namespace)::softmax_warp_forward<c10::BFloat16, float, 10, false, false>(float*)",
        HIDDEN
        + "cunn_SoftMaxForward<4, float, float, float, at::native::(anonymous namespace)::SoftMaxForwardEpilogue>",
        "gen9_softmax_fwd",
        "void vllm::moe::topkGatingSoftmax<4, 128, 4, 16, 32, int>(float const*)",
    ],
    "embedding": [
        HIDDEN + "indexSelectLargeIndex<c10::BFloat16, long, unsigned int, 2>",
        "_fused_embedding_kernel",
        "compute_num_of_partial_segments",
        "krn_partial_segment_offset",
    ],
    "communication": [
        "_ZN7deep_ep12internode_ll8dispatchILb1ELb0ELi7168EEEvPvS1_",
        "mori::moe::EpCombineIntraNodeKernel",
        "mscclpp::allreduce7",
        "ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
        "ncclKernel_Broadcast_RING_LL_Sum_int8_t",
        "rcclGenericKernel<1, false>(ncclDevKernelArgsStorage<4096ul>)",
        "void vllm::cross_device_reduce_1stage<float, 2>",
        "void aiter::cross_device_reduce_2stage<__hip_bfloat16, 8>",
        "void deep_ep::intranode::dispatch<8, 768, 8192>(int4*)",
        "void deep_ep::internode_ll::combine<true, 7168, 9>(void*)",
        "void deep_ep::layout::get_dispatch_layout<256, 32, 8>",
        "void deep_ep::intranode::notify_dispatch<8>(int const*)",
        "void sglang::cross_device_reduce_1stage<half, 4>",
        "void flashinfer::trtllm_allreduce_fusion::allreduce_fusion_kernel_oneshot_lamport<"
        "(flashinfer::AllReduceFusionPattern)1, __nv_bfloat16>",
        "EpDispatchIntraNodeKernel",
        "nvshmem_barrier_all",
        "void (anonymous namespace)::multimem_all_reduce_kernel<c10::BFloat16, 16>(float*)",
        "void quickreduce::allreduce_prototype_twoshot<quickreduce::AllReduceTwoshot>",
    ],
    "copy": [
        "_fwd_kernel_ep_scatter_1",
        "_fwd_kernel_ep_gather",
        "zero_pad",
        "void vllm::convert_fp8_kernel<float>",
        "void vllm::reshape_and_cache_flash_kernel<__nv_bfloat16, unsigned char, (vllm::Fp8KVCacheDataType)1>(int)",
        NATIVE + "elementwise_kernel<128, 4, at::native::gpu_kernel_impl_nocast<at::native::direct_copy_kernel_cuda("
        "at::TensorIteratorBase&)::{lambda()#3}::operator()() const::{lambda()#12}>>(int)",
        HIDDEN
        + "CatArrayBatchedCopy_contig<at::native::(anonymous namespace)::OpaqueType<2u>, unsigned int, 4, 64, 64>",
        HIDDEN + "replication_pad_forward_kernel3d<float>(at::GenericPackedTensorAccessor<float const, 5>)",
        HIDDEN + "reflection_pad3d_out_kernel<c10::BFloat16>",
        "__amd_rocclr_copyBuffer",
        "__amd_rocclr_fillBufferAligned",
        NATIVE + "vectorized_elementwise_kernel<4, at::native::FillFunctor<float>, std::array<char*, 1ul>>(int)",
        "triton_poi_fused_clone_transpose_3",
        "void (anonymous namespace)::store_kvcache<2048l, 4, false, long>(int)",
        "void flashinfer::AppendPagedKVCacheKernel<128u, 8u>",
        "simple_reorder",
        "transpose_NCHW2CNHW_V2_2D_WG_off64",
    ],
    "elementwise": [
        "at::native::sbtopk::gatherTopK",
        NATIVE + "elementwise_kernel<128, 4, at::native::copysign_kernel_cuda(at::TensorIteratorBase&)>",
        "void tensorrt_llm::kernels::doActivationKernel<half>",
        "moe_fused_gate_kernel<c10::BFloat16>",
        "loop_multiply_fusion",
        "at::native::xpu::VectorizedElementwiseKernel<4, at::native::xpu::AddFunctor<float>>",
        NATIVE + "vectorized_elementwise_kernel<4, at::native::BinaryFunctor<float, fl",
        "_ZN2at6native29vectorized_elementwise_kernelILi4ENS0_15CUDAFunctor_addIfEESt5arrayIPcLm3EEEEviT0_T1_",
        NATIVE + "reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::MeanOps<float, float>, unsigned int>>",
        "void vllm::rotary_embedding_kernel<c10::BFloat16, true>(long const*)",
        "moe_align_block_size_kernel",
        "void vllm::scaled_fp8_quant_kernel_strided<c10::BFloat16, c10::Float8_e4m3fn>",
        "per_token_group_quant_8bit_kernel",
        "void vllm::act_and_mul_kernel<c10::BFloat16, &(c10::BFloat16 vllm::silu_kernel<c10::BFloat16>(float)), true>",
        "void flashinfer::sampling::TopKTopPSamplingFromProbKernel<1024u, (cub::BlockScanAlgorithm)2>",
        "_topk_forward",
        "void rocprim::ROCPRIM_400400_NS::detail::trampoline_kernel<rocprim::default_config, rocprim::convert_op<int>>",
        "void moe::dev::finalize::finalizeKernel<cutlass::bfloat16_t>",
        "_finalize_matmul_scatter_bf16",
        "triton_poi_fused__scaled_dot_product_flash_attention_cat_transpose_4",
        "gen9_eltwise_fwd",
        "void at_cuda_detail::cub::DeviceRadixSortOnesweepKernel<at_cuda_detail::cub::Policy1000>",
        "quantize_with_block_size",
        HIDDEN + "max_pool_forward_nchw<float, int>",
        HIDDEN + "upsample_nearest2d_out_frame<c10::BFloat16>",
    ],
    "other": ["some_kernel", "dispatcher_of_flags"],
}


@pytest.mark.parametrize(("want", "kernel"), [(want, name) for want, names in KERNELS.items() for name in names])
def test_the_class_of_a_kernel_by_its_name(want, kernel):
    assert classify("", kernel, int(Kind.KERNEL)) == want
    assert want in CLASSES


@pytest.mark.parametrize(
    ("operator", "want"),
    [
        ("vllm::unified_attention_with_output", "attention"),
        ("_vllm_fa3_C::fwd", "attention"),
        ("flash_attn_3::fwd", "attention"),
        ("aiter::fmha_v3_varlen_fwd", "attention"),
        ("aiter::mla_decode_fwd", "attention"),
        ("aiter::mha_batch_prefill", "attention"),
        ("sgl_kernel::fwd", "attention"),
        ("aiter::pa_fwd_asm", "attention"),
        ("vllm::unified_kv_cache_update", "copy"),
        ("fsdp::all_gather_copy_in", "copy"),
        ("aten::replication_pad3d", "copy"),
        ("vllm::all_reduce", "communication"),
        ("vllm::outplace_fused_experts", "linear"),
        ("_C::machete_mm", "linear"),
        ("_C::cutlass_scaled_mm", "linear"),
        ("_C::gptq_marlin_gemm", "linear"),
        ("aten::_native_batch_norm_legit", "batch norm"),
        ("aten::instance_norm", "group norm"),
        ("_C::rms_norm", "layer norm"),
        ("aten::im2col", "copy"),
        ("aten::convolution_backward", "convolution"),
        ("prims::convert_element_type", "other"),
        ("_C::silu_and_mul", "elementwise"),
        ("sgl_kernel::sgl_per_token_group_quant_fp8", "elementwise"),
        ("bitsandbytes::gemv_4bit", "linear"),
        ("_C::awq_dequantize", "elementwise"),
        ("symm_mem::multimem_all_reduce_", "communication"),
    ],
)
def test_the_class_of_an_operator(operator, want):
    assert classify(operator, "", int(Kind.KERNEL)) == want


@pytest.mark.parametrize(
    ("text", "own", "inner"),
    [
        ("void a::b<c::d<1>, e>(f)", "a::b", ("c::d", "e", "f")),
        ("std::enable_if<!(x), void>::type n::k<int>(T)", "n::k", ("int", "T")),
        ("typeinfo name for at::native::xpu::Kernel<float>", "at::native::xpu::Kernel", ("float",)),
        ("void (anonymous namespace)::k(int)", "k", ("int",)),
        ("void k<a::b<c::d", "k", ("a::b", "c::d")),
        ("_ZN2at6native12_GLOBAL__N_14kernIfEEvPT_", "at::native::kern", ()),
        ("_Z4kernPf", "kern", ()),
        ("_Z4kern3Foo", "kern", ("Foo",)),
        ("_ZN2at6native13reduce_kernelINS0_6MaxOpsEEEvT_", "at::native::reduce_kernel", ("MaxOps",)),
        ("void run<(a->b), c>::go<d>(int)", "run::go", ("a", "b", "c", "d", "int")),
        ("_Zsomething", "_Zsomething", ()),
        ("operator()", "operator", ()),
        ("", "", ()),
    ],
)
def test_a_name_is_taken_apart(text, own, inner):
    assert kernel_name(text) == (own, inner)


def test_a_kernel_with_quant_in_its_template_is_no_helper(shared):
    """4 calls of 557 us over 1 x 16 x 4096 x 4096 x 64."""
    run = analyze(shared / "cases/traces/flash_kernel_with_quant_in_its_template.json")
    (row,) = run.attention
    assert (row.count, row.flops, row.time_ns) == (4, 4 * 4 * 16 * 4096 * 4096 * 64, 2_228_000)


CK = "void ck_tile::kentry<2, ck_tile::Fmha{}Kernel<ck_tile::BlockAttentionBiasEnum, 64>>"


@pytest.mark.parametrize(
    ("before", "main", "after"),
    [
        ("", "kernel_unified_attention_3d", "reduce_segments"),
        ("", "_fwd_grouped_kernel_stage1", "_fwd_kernel_stage2"),
        ("", CK.format("FwdSplitKV"), CK.format("FwdSplitKVCombine")),
        (CK.format("BwdOGradDotO"), CK.format("BwdDQDKDV"), CK.format("BwdConvertQGrad")),
        (
            "void flash_bwd_dot_do_o_kernel<P>",
            "void flash_bwd_dq_dk_dv_loop_seqk_parallel_kernel<P>",
            "void flash_bwd_convert_dq_kernel<P>",
        ),
        ("sage_quant_kernel", "sage_fwd", ""),
    ],
)
def test_kernels_that_prepare_and_finish_join_their_attention(tmp_path, before, main, after):
    t = Made()
    for i in range(3):
        for at, name in enumerate((before, main, after)):
            if name:
                t.one("", 10_000 + 30_000 * i + 8_000 * at, 5_000 if name == main else 1_000, kernel=name)
    (row,) = t.run(tmp_path).attention
    assert (row.count, row.time_ns) == (3, 3 * (5_000 + 1_000 * (bool(before) + bool(after))))
