"""Because numbers of `analyze` and `gap` must be held without recordings that outsiders lack: makes the traces beside
this file (`python tests/golden/traces/make_traces.py`). What each holds is said in its function.

Times are nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from recorded_clock import BF16, CALL, FP8, FP16, LONG, Recorder

HERE = Path(__file__).parent

GEMM, CONV, NORM = "sm90_xmma_gemm_bf16", "sm90_xmma_fprop_implicit_gemm_bf16", "vectorized_layer_norm_kernel"
ADD, SOFTMAX = "vectorized_elementwise_kernel<CUDAFunctor_add>", "cunn_SoftMaxForward"


def of(name: str, memory: int, count: int = 1, **more: object) -> dict[str, object]:
    """The header of a trace recorded on `count` devices."""
    return {"deviceProperties": [{"id": i, "name": name, "totalGlobalMem": memory} for i in range(count)], **more}


H100 = of("NVIDIA H100 80GB HBM3", 85_000_000_000, cuda_runtime_version=12040)
A100 = ("NVIDIA A100-SXM4-80GB", 85_000_000_000)
MI300X = of("AMD Instinct MI300X", 206_000_000_000, hip_runtime_version=71460850)


# ------------------------------------------------------------------------------- eager diffusion


def _convolve(t: Recorder, channels: int, out: int, side: int, length: int) -> None:
    """A 3 x 3 convolution of images of `side` x `side`."""
    rest = ["[1, 1]", "[1, 1]", "[1, 1]", "False", "[0, 0]", "1"]
    dims = [[2, channels, side, side], [out, channels, 3, 3], [out], [], [], [], [], [], []]
    t.operate("aten::convolution", dims, [("nchwToNhwcKernel", 3_000), (CONV, length)], ["", "", "", *rest])


def _resnet(t: Recorder) -> None:
    with t.inside("ResnetBlock2D_0"):
        image = [2, 320, 32, 32]
        work = [("RowwiseMomentsCUDAKernel", 6_000), ("group_norm_elementwise_kernel", 7_000)]
        t.operate("aten::native_group_norm", [image, [320], [320], [], [], [], [], []], work)
        t.operate("aten::silu", [image], [("vectorized_elementwise_kernel<silu>", 5_000)])
        _convolve(t, 320, 320, 32, 40_000)
        t.operate("aten::add", [image, image, []], [(ADD, 5_000)])


def _attend(t: Recorder, name: str, keys: int, wide: int, times: tuple[int, int, int]) -> None:
    """Eager attention of 1,024 queries, 8 heads of 40: projections, product, scale, softmax, product."""
    with t.inside(name):
        for n in (1_024, keys, keys):
            t.operate("aten::mm", [[2 * n, 320 if n > 100 else wide], [320 if n > 100 else wide, 320]], [(GEMM, 9_000)])
        matrix, (one, two, three) = [16, 1_024, keys], times
        t.operate("aten::bmm", [[16, 1_024, 40], [16, 40, keys]], [(GEMM, one)])
        t.operate("aten::mul", [matrix, []], [("vectorized_elementwise_kernel<mul>", two)])
        t.operate("aten::_softmax", [matrix, [], []], [(SOFTMAX, two)])
        t.operate("aten::bmm", [matrix, [16, keys, 40]], [(GEMM, three)])
        t.operate("aten::addmm", [[320], [2_048, 320], [320, 320]], [(GEMM, 9_000)])


def h100_eager_diffusion() -> str:
    """CLIP, two steps of a UNet, a decoder. Eager self and cross attention, convolutions, norms, elementwise work; the
    host is late in the encoder, waits once a step (`.item()`, with its line) and thinks 150 us between the steps."""
    t = Recorder(**H100)
    with t.inside("pipeline.py(40): generate", "frame"):
        with t.inside("CLIPTextModel_0"):
            ids = [[49_408, 768], [2, 77], [], [], []]
            t.operate("aten::embedding", ids, [("indexSelectLargeIndex", 4_000)], types=[BF16, LONG, "", "", ""])
            t.operate("aten::native_layer_norm", [[2, 77, 768], [], [768], [768], []], [(NORM, 3_000)])
            t.operate("aten::addmm", [[768], [154, 768], [768, 768]], [(GEMM, 5_000)])
        for _ in range(2):
            with t.inside("UNet2DConditionModel_0"):
                _convolve(t, 4, 320, 32, 12_000)
                _resnet(t)
                with t.inside("BasicTransformerBlock_0"):
                    tokens = [2, 1_024, 320]
                    t.operate("aten::native_layer_norm", [tokens, [], [320], [320], []], [(NORM, 4_000)])
                    _attend(t, "Attention_0", 1_024, 320, (30_000, 60_000, 28_000))
                    t.operate("aten::add", [tokens, tokens, []], [(ADD, 4_000)])
                    _attend(t, "Attention_1", 77, 768, (6_000, 5_000, 6_000))
                    t.operate("aten::add", [tokens, tokens, []], [(ADD, 4_000)])
            with t.inside("scheduler.py(12): step", "frame"):
                t.operate("aten::sub", [[2, 4, 32, 32], [2, 4, 32, 32], []], [(ADD, 2_000)])
                start, external = t.now, t._next()
                copy = {"cat": "gpu_memcpy", "bytes": 2, "External id": external}
                t.submit("Memcpy DtoH (Device -> Pageable)", 1_200, start + 400, "cudaMemcpyAsync", **copy)
                t.now += 400 + CALL + 100
                t.wait()
                t.op("aten::item", start, t.now - start, ext=external)
            t.think(150_000)
        with t.inside("Decoder_0"):
            _convolve(t, 4, 512, 32, 15_000)
            _convolve(t, 512, 3, 256, 250_000)
    return t.text(arrows=True)


# ------------------------------------------------------------------------------- fused attention


def _layer(t: Recorder, queries: int, keys: int, operator: str, length: int) -> None:
    """A decoder layer of width 4,096 with 32 heads of 128 over 8 of keys and values, its pointwise work compiled."""
    rows, x = queries, [1, queries, 4_096]
    norm, gate = "triton_red_fused__to_copy_mean_mul_pow_rsqrt_0", "triton_poi_fused_mul_silu_1"
    one = 2_000 + 8 * rows
    t.operate(norm, [x, [4_096], x], [(norm, one)])
    with t.inside("mod::layers.0.attn", "note"):
        t.operate("aten::mm", [[rows, 4_096], [4_096, 6_144]], [("nvjet_tst_128x256", 20_000 + 90 * rows)])
        q, k = ([1, 32, queries, 128], [1, 8, keys, 128])
        concrete = ["", "", "", "0.", "True" if queries > 1 else "False", "False", "0.088"]
        if operator == "aten::_flash_attention_forward":
            q, k = ([1, queries, 32, 128], [1, keys, 8, 128])
            concrete = ["", "", "", "", "", str(queries), str(keys), "0.", "True", "False"]
        dims = [q, k, k, *[[]] * (len(concrete) - 3)]
        t.operate(operator, dims, [("void flash_fwd_kernel<Flash_fwd_kernel_traits<128>>", length)], concrete)
        t.operate("aten::mm", [[rows, 4_096], [4_096, 4_096]], [("nvjet_tst_128x256", 14_000 + 60 * rows)])
    with t.inside("mod::layers.0.mlp", "note"):
        t.operate("aten::mm", [[rows, 4_096], [4_096, 28_672]], [("nvjet_tst_256x128", 80_000 + 400 * rows)])
        t.operate(gate, [[rows, 14_336], [rows, 14_336], [rows, 14_336]], [(gate, 3_000 + 30 * rows)])
        t.operate("aten::mm", [[rows, 14_336], [14_336, 4_096]], [("nvjet_tst_256x128", 45_000 + 200 * rows)])


def h100_flash_gqa() -> str:
    """Grouped-query attention, fused: a causal prefill of 2,048, a causal chunk of 512 over 8,192 keys, three decoded
    tokens; stages and modules as `frameroof profile` writes them, pointwise work compiled by Triton."""
    t = Recorder("cuLaunchKernelEx", **H100)
    with t.inside("stage::prefill", "note"):
        _layer(t, 2_048, 2_048, "aten::_scaled_dot_product_flash_attention", 120_000)
    with t.inside("stage::chunk", "note"):
        _layer(t, 512, 8_192, "aten::_flash_attention_forward", 200_000)
    for step in range(3):
        with t.inside("stage::decode", "note"):
            _layer(t, 1, 8_193 + step, "aten::_scaled_dot_product_flash_attention", 22_000)
    t.wait("cudaDeviceSynchronize")
    return t.text(arrows=True)


# ------------------------------------------------------------------------------- CUDA graphs


def a100_cuda_graph() -> str:
    """One eager step, then two replays of a graph: five kernels on two streams, of which 6 us run beside each other
    within a replay; the work carries the graph node's number and the External id around the launch."""
    t = Recorder(dtype=FP16, **of(*A100, cuda_runtime_version=12080))
    with t.inside("DiTModel_0"):
        t.operate("aten::addmm", [[1_152], [512, 1_152], [1_152, 1_152]], [("ampere_fp16_s16816gemm_fp16", 14_000)])
        t.operate("aten::gelu", [[512, 1_152]], [("vectorized_elementwise_kernel<gelu>", 4_000)])
    for _ in range(2):
        with t.inside("DiTModel_0"):
            number, external, at = t._next(), t._next(), t.now
            t.op("my::replay", at, 12_000, ext=external)
            t.call(at + 1_000, 9_000, number, "cudaGraphLaunch")
            nodes = [
                ("ampere_fp16_s16816gemm_fp16", 20_000, 14_000, 7),
                ("void flash_fwd_kernel<64>", 35_000, 30_000, 7),
                ("vectorized_elementwise_kernel<gelu>", 59_000, 8_000, 13),
                ("ampere_fp16_s16816gemm_fp16", 70_000, 14_000, 7),
                ("vectorized_elementwise_kernel<add>", 84_000, 3_000, 7),
            ]
            for node, (name, start, length, stream) in enumerate(nodes, 1):
                more = {"External id": external, "graph id": 3, "graph node id": node}
                t.kernel(at + start, length, number, name, stream, **more)
            t.now += 90_000
    return t.text(arrows=True)


