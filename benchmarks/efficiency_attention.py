"""Curves of attention kernels by device, fitted to NVIDIA's tables: `python benchmarks/efficiency_attention.py WHEEL`.

WHEEL is aiconfigurator-core 0.12.0 (`pip download --no-deps aiconfigurator-core==0.12.0`, Apache-2.0). Its tables of
``encoder_attention`` are bidirectional, of heads 64, 72 and 80 wide; ``context_attention`` is causal, of heads 64, 128,
192 and 256, and the only source for those from 128 on. Each is fitted for itself: causal rows pass a cache in pages and
more of the host, so that only their shares of wide heads, and what the diagonal costs in keys, are taken. Every fifth
length is left out of a fit and predicted by it: that is the error that is stated, of lengths from 1,000 on. What is
fitted goes into `estimate/expected/measured`; `matrix` and `exponential` there, for other devices, are not fitted here.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from scipy.optimize import minimize

from efficiency_wheel import SYSTEMS, source_of, table_of
from frameroof.estimate.expected.attention import Attention
from frameroof.estimate.expected.chip import Chip, chip_of
from frameroof.estimate.expected.curves import MEASURED, file_of
from frameroof.hardware import device

WIDTHS = ("64", "96", "128", "192", "256")
FROM, CAUSAL_FROM = 1000, 512
FOLDS = 5
ROWS = 6000
"""Most rows of one fit, drawn by chance."""
BLACKWELL = ("b200_sxm", "b300_sxm", "gb200", "gb300")


class Kernel(NamedTuple):
    """A kernel's names in the bidirectional and the causal table, the systems it is of, and its block of queries."""

    encoder: tuple[str, ...]
    causal: tuple[str, ...]
    systems: tuple[str, ...]
    block: int = 128


KERNELS = {
    "fa2": Kernel(
        ("vllm_vit_flash_attn_fa2",),
        ("flashinfer",),  # FlashAttention 2's template, no slower than its paged kernel
        ("l40s", "rtx_pro_6000_server"),
    ),
    "fa3": Kernel(
        ("vllm_vit_flash_attn_fa3", "flash_attention_v3"), ("fa3", "vllm_flash_attn_fa3"), ("h100_sxm", "h200_sxm")
    ),
    "fa4": Kernel(
        ("vllm_vit_flash_attn_fa4", "flash_attention_v4"),
        ("trtllm_mha", "vllm_flashinfer_trtllmprefill"),  # FlashAttention 4 has no causal rows at these widths
        BLACKWELL,
        block=256,
    ),
    "trt": Kernel(("torch_flow",), ("torch_flow",), ("h100_sxm", "h200_sxm", "l40s", "rtx_pro_6000_server")),
    "trt ": Kernel(("torch_flow",), ("trtllm_mha", "vllm_flashinfer_trtllmprefill", "torch_flow"), BLACKWELL),
}
FORMULA = {
    "fa2": {"matrix": 0.9, "exponential": 1.6},
    "fa3": {"matrix": 0.917, "exponential": 0.76},
    "fa4": {"matrix": 0.89, "exponential": 0.665},
    "trt": {"matrix": 0.9, "exponential": 1.2},
}
"""What a kernel is held to be where no width was measured, as in ``general.json``."""
SLOW = {"trt ": (72,)}
"""Widths for which a kernel fell back to one 5 to 10 times slower: left out."""


def rows_of(wheel: Path, system: str, kernel: str) -> pl.DataFrame:
    """Batch, length, heads, width, whether causal, seconds: the median over software of bf16 rows."""
    own = KERNELS[kernel]
    found = []
    for table, names, causal in (
        ("encoder_attention_perf", own.encoder, False),
        ("context_attention_perf", own.causal, True),
    ):
        rows = table_of(wheel, system, table)
        if not rows.height:
            continue
        kept = pl.col("kernel_source").is_in(names) & (pl.col("latency") > 0) & (pl.col("attn_dtype") == "bfloat16")
        kept &= (pl.col("head_dim") <= int(WIDTHS[-1])) & ~pl.col("head_dim").is_in(SLOW.get(kernel, ()))
        if causal:
            kept &= (pl.col("window_size").fill_null(0) <= 0) & (pl.col("isl") > 1)
            kept &= pl.col("kv_cache_dtype") == "bfloat16"
        found.append(
            rows.filter(kept).select(
                b="batch_size", length="isl", heads="num_heads", d="head_dim", took_s=pl.col("latency") / 1e3
            ).with_columns(causal=pl.lit(causal))
        )  # fmt: skip
    return (
        pl.concat(found).group_by("b", "length", "heads", "d", "causal").agg(pl.col("took_s").median()).sort(pl.all())
    )


def curve(numbers: np.ndarray, block: int) -> Attention:
    """The curve of (launch, keys, keys of the diagonal, shares by width)."""
    launch, keys, diagonal, *shares = np.abs(numbers).tolist()
    return Attention(
        launch_us=launch, keys=keys, causal_keys=diagonal, block=block, matrix=1.0, exponential=0.0,
        shares=dict(zip(WIDTHS, shares, strict=True)), source="", date="",
    )  # fmt: skip


def predicted(made: Attention, rows: dict[str, np.ndarray], chip: Chip) -> np.ndarray:
    """Seconds of each row."""
    length = rows["length"]
    pairs = rows["b"] * rows["heads"] * np.where(rows["causal"] > 0, length * (length + 1) / 2, length**2)
    sizes = {"b": rows["b"], "heads": rows["heads"], "q": length, "kv": length, "d": rows["d"], "dv": rows["d"]}
    return np.asarray(made.seconds(chip, "bf16", sizes, pairs))


