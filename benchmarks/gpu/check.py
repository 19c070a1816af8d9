"""Correctness first: every kernel, product, attention, graph and stream variant against a reference.

An error is ||got - reference|| / ||reference||, in fp64; NaN never passes. Inputs are fresh random ones.
Shapes: B batch, N tokens, C channels, H heads, D head width, L places of a ring, R rows, K inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional as F

from frameroof.lab.attention import baseline_attention
from frameroof.lab.stream.parity import errors, latents
from frameroof.lab.stream.variants import SLOW_TO_BUILD, VARIANTS, Setup, refused
from frameroof.models.causal_wan import WanSize
from frameroof.stream import kernels
from frameroof.stream.attention import SDPA, backend
from frameroof.stream.kernels import FORMATS, Affine, Quantized, Ring, Rotary, reference
from frameroof.stream.quantize import SCHEMES, QuantizedLinear

from .clock import settle
from .record import Log, Session

# Largest errors. fp32: another order of sums. bf16: both round to 8 bits of mantissa, 2**-9 at most each.
FP32, BF16 = 1e-5, 8e-3
CODES = 1e-2  # 8-bit rows: a few codes lie on the other side of a tie
FAST = 1e-2  # fp8 products: the matrix units keep fewer bits of a sum (`use_fast_accum`); probabilities in codes
LAYER = 5e-2  # a free-running stream of bf16 blocks, whose roundings feed back
EIGHT = 0.25  # the same with 8-bit linears
NOTES = (
    "error: relative L2 in fp64 against the reference; tolerance: the most that passes; ok: error <= tolerance, and on "
    "CUDA the fused operations ran as Triton kernels.",
    "Stream variants are held to the baseline over a free run with a switch: in fp32 on the tiny model, and in bf16 on "
    "one layer of the full width.",
)
Check = Callable[[], dict[str, Any]]


def run(session: Session) -> Log:
    """All checks, one row each."""
    log = Log.open(session, "check", NOTES)
    checks = {name: (tolerance, check) for name, tolerance, check in _all(session)}
    for name, (tolerance, _) in checks.items():
        if session.wanted(name):
            log.predict(name, {"error_at_most": tolerance})
    for name in log.todo(list(checks)):
        if session.late:
            break
        tolerance, check = checks[name]
        try:
            with torch.no_grad():
                found = check()
            settle(session)
        except Exception as error:
            log.refuse(name, error)
            if not _may_refuse(name):
                log.rows[name]["ok"] = False
            continue
        right = found["error"] <= tolerance and found.pop("ran_as_meant", True)
        log.measure(name, ok=bool(right), tolerance=tolerance, **found)
        log.save()
    return log


def _all(s: Session) -> Iterator[tuple[str, float, Check]]:
    yield from _kernels(s)
    yield from _linears(s)
    yield from _attention(s)
    yield from _streams(s)


def _may_refuse(name: str) -> bool:
    """SDPA's backends do not all run everywhere; anything else that fails is wrong."""
    return name.startswith("attention/") and not name.endswith(("/sdpa", "/baseline"))


def relative(reference_: torch.Tensor, got: torch.Tensor) -> float:
    """||got - reference|| / ||reference||, in fp64 on the CPU; NaN where either has one."""
    if reference_.shape != got.shape:
        raise ValueError(f"a result of shape {list(got.shape)} is held against one of {list(reference_.shape)}")
    a, b = (x.detach().cpu().double() for x in (reference_, got))
    return float((b - a).norm() / a.norm())


# ------------------------------------------------------------------------------------- kernels


def _kernels(s: Session) -> Iterator[tuple[str, float, Check]]:
    # samples, frames, tokens a frame, heads, head width: odd ones, and LongLive's block
    sizes = {"odd": (2, 2, 3, 3, 10)}
    if not s.tiny:
        sizes |= {"block": (1, 3, 1560, 12, 128), "two": (2, 6, 1560, 12, 128)}
    for size, shape in sizes.items():
        for dtype, exact in ((torch.float32, FP32), (torch.bfloat16, BF16)):
            for name, (kind, call) in _calls(s, shape, dtype).items():
                label = f"kernels/{name}/{size}/{str(dtype)[6:]}"
                yield label, {"exact": exact, "codes": CODES, "fast": FAST}[kind], _against(s, call)