# ------------------------------------------------------------------------------- ROCm


def mi300x_eager() -> str:
    """ROCm's names: agent 2 is the only device, HIP launches, MIOpen, Tensile (`Cijk`), an aiter kernel of attention,
    fp8 products, a copy that is a kernel; no arrows."""
    t = Recorder("hipModuleLaunchKernel", **MI300X)
    agent = {"device": 2, "stream": 0, "kind": "Dispatch Kernel"}
    cijk = "Cijk_Ailk_Bljk_BBS_BH_MT128x128x64"
    with t.inside("WanTransformer3DModel_0"):
        video = [1, 16, 5, 32, 32]
        concrete = ["", "", "", "[0, 0, 0]", "[1, 2, 2]", "[1, 1, 1]", "1", "False", "False"]
        dims = [video, [1_536, 16, 1, 2, 2], [1_536], [], [], [], [], [], []]
        t.operate("aten::miopen_convolution", dims, [("igemm_fwd_gtcx3_ndhwc_bf16", 22_000)], concrete, **agent)
        for _ in range(2):
            x = [1, 1_280, 1_536]
            t.operate("aten::native_layer_norm", [x, [], [1_536], [1_536], []], [("layer_norm_kernel", 7_000)], **agent)
            t.operate("aten::addmm", [[4_608], [1_280, 1_536], [1_536, 4_608]], [(cijk, 52_000)], **agent)
            q = [1, 1_280, 12, 128]
            work = [("__amd_rocclr_copyBuffer.kd", 3_000), ("_attn_fwd.kd", 61_000)]
            t.operate("flash_attn::_flash_attn_forward", [q, q, q], work, **agent)
            fp8 = {"types": [FP8, FP8, "float", "float"], **agent}
            product = [[1_280, 1_536], [1_536, 1_536], [], []]
            t.operate("aten::_scaled_mm", product, [("Cijk_Alik_Bljk_F8BS_MT256x256x128", 15_000)], **fp8)
            t.operate("aten::add", [x, x, []], [("elementwise_kernel<4,add>", 6_000)], **agent)
    t.wait("hipDeviceSynchronize")
    return t.text()