def arrays(rows: pl.DataFrame) -> dict[str, np.ndarray]:
    """Columns as floats."""
    return {name: rows[name].cast(pl.Float64).to_numpy() for name in rows.columns}


START = np.array([6.0, 300.0, 50.0, 0.5, 0.6, 0.6, 0.6, 0.6])


def fit(rows: pl.DataFrame, chip: Chip, block: int, evaluations: int = 1500) -> np.ndarray:
    """The numbers of a curve: least errors of logarithms; long rows count more."""
    own = arrays(rows.sample(min(ROWS, rows.height), seed=0))
    weight = np.where(own["length"] >= FROM, 1.0, 0.3)

    def loss(scale: np.ndarray) -> float:
        missed = np.log(predicted(curve(scale * START, block), own, chip) / own["took_s"])
        return float(np.average(np.sqrt(missed**2 + 4e-4) + 0.1 * missed**2, weights=weight))

    options = {"maxfev": evaluations, "xatol": 1e-3, "fatol": 1e-6, "adaptive": True}
    return np.asarray(np.abs(minimize(loss, np.ones(len(START)), method="Nelder-Mead", options=options).x * START))


def fitted(rows: pl.DataFrame, chip: Chip, block: int) -> np.ndarray:
    """The bidirectional rows' numbers, with the causal rows' shares of wide heads and keys of the diagonal."""
    numbers = fit(rows.filter(~pl.col("causal")), chip, block)
    causal = fit(rows.filter(pl.col("causal") & (pl.col("length") >= CAUSAL_FROM)), chip, 128)
    numbers[2] = max(0.0, causal[1] + causal[2] - numbers[1])
    numbers[5:] = causal[5:]
    return numbers


def left_out(rows: pl.DataFrame, chip: Chip, block: int) -> pl.DataFrame:
    """The rows with `error`, each as a fit that did not see its length predicts it."""
    lengths = sorted(rows["length"].unique())
    parts = []
    for fold in range(FOLDS):
        out = pl.col("length").is_in(lengths[fold::FOLDS])
        own = rows.filter(out)
        made = curve(fitted(rows.filter(~out), chip, block), block)
        parts.append(own.with_columns(error=predicted(made, arrays(own), chip) / own["took_s"].to_numpy() - 1))
    return pl.concat(parts).filter(pl.col("length") >= FROM)


def told(errors: pl.DataFrame) -> dict[str, dict[str, float]]:
    """Rows, median, p90 and bias by direction and width."""
    return {
        f"{'causal' if causal else 'bidirectional'} {width}": {
            "rows": own.height,
            "median": round(float(own["error"].abs().median()), 4),  # type: ignore[arg-type]
            "p90": round(float(own["error"].abs().quantile(0.9)), 4),  # type: ignore[arg-type]
            "bias": round(float(own["error"].median()), 4),  # type: ignore[arg-type]
        }
        for (causal, width), own in sorted(errors.group_by("causal", "d"))
    }


def part(wheel: Path, system: str, name: str, today: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the curve that is shipped, its errors by direction and width) of one kernel on one system."""
    kernel, chip = KERNELS[name], chip_of(device(SYSTEMS[system]))
    rows = rows_of(wheel, system, name)
    launch, keys, diagonal, *shares = fitted(rows, chip, kernel.block).tolist()
    seen = {str(next(int(w) for w in WIDTHS if width <= int(w))) for width in rows["d"].unique()}
    errors = left_out(rows, chip, kernel.block)
    plain = errors.filter(~pl.col("causal"))
    made = {
        "launch_us": round(launch, 2),
        "keys": round(keys, 1),
        "causal_keys": round(diagonal, 1),
        "block": kernel.block,
        "shares": {width: round(share, 4) for width, share in zip(WIDTHS, shares, strict=True) if width in seen},
        "source": source_of(f"{system}/encoder_attention and attention ({', '.join(kernel.encoder + kernel.causal)})"),
        "date": today,
        "rows": rows.height,
        "error_median": round(float(plain["error"].abs().median()), 4),  # type: ignore[arg-type]
        "error_p90": round(float(plain["error"].abs().quantile(0.9)), 4),  # type: ignore[arg-type]
    }
    return made, told(errors)


def main() -> int:
    """Fit all, print the errors, and write both."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--out", type=Path, help="curves and errors, as JSON")
    asked = parser.parse_args()
    today = date.today().isoformat()
    found: dict[str, Any] = {}
    for name, kernel in KERNELS.items():
        for system in kernel.systems:
            made, errors = part(asked.wheel, system, name, today)
            found.setdefault(SYSTEMS[system], {})[name.strip()] = {"curve": made, "left_out": errors}
            print(SYSTEMS[system], name, made["shares"], made["error_median"], made["error_p90"], flush=True)
    for name, kernels in found.items():
        path = MEASURED / file_of(name)
        held = json.loads(path.read_text("utf-8"))
        for kernel, own in kernels.items():
            held.setdefault("attention", {}).setdefault(kernel, dict(FORMULA[kernel])).update(own["curve"])
        path.write_text(json.dumps(held, indent=1) + "\n", "utf-8")
    if asked.out:
        asked.out.write_text(json.dumps({"date": today, "data": asked.wheel.name, "attention": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
