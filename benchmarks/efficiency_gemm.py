"""Curves of matrix products (`estimate.expected.gemm`), fitted to measured ones, and what they miss.

Least squares of the logarithm of expected over measured time, with a loss that is linear far out. Whole values of n and
of k are left out: in each of four folds every fourth of either, so that a product is predicted whose n or k no fit saw.
What is shipped is fitted to all. Products that were faster than their bytes come from memory were served by the cache:
repeated in a loop they are, in a model they are not, so those with a side below 512 are left out, and counted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from efficiency_products import Dropped, Products
from frameroof.estimate.expected.chip import chip_of
from frameroof.estimate.expected.derived import faster, scaled
from frameroof.estimate.expected.gemm import SIDES, Gemm
from frameroof.hardware import device

FOLDS = 4
MOST = 8000
"""Products that a fit takes: a sample, by a fixed seed, where there are more."""
SMALL_WEIGHT = 0.35
"""Of products with a side below 512."""
SCALE = 0.04
"""Of the logarithm, from which on the loss is linear."""
DIGITS = 4
START = {
    "launch_us": (3.0, 0.1, 60.0),
    "memory": (0.8, 0.2, 1.0),
    "fill": (300.0, 0.0, 6000.0),
    "split_us": (2.0, 0.1, 100.0),
    "heat": (0.02, 0.0, 0.25),
    "256x128": (0.8, 0.1, 1.0),
    "128x128": (0.8, 0.1, 1.0),
    "128x64": (0.6, 0.05, 1.0),
    "64x64": (0.4, 0.03, 1.0),
    "quantize": (1.5, 0.0, 30.0),
}
"""Where each number starts, and between what it may lie."""
PULL = 0.2
"""How much the logarithm of a tile's share is held to its start, in that of one product: it breaks ties."""


def curve(numbers: dict[str, float], products: Products, about: dict[str, Any]) -> Gemm:
    """The curve of these numbers."""
    own = {name: value for name, value in numbers.items() if name not in SIDES}
    shares = {side: numbers[side] for side in SIDES}
    return Gemm(peak=products.format.peak, shares=shares, source=products.source, **own, **about)


ABOUT: dict[str, Any] = {"date": "2026-12-01", "rows": 1, "error_median": 0.0, "error_p90": 0.0}


def fit(products: Products, sample: int = MOST) -> dict[str, float]:
    """The numbers of a curve through these products."""
    if len(products.time_s) > sample:
        chosen = np.random.default_rng(0).choice(len(products.time_s), sample, replace=False)
        products = products.of(np.sort(chosen))
    names = [name for name in START if name != "quantize" or products.format.quantizes]
    start, least, most = (np.array([START[name][i] for name in names]) for i in range(3))
    shares = np.array([name in SIDES for name in names])
    weight = np.where(products.large, 1.0, SMALL_WEIGHT)
    chip, sizes = products.chip, tuple(products.sizes.T)

    def missed(numbers: np.ndarray) -> np.ndarray:
        made = curve(dict(zip(names, numbers.tolist(), strict=True)), products, ABOUT)
        found = np.log(made.seconds(chip, sizes, products.moved) / products.time_s) * weight
        return np.concatenate((found, PULL * np.log(numbers[shares] / start[shares])))

    found = least_squares(
        missed, start, bounds=(least, most), loss="soft_l1", f_scale=SCALE,
        x_scale=np.maximum(start, 0.02), diff_step=0.02, max_nfev=60,
    )  # fmt: skip
    return {name: float(f"{value:.{DIGITS}g}") for name, value in zip(names, found.x.tolist(), strict=True)}


def errors(numbers: dict[str, float], products: Products) -> np.ndarray:
    """Expected over measured time, less 1."""
    made = curve(numbers, products, ABOUT)
    return made.seconds(products.chip, tuple(products.sizes.T), products.moved) / products.time_s - 1


def folds(products: Products) -> Iterable[np.ndarray]:
    """Which products are left out, fold by fold: by the rank of n and of k among their values."""
    for fold in range(FOLDS):
        out = np.zeros(len(products.time_s), bool)
        for side in (2, 3):
            values = products.sizes[:, side]
            out |= np.searchsorted(np.unique(values), values) % FOLDS == fold
        yield out


def summary(found: np.ndarray) -> dict[str, Any]:
    """Rows, and median, p90 and bias of errors, in shares of the time."""
    if not found.size:
        return {"rows": 0}
    told = {"median": np.median(abs(found)), "p90": np.quantile(abs(found), 0.9), "bias": np.median(found)}
    return {"rows": int(found.size), **{name: round(float(value), 4) for name, value in told.items()}}


def left_out(products: Products) -> tuple[np.ndarray, np.ndarray]:
    """Errors of products in the folds that leave them out, and which of them are large."""
    found, large = [], []
    for out in folds(products):
        numbers = fit(products.of(~out))
        found.append(errors(numbers, products.of(out)))
        large.append(products.large[out])
    return np.concatenate(found), np.concatenate(large)


def sisters(every: Iterable[Products], curves: dict[str, dict[str, Gemm]]) -> list[dict[str, Any]]:
    """What a curve that is scaled from each other device of the generation misses of a device's large products.

    `nearest` is the one whose multiprocessors are nearest in speed, which a device without tables would have.
    """
    found = []
    for products in every:
        chip, large, own = products.chip, products.of(products.large), []
        for name in curves:
            theirs = chip_of(device(name))
            if name == products.device or theirs.generation != chip.generation or products.name not in curves[name]:
                continue
            made = scaled(curves[name][products.name], theirs, chip, products.format.peak)
            missed = made.seconds(chip, tuple(large.sizes.T), large.moved) / large.time_s - 1
            row = {"device": products.device, "curve": products.name, "from": name, **summary(missed)}
            own.append((abs(np.log(faster(made, theirs, chip))), row))
        own.sort(key=lambda each: each[0])
        found += [{**row, "nearest": not at} for at, (_, row) in enumerate(own)]
    return found


def fitted(
    every: Iterable[Products], dropped: Dropped, date: str
) -> tuple[dict[str, dict[str, Gemm]], dict[str, list[dict[str, Any]]]]:
    """Curves by device and name; what each misses, and what it misses of its sisters."""
    curves: dict[str, dict[str, Gemm]] = {}
    table, kept = [], []
    for products in every:
        cached = (products.chip.roofline.limit(bytes=products.moved).memory_s > products.time_s) & ~products.large
        if cached.any():
            dropped.counts[f"{products.device}, {products.name}: served by the cache"] = int(cached.sum())
        products = products.of(~cached)
        out, large = left_out(products)
        numbers = fit(products)
        held, seen = summary(out[large]), errors(numbers, products)
        row = {
            "device": products.device,
            "curve": products.name,
            "large": {"left_out": held, "fitted": summary(seen[products.large])},
            "small": {"left_out": summary(out[~large]), "fitted": summary(seen[~products.large])},
            "numbers": numbers,
            "source": products.source,
        }
        if not held["rows"]:
            held = row["small"]["left_out"]
        about = {"rows": len(products.time_s), "date": date, "error_median": held["median"], "error_p90": held["p90"]}
        curves.setdefault(products.device, {})[products.name] = curve(numbers, products, about)
        table.append(row)
        kept += [products] if not products.kernel else []
        print(
            f"{products.device:38} {products.name:18} {len(products.time_s):7,} products, left out "
            f"{held['median']:6.1%} / {held['p90']:6.1%}",
            file=sys.stderr,
            flush=True,
        )
    return curves, {"curves": table, "sisters": sisters(kept, curves)}