CAPTURED = [
    ("aten::addmm", [[4_608], [1_280, 1_536], [1_536, 4_608]], "Cijk_Ailk_Bljk_BBS_BH_MT128x128x64.kd", 52_000),
    ("flash_attn::_flash_attn_forward", [[1, 1_280, 12, 128]] * 3, "_attn_fwd.kd", 61_000),
    ("aten::gelu", [[1_280, 4_608]], "elementwise_kernel_gelu.kd", 9_000),
    ("aten::addmm", [[1_536], [1_280, 4_608], [4_608, 1_536]], "Cijk_Ailk_Bljk_BBS_BH_MT128x128x64.kd", 50_000),
]
"""What the HIP graph holds: operator, dimensions, kernel, its time."""


def mi300x_graph_capture() -> str:
    """The capture of that graph: nothing runs, every launch names its kernel."""
    t = Recorder(**MI300X)
    t.call(t.now, 500, name="hipStreamBeginCapture")
    t.now += 1_000
    with t.inside("WanTransformer3DModel_0"):
        for i, (operator, dims, kernel, _) in enumerate(CAPTURED):
            with t.inside(f"Block_{i}"):
                t.op(operator, t.now, 8_000, dims, [BF16] * len(dims))
                t.call(t.now + 2_000, CALL, name="hipModuleLaunchKernel", kernel=kernel)
                t.now += 9_000
    t.call(t.now, 500, name="hipStreamEndCapture")
    return t.text()


