"""Advice about the type of numbers: fp32 where half would do, 8 bits, and a VAE that stayed in fp32."""

from __future__ import annotations

from collections.abc import Iterator

from ...dtypes import EIGHT_BIT, HALF, SINGLE, torch_name, unit_of
from ...hardware import Device
from ...recorded import Advice, concerns
from ...roofline import Roofline
from ...run import Run, ShapeRow
from ..resolve.classify import LINEAR
from ..resolve.cost_of_work import MATRIX
from .decoder import decoders
from .words import Said, ms, suggest


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


def _products_ns(device: Device, flops: float, unit: str) -> float:
    """The limit of so many FLOPs of a unit."""
    return float(Roofline(device, ran=True).limit(flops=flops, unit=unit).seconds) * 1e9


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
    """In half precision products are limited by the higher peak; all else moves half the bytes."""
    rows = [row for row in run.shapes if row.stage == stage and row.dtype in SINGLE]
    saved = 0.0
    for row in rows:
        limit = _products_ns(device, row.flops, half) if row.flops else row.time_ns / 2
        saved += max(0.0, row.time_ns - limit)
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
        ),
        saved,
    )


def _single(run: Run, device: Device, half: str, without: list[str]) -> Iterator[Advice]:
    peaks = device.dense_flops
    rows = [row for row in run.shapes if row.dtype in SINGLE and row.flops and row.stage not in without]
    units = dict.fromkeys(unit_of(row.dtype, row.class_, run.maths) for row in rows)
    full = max((Roofline(device, ran=True).peak(unit) for unit in units), default=peaks[half])
    if peaks[half] > full:
        time = sum(row.time_ns for row in rows)
        yield suggest(
            "precision.fp32-products",
            concerns.Classes(tuple(dict.fromkeys(row.class_ for row in rows))),
            Said(
                f"Compute in {half} instead of fp32",
                f"matrix work in fp32 takes {ms(time)}; {half} has {peaks[half] / full:.3g} times its peak on "
                f"{device.name}",
                f"model.to(torch.{torch_name(half)}) or torch.autocast; at least "
                "torch.set_float32_matmul_precision('high'); keep norms and the last layers in fp32 where quality asks "
                "for it",
            ),
            time - _products_ns(device, sum(row.flops or 0 for row in rows), half),
        )


def _eight_bits(run: Run, device: Device, half: str) -> Iterator[Advice]:
    peaks = device.dense_flops
    eight = next((name for name in EIGHT_BIT if name in peaks), half)
    wide = [row for row in run.shapes if row.class_ == "linear" and row.dtype in HALF and row.flops]
    if peaks[eight] > peaks[half] and wide:
        time = sum(row.time_ns for row in wide)
        limit = _products_ns(device, sum(row.flops or 0 for row in wide), eight)
        whole = sum(row.time_ns for row in run.shapes if row.class_ == "linear")
        part = (
            "" if time > 0.99 * whole else f" of {ms(whole)}, as far as they are in half precision and of known sizes"
        )
        yield suggest(
            "precision.eight-bits",
            concerns.Classes((LINEAR,)),
            Said(
                "Quantize linear layers to 8 bits",
                f"linear layers take {ms(time)}{part}; 8 bits have {peaks[eight] / peaks[half]:.3g} times the dense "
                "peak and half the bytes",
                "fp8 or int8 weights and activations for the large linears (torchao, torch._scaled_mm); check the "
                "latents",
            ),
            min(time / 2, time - limit),
        )
