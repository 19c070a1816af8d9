"""`benchmarks/gemm_tables.py` on a made wheel: what is a violation, what a fault of the tables, what was cached."""

from __future__ import annotations

import importlib.util
import json
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest

from frameroof.hardware import device

SCRIPT = Path(__file__).parents[2] / "benchmarks/gemm_tables.py"
H100 = device("H100")
SQUARE = 2 * 4096**3 / H100.peak("bf16") * 1e3
"""Milliseconds of a product of three matrices of 4096 x 4096 at the peak; their bytes take a tenth of it."""
WIDE = 65536
MOVED = 2 * (WIDE + WIDE * 16384 + 16384)
"""Bytes of one row through a weight of 2 GiB."""


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("gemm_tables", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


def wheel(tmp_path, *rows):
    """A wheel with the rows (format, m, n, k, ms) in a table of the H100's, and one of a machine that is not known."""
    table = pl.DataFrame(rows, ("gemm_dtype", "m", "n", "k", "latency"), orient="row")
    path = tmp_path / "made.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for system in ("h100_sxm", "abacus"):
            file = BytesIO()
            table.write_parquet(file)
            name = f"aiconfigurator_core/systems/data/{system}/gemm/vllm/1.0/gemm_perf.parquet"
            archive.writestr(name, file.getvalue())
    return path


def ms(moved):
    """Milliseconds of so many bytes of an H100's memory."""
    return moved / H100.bandwidth * 1e3


def test_a_row_is_put_beside_its_limit_with_the_cache_taken_off_once(script, tmp_path):
    rows = [
        ("bfloat16", 4096, 4096, 4096, 1.01 * SQUARE),
        ("bfloat16", 4096, 4096, 4096, 0.99 * SQUARE),  # above the peak
        ("bfloat16", 1, 16384, WIDE, 1.001 * ms(MOVED - H100.cache_bytes)),  # in the cache
        ("bfloat16", 1, 16384, WIDE, 0.999 * ms(MOVED - H100.cache_bytes)),  # a violation
        ("bfloat16", 0, 16384, WIDE, 1.0),
        ("bfloat16", 16, 16, 16, float("nan")),
        ("fp8", 4096, 4096, 4096, 0.51 * SQUARE),  # twice the peak
        ("int8_wo", 1, 16384, WIDE, 0.501 * ms(MOVED)),
        ("martian", 1, 1, 1, 1e-9),
    ]
    found = script.check(wheel(tmp_path, *rows))
    file = "h100_sxm/gemm/vllm/1.0"
    assert [
        (c["format"], c["rows"], c["violations"], c["above_peak"], c["above_cold_limit"]) for c in found["counts"]
    ] == [
        ("bfloat16", 4, 1, 1, 2),
        ("fp8", 1, 0, 0, 0),
        ("int8_wo", 1, 0, 0, 0),
    ]
    assert [(v["file"], v["row"], v["m_n_k"]) for v in found["violations"]] == [(file, 3, [1, 16384, WIDE])]
    assert found["violations"][0]["limit_s"] == pytest.approx(ms(MOVED - H100.cache_bytes) / 1e3)
    faults = found["faults_of_the_tables"]
    assert [(v["file"], v["row"]) for v in faults["above_peak"]] == [(file, 1)]
    assert [v["row"] for v in faults["no_sizes_or_time"]] == [4, 5]
    bands = {tuple(band["gflop"]): band for band in found["limit_over_time"]["h100_sxm"]}
    assert {band: row["rows"] for band, row in bands.items()} == {(1.0, 4.0): 3, (128.0, 1024.0): 2}
    assert bands[128.0, 1024.0]["median_fastest"] == pytest.approx((1 / 1.01 + 1 / 1.02) / 2, abs=1e-3)


@pytest.mark.parametrize(("time", "status"), [(1.01, 0), (0.999, 1)])
def test_the_exit_code_says_whether_a_limit_was_beaten(script, tmp_path, monkeypatch, capsys, time, status):
    path = wheel(tmp_path, ("bfloat16", 1, 16384, WIDE, time * ms(MOVED - H100.cache_bytes)))
    monkeypatch.setattr(sys, "argv", ["gemm_tables.py", str(path), "--out", str(tmp_path / "out.json")])
    assert script.main() == status
    assert f"{status} violations" in " ".join(capsys.readouterr().out.split())
    written = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert (len(written["violations"]), written["data"]) == (status, "made.whl")
    with zipfile.ZipFile(tmp_path / "made.whl", "w"):
        pass
    assert script.main() == 2
