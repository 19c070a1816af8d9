"""What a saved run holds beside its tables: what is written is read again, and what is wrong is named."""

from __future__ import annotations

import json
import sys

import msgspec
import pytest
import torch
from run_made import MS, advised, improved, made

from frameroof.cli import main
from frameroof.profiler.environment import environment, surroundings
from frameroof.profiler.probe import probe
from frameroof.profiler.timing import Timing
from frameroof.recorded import Cpu, Environment, Gpu, Measured, concerns
from frameroof.run import load_run, save_run
from frameroof.study.compare import compare

PROBE = {
    "name": "this CPU", "vendor": "", "family": "measured", "kind": "cpu", "dense_flops": {"fp32": 1e11},
    "memory_bytes": 8_000_000_000, "bandwidth": 1e10, "source": ["measured here"], "date": "2026-11-30",
    "confidence": "medium",
}  # fmt: skip


def changed(folder, **changes):
    """A saved run whose JSON holds other values: a path of keys joined by `__` -> a value."""
    save_run(made(), folder, force=True)
    data = json.loads((folder / "run.json").read_text("utf-8"))
    for path, value in changes.items():
        *above, last = path.split("__")
        inside = data
        for key in above:
            inside = inside[int(key)] if isinstance(inside, list) else inside.setdefault(key, {})
        inside[last] = value
    (folder / "run.json").write_text(json.dumps(data), "utf-8")
    return folder


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"measured__median_ns": "x"}, "measured.median_ns"),
        ({"measured__median_ns": -5}, "measured.median_ns"),
        ({"measured__median_ns": 10**400}, "measured.median_ns"),
        ({"measured__repeat": [1, 2]}, "measured.repeat"),
        ({"measured__samples_ns": [1, "2"]}, "measured.samples_ns"),
        ({"measured__samples_ns": 7}, "measured.samples_ns"),
        ({"measured__memory": {"peak_bytes": "much"}}, "measured.memory.peak_bytes"),
        ({"measured__stages": [{"median_ns": 1}]}, "measured.stages"),
        ({"measured__stages": [{"name": "a", "median_ns": "1 ms"}]}, "measured.stages"),
        ({"measured__sizes": {"batch": "two"}}, "measured.sizes"),
        ({"measured": [1]}, "measured"),
        ({"environment__versions": {"torch": 2.7}}, "environment.versions"),
        ({"environment__cpu": "AMD"}, "environment.cpu"),
        ({"environment__gpu": {"memory_bytes": -1}}, "environment.gpu.memory_bytes"),
        ({"environment__probe": {"name": "mine"}}, "environment.probe"),
        ({"environment__probe": PROBE | {"dense_flops": {"fp32": -1.0}}}, "probe.dense_flops.fp32"),
        ({"environment__probe": PROBE | {"bandwidth": 0}}, "probe.bandwidth"),
        ({"environment__probe": PROBE | {"dense_flops": {}}}, "probe.dense_flops"),
        ({"environment__probe": PROBE | {"dense_flops": "fast"}}, "environment.probe.dense_flops"),
        ({"source__rank": "first"}, "source.rank"),
        ({"source__path": None}, "source.path"),
        ({"stages": {"denoise": 1}}, "stages"),
        ({"stages__0__call_ns": "10"}, "stages[0].call_ns"),
        ({"advice__0__id": 7}, "advice[0].id"),
        ({"advice__0__concerns": {"of": "weather"}}, "advice[0].concerns.of"),
        ({"advice__0__concerns": {"of": "classes", "names": "linear"}}, "advice[0].concerns.names"),
    ],
)
def test_a_wrong_value_is_named(tmp_path, changes, named):
    with pytest.raises(ValueError, match="is no run: ") as error:
        load_run(changed(tmp_path, **changes))
    assert named in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("command", [["gap", "{}"], ["compare", "{}", "{}"]])
def test_a_command_says_so_and_exits_with_2(tmp_path, command, monkeypatch, capsys):
    changed(tmp_path, measured__median_ns="x")
    monkeypatch.setattr(sys, "argv", ["frameroof", *(word.format(tmp_path) for word in command)])
    with pytest.raises(SystemExit) as stop:
        main()
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "")
    assert err.count("\n") == 1
    assert "measured.median_ns" in err


