"""Writes denoise.json beside it: a trace of the PyTorch profiler made by hand, so that the guide can show one.

Four steps of a small video transformer on an H100: spatial and temporal attention written out as matrix products,
a progress bar that reads the loss with `.item()` in every step, and a decoder. The times are invented.
"""

from __future__ import annotations

import json
from pathlib import Path

BF16 = "c10::BFloat16"
events: list[dict[str, object]] = []
now = device_free = 0.0


def event(cat: str, name: str, start: float, length: float, tid: int = 1, pid: int = 4242, **args: object) -> None:
    times = {"ts": round(start, 3), "dur": round(length, 3)}
    events.append({"ph": "X", "cat": cat, "name": name, "pid": pid, "tid": tid, **times, "args": args})


def run(operator: str, kernel: str, length: float, dims: list[list[int]], concrete: list[str] | None = None) -> None:
    """One operator that launches one kernel of `length` us; the host takes 12 us for it."""
    global now, device_free
    number = len(events) + 1
    types = [BF16 if d else "" for d in dims]
    more = {"Concrete Inputs": concrete} if concrete else {}
    event("cpu_op", operator, now, 10, **{"External id": number, "Input Dims": dims, "Input type": types, **more})
    event("cuda_runtime", "cudaLaunchKernel", now + 4, 3, correlation=number)
    start = max(device_free + 0.9, now + 9)
    event("kernel", kernel, start, length, tid=7, pid=0, device=0, stream=7, correlation=number)
    now, device_free = now + 12, start + length


def attention(batch: int, heads: int, length: int, times: tuple[float, float, float]) -> None:
    flat, matrix = batch * heads, [batch, heads, length, length]
    run("aten::bmm", "sm90_xmma_gemm_bf16", times[0], [[flat, length, 64], [flat, 64, length]])
    run("aten::mul", "vectorized_elementwise_kernel", times[1], [matrix, []])
    run("aten::_softmax", "softmax_warp_forward", times[2], [matrix, [], []])
    run("aten::bmm", "sm90_xmma_gemm_bf16", times[0], [[flat, length, length], [flat, length, 64]])


def linear(tokens: int, inner: int, outer: int, length: float) -> None:
    run("aten::addmm", "nvjet_hsh_128x256", length, [[outer], [tokens, inner], [inner, outer]])


def step() -> None:
    global now, device_free
    start = now
    for block in range(2):
        inside = now
        run("aten::native_layer_norm", "vectorized_layer_norm_kernel", 14, [[8, 1024, 1152], [], [1152], [1152], []])
        linear(8192, 1152, 3456, 105)
        attention(8, 16, 1024, (62, 195, 260))
        attention(1024, 16, 8, (41, 11, 14))
        run("aten::add", "vectorized_elementwise_kernel", 13, [[8, 1024, 1152], [8, 1024, 1152], []])
        linear(8192, 1152, 4608, 140)
        run("aten::gelu", "vectorized_elementwise_kernel", 44, [[8, 1024, 4608], []])
        linear(8192, 4608, 1152, 138)
        event("python_function", f"nn.Module: BasicTransformerBlock_{block}", inside, now - inside - 1)
    event("python_function", "nn.Module: VideoTransformer3DModel_0", start - 3, now - start + 3)
    number, called = len(events) + 1, now
    event("cuda_runtime", "cudaMemcpyAsync", now + 5, 4, correlation=number)
    end = max(device_free + 0.9, now + 14) + 1.6
    event("gpu_memcpy", "Memcpy DtoH (Device -> Pageable)", end - 1.6, 1.6, tid=7, pid=0, device=0, stream=7,
          correlation=number, bytes=4)  # fmt: skip
    event("cuda_runtime", "cudaStreamSynchronize", now + 10, end + 4 - (now + 10))
    event("cpu_op", "aten::_local_scalar_dense", now + 2, end + 6 - (now + 2))
    event("cpu_op", "aten::item", now, end + 8 - now)
    now, device_free = end + 150, end  # the bar is drawn
    event("python_function", "pipeline.py(88): denoise", called - 1, now - called)


now = 100
for _ in range(4):
    step()
first = now
for size in (64, 128):
    image = [8, 128, size, size]
    run("aten::cudnn_convolution", "sm90_xmma_fprop_implicit_gemm_bf16", 60, [image, [128, 128, 3, 3]] + [[]] * 6,
        ["", "", "[1, 1]", "[1, 1]", "[1, 1]", "1", "False", "True"])  # fmt: skip
    run("aten::silu", "vectorized_elementwise_kernel", 9, [image])
event("python_function", "nn.Module: Decoder_0", first - 2, now - first + 2)
head = {"schemaVersion": 1, "deviceProperties": [{"id": 0, "name": "NVIDIA H100 80GB HBM3"}], "traceEvents": events}
Path(__file__).with_name("denoise.json").write_text(json.dumps(head, separators=(",", ":")) + "\n", "utf-8")
