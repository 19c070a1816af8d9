"""The change to make first, with the most it can bring.

Every gain is a bound. What shortens idle time can save no more than the idle time of that cause. What shortens the
device's work can save no more than that work above its limit, and never brings the run below the host's own time:
where the host is late, a faster kernel only makes the device wait longer. Gains of different advice do not add up.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..hardware import Device
from ..run import Advice, AttentionRow, Run
from ..units import format_bytes, format_seconds
from .chains import LOOSE

WORTH = 0.02
"""Advice that can bring less than this share of the run is left out."""


def advise(run: Run, device: Device | None) -> list[Advice]:
    """What to change, the largest bound first; empty where nothing is worth it or the run has no device."""
    span = run.summary.span_ns
    if run.summary.on_cpu or not span:
        return _worth(_device(run, device), span, span)
    rest = span - min(span, run.launch.host_active_ns)
    found = [
        *_worth(_launches(run), span, span),
        *_worth(_waits(run), span, rest),
        *_worth(_device(run, device), span, rest),
    ]
    return sorted(found, key=lambda advice: -advice.max_gain_s)


def _worth(found: Iterator[Advice], span: int, most: int) -> list[Advice]:
    kept = []
    for advice in found:
        advice.max_gain_s = min(advice.max_gain_s, most / 1e9)
        if advice.max_gain_s * 1e9 >= WORTH * span:
            kept.append(advice)
    return sorted(kept, key=lambda advice: -advice.max_gain_s)


def _ms(ns: float) -> str:
    return format_seconds(ns / 1e9, 3)


def _times(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _advice(title: str, evidence: str, gain_ns: float, how: str, kind: str) -> Advice:
    return Advice(title, evidence, max(0.0, gain_ns) / 1e9, how, kind)


# ---------------------------------------------------------------------------------------------- host


def _launches(run: Run) -> Iterator[Advice]:
    s, launch = run.summary, run.launch
    late = run.idle.get("host_launch", 0)
    if late:
        replayed = (
            f"; {launch.graph_kernels:,} of the {s.kernels:,} ran in {launch.graph_launches} graph replays"
            if launch.graph_launches
            else ""
        )
        worst = max(run.stages, key=lambda stage: stage.idle_ns, default=None) if len(run.stages) > 1 else None
        where = f" (of all idle time {_ms(worst.idle_ns)} ended with work of {worst.name})" if worst else ""
        yield _advice(
            "Reduce launch overhead",
            f"the device stood idle for {_ms(late)} of {_ms(s.span_ns)} because the host had not launched the next "
            f"kernel yet{where}; {s.short_kernels:,} of {s.kernels:,} kernels are shorter than 10 us{replayed}",
            late,
            "replay the repeated part (a denoising step, a decoded token) as a CUDA/HIP graph (torch.compile "
            "mode='reduce-overhead', or torch.cuda.graph around static shapes); fuse small kernels with torch.compile; "
            "take Python work out of the loop",
            "host",
        )


def _waits(run: Run) -> Iterator[Advice]:
    """What the host need not wait for; its own work stays, so the run cannot fall below that."""
    for sync in run.syncs:
        where = f" at {sync.line}" if sync.line else ""
        who = sync.operator or sync.call
        yield _advice(
            f"Remove the wait for the device in {who}{where}",
            f"{_times(sync.count, 'call')} of {sync.call} held the host for {_ms(sync.host_ns)}, "
            f"and the device stood idle for {_ms(sync.idle_ns)} afterwards",
            sync.idle_ns,
            "keep the value on the device (no .item(), .cpu(), bool(tensor) or nonzero in the loop), compute it once "
            "before the loop, or copy it with non_blocking=True from pinned memory",
            "host",
        )
    copied = run.idle.get("copy", 0)
    if copied:
        yield _advice(
            "Copy inputs without waiting",
            f"the device stood idle for {_ms(copied)} while the host staged a copy",
            copied,
            "pin the host memory and copy with non_blocking=True, or move the copy out of the loop",
            "host",
        )


# ---------------------------------------------------------------------------------------------- device


def _device(run: Run, device: Device | None) -> Iterator[Advice]:
    yield from _attention(run)
    yield from _precision(run, device)
    yield from _elementwise(run, device)
    yield from _layout(run)
    exposed = run.communication.get("exposed_ns", 0)
    if exposed:
        yield _advice(
            "Hide communication behind computation",
            f"{_ms(exposed)} of {_ms(run.communication['time_ns'])} of communication ran while nothing else did",
            exposed,
            "start collectives earlier, in pieces, on their own stream; use larger buckets or a cheaper collective",
            "device",
        )


def _attention(run: Run) -> Iterator[Advice]:
    eager = [a for a in run.attention if not a.fused and a.query_len]
    for row in eager:
        if row.query_len <= 32 and row.batch * row.heads >= 1000:
            yield _short(row)
    rest = [a for a in eager if not (a.query_len <= 32 and a.batch * a.heads >= 1000)]
    if rest:
        time, saved = sum(a.time_ns for a in rest), sum(a.saved_at_most_ns for a in rest)
        worst = max(rest, key=lambda a: a.time_ns)
        yield _advice(
            "Use fused attention",
            f"{_times(sum(a.count for a in rest), 'call')} of attention write the similarity matrix ({_ms(time)}); the "
            "largest is "
            f"{worst.query_len} x {worst.key_len} in {worst.batch} x {worst.heads} heads, "
            f"{worst.matrix_bytes / 2**30:.3g} GiB each time it is written",
            saved,
            "call torch.nn.functional.scaled_dot_product_attention (in diffusers and transformers: "
            "attn_implementation='sdpa' or the AttnProcessor2_0 classes)",
            "device",
        )


def _short(row: AttentionRow) -> Advice:
    rate = row.flops / row.time_ns * 1e9 / 1e12 if row.time_ns else 0.0
    return _advice(
        f"Batch the tiny products of {row.kind} attention over {row.query_len} positions",
        f"{row.batch * row.heads:,} sequences of {row.query_len} reach {rate:.2g} TFLOP/s in {_ms(row.time_ns)}",
        row.saved_at_most_ns,
        "use a fused kernel made for short sequences, or treat several sequences as one with a block mask",
        "device",
    )


def _precision(run: Run, device: Device | None) -> Iterator[Advice]:
    if device is None:
        return
    peaks = device.dense_flops
    half = peaks.get("bf16") or peaks.get("fp16")
    single = [o for o in run.operators if o.dtype == "fp32" and o.flops]
    if single and half:
        full = peaks.get("tf32") or peaks.get("fp32") or half
        time = sum(o.time_ns for o in single)
        limit = sum(o.flops or 0 for o in single) / half * 1e9
        if half > full:
            yield _advice(
                "Compute in bf16 instead of fp32",
                f"matrix work in fp32 takes {_ms(time)}; bf16 has {half / full:.3g} times its peak on {device.name}",
                time - limit,
                "model.to(torch.bfloat16) or torch.autocast; at least torch.set_float32_matmul_precision('high'); keep "
                "norms and the last layers in fp32 where quality asks for it",
                "device",
            )
    eight = peaks.get("fp8") or peaks.get("int8")
    wide = [o for o in run.operators if o.class_ == "linear" and o.dtype in ("bf16", "fp16") and o.flops]
    if eight and half and eight > half and wide:
        time = sum(o.time_ns for o in wide)
        limit = sum(o.flops or 0 for o in wide) / eight * 1e9
        yield _advice(
            "Quantise linear layers to 8 bits",
            f"linear layers take {_ms(time)}; 8 bits have {eight / half:.3g} times the dense peak and half the bytes",
            min(time / 2, time - limit),
            "fp8 or int8 weights and activations for the large linears (torchao, torch._scaled_mm); check the latents",
            "device",
        )


def _elementwise(run: Run, device: Device | None) -> Iterator[Advice]:
    chains = run.chains
    if not chains.count:
        return
    rate = device.bandwidth if device else chains.bytes_per_s
    still = chains.bytes / rate * 1e9 if rate else 0.0
    loose = [o for o in run.operators if o.class_ in LOOSE and o.name.startswith("aten::")]
    top = max(loose, key=lambda o: o.time_ns)
    work = "operators" if run.summary.on_cpu else "kernels"
    yield _advice(
        "Fuse elementwise work",
        f"{chains.kernels:,} {work} of elementwise work, norms and copies stand in {_times(chains.count, 'chain')} "
        f"and take {_ms(chains.time_ns)}; as one a chain they must still move {format_bytes(chains.bytes)}; "
        f"the longest operator is {top.name}",
        chains.time_ns - still,
        "torch.compile, or fused kernels for norm + modulation, gate + residual and rotary embedding; avoid "
        "permute().contiguous() between layers",
        "device",
    )


_TRANSPOSES = ("batched_transpose", "nchwToNhwc", "nhwcToNchw")


def _layout(run: Run) -> Iterator[Advice]:
    time = sum(k.time_ns for k in run.kernels if any(word in k.name for word in _TRANSPOSES))
    if time:
        yield _advice(
            "Keep convolutions in channels-last",
            f"kernels that only change the layout around convolutions take {_ms(time)}",
            time,
            "module.to(memory_format=torch.channels_last) (channels_last_3d for video) and the same for its input",
            "device",
        )
