"""Advice that shortens the device's work: attention, repeated and elementwise work, layouts, communication."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...hardware import Device
from ...recorded import Advice, concerns
from ...run import AttentionRow, CollectiveRow, Run
from ...units import format_bandwidth, format_bytes
from ..find.elementwise_chains import LOOSE
from ..resolve.classify import ATTENTION, BATCH_NORM
from .words import Said, denoises, is_training, ms, suggest, times


def on_device(run: Run, device: Device | None) -> Iterator[Advice]:
    """All of it but precision and the decoder."""
    yield from _attention(run)
    yield from _text(run)
    yield from _elementwise(run, device)
    yield from _layout(run)
    yield from _communication(run)


SHORT_LEN, MANY_SEQUENCES = 32, 1000
"""Up to so many positions in at least so many sequences, attention is a batch of tiny products."""


def _is_tiny(row: AttentionRow) -> bool:
    return row.query_len <= SHORT_LEN and row.batch * row.heads >= MANY_SEQUENCES


def _attention(run: Run) -> Iterator[Advice]:
    eager = [a for a in run.attention if not a.fused and a.query_len]
    yield from (_tiny(row) for row in eager if _is_tiny(row))
    rest = [row for row in eager if not _is_tiny(row)]
    if rest:
        time, saved = sum(a.time_ns for a in rest), sum(a.saved_at_most_ns for a in rest)
        worst = max(rest, key=lambda a: a.time_ns)
        yield suggest(
            "device.fused-attention",
            concerns.Classes((ATTENTION,)),
            Said(
                "Use fused attention",
                f"{times(sum(a.count for a in rest), 'call')} of attention write the similarity matrix ({ms(time)}); "
                f"the largest is {worst.query_len} x {worst.key_len} in {worst.batch} x {worst.heads} heads, "
                f"{format_bytes(worst.matrix_bytes or 0)} each time it is written",
                "call torch.nn.functional.scaled_dot_product_attention (in diffusers and transformers: "
                "attn_implementation='sdpa' or the AttnProcessor2_0 classes)",
                _above_fused(rest),
            ),
            saved,
        )


def _above_fused(rows: Sequence[AttentionRow]) -> str:
    """How the gain of fusing follows: time and copies, less the limit of fused kernels."""
    time, copies = sum(a.time_ns for a in rows), sum(a.copy_ns for a in rows)
    saved = sum(a.saved_at_most_ns for a in rows)
    beside = f" + {ms(copies)} of copies beside it" if copies else ""
    limit = time + copies - saved
    less = f" - {ms(limit)}, the limit of fused kernels," if limit else ", for the limit of this device is not known,"
    return f"{ms(time)}{beside}{less} = {ms(saved)}"


def _tiny(row: AttentionRow) -> Advice:
    rate = (row.flops or 0) / row.time_ns * 1e9 / 1e12 if row.time_ns else 0.0
    return suggest(
        "device.tiny-attention",
        concerns.Attention(row.kind, row.query_len, row.stage),
        Said(
            f"Batch the tiny products of {row.kind} attention over {row.query_len} positions",
            f"{row.batch * row.heads:,} sequences of {row.query_len} reach {rate:.2g} TFLOP/s in {ms(row.time_ns)}",
            "use a fused kernel made for short sequences, or treat several sequences as one with a block mask",
            _above_fused([row]),
        ),
        row.saved_at_most_ns,
    )


def _text(run: Run) -> Iterator[Advice]:
    text = run.text_kv
    if text.repeated_ns:
        yield suggest(
            "device.text-keys",
            concerns.TextKeys(),
            Said(
                "Cache the text's keys and values",
                f"{times(text.count, 'projection')} of cross attention in {text.stage} ({text.example}) ran "
                f"{text.calls:,} times in all, each with the same sizes every time, and took {ms(text.time_ns)}; one "
                f"call of each takes {ms(text.time_ns - text.repeated_ns)}",
                "compute them once a prompt and hand them to every step (an attention processor that keeps them); "
                "right only where the text that enters them is the same in every step and does not depend on the "
                "timestep, and where guidance takes two calls each text needs its own entry",
                f"{ms(text.time_ns)} - {ms(text.time_ns - text.repeated_ns)} = {ms(text.repeated_ns)}",
            ),
            text.repeated_ns,
        )


def _elementwise(run: Run, device: Device | None) -> Iterator[Advice]:
    chains = run.chains
    if not chains.count:
        return
    rate = device.bandwidth if device is not None else chains.bytes_per_s
    still = chains.bytes / rate * 1e9 if rate else 0.0
    if rate:
        whose = f"the {device.name}'s" if device is not None else "the best rate that one of them reached"
        moved = f" - {ms(still)}, which {format_bytes(chains.bytes)} take at {format_bandwidth(rate)} ({whose}),"
    else:
        moved = ", for the rate of this device's memory is not known,"
    work = "operators" if run.summary.on_cpu else "kernels"
    yield suggest(
        "device.elementwise",
        concerns.Classes(LOOSE),
        Said(
            "Fuse elementwise work",
            f"{chains.kernels:,} {work} of elementwise work, norms and copies stand in {times(chains.count, 'chain')} "
            f"and take {ms(chains.time_ns)}; as one a chain they must still move {format_bytes(chains.bytes)}"
            + (f"; the longest operator among them is {chains.longest}" if chains.longest else ""),
            _fused_how(run),
            f"{ms(chains.time_ns)}{moved} = {ms(chains.time_ns - still)}",
        ),
        chains.time_ns - still,
    )


def _fused_how(run: Run) -> str:
    """How passes over tensors are fused in a run of its kind."""
    kinds = {row.name for row in run.classes}
    if BATCH_NORM in kinds:
        folded = "" if is_training(run) else ", batch norms folded into their convolutions"
        return f"torch.compile{folded}; channels_last, so that no layout changes between layers"
    of_dit = "norm + modulation, gate + residual and rotary embedding"
    what = of_dit if denoises(run) else "norms, residuals and activations"
    return f"torch.compile, or fused kernels for {what}; avoid permute().contiguous() between layers"


TRANSPOSES = ("batched_transpose", "nchwToNhwc", "nhwcToNchw")
"""Parts of the names of kernels that only change a layout."""


def _layout(run: Run) -> Iterator[Advice]:
    time = sum(k.time_ns for k in run.kernels if any(word in k.name for word in TRANSPOSES))
    if time:
        yield suggest(
            "device.channels-last",
            concerns.Kernels(TRANSPOSES),
            Said(
                "Keep convolutions in channels-last",
                f"kernels that only change the layout around convolutions take {ms(time)}",
                "module.to(memory_format=torch.channels_last) (channels_last_3d for video) and the same for its input",
            ),
            time,
        )


def _communication(run: Run) -> Iterator[Advice]:
    exposed = run.communication.get("exposed_ns", 0)
    if exposed:
        worst = max(run.collectives, key=lambda row: row.exposed_ns, default=None)
        which = f"; the largest part is {_collective(worst)}" if worst and worst.exposed_ns else ""
        yield suggest(
            "device.communication",
            concerns.Communication(),
            Said(
                "Hide communication behind computation",
                f"{ms(exposed)} of {ms(run.communication['time_ns'])} of communication ran while nothing else did"
                + which,
                "start collectives earlier, in pieces, on their own stream; use larger buckets or a cheaper collective",
            ),
            exposed,
        )


def _collective(row: CollectiveRow) -> str:
    size = f" of {format_bytes(row.bytes)}" if row.bytes else ""
    rate = f" at {row.share_of_link:.1%} of the link" if row.share_of_link else ""
    return f"{times(row.count, row.name)}{size}{rate}, {ms(row.exposed_ns)}"