def _against(s: Session, call: Callable[[Any], list[torch.Tensor]]) -> Check:
    def check() -> dict[str, Any]:
        ran = kernels.backend(s.device)
        torch.manual_seed(s.seed)
        meant = call(reference)
        torch.manual_seed(s.seed)
        got = call(kernels)
        worst = max((relative(a, b) for a, b in zip(meant, got, strict=True)), key=lambda e: (e != e, e))
        return {"error": worst, "ran": ran, "ran_as_meant": not s.cuda or ran == "triton"}

    return check


def _calls(s: Session, shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, tuple[str, Callable[[Any], list]]]:
    """Each fused operation with inputs that it draws itself, so that both implementations see the same."""
    B, T, P, H, D = shape
    C = H * D

    def rand(*sizes: int, dtype: torch.dtype = dtype) -> torch.Tensor:
        return torch.randn(sizes, device=s.device, dtype=dtype)

    def qk(module: Any) -> list[torch.Tensor]:
        qkv = rand(B, T * P, 3 * C).chunk(3, dim=-1)
        angle_NJ = rand(T * P, D // 2, dtype=torch.float32) * 6
        ring = Ring(*rand(2, B, (T + 2) * P, H, D), torch.randperm(T + 2, device=s.device)[:T])
        weights = 1 + rand(C) / 5, 1 + rand(C) / 5
        q = module.qk_norm_rope_write(qkv, weights, Rotary(angle_NJ.cos(), angle_NJ.sin()), ring)
        return [q, ring.k_BLHD, ring.v_BLHD]

    def norm(to: Any = None) -> Callable[[Any], list[torch.Tensor]]:
        def call(module: Any) -> list[torch.Tensor]:
            x, table = rand(B, T * P, C), rand(B, T, 2, C) / 2
            return _values(module.norm_modulate(x, Affine(table[:, :, 1], table[:, :, 0]), to))

        return call

    def gated(to: Any = None) -> Callable[[Any], list[torch.Tensor]]:
        def call(module: Any) -> list[torch.Tensor]:
            (x, y), table = rand(2, B, T * P, C), rand(B, T, 3, C) / 2
            affine = Affine(table[:, :, 1], table[:, :, 0])
            total, normed = module.gate_residual_norm((x, y, table[:, :, 2]), affine, to)
            return [total, *_values(normed)]

        return call

    def residual(module: Any) -> list[torch.Tensor]:
        return [module.gate_residual((rand(B, T * P, C), rand(B, T * P, C), rand(B, T, C)))]

    def rows(to: Any, gelu: bool) -> Callable[[Any], list[torch.Tensor]]:
        return lambda module: _values(module.quantize_rows(rand(B, T * P, C), to, gelu))

    def sums(module: Any) -> list[torch.Tensor]:
        codes = torch.randint(-(2**24), 2**24, (T * P, C), device=s.device, dtype=torch.int32)
        scales = (torch.rand(n, 1, device=s.device) * 1e-4 for n in (T * P, C))
        return [module.dequantize(codes, tuple(scales), rand(C), dtype)]

    def attend(rows_: int) -> Callable[[Any], list[torch.Tensor]]:
        return lambda module: [module.attend_fp8(rand(B, T * P, H, D), *rand(2, B, (T + 2) * P, H, D), rows_)]

    found: dict[str, tuple[str, Callable[[Any], list]]] = {
        "qk_norm_rope_write": ("exact", qk),
        "norm_modulate": ("exact", norm()),
        "gate_residual_norm": ("exact", gated()),
        "gate_residual": ("exact", residual),
        "dequantize": ("exact", sums),
    }
    found |= {f"attend_fp8-{rows_}": ("fast", attend(rows_)) for rows_ in kernels.ATTEND_ROWS}
    for name, to in FORMATS.items():
        found[f"norm_modulate-{name}"] = ("codes", norm(to))
        found[f"gate_residual_norm-{name}"] = ("codes", gated(to))
        found[f"quantize_rows-{name}"] = ("codes", rows(to, False))
        found[f"quantize_rows-gelu-{name}"] = ("codes", rows(to, True))
    return found


def _values(x: torch.Tensor | Quantized) -> list[torch.Tensor]:
    return [x.dequantized(), x.scale] if isinstance(x, Quantized) else [x]


# ------------------------------------------------------------------- linears and attention


def _linears(s: Session) -> Iterator[tuple[str, float, Check]]:
    shapes = [(5, 32, 48)] if s.tiny else [(5, 32, 48), (4680, 1536, 8960), (9360, 8960, 1536)]
    for scheme in SCHEMES:
        for R, K, O in shapes:  # noqa: E741
            yield f"linears/{scheme}/{R}x{K}x{O}", FAST, _linear(s, scheme, (R, K, O))


def _linear(s: Session, scheme: str, shape: tuple[int, int, int]) -> Check:
    def check() -> dict[str, Any]:
        rows, inputs, outputs = shape
        linear = torch.nn.Linear(inputs, outputs, device=s.device, dtype=torch.bfloat16)
        x_RK = torch.randn(rows, inputs, device=s.device, dtype=torch.bfloat16)
        layer = QuantizedLinear.of(linear, scheme)
        got = layer(x_RK)
        # the same codes, multiplied in fp64 from the values that they stand for
        weight_OK = (layer.codes_NK.double() * layer.scale.double()).cpu()
        codes = reference.quantize_rows(x_RK, layer.format) if layer.accepts else _one_scale(x_RK, layer)
        meant = codes.dequantized().double().cpu() @ weight_OK.t() + linear.bias.double().cpu()
        return {"error": relative(meant, got), "of_bf16": relative(linear(x_RK), got)}

    return check


def _one_scale(x_RK: torch.Tensor, layer: QuantizedLinear) -> Quantized:
    scale = (x_RK.abs().max().float() / layer.format.largest).clamp_min(1e-30)
    return reference.with_scale(x_RK, scale, layer.format)


def _attention(s: Session) -> Iterator[tuple[str, float, Check]]:
    full = [(1, 12, 4680, 18720, 128), (1, 12, 4680, 512, 128), (2, 8, 1024, 77, 40)]
    for shape in [(1, 2, 24, 40, 16)] if s.tiny else full:
        for dtype, most in ((torch.float32, FP32), (torch.bfloat16, BF16)):
            for name in ("baseline", "sdpa", *SDPA):
                label = f"attention/{'x'.join(map(str, shape))}/{str(dtype)[6:]}/{name}"
                yield label, most, _attends(s, name, shape, dtype)


def _attends(s: Session, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Check:
    def check() -> dict[str, Any]:
        B, H, N, M, D = shape
        q_BNHD = torch.randn(B, N, H, D, device=s.device, dtype=dtype)
        k_BMHD, v_BMHD = torch.randn(2, B, M, H, D, device=s.device, dtype=dtype)
        if name == "baseline":
            got = baseline_attention(*(x.transpose(1, 2) for x in (q_BNHD, k_BMHD, v_BMHD))).transpose(1, 2)
        else:
            got = backend(name)(q_BNHD, k_BMHD, v_BMHD)
        few = slice(0, min(N, 256))  # rows of queries do not depend on each other
        q, k, v = (x.double().transpose(1, 2) for x in (q_BNHD[:, few], k_BMHD, v_BMHD))
        meant = F.softmax(q @ k.transpose(-2, -1) * D**-0.5, dim=-1) @ v
        return {"error": relative(meant.transpose(1, 2), got[:, few]), "finite": bool(got.isfinite().all())}

    return check


# ------------------------------------------------------------------------------------- streams


def _streams(s: Session) -> Iterator[tuple[str, float, Check]]:
    """Every variant against the baseline: on the tiny model in fp32, and one layer of the full width in bf16.

    The baseline itself runs twice: what differs from run to run is no variant's doing.
    """
    tiny = Setup(model="tiny", device=s.device.type)
    wide = tiny.config().model if s.tiny else WanSize()
    layer = replace(
        tiny,
        model="tiny" if s.tiny else "longlive-1.3b",
        changes={"model": replace(wide, layers=1)},
        dtype=torch.bfloat16,
    )
    for label, setup, most in (("stream/tiny", tiny, FP32), ("layer/bf16", layer, LAYER)):
        base: list[list[torch.Tensor]] = []
        for name in _variants(s):
            yield f"{label}/{name}", most if VARIANTS[name].exact else EIGHT, _beside(setup, name, base)


def _beside(setup: Setup, name: str, base: list[list[torch.Tensor]]) -> Check:
    """A free run with a switch; `base` keeps the baseline's latents for the checks that follow."""
    run = setup.prompts, {setup.config().window_blocks + 1: "a fox sleeps"}

    def check() -> dict[str, Any]:
        if not base:
            base.append(latents(setup.engine("baseline"), *run))
        found = errors(base[0], latents(setup.engine(name), *run))
        return {"error": max(e.relative for e in found), "cosine": min(e.cosine for e in found)}

    return check


def _variants(s: Session) -> list[str]:
    left = set() if s.cuda else set(SLOW_TO_BUILD)
    return [name for name in VARIANTS if name not in left and not refused(name, s.device.type, None)]
