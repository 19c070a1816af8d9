"""What `frameroof stream tune` prints, from its record: every choice beside its quality, and the one to take."""

from __future__ import annotations

from ..study.stream_records import Point, Tuned
from ..units import format_bytes, format_seconds
from .console import console, table


def print_tuned(data: Tuned) -> None:
    """Print every choice beside its drift, fastest first, and the one to take."""
    page, ref = console(), data.reference
    page.print(f"{data.model} as a stream on {data.hardware}, {data.dtype}", style="bold")
    real = any(p.quality.ssim is not None for p in data.points)
    columns = ("window", "sink", "variant", "linears", "block", "middle half", "keys and values", "free run", "taught",
               "cosine", *(("PSNR", "SSIM") if real else ()), "")  # fmt: skip
    page.print(table(columns, [_row(p, real) for p in data.points], left=4, text=("",)))
    page.print(f"Recommended: {_best(data)}{data.reason}.")
    page.print(
        f"Free run, taught: relative error of the worst block's latents beside the {ref.variant} in {ref.dtype} "
        f"at window {ref.window}, sink {ref.sink}, same weights and noise; taught, each block is given the "
        "reference's past. Unbeaten: none is faster and drifts less."
    )
    page.print(f"Noise floor: the baseline drifts by {data.floor:.2g} from run to run.")
    for text in data.says:
        page.print(text, style="dim")
    if not real:
        page.print(
            f"Drift says how far the numbers move, not how a picture looks: the bound of {data.most_error:g} "
            "(--most-error) is no bound on quality. Choose a window, sinks and precision with weights of your own "
            "(--weights transformer=FILE --weights vae=FILE): PSNR and SSIM of the pictures then stand beside them.",
            style="dim",
        )


def _best(data: Tuned) -> str:
    """The recommended choice in words; "" where none is."""
    for p in data.points:
        if p.recommended:
            return f"window {p.window}, sink {p.sink}, {p.variant}, linears {p.precision}. "
    return ""


def _row(p: Point, real: bool) -> tuple[str, ...]:
    low, middle, high = p.block_s
    q = p.quality
    pictures = (
        "equal" if q.psnr_db is None else f"{q.psnr_db:.1f} dB",
        "" if q.ssim is None else f"{q.ssim:.4f}",
    )
    mark = "recommended" if p.recommended else "unbeaten" if p.unbeaten else ""
    return (
        str(p.window), str(p.sink), p.variant, p.precision, format_seconds(middle),
        f"{format_seconds(low)} to {format_seconds(high)}", format_bytes(p.cache_bytes), f"{q.relative:.2g}",
        _number(q.taught_relative), f"{q.cosine:.5f}", *(pictures if real else ()), mark,
    )  # fmt: skip


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"