def test_what_was_written_before_ids_is_read(tmp_path):
    run = load_run(changed(tmp_path, advice=[{"title": "t", "evidence": "e", "max_gain_s": 1.0, "how": "h",
                                               "kind": "host"}]))  # fmt: skip
    assert (run.advice[0].id, run.advice[0].concerns) == ("", None)


def test_every_concern_is_written_and_read_again(tmp_path):
    about = [
        concerns.Idle("copy"), concerns.Wait("aten::item", "a.py(3): f"), concerns.Classes(("linear", "copy")),
        concerns.Attention("temporal", 16, "denoise"), concerns.Stage("vae"), concerns.Kernels(("nchw",)),
        concerns.Communication(), concerns.TextKeys(),
    ]  # fmt: skip
    save_run(made(advice=[advised("a.b", one, 1.0) for one in about]), tmp_path)
    assert [advice.concerns for advice in load_run(tmp_path).advice] == about
    stored = json.loads((tmp_path / "run.json").read_text("utf-8"))["advice"]
    assert stored[1]["concerns"] == {"of": "wait", "operator": "aten::item", "line": "a.py(3): f"}
    assert len({advice["concerns"]["of"] for advice in stored}) == len(about)


def test_a_trace_alone_has_no_machine_and_no_clock(tmp_path):
    save_run(made(), tmp_path)
    stored = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert (stored["environment"], stored["measured"]) == ({}, {})
    assert stored["source"] == {"path": "made.json", "kind": "trace", "times": "ns", "rank": None,
                                "world_size": None, "versions": {}, "ignored": {}}  # fmt: skip


def test_this_machine_as_a_record_has_the_keys_that_it_had_as_data():
    """`environment` is what is asked of the machine; the record loses nothing of it and adds nothing."""
    data = environment()
    assert msgspec.to_builtins(msgspec.convert(data, Environment)) == data
    assert surroundings().versions["torch"] == torch.__version__


def test_what_was_not_timed_is_null_and_not_left_out():
    found = msgspec.to_builtins(Timing(warmup=0, repeat=0).record())
    assert found == {"warmup": 0, "repeat": 0, "cold_ns": None, "compile_ns": 0, "samples_ns": [], "memory": {}}


def test_a_probed_device_is_read_as_it_was(tmp_path):
    device = probe(0.001)
    save_run(made(environment=Environment(probe=device)), tmp_path)
    assert load_run(tmp_path).environment.probe == device


def test_keys_of_other_writers_are_kept_and_compared(tmp_path):
    mine = {"cooling": "water", "cpu": {"name": "c", "governor": "powersave"}, "rack": {"unit": 7}}
    run = load_run(changed(tmp_path / "a", environment=mine, measured={"median_ns": 5, "by": "hand"},
                           source={"path": "x", "job": 12}))  # fmt: skip
    assert run.environment.extra == {"cooling": "water", "cpu.governor": "powersave", "rack": '{"unit":7}'}
    assert run.measured == Measured(median_ns=5, extra={"by": "hand"})
    assert run.source.extra == {"job": "12"}
    save_run(run, tmp_path / "b")
    again = load_run(tmp_path / "b")
    assert (again.environment, again.measured, again.source) == (run.environment, run.measured, run.source)
    other = load_run(changed(tmp_path / "c", environment=mine | {"cooling": "air"}))
    assert [note for note in compare(run, other).notes if "environment" in note] == [
        "The environment differs: cooling water -> air."
    ]


def test_a_gpu_says_its_clocks_with_units():
    data = {"name": "NVIDIA H200", "count": 1, "memory_bytes": 150_000_000_000, "processors": 132, "capability": "9.0",
            "driver_version": "570.1", "pstate": "P0", "clocks_sm": "345 MHz", "power_limit": "700.00 W",
            "temperature_gpu": "31"}  # fmt: skip
    assert msgspec.to_builtins(msgspec.convert(data, Gpu)) == data


def test_the_median_of_the_clock_bounds_the_run():
    assert made(measured=Measured(median_ns=70 * MS)).whole_ns == 70 * MS
    assert made(measured=Measured(median_ns=170 * MS)).whole_ns == 100 * MS
    assert improved().whole_ns == 62 * MS
    assert made(environment=Environment(cpu=Cpu(cores=2))).environment.gpu is None
