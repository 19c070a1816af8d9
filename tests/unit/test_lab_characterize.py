"""The measured source: frames of real runs, identical steps, memory, resuming, and a ninth model."""

from __future__ import annotations

import math
import re
from typing import Any

import polars as pl
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("diffusers")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from frameroof.lab import pipelines  # noqa: E402
from frameroof.lab.attention import attention  # noqa: E402
from frameroof.lab.characterize import measured_source, memory, runs  # noqa: E402
from frameroof.lab.characterize.frames import whole_calls, whole_work  # noqa: E402
from frameroof.lab.characterize.source import BUSY_NOTE  # noqa: E402
from frameroof.study.characterize import suite  # noqa: E402
from frameroof.study.characterize.predicted import Predicted  # noqa: E402
from frameroof.study.characterize.source import CALLS, WORK  # noqa: E402

NINTH = '''
"""A ninth model."""
import torch
from torch import nn
from frameroof.lab.pipelines.common import Pipeline, noise
from frameroof.models.layers import AddedAttention
from frameroof.profiler import stage

class Ninth(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.spatial, self.head = AddedAttention(width, 2), nn.Linear(width, 4)

    def forward(self, sizes):
        x = noise(self, sizes["batch"], 6, self.head.in_features)
        for _ in range(2):
            with stage("denoise"):
                x = self.spatial(x)
        with stage("vae_decode"):
            return self.head(x)

PIPELINE = Pipeline(workload="WORKLOAD", build=lambda reduced: Ninth(8 if reduced else 64))
'''


WORKLOAD = """{"format": "frameroof.workload", "version": 1, "grammar": 1, "name": "ninth",
 "params": {"batch": {"default": 1}}, "stages": [{"name": "forward", "tensors": ["bf16[batch,8]", "w:bf16[8,8]"],
 "ops": [{"path": "fc", "kind": "linear", "name": "linear", "reads": [0, 1], "writes": [0],
          "dims": {"b": 1, "m": "batch", "n": 8, "k": 8}}], "weights": {"bf16": 64}}]}"""


@pytest.fixture
def ninth(tmp_path, monkeypatch):
    """A model that is added as a user would: one file, one line in the suite."""
    workload = tmp_path / "ninth.workload.json"
    workload.write_text(WORKLOAD)
    (tmp_path / "ninth.py").write_text(NINTH.replace("WORKLOAD", str(workload)))
    monkeypatch.setattr(pipelines, "__path__", [*pipelines.__path__, str(tmp_path)])
    monkeypatch.setitem(suite.MODELS, "ninth", suite.Model("ninth", "Ninth", "diffusion", "image", str(workload)))
    monkeypatch.setattr(runs, "_cpu", lambda: None)  # two seconds of measuring peaks
    return "ninth"


# ---- a ninth model, from the file to the frames ----


@pytest.mark.parametrize("how", ["baseline", "flash"])
def test_a_ninth_model_is_one_file_and_one_line(ninth, tmp_path, how):
    assert ninth in pipelines.names()
    source = measured_source([ninth], tmp_path / "study")
    assert source.models() == (ninth,)
    assert source.sizes(ninth) == {"batch": 1}
    assert source.parameters(ninth) == 4 * 8 * 8 + 2 * 8 + 8 * 4 + 4

    calls = source.calls(ninth, how, {"batch": 3})
    assert dict(calls.schema) == dict(CALLS)
    assert calls.select("call", "stage", "kind", "batch", "heads", "query_len", "key_len", "head_dim").rows() == [
        (0, "denoise", "spatial", 3, 2, 6, 6, 4), (1, "denoise", "spatial", 3, 2, 6, 6, 4),
    ]  # fmt: skip
    assert calls["flops"].to_list() == [2 * 2 * 3 * 2 * 6 * 6 * 4] * 2
    assert calls["start_ns"].is_sorted()
    assert calls["time_ns"].min() > 0

    work = source.work(ninth, how, {"batch": 3})
    assert dict(work.schema) == dict(WORK)
    attention_rows = work.filter(pl.col("class") == "attention")
    assert attention_rows["kind"].unique().to_list() == ["spatial"]
    assert attention_rows["count"].sum() == 2
    assert attention_rows["time_ns"].sum() == calls["time_ns"].sum()
    linear = work.filter(pl.col("class") == "linear")
    assert linear["flops"].sum() == 2 * (4 * 2 * 18 * 8 * 8) + 2 * 18 * 8 * 4
    assert dict(linear.group_by("stage").agg(pl.col("count").sum()).rows()) == {"denoise": 8, "vae_decode": 1}
    assert set(work["stage"]) >= {"denoise", "vae_decode"}


