"""`benchmarks/efficiency.py`: a known curve is found again, rows that cannot be are dropped, what is shipped fits."""

from __future__ import annotations

import csv
import importlib
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import polars as pl
import pytest
from scipy.stats import qmc

from frameroof.estimate.expected.chip import chip_of
from frameroof.estimate.expected.curves import shipped
from frameroof.estimate.expected.gemm import SIDES, Gemm
from frameroof.hardware import device

ROOT = Path(__file__).parents[2]
ROWS = Path(__file__).with_name("gemm_rows.csv")
H100 = chip_of(device("H100"))
TRUTH = Gemm(
    peak="bf16", launch_us=4.0, memory=0.7, fill=200, split_us=3.0, heat=0.03,
    shares=dict(zip(SIDES, (0.85, 0.8, 0.6, 0.4), strict=True)),
    source="made", date="2026-12-01", rows=1, error_median=0, error_p90=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def scripts():
    """The modules of the script, which find each other beside it."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        names = ("efficiency", "efficiency_gemm", "efficiency_products", "efficiency_wheel")
        yield SimpleNamespace(**{name.removeprefix("efficiency_"): importlib.import_module(name) for name in names})
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


def rows(scripts, name, curve):
    """The committed rows of a device and curve, as the script holds them."""
    lines = [line for line in ROWS.read_text("utf-8").splitlines() if not line.startswith("#")]
    own = [row for row in csv.DictReader(lines) if (row["device"], row["curve"]) == (name, curve)]
    sizes = np.array([[1, *(int(row[side]) for side in "mnk")] for row in own], float)
    _, m, n, k = sizes.T
    form, _, kernel = curve.partition(":")
    width = {"bf16": 2, "fp8": 1}[form]
    moved = width * (m * k + k * n) + 2 * m * n
    time_s = np.array([float(row["milliseconds"]) for row in own]) / 1e3
    format = next(each for each in scripts.products.FORMATS.values() if each.name == form)
    return scripts.products.Products(name, format, kernel, sizes, time_s, moved, "rows")


def test_a_known_curve_is_found_again_at_sizes_that_it_was_not_shown(scripts):
    spread = qmc.scale(qmc.Sobol(3, rng=1).random(512), 7, 14)[:500]
    sizes = np.concatenate([np.ones((500, 1)), (2**spread).round()], axis=1)
    _, m, n, k = sizes.T
    moved = 2 * (m * k + k * n + m * n)
    exact = TRUTH.seconds(H100, tuple(sizes.T), moved)
    noisy = exact * np.exp(np.random.default_rng(1).normal(0, 0.02, 500))
    products = scripts.products.Products(
        "H100-SXM5-80GB", scripts.products.FORMATS["bfloat16"], "", sizes, noisy, moved, "made"
    )
    seen = np.arange(500) < 300
    numbers = scripts.gemm.fit(products.of(seen))
    missed = np.abs(scripts.gemm.errors(numbers, products.of(~seen)))
    assert np.median(missed) < 0.03
    assert numbers["launch_us"] == pytest.approx(TRUTH.launch_us, rel=0.1)
    assert numbers["memory"] == pytest.approx(TRUTH.memory, rel=0.05)
    assert numbers["256x128"] == pytest.approx(TRUTH.shares["256x128"], rel=0.05)


@pytest.mark.parametrize(
    ("name", "curve", "median", "p90"),
    [("H100-SXM5-80GB", "bf16", 0.06, 0.20), ("L40S", "bf16", 0.07, 0.20), ("H100-SXM5-80GB", "fp8:trtllm", 0.15, 0.3)],
)
def test_what_is_shipped_gives_the_rows_that_are_kept_here(scripts, name, curve, median, p90):
    products = rows(scripts, name, curve)
    made = shipped(name).gemm[curve]
    missed = np.abs(made.seconds(products.chip, tuple(products.sizes.T), products.moved) / products.time_s - 1)
    assert len(missed) > 50
    assert np.median(missed) < median
    assert np.quantile(missed, 0.9) < p90


def test_whole_values_of_n_and_k_are_left_out_and_predicted(scripts):
    products = rows(scripts, "H100-SXM5-80GB", "bf16")
    out = next(iter(scripts.gemm.folds(products)))
    for side in (2, 3):
        kept = set(products.sizes[~out, side])
        assert set(products.sizes[:, side]) - kept  # some values are in no row that is kept
    missed, large = scripts.gemm.left_out(products)
    assert large.all()
    assert np.median(np.abs(missed)) < 0.08


def test_an_input_that_is_quantized_before_is_seen_in_the_times(scripts):
    products = rows(scripts, "H100-SXM5-80GB", "fp8:trtllm")
    numbers = scripts.gemm.fit(products)
    assert numbers["quantize"] > 1  # read and written at least once
    without = scripts.gemm.errors({**numbers, "quantize": 0.0}, products)
    assert np.median(without) < -0.05


def wheel(tmp_path, tables):
    """A wheel with these tables: framework -> rows of (format, m, n, k, milliseconds) of the H100."""
    path = tmp_path / "made.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for framework, own in tables.items():
            file = BytesIO()
            pl.DataFrame(own, ("gemm_dtype", "m", "n", "k", "latency"), orient="row").write_parquet(file)
            name = f"aiconfigurator_core/systems/data/h100_sxm/gemm/{framework}/gemm_perf.parquet"
            archive.writestr(name, file.getvalue())
    return path


def test_rows_that_cannot_be_are_listed_by_file_and_number_and_the_median_is_taken(scripts, tmp_path):
    ms = 2 * 4096**3 / H100.peak("bf16") * 1e3
    bad = [
        ("bfloat16", 4096, 4096, 4096, 0.9 * ms),
        ("bfloat16", 0, 64, 64, 1.0),
        ("bfloat16", 64, 64, 64, float("nan")),
    ]
    tables = {
        "vllm/1.0": [("bfloat16", 4096, 4096, 4096, 2 * ms), ("fp8_block", 128, 128, 128, 0.2), *bad],
        "trtllm/1.0": [("bfloat16", 4096, 4096, 4096, 3 * ms), ("bfloat16", 4096, 4096, 4096, 9 * ms)],
        "sglang/1.0": [("bfloat16", 4096, 4096, 4096, 7 * ms)],
        "sglang/0.5.6.post2": [("bfloat16", 4096, 4096, 4096, 8 * ms)],
    }
    dropped = scripts.products.Dropped()
    (products,) = scripts.products.measured(wheel(tmp_path, tables), dropped)
    assert products.time_s.tolist() == pytest.approx([3 * ms / 1e3])
    assert products.moved.tolist() == [3 * 2 * 4096**2]
    listed = {(row["file"], row["row"]): row["why"] for row in dropped.rows}
    assert listed == {
        ("h100_sxm/gemm/vllm/1.0", 2): "above the dense peak",
        ("h100_sxm/gemm/vllm/1.0", 3): "no sizes or no time",
        ("h100_sxm/gemm/vllm/1.0", 4): "no sizes or no time",
        ("h100_sxm/gemm/trtllm/1.0", 1): "measured before in this table",
    }
    assert {row["file"] for row in dropped.tables} == {"h100_sxm/gemm/vllm/1.0", "h100_sxm/gemm/sglang/0.5.6.post2"}


def test_a_wheel_that_is_not_the_pinned_one_is_refused(scripts, tmp_path):
    path = tmp_path / "aiconfigurator_core-0.12.0.whl"
    path.write_bytes(b"another")
    with pytest.raises(SystemExit, match="SHA-256"):
        scripts.wheel.pinned(path)


def test_a_part_is_written_into_the_file_of_its_device_beside_what_is_there(scripts, tmp_path, monkeypatch):
    monkeypatch.setattr(scripts.efficiency, "MEASURED", tmp_path)
    monkeypatch.setattr(scripts.efficiency, "shipped", lambda name: None)
    scripts.efficiency.write("gemm", {"L40S": {"bf16": TRUTH}})
    written = msgspec.json.decode((tmp_path / "l40s.json").read_bytes())
    assert written["gemm"]["bf16"]["memory"] == 0.7
    assert (written["device"], written["generation"]) == ("L40S", "ada")
    impossible = msgspec.structs.replace(TRUTH, memory=1.2)
    with pytest.raises(ValueError, match=r"memory 1\.2"):
        scripts.efficiency.write("gemm", {"L40S": {"bf16": impossible}})


def test_parts_with_scripts_of_their_own_are_run_on_the_same_wheel(scripts, tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(scripts.efficiency, "pinned", lambda path: path)
    monkeypatch.setattr(scripts.efficiency.subprocess, "run", lambda command, **_: ran.append(command[1:]))
    asked = ["made.whl", "--only", "links", "traffic", "--neusight", "tables", "--write"]
    assert scripts.efficiency.main(asked) == 0
    assert [[Path(command[0]).name, *command[1:]] for command in ran] == [
        ["efficiency_links.py", "made.whl"],
        ["efficiency_traffic.py", "made.whl", "tables"],
    ]
    assert all(Path(command[0]).is_file() for command in ran)
    assert scripts.efficiency.main(asked[:-1]) == 0
    assert len(ran) == 2  # without --write nothing is written
