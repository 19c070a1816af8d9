"""The cases that every implementation of the fused operations is run on, and what NumPy says they give.

Run as a program, it writes what the Triton programs give under Triton's interpreter:
``TRITON_INTERPRET=1 python kernels_cases.py OUT.pt``.

The interpreter of Triton 3.7 truncates fp32 to bf16 and loses a carry on the way to e4m3 (124.3 becomes 64);
a GPU rounds to nearest even. So the program puts PyTorch's casts in the place of the interpreter's.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch

from frameroof.stream import kernels
from frameroof.stream.kernels import FORMATS, Affine, Quantized, Ring, Rotary

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
EPS = 1e-6

# name -> samples, frames, tokens a frame, heads, head width; the second is LongLive's width, the rest odd
SIZES = {"odd": (2, 2, 3, 3, 10), "wan": (1, 1, 2, 12, 128), "one": (1, 1, 1, 1, 2), "uneven": (1, 2, 5, 5, 34)}
RUN = [("odd", "fp32"), ("odd", "bf16"), ("wan", "bf16"), ("one", "fp32"), ("uneven", "fp32")]
EIGHT_BIT = [("odd", "fp32"), ("wan", "bf16")]  # run in 8 bits as well


def qk_case(size: str, dtype: str) -> dict[str, Any]:
    """Inputs: q, k, v as views into one fused projection, a ring with two slots more than frames."""
    B, T, P, H, D = SIZES[size]
    g = torch.Generator().manual_seed(len(size))
    N, C, J = T * P, H * D, D // 2
    qkv = torch.randn(B, N, 3 * C, generator=g).to(DTYPES[dtype]).chunk(3, -1)
    weights = tuple((1 + 0.2 * torch.randn(C, generator=g)).to(DTYPES[dtype]) for _ in range(2))
    angle_NJ = torch.rand(N, J, generator=g, dtype=torch.float64) * 6.3
    cache = torch.randn(2, B, (T + 2) * P, H, D, generator=g).to(DTYPES[dtype])
    slots = torch.randperm(T + 2, generator=g)[:T]
    rotary = Rotary(angle_NJ.cos().float(), angle_NJ.sin().float())
    return {"qkv": qkv, "weights": weights, "rotary": rotary, "ring": Ring(*cache, slots), "eps": EPS}


def norm_case(size: str, dtype: str, gate: str = "gate", affine: str = "modulate") -> dict[str, Any]:
    """Inputs: scale, shift and gate as views into one table of modulation, or a LayerNorm's own weights."""
    B, T, P, H, D = SIZES[size]
    g = torch.Generator().manual_seed(10 + len(size))
    C = H * D
    x, y = (3 * torch.randn(2, B, T * P, C, generator=g) + 1).to(DTYPES[dtype])
    table = (0.5 * torch.randn(B, T, 6, C, generator=g)).to(DTYPES[dtype])
    own = (1 + torch.randn(2, 1, 1, C, generator=g)).to(DTYPES[dtype])
    chosen = Affine(table[:, :, 1], table[:, :, 0]) if affine == "modulate" else Affine(own[0], own[1], 0.0)
    return {"residual": (x, y, table[:, :, 2] if gate == "gate" else None), "affine": chosen, "eps": EPS}


def sums_case(dtype: str, biased: bool) -> tuple[Any, ...]:
    """Arguments of ``dequantize``: 3 rows of 2,100 sums, which is one more than one program takes."""
    g = torch.Generator().manual_seed(3)
    sums = torch.randint(-(2**27), 2**27, (3, 2100), generator=g, dtype=torch.int32)
    scales = torch.rand(3, 1, generator=g) * 1e-4, torch.rand(2100, 1, generator=g) * 1e-4
    bias = torch.randn(2100, generator=g).to(DTYPES[dtype]) if biased else None
    return sums, scales, bias, DTYPES[dtype]


# name -> samples, queries, keys, heads, head width; tiles of 128 keys, whole ones and short ones
ATTENTION = {"short": (2, 130, 300, 2, 16), "whole": (1, 70, 256, 2, 32), "one": (1, 1, 1, 1, 2)}


