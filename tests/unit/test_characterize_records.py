"""Records that others made: exports of Nsight Compute beside figures 8 and 13, jobs of figure 1."""

import polars as pl
import pytest
from characterize_made import predicted

from frameroof.study.characterize.counters import by_class, read
from frameroof.study.characterize.fleet import figure_1, read_jobs
from frameroof.study.characterize.reuse import figure_13
from frameroof.study.characterize.sequence import figure_8

HEAD = (
    '"ID","Kernel Name",gpu__time_duration.sum,smsp__inst_executed.sum,lts__t_sectors_lookup_miss.sum,'
    "lts__t_sector_hit_rate.pct"
)
RAW = f"""==PROF== Connected to process 1
{HEAD}
"","","nsecond","inst","sector","%"
"0","ampere_fp16_s16816gemm_fp16_64x64","2,000","1,000,000","5,000","50"
"1","void cunn_SoftMaxForward<4, float>","1000","500000","500","90"
"2","ampere_fp16_s16816gemm_fp16_64x64","2000","1000000","1000","80"
"""
LONG = """"ID","Kernel Name","Section Name","Metric Name","Metric Unit","Metric Value"
"0","void softmax_warp_forward<float>","Memory","L2 Hit Rate","%","75.5"
"0","void softmax_warp_forward<float>","Speed","Duration","usecond","3.5"
"""


@pytest.fixture(scope="module")
def source():
    return predicted()


def test_counters_of_a_raw_page(tmp_path):
    path = tmp_path / "raw.csv"
    path.write_text(RAW, "utf-8")
    got = by_class(read(path))
    assert got["gemm"]["l2_mpki"] == pytest.approx(6000 / 2000)  # misses over thousands of instructions
    assert got["gemm"]["l2_hit_rate"] == pytest.approx(0.65)  # weighted by equal times
    assert got["softmax"]["time_s"] == pytest.approx(1e-6)


def test_counters_of_a_details_page(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text(LONG, "utf-8")
    assert read(path) == [
        {"kernel": "void softmax_warp_forward<float>", "class": "softmax", "l2_hit_rate": 0.755, "time_s": 3.5e-6}
    ]
    (tmp_path / "other.csv").write_text("a,b\n1,2\n", "utf-8")
    with pytest.raises(ValueError, match="no Nsight Compute CSV"):
        read(tmp_path / "other.csv")


def test_figure_13_shows_counters_or_the_estimate_never_both(source, tmp_path):
    for axis, misses in (("temporal", "4,000"), ("spatial", "2,000")):
        (tmp_path / f"{axis}.csv").write_text(RAW.replace("5,000", misses), "utf-8")
    got = figure_13(source, {axis: tmp_path / f"{axis}.csv" for axis in ("temporal", "spatial")})
    ratio = next(c for c in got.claims if "gemm" in c.text)
    assert (got.how, ratio.ours_value) == ("measured", pytest.approx(5000 / 3000))
    assert source.machine not in got.machine
    assert str(tmp_path / "temporal.csv") in got.machine
    assert "reuse" not in {c.name for c in got.columns}
    estimate = figure_13(source)
    assert estimate.how == "estimated"
    assert all(c.verdict == "not tested" for c in estimate.claims if "misses" in c.text)
    with pytest.raises(ValueError, match="one for spatial"):
        figure_13(source, {"temporal": tmp_path / "temporal.csv"})


def test_counters_stand_beside_the_counted_bytes_of_figure_8(source, tmp_path):
    """Each call of self-attention moves 3 GB in 1 ms: 3 TB/s; those of the prompt between them are passed over."""
    every = source.calls("stable-diffusion", "flash", {}).filter(pl.col("stage") == "denoise")
    lines = ['"ID","Kernel Name",gpu__time_duration.sum,dram__bytes.sum', '"","","msecond","Gbyte"']
    lines += [f'"{i}","flash_fwd_kernel",1,{3 if i % 2 == 0 else 1}' for i in range(12)]
    path = tmp_path / "unet.csv"
    path.write_text("\n".join(lines), "utf-8")
    got = figure_8(source, {"stable-diffusion": path})
    rows = [row for row in got.rows if row["model"] == "stable-diffusion"]
    assert every["kind"].head(4).to_list() == ["self", "cross"] * 2
    assert [row["dram_bytes"] for row in rows] == [3e9] * 6 + [None] * (len(rows) - 6)
    assert rows[0]["dram_share"] == pytest.approx(3e12 / source.node.device.bandwidth)
    assert "hardware counters" in got.claims[-1].text
    assert got.claims[-1].verdict == "not tested"  # one rate: nothing varies
    assert {row["dram_bytes"] for row in figure_8(source).rows} == {None}
    path.write_text("\n".join(lines[:2] + [lines[2]] * (len(every) + 1)), "utf-8")
    with pytest.raises(ValueError, match="they are not of one run"):
        figure_8(source, {"stable-diffusion": path})
    path.write_text("\n".join([*lines[:2], '"0","gemm",1,1']), "utf-8")
    with pytest.raises(ValueError, match="no kernel of attention"):
        figure_8(source, {"stable-diffusion": path})


def test_the_example_of_figure_1_is_labeled_and_tests_nothing(source):
    got = figure_1(source)
    assert "SYNTHETIC" in got.assumptions[0]
    assert {c.verdict for c in got.claims} == {"not tested"}


def test_job_records_by_hand(source, tmp_path):
    jobs = tmp_path / "jobs.csv"
    head = "job,kind,parameters,gpus,memory_used_bytes,memory_bytes\n"
    jobs.write_text(head + "a,llm,2e9,10,4,8\nb,image,1e9,70,6,8\n", "utf-8")
    got = figure_1(source, jobs)
    assert [c.verdict for c in got.claims] == ["agrees", "differs"]  # 70 over 5 a billion is 14; 0.75 over 0.5 is 1.5
    jobs.write_text(head + "a,llm,2e9,10,9,8\n", "utf-8")
    with pytest.raises(ValueError, match="no more memory than there is"):
        read_jobs(jobs)
    jobs.write_text("job,kind\na,llm\n", "utf-8")
    with pytest.raises(ValueError, match="no column 'parameters'"):
        read_jobs(jobs)