def mi300x_graph() -> str:
    """Three replays of that graph, each within its step."""
    t = Recorder(**MI300X)
    for _ in range(3):
        with t.inside("WanTransformer3DModel_0"):
            number, at = t._next(), t.now + 15_000
            t.call(t.now + 1_000, 6_000, number, "hipGraphLaunch")
            for _, _, kernel, length in CAPTURED:
                t.kernel(at, length, number, kernel, 0, 2)
                at += length + 2_000
            t.now = at
    return t.text()


# ------------------------------------------------------------------------------- processor


def cpu() -> str:
    """No device: operators within operators, two steps of a denoiser, attention as matmul, softmax, matmul."""
    t = Recorder(dtype="float")
    matrix = [2, 4, 64, 64]
    for step in range(2):
        with t.inside(f"ProfilerStep#{step + 1}", "note"), t.inside("mod::denoiser", "note"):
            for name, inner, dims, length in [
                ("aten::linear", "aten::addmm", [[384], [128, 128], [128, 384]], 90_000),
                ("aten::matmul", "aten::bmm", [[8, 64, 32], [8, 32, 64]], 40_000),
                ("aten::mul", "", [matrix, []], 12_000),
                ("aten::softmax", "aten::_softmax", [matrix, [], []], 30_000),
                ("aten::matmul", "aten::bmm", [[8, 64, 64], [8, 64, 32]], 38_000),
                ("aten::layer_norm", "aten::native_layer_norm", [[2, 64, 128], [], [128], [128], []], 15_000),
                ("aten::conv2d", "aten::mkldnn_convolution", [[2, 128, 8, 8], [128, 128, 3, 3], [128]], 160_000),
            ]:
                more = ["", "", "", "[1, 1]", "[1, 1]", "[1, 1]", "1"] if "conv" in name else None
                outer = ["", "", "", "[1, 1]", "[1, 1]", "[1, 1]", "1"] if more else None
                if name == "aten::linear":
                    wide = [[2, 64, 128], [384, 128], [384]]
                elif name == "aten::matmul":
                    wide = [[2, 4, *x[1:]] for x in dims]
                else:
                    wide = dims
                t.op(name, t.now, length, wide, ["float" if d else "" for d in wide], outer)
                if inner:
                    t.op(inner, t.now + 2_000, length - 4_000, dims, ["float" if d else "" for d in dims], more)
                t.now += length + 1_000
    return t.text()


# ------------------------------------------------------------------------------- two devices