def attention_case(name: str, dtype: str = "fp32") -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys and values: views into longer tensors, as in the ring; the values of the second tile are large."""
    B, N, L, H, D = ATTENTION[name]
    g = torch.Generator().manual_seed(L)
    q = torch.randn(B, N, 3, H, D, generator=g)[:, :, 1]
    sizes = torch.where(torch.arange(L) // 128 == 1, 5.0, 0.2)[None, :, None, None]
    k, v = (torch.randn(B, L + 7, H, D, generator=g)[:, :L] for _ in range(2))
    return tuple(x.to(DTYPES[dtype]) for x in (q, k, sizes * v))


def even_attention_case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries and keys of zeros, so that all weights are equal, and values that are codes of e4m3 as they are."""
    g = torch.Generator().manual_seed(1)
    v = torch.randint(-15, 16, (1, 200, 1, 16), generator=g) / 8.0
    v[:, :128:9], v[:, 128::9] = 448 / 128.0, 448 / 512.0  # the largest of each tile: a scale that is a power of two
    v[:, 128:] = v[:, 128:].clamp(-448 / 512.0, 448 / 512.0)
    return torch.zeros(1, 3, 1, 16), torch.zeros(v.shape), v


def sink_attention_case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One key takes nearly all attention, as a sink does, and has the value zero; 511 others weigh 2**-18 of it."""
    k = torch.zeros(1, 512, 1, 16)
    k[:, 0, :, 0] = 18 * np.log(2)
    v = torch.ones(1, 512, 1, 16)
    v[:, 0] = 0
    q = torch.zeros(1, 2, 1, 16)
    q[..., 0] = 4.0  # times 16 ** -0.5 is 1
    return q, k, v


def attention_oracle(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> np.ndarray:
    """Softmax attention in fp64."""
    q64, k64, v64 = (x.double().numpy() for x in (q, k, v))
    scores = np.einsum("bnhd,blhd->bhnl", q64, k64) / np.sqrt(q64.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("bhnl,blhd->bnhd", weights, v64)


def qk_oracle(case: dict[str, Any]) -> dict[str, np.ndarray]:
    """What NumPy gives in fp64, by complex multiplication and one assignment a token."""
    q, k, v = (x.double().numpy() for x in case["qkv"])
    cos, sin = (x.double().numpy() for x in case["rotary"])
    k_cache, v_cache, slots = (x.double().numpy().copy() for x in case["ring"])
    heads, width = k_cache.shape[2:]

    def turned(x: np.ndarray, weight: torch.Tensor) -> np.ndarray:
        normed = x / np.sqrt((x**2).mean(-1, keepdims=True) + EPS) * weight.double().numpy()
        pairs = normed.reshape(*x.shape[:2], heads, width // 2, 2)
        z = (pairs[..., 0] + 1j * pairs[..., 1]) * (cos + 1j * sin)[None, :, None]
        return np.stack((z.real, z.imag), -1).reshape(*x.shape[:2], heads, width)

    new_k, new_v = turned(k, case["weights"][1]), v.reshape(*v.shape[:2], heads, width)
    per_frame = q.shape[1] // len(slots)
    for token in range(q.shape[1]):
        place = int(slots[token // per_frame]) * per_frame + token % per_frame
        k_cache[:, place], v_cache[:, place] = new_k[:, token], new_v[:, token]
    return {"q": turned(q, case["weights"][0]), "k": k_cache, "v": v_cache}


def norm_oracle(x: torch.Tensor, affine: Affine) -> np.ndarray:
    """LayerNorm, scale and shift in fp64."""
    values = x.double().numpy()
    scale, shift = (np.repeat(m.double().numpy(), values.shape[1] // m.shape[1], 1) for m in affine[:2])
    centerd = values - values.mean(-1, keepdims=True)
    normed = centerd / np.sqrt((centerd**2).mean(-1, keepdims=True) + EPS)
    return normed * (affine.base + scale) + shift


def run(module: Any, device: str = "cpu") -> dict[str, torch.Tensor]:
    """Every case through one implementation: name of the case and its output -> tensor, on the CPU."""
    out: dict[str, torch.Tensor] = {}
    for size, dtype in RUN:
        case = moved(qk_case(size, dtype), device)
        name = f"qk-{size}-{dtype}"
        out[f"{name}/q"] = module.qk_norm_rope_write(**case)
        out[f"{name}/k"], out[f"{name}/v"] = case["ring"].k_BLHD, case["ring"].v_BLHD
        for gate, affine in (("gate", "modulate"), ("sum", "own")):
            case = moved(norm_case(size, dtype, gate, affine), device)
            name = f"norm-{size}-{dtype}-{gate}-{affine}"
            out[f"{name}/sum"], out[f"{name}/out"] = module.gate_residual_norm(**case)
            out[f"{name}/only"] = module.gate_residual(case["residual"])
        x, y, _ = case["residual"]
        out[f"{name}/alone"] = module.norm_modulate(x, case["affine"])
        for fmt in FORMATS.values() if (size, dtype) in EIGHT_BIT else ():
            _put(out, f"{name}/{fmt.name}", module.gate_residual_norm(**case, to=fmt)[1])
            _put(out, f"{name}/alone-{fmt.name}", module.norm_modulate(x, case["affine"], fmt))
            _put(out, f"{name}/rows-{fmt.name}", module.quantize_rows(y, fmt))
            _put(out, f"{name}/gelu-{fmt.name}", module.quantize_rows(y, fmt, gelu=True))
    for dtype in DTYPES:
        for bias in (True, False):
            out[f"sums-{dtype}-{bias}"] = module.dequantize(*moved(sums_case(dtype, bias), device))
    for rows in kernels.ATTEND_ROWS:
        for name in ATTENTION:
            out[f"attend-{name}/{rows}"] = module.attend_fp8(*moved(attention_case(name), device), rows)
        out[f"attend-bf16/{rows}"] = module.attend_fp8(*moved(attention_case("short", "bf16"), device), rows)
        out[f"attend-sink/{rows}"] = module.attend_fp8(*moved(sink_attention_case(), device), rows)
        out[f"attend-even/{rows}"] = module.attend_fp8(*moved(even_attention_case(), device), rows)
    zeros = torch.zeros(2, 48, device=device)
    for fmt in FORMATS.values():
        _put(out, f"zeros/{fmt.name}", module.quantize_rows(zeros, fmt))
    return {name: tensor.cpu() for name, tensor in out.items()}


def moved(value: Any, device: str) -> Any:
    """Tensors inside tuples and dictionaries, on the device; other values as they are."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {name: moved(item, device) for name, item in value.items()}
    if isinstance(value, tuple):
        items = [moved(item, device) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value


def _put(out: dict[str, torch.Tensor], name: str, rows: Quantized) -> None:
    out[f"{name}.codes"] = rows.codes
    out[f"{name}.scale"] = rows.scale


def _with_torch_casts() -> None:
    """Make the interpreter cast as PyTorch and GPUs do."""
    import triton.language as tl
    from triton.runtime import interpreter

    theirs = interpreter._convert_float
    types = {tl.bfloat16: torch.bfloat16, tl.float8e4nv: torch.float8_e4m3fn}

    def convert(data: np.ndarray, source: Any, target: Any, rounding: Any) -> np.ndarray:
        if source != tl.float32 or target not in types:
            return theirs(data, source, target, rounding)
        cast = torch.from_numpy(np.ascontiguousarray(data).view(np.float32)).to(types[target])
        return cast.view(torch.uint8 if target == tl.float8e4nv else torch.int16).numpy().reshape(data.shape)

    interpreter._convert_float = convert


if __name__ == "__main__":
    _with_torch_casts()
    assert kernels.backend(torch.device("cpu")) == "triton"
    torch.save(run(kernels), sys.argv[1])