def test_its_run_is_a_run_and_the_second_time_it_is_read(ninth, tmp_path):
    from frameroof.run import load_run

    said: list[str] = []
    source = measured_source([ninth], tmp_path / "study", said.append)
    source.prepare()
    folder = source.runs.folder(ninth, "flash", {"batch": 1})
    run = load_run(folder)
    assert run.source.model == ninth
    assert run.measured.sizes == {"batch": 1}
    assert [s.name for s in run.stages if s.source] == ["denoise", "vae_decode"]
    before = (folder / "run.json").stat().st_mtime_ns
    assert "part 2 of 2: ninth, flash attention" in said
    said.clear()
    again = measured_source([ninth], tmp_path / "study", said.append)
    again.prepare()
    assert said == [f"part {i} of 2: ninth, {how} attention, done before" for i, how in ((1, "baseline"), (2, "flash"))]
    assert (folder / "run.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(("load", "noted"), [(0.9, False), (9.0, True)])
def test_a_machine_that_was_busy_is_an_assumption(ninth, tmp_path, monkeypatch, load, noted):
    monkeypatch.setattr(runs.os, "getloadavg", lambda: (load * runs.os.cpu_count(), 0, 0))
    measured_source([ninth], tmp_path / "study").prepare()
    source = measured_source([ninth], tmp_path / "study")
    source.work(ninth, "flash", {})
    source.work(ninth, "baseline", {})
    assert [text for text in source.assumptions if text.startswith("Other programs")] == [BUSY_NOTE] * noted


def test_an_interrupted_study_goes_on_with_what_is_not_finished(ninth, tmp_path):
    def stop(text: str) -> None:
        if text == "ninth, flash attention: analyzing":
            raise KeyboardInterrupt

    source = measured_source([ninth], tmp_path / "study", stop)
    with pytest.raises(KeyboardInterrupt):
        source.prepare()
    done = [source.runs.done(ninth, how, {"batch": 1}) for how in ("baseline", "flash")]
    assert done == [True, False]
    assert [p.name for p in source.runs.folder(ninth, "flash", {"batch": 1}).parent.glob("*")] == []

    said: list[str] = []
    measured_source([ninth], tmp_path / "study", said.append).prepare()
    assert not any(text.startswith("ninth, baseline") for text in said)
    assert "ninth, flash attention: recording" in said


# ---- what cannot be ----


def test_what_does_not_fit_is_refused_with_the_number(ninth, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    source = measured_source([ninth], tmp_path / "study")
    with pytest.raises(ValueError, match=r"ninth with flash attention needs .*1.000 kB of memory are free on cpu"):
        source.work(ninth, "flash", {})
    assert not (tmp_path / "study").exists()


def test_a_study_goes_on_without_the_models_that_do_not_fit(ninth, tmp_path, monkeypatch):
    source = measured_source([ninth, "stable-diffusion"], tmp_path / "study")
    monkeypatch.setattr(memory, "free_bytes", lambda device: 5_000_000)  # the ninth needs thousands of bytes
    (sentence,) = source.fit()
    assert re.match(r"stable-diffusion with baseline attention needs .* and 5.000 MB of memory are free", sentence)
    assert source.models() == (ninth,)
    assert f"{sentence}." in source.assumptions
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10)
    with pytest.raises(ValueError, match="ninth with baseline attention needs"):
        measured_source([ninth], tmp_path / "other").fit()


def test_the_processor_is_measured_once_for_a_study(ninth, tmp_path, monkeypatch):
    from frameroof.lab.characterize import source as measured

    probed = []
    row = {"name": "a CPU", "vendor": "", "family": "measured", "kind": "cpu", "dense_flops": {"fp32": 1e11},
           "vector_peak": None, "memory_bytes": 1 << 30, "bandwidth": 1e10, "source": ["here"], "date": "2026-11-21",
           "confidence": "medium", "flags": []}  # fmt: skip
    monkeypatch.setattr(measured, "_processor", lambda: probed.append(1) or [row])
    nodes = [measured_source([ninth], tmp_path / "study").node for _ in range(3)]
    assert {node.device.bandwidth for node in nodes} == {1e10}
    assert probed == [1]


def test_a_full_model_is_swept_to_2048_pixels(tmp_path):
    source = measured_source(["stable-diffusion"], tmp_path, full=True)
    assert source.sides("stable-diffusion")[-1] == 2048
    assert measured_source(["stable-diffusion"], tmp_path).sides("stable-diffusion")[-1] == 512


def test_progress_names_sizes_that_are_not_the_models_own(ninth, tmp_path):
    said: list[str] = []
    measured_source([ninth], tmp_path, said.append).work(ninth, "flash", {"batch": 3})
    assert "ninth (batch 3), flash attention: recording" in said


@pytest.mark.parametrize(("sizes", "said"), [
    ({"height": 100, "width": 512}, "height=100 is not admissible"),
    ({"height": 32, "width": 32}, "height=32 is too small; the smallest is 64"),
    ({"frames": 4}, "stable-diffusion-1.5 has no size 'frames'"),
])  # fmt: skip
def test_sizes_that_a_model_cannot_take_are_refused(tmp_path, sizes, said):
    with pytest.raises(ValueError, match=said):
        measured_source(["stable-diffusion"], tmp_path).work("stable-diffusion", "flash", sizes)


def test_a_model_without_a_pipeline_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no pipeline of 'mochi-1'"):
        measured_source(["mochi-1"], tmp_path)
    with pytest.raises(ValueError, match="unknown model"):
        measured_source(["stable-confusion"], tmp_path)


# ---- real pipelines ----


def test_the_measured_series_of_stable_diffusion_is_the_counted_one(tmp_path, monkeypatch):
    for name, value in (("_cpu", lambda: None), ("WARMUP", 0)):
        monkeypatch.setattr(runs, name, value)
    sizes = {"height": 512, "width": 512, "steps": 3}
    measured = measured_source(["stable-diffusion"], tmp_path).calls("stable-diffusion", "flash", sizes)
    counted = Predicted(models=["stable-diffusion"]).calls("stable-diffusion", "flash", sizes)
    columns = ["stage", "kind", "batch", "query_len", "key_len"]
    denoise, expected = (
        calls.filter(pl.col("stage") == "denoise").select(columns).rows() for calls in (measured, counted)
    )
    assert denoise == expected
    assert len(denoise) == 3 * 32
    own = [query for _, kind, _, query, _ in denoise[:32] if kind == "self"]
    assert own == [4096, 4096, 1024, 1024, 256, 256, 64, 256, 256, 256, 1024, 1024, 1024, 4096, 4096, 4096]


@pytest.mark.parametrize("name", ["llama", "parti", "phenaki"])
def test_the_flops_of_a_run_are_those_that_torch_counts(name, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "_cpu", lambda: None)
    asked = {
        "llama": {"prompt_tokens": 5, "new_tokens": 3},
        "parti": {"height": 16, "width": 16, "text_tokens": 6},
        "phenaki": {"frames": 5, "height": 16, "width": 16, "text_tokens": 8, "steps": 4},
    }[name]
    source = measured_source([name], tmp_path)
    work, calls = source.work(name, "baseline", asked), source.calls(name, "baseline", asked)
    which = pipelines.pipeline(name)
    with torch.inference_mode(), attention("baseline"), FlopCounterMode(display=False) as counter:
        memory.on_meta(which, reduced=True)(which.sizes(asked, reduced=True))
    constant = 4 * 2 * 2 * 6 * 512**2 if name == "parti" else 0  # keys and values of no prompt: made once, not recorded
    assert work["flops"].sum() == counter.get_total_flops() - constant
    kinds = {(row["stage"], row["kind"]) for row in calls.rows(named=True)}
    if name == "parti":
        assert kinds == {("text_encoder", "self"), ("decode", "self"), ("decode", "cross"), ("vq_decode", "self")}
        mine = calls.filter((pl.col("stage") == "decode") & (pl.col("kind") == "self"))
        assert mine["key_len"].to_list() == [kv for kv in (1, 2, 3, 4) for _ in range(4)]
    if name == "phenaki":  # 3 token frames of 2 x 2, over time and over space
        video = calls.filter(pl.col("stage") == "c_vivit_decode").select("kind", "batch", "query_len").rows()
        assert video == [("temporal", 4, 3)] * 4 + [("spatial", 3, 4)] * 4
        assert set(calls.filter(pl.col("stage") == "decode")["kind"]) == {"self", "cross"}


# ---- identical steps, by hand ----


def test_identical_steps_stand_for_all():
    row = {"name": "a", "class": "linear", "kind": "", "count": 2, "time_ns": 10, "flops": 7, "bytes": None}
    work = pl.DataFrame([{"stage": s, **row} for s in ("text_encoder", "denoise")], schema=WORK)
    whole = whole_work(work, {"denoise": 5})
    assert whole.select("count", "time_ns", "flops", "bytes").rows() == [(2, 10, 7, None), (10, 50, 35, None)]


def test_calls_of_identical_steps_follow_one_another():
    def call(stage: str, start: int, length: int) -> dict[str, Any]:
        sizes = {"batch": 1, "heads": 1, "query_len": length, "key_len": length, "head_dim": 1}
        return {
            "call": 0,
            "start_ns": start,
            "stage": stage,
            "kind": "self",
            **sizes,
            "time_ns": 1,
            "flops": 1,
            "bytes": 1,
        }

    calls = pl.DataFrame(
        [call("text", 0, 7), call("denoise", 10, 4), call("denoise", 12, 2), call("vae", 20, 9)], schema=CALLS
    )
    whole = whole_calls(calls, {"denoise": 3})
    assert whole.select("call", "start_ns", "query_len").rows() == [
        (0, 0, 7), (1, 10, 4), (2, 12, 2), (3, 20, 4), (4, 22, 2), (5, 30, 4), (6, 32, 2), (7, 40, 9),
    ]  # fmt: skip


def test_of_steps_a_divisor_is_run():
    which = pipelines.pipeline("stable-diffusion")
    ran = [which.run({"steps": steps, "batch": 9}) for steps in (50, 25, 1)]
    assert ran == [{"steps": 2, "batch": 9}, {"steps": 1, "batch": 9}, {"steps": 1, "batch": 9}]
    assert which.repeats({"steps": 50, "batch": 9}) == {"denoise": 25, "denoise_sampler": 25}


# ---- memory ----


def test_what_is_alive_at_once_is_counted():
    with memory.Alive() as alive:
        a = torch.ones(100)
        b = a + 1
        del a
        c = b.view(10, 10)
        assert alive.now == 400
        d = c @ c
        assert alive.now == 800
    assert alive.peak == 800
    assert d.sum() == 4000


def test_a_pipeline_needs_its_weights_and_what_is_alive(ninth):
    which = pipelines.pipeline(ninth)
    flash, baseline = (memory.needed_bytes(which, how, {"batch": 64}, True, "fp32") for how in ("flash", "baseline"))
    weights = 4 * (4 * 8 * 8 + 2 * 8 + 8 * 4 + 4)
    assert flash > weights + 2 * 64 * 6 * 8 * 4
    assert baseline > flash
    assert baseline < flash + 3 * 64 * 2 * 6 * 6 * 4


def test_full_sizes_need_what_their_workload_says():
    from frameroof import catalogue
    from frameroof.estimate.memory import memory_of
    from frameroof.hardware import parse_node

    which = pipelines.pipeline("parti")
    sizes = which.sizes({"height": 256, "width": 256}, reduced=False)
    loaded = catalogue.load("parti-20b")
    expected = memory_of(loaded, parse_node("A100"), {**sizes, "batch": 2, "guidance": 1}).peak_bytes
    assert memory.needed_bytes(which, "flash", sizes, False, "bf16") == expected
    assert expected > 40e9


def test_baseline_attention_allocates_two_similarity_matrices_at_its_peak():
    rows = memory.similarity_rows((128, 256), heads=2, head_dim=8, device="cpu", dtype="fp32")
    assert [(r["side_px"], r["query_len"], r["element_bytes"]) for r in rows] == [(128, 256, 4), (256, 1024, 4)]
    for row in rows:
        matrix, output = 4 * 2 * row["query_len"] * row["key_len"], 4 * 2 * row["query_len"] * 8
        assert 2 * matrix <= row["allocated_bytes"] <= 2 * matrix + 3 * output
    growth = rows[1]["allocated_bytes"] / rows[0]["allocated_bytes"]
    assert 15 < growth < 16  # O(L^4): twice the side, sixteen times the memory, less what is linear


def test_allocation_is_read_from_the_allocator():
    def work() -> None:
        kept = torch.empty(1000)
        torch.empty(500)
        kept.zero_()

    assert memory.allocated_by(work, "cpu") in range(4000 + 2000, 4000 + 2000 + 256)


# ---- training and layout ----


def test_tensors_of_temporal_and_spatial_attention_at_the_published_sizes(tmp_path):
    rows = measured_source(["make-a-video"], tmp_path).extra("layout")
    found = {(row["kind"], row["tensor"]): row for row in rows}
    batch, frames, positions, heads, width = 2, 16, 32 * 32, 16, 64  # golden figure 11, guidance in the batch
    assert found["spatial", "q"]["shape"] == [batch * frames, heads, positions, width]
    assert found["temporal", "q"]["shape"] == [batch * positions, heads, frames, width]
    assert found["temporal", "k"]["stride"] == [frames * heads * width, width, heads * width, 1]
    assert len(rows) == 6
    assert measured_source(["make-a-video"], tmp_path).extra("layout") == rows
    assert measured_source(["make-a-video"], tmp_path).extra("lean") == []


def test_a_training_process_that_fails_says_why(tmp_path, monkeypatch):
    from frameroof.lab.characterize import training

    fails = tmp_path / "fails"
    fails.write_text("#!/bin/sh\necho first >&2\necho no such network >&2\nexit 3\n")
    fails.chmod(0o755)
    monkeypatch.setattr(training.sys, "executable", str(fails))
    with pytest.raises(ValueError, match="a training process ended with code 3: no such network"):
        training.training_rows((1,), reduced=True, device="cpu")
    with pytest.raises(ValueError, match=r"training on 900 GPUs was asked for, and there are \d+"):
        training.training_rows((900,), reduced=True, device="cuda")


@pytest.mark.full
def test_training_communicates_only_where_there_are_others():
    from frameroof.lab.characterize.training import training_rows

    alone, two = training_rows((1, 2), reduced=True, device="cpu")
    assert (alone["devices"], two["devices"], two["backend"]) == (1, 2, "gloo")
    assert two["communication_s"] > alone["communication_s"]
    for row in (alone, two):
        assert 0 < row["compute_s"] <= row["step_s"]
        assert math.isfinite(row["communication_s"])