def a100_two_devices() -> str:
    """Two devices of one process with NCCL: on each, an all-reduce of 30 us of which 20 us run beside a product, and
    one of 10 us that runs alone; device 1 starts 40 us later."""
    info = {"rank": 0, "world_size": 2, "backend": "nccl"}
    t = Recorder(dtype=FP16, **of(*A100, 2, cuda_runtime_version=12040, distributedInfo=info))
    gemm, reduce = "ampere_fp16_s16816gemm_fp16", "ncclDevKernel_AllReduce_Sum_f16_RING_LL"
    for device, late in ((0, 0), (1, 40_000)):
        for i, (name, dims, kernel, start, length, stream) in enumerate([
            ("aten::mm", [[1_024, 2_048], [2_048, 2_048]], gemm, 20_000, 40_000, 7),
            ("record_param_comms", [[1_024, 2_048]], reduce, 62_000, 30_000, 20),
            ("aten::mm", [[1_024, 2_048], [2_048, 2_048]], gemm, 72_000, 40_000, 7),
            ("record_param_comms", [[1_024, 2_048]], reduce, 115_000, 10_000, 20),
            ("aten::add", [[1_024, 2_048], [1_024, 2_048], []], ADD, 127_000, 9_000, 7),
        ]):  # fmt: skip
            at, number, more = 10_000 * i + late // 8, t._next(), {}
            if kernel == reduce:
                more = {"Collective name": "allreduce", "Group size": 2, "In msg nelems": 2_097_152, "dtype": "Half"}
            t.op(name, at, 4_000, dims, [FP16 if d else "" for d in dims], tid=1 + device, ext=number)
            t.call(at + 1_000, CALL, number, "cudaLaunchKernel", tid=1 + device)
            t.kernel(start + late + 125, length, number, kernel, stream, device, **{"External id": number}, **more)
    return t.text(arrows=True)


# ------------------------------------------------------------------------------- 2021


OLD = {"cpu_op": "Operator", "cuda_runtime": "Runtime", "kernel": "Kernel", "gpu_memcpy": "Memcpy"}


def v100_2021() -> str:
    """The names of 2021: `Operator` and `Kernel`, threads "stream 7", "external id", whole microseconds, arrows called
    async; dimensions without strides, values and modules, so that a convolution's FLOPs are not known."""
    t = Recorder(dtype="float", **of("Tesla V100-SXM2-32GB", 34_000_000_000))
    copy = {"cat": "gpu_memcpy", "call": "cudaMemcpyAsync", "bytes": 1_204_224}
    t.operate("aten::copy_", [[2, 3, 224, 224]] * 2, [("Memcpy HtoD (Pageable -> Device)", 100_000)], **copy)
    t.operate("aten::cudnn_convolution", [[2, 3, 224, 224], [64, 3, 7, 7]], [("volta_scudnn_128x64_relu", 90_000)])
    t.operate("aten::cudnn_batch_norm", [[2, 64, 112, 112], [64], [64]], [("cudnn::bn_fw_inf_1C11", 30_000)])
    t.operate("aten::relu_", [[2, 64, 112, 112]], [("vectorized_elementwise_kernel<relu>", 21_000)])
    t.operate("aten::addmm", [[1_000], [2, 2_048], [2_048, 1_000]], [("volta_sgemm_32x128_tn", 17_000)])
    lines = []
    for event in [*t.events, *t.arrows()]:
        one = {**event, "ts": round(event["ts"])}
        if "dur" in event:
            one["dur"] = max(1, round(event["dur"]))
        one["cat"] = OLD.get(event["cat"], "async")
        if one["cat"] in ("Kernel", "Memcpy") or event["ph"] == "f":
            one["tid"] = f"stream {event['tid']}"
        if "args" in event:
            one["args"] = {k.lower() if k == "External id" else k: v for k, v in event["args"].items()}
        lines.append(one)
    t.events, t.arrows = lines, lambda: iter(())  # type: ignore[method-assign,assignment]
    return t.text()


MADE: dict[str, Callable[[], str]] = {
    f.__name__: f
    for f in (
        h100_eager_diffusion, h100_flash_gqa, a100_cuda_graph, mi300x_eager, mi300x_graph_capture, mi300x_graph, cpu,
        a100_two_devices, v100_2021,
    )
}  # fmt: skip
"""File without its ending -> what makes its text."""


if __name__ == "__main__":
    for stem, text in MADE.items():
        (HERE / f"{stem}.json").write_text(text(), "utf-8")
