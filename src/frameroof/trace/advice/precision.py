"""Advice about the type of numbers: fp32 where half would do, 8 bits, and a VAE that stayed in fp32."""

from __future__ import annotations

from collections.abc import Iterator

from ...dtypes import EIGHT_BIT, HALF, SINGLE, torch_name
from ...hardware import Device
from ...recorded import Advice, concerns
from ...roofline import Roofline
from ...run import Run, ShapeRow
from ..find.row_limits import limit_of_shape
from ..resolve.classify import LINEAR
from ..resolve.cost_of_work import MATRIX
from .decoder import decoders
from .shorter_limits import arithmetic, shortened
from .words import Said, is_training, ms, suggest


def precision(run: Run, device: Device | None) -> Iterator[Advice]:
    """Nothing where the device's peaks are not known."""
    if device is None:
        return
    half = next((name for name in HALF if name in device.dense_flops), None)
    if half is None:
        return
    alone = _alone_in_fp32(run)
    yield from (_decoder(run, device, half, stage) for stage in alone)
    yield from _single(run, device, half, alone)
    yield from _eight_bits(run, device, half)


def _alone_in_fp32(run: Run) -> list[str]:
    """Stages of a VAE whose products are in fp32 while those of the rest are in half precision."""
    found = []
    for stage in decoders(run):
        own = [row for row in run.shapes if row.stage == stage.name and row.class_ in MATRIX]
        rest = [row for row in run.shapes if row.stage != stage.name and row.class_ in MATRIX]
        if _mostly(own, SINGLE) and _mostly(rest, HALF):
            found.append(stage.name)
    return found


def _mostly(rows: list[ShapeRow], dtypes: tuple[str, ...]) -> bool:
    """Whether more than half of the time of some rows, as far as their type is known, is of these types."""
    wanted = sum(row.time_ns for row in rows if row.dtype in dtypes)
    return 2 * wanted > sum(row.time_ns for row in rows if row.dtype)


def _decoder(run: Run, device: Device, half: str, stage: str) -> Advice:
    """Products gain what their limit does; all else moves half the bytes."""
    rows = [row for row in run.shapes if row.stage == stage and row.dtype in SINGLE]
    parts = shortened(rows, run, device, half)
    return suggest(
        "precision.decoder",
        concerns.Stage(stage),
        Said(
            "Run the VAE in half precision",
            f"{stage} computes in fp32 ({ms(sum(row.time_ns for row in rows))}) while the rest of the run is in half "
            "precision",
            f"vae.to(torch.{torch_name(half)}) and force_upcast=False in its configuration; "
            "the VAEs of SD 1.5 and SDXL overflow in fp16: use bf16, or weights that were made for fp16; compare "
            "pictures",
            arithmetic(parts),
        ),
        sum(part.gain_ns for part in parts),
    )


def _single(run: Run, device: Device, half: str, without: list[str]) -> Iterator[Advice]:
    rows = [row for row in run.shapes if row.dtype in SINGLE and row.flops and row.stage not in without]
    parts = shortened(rows, run, device, half)
    if not parts:
        return
    roofline = Roofline(device, ran=True)
    units = dict.fromkeys(limit.unit for row in rows if (limit := limit_of_shape(row, roofline, run.maths)))
    more = " and ".join(f"{device.dense_flops[half] / roofline.peak(unit):.4g} times that of {unit}" for unit in units)
    yield suggest(
        "precision.fp32-products",
        concerns.Classes(tuple(dict.fromkeys(row.class_ for row in rows))),
        Said(
            f"Compute in {half} instead of fp32",
            f"matrix work on fp32 takes {ms(sum(row.time_ns for row in rows))}; the peak of {half} on {device.name} is "
            f"{more}, and its numbers have half the bytes",
            f"model.to(torch.{torch_name(half)}) or torch.autocast; at least "
            "torch.set_float32_matmul_precision('high'); keep norms and the last layers in fp32 where quality asks "
            "for it",
            arithmetic(parts),
        ),
        sum(part.gain_ns for part in parts),
    )


def _eight_bits(run: Run, device: Device, half: str) -> Iterator[Advice]:
    peaks = device.dense_flops
    eight = next((name for name in EIGHT_BIT if name in peaks), half)
    wide = [row for row in run.shapes if row.class_ == LINEAR and row.dtype in HALF and row.flops]
    parts = shortened(wide, run, device, eight)
    if peaks[eight] <= peaks[half] or not parts or (is_training(run) and eight != "fp8"):
        return
    time, whole = sum(row.time_ns for row in wide), sum(row.time_ns for row in run.shapes if row.class_ == LINEAR)
    part = "" if time > 0.99 * whole else f" of {ms(whole)}, as far as they are in half precision and of known sizes"
    yield suggest(
        "precision.eight-bits",
        concerns.Classes((LINEAR,)),
        Said(
            "Train linear layers in fp8" if is_training(run) else "Quantize linear layers to 8 bits",
            f"linear layers take {ms(time)}{part}; {eight} has {peaks[eight] / peaks[half]:.4g} times the dense "
            f"peak of {half} and half the bytes",
            "torchao.float8 or Transformer Engine for the large linears; compare the loss"
            if is_training(run)
            else f"{eight} weights and activations for the large linears (torchao"
            f"{', torch._scaled_mm' if eight == 'fp8' else ''}); check outputs",
            arithmetic(parts),
        ),
        sum(part.gain_ns for part in parts),
    )
