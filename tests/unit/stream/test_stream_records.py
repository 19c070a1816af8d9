"""The files of `stream bench`, `stream tune` and the GPU script: read whole, or refused by what is wrong in one."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from bench_made import bench, quality

from frameroof.report.stream_log import optimization_log
from frameroof.study.stream import predict
from frameroof.study.stream_records import Bench, GpuStream, Tuned, read_log_file

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"
GPU: dict[str, Any] = {
    "schema": "frameroof.benchmarks.gpu/1", "section": "stream", "device": "H200", "finished": True,
    "stream": {"model": "tiny", "dtype": "bfloat16", "window": 12, "sink": 3, "height": 32, "width": 48, "layers": 2,
               "dim": 32, "batch": 1, "blocks": 26},
    "environment": {"date": "2026-11-30T09:00:00Z", "versions": {"torch": "2.9"}, "gpu": {"name": "H200"}},
    "rows": [
        {"name": "stream/baseline", "change": "as published", "state": "measured", "quality": quality()},
        {"name": "stream/ring", "change": "ring", "state": "refused", "why": "out of memory"},
        {"name": "stream/fold", "change": "fold", "state": "predicted"},
        {"name": "stream/fp8", "change": "fp8", "state": "measured", "log": bench()["rows"][1]},
        {"name": "decode/wan", "change": "none of the log", "state": "measured"},
    ],
}  # fmt: skip


def read(data: dict[str, Any]) -> Bench | Tuned | GpuStream:
    return read_log_file(json.dumps(data).encode(), "a.json")


def changed(data: dict[str, Any], path: str, *value: Any) -> dict[str, Any]:
    """A copy in which the value at a path such as `rows.0.before_s` is another one, or without one is not there."""
    made = copy.deepcopy(data)
    *above, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    inside: Any = made
    for key in above:
        inside = inside[key]
    if value:
        inside[last] = value[0]
    else:
        del inside[last]
    return made


def test_a_file_is_written_as_it_was_read() -> None:
    found = read(bench())
    assert isinstance(found, Bench)
    assert msgspec.to_builtins(found) == bench()
    assert list(msgspec.to_builtins(found)) == list(bench())  # in its order, too


@pytest.mark.parametrize("name", ["stream-tiny-cpu-2026-11-21-c", "stream-medium-cpu-2026-11-21-b"])
def test_results_that_are_there_are_read(name: str) -> None:
    data = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    found = read(data)
    assert isinstance(found, Bench)
    assert [v.block.measured_s for v in found.variants] == [v["block"]["measured_s"] for v in data["variants"]]


def test_the_log_that_is_there_is_that_of_its_files() -> None:
    """docs/optimization-log.md, made anew."""
    names = ("stream-tiny-cpu-2026-11-21-c", "stream-medium-cpu-2026-11-21-c", "stream-tune-medium-cpu-2026-11-21")
    files = [read_log_file((RESULTS / f"{name}.json").read_bytes(), name) for name in names]
    written = (Path(__file__).parents[3] / "docs" / "optimization-log.md").read_text("utf-8")
    assert optimization_log(files, predict("H100")).rstrip() == written.rstrip()


def test_keys_of_a_later_minor_form_are_no_error() -> None:
    assert read(changed(bench(), "rows.0.new", {"a": 1})) == read(bench())


@pytest.mark.parametrize("path", ["rows", "variants", "sizes.blocks", "variants.0.quality.floor", "environment",
                                  "rows.0.predicted.what", "cache_operations.ring.seconds", "rows.2.why"])  # fmt: skip
def test_what_is_missing_is_named(path: str) -> None:
    with pytest.raises(ValueError, match=f"a.json is no stream.json: .*`{path.rpartition('.')[2]}`"):
        read(changed(bench(), path))


@pytest.mark.parametrize("name", ["before", "of", "parity", "quality", "before_s", "after_s", "baseline_s", "saved_s",
                                  "predicted"])  # fmt: skip
def test_a_row_that_was_measured_has_all_of_its_outcome(name: str) -> None:
    with pytest.raises(ValueError, match=rf"the row 'fp8' was measured and has no `{name}` - at `\$.rows\[1\]`"):
        read(changed(bench(), f"rows.1.{name}"))


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("rows.0.before_s", "slow", "rows[0].before_s"),
        ("rows.0.saved_s", [1.0, 2.0], "rows[0].saved_s"),
        ("rows.0.saved_s", None, "rows[0].saved_s"),
        ("rows.0.keep", "yes", "rows[0].keep"),
        ("rows.1.quality", [], "rows[1].quality"),
        ("rows", {"ring": 1}, "rows"),
        ("variants", [], "variants"),
        ("variants.0.quality.floor", "0", "variants[0].quality.floor"),
        ("variants.1.block.measured_s", [0.1, -0.1], "variants[1].block.measured_s[1]"),
        ("sizes.blocks", 2.5, "sizes.blocks"),
        ("sizes", [12, 3], "sizes"),
        ("environment.versions", ["torch"], "environment.versions"),
        ("environment.date", 20261121, "environment.date"),
        ("cache_operations.ring", 1e-3, "cache_operations[...]"),
        ("model", 3, "model"),
    ],
)
def test_what_has_a_wrong_type_is_named(path: str, value: Any, named: str) -> None:
    with pytest.raises(ValueError, match=r"a.json is no stream.json: ") as error:
        read(changed(bench(), path, value))
    assert named in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'"text"', b'{"schema": "\xff"}', b"[" * 100_000, b"null"])
def test_what_is_no_record_is_a_sentence(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"^a.json is no (stream.json|JSON of this version)"):
        read_log_file(text, "a.json")


@pytest.mark.parametrize("schema", ["frameroof.predict/1", "frameroof.stream.bench/1", None, 7, ["a"]])
def test_another_form_is_named(schema: Any) -> None:
    with pytest.raises(ValueError, match=r"a.json is no JSON of this version of `frameroof stream bench`"):
        read(bench() | {"schema": schema})
    with pytest.raises(ValueError, match="no JSON of this version"):
        read(GPU | {"section": "check"})


def test_a_file_of_the_gpu_script_has_its_rows_and_what_was_not_run() -> None:
    text = optimization_log([read(GPU)], predict("H100"))
    assert "Measured on a GPU, 26 blocks, window 12" in text
    assert "torch 2.9, 2026-11-30. The baseline drifts by 0.001 from run to run." in text
    assert "- ring: not run; out of memory." in text
    assert "- fold: not run; not reached." in text
    assert "| fp8 | ring | block | 30.0 ms | 60.0 ms |" in text
    assert "none of the log" not in text


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("stream.window", "12", "stream.window"),
        ("rows.3.log.after_s", "nan", "rows[3].log.after_s"),
        ("rows.0.quality.floor", "inf", "rows[0].quality.floor"),
        ("rows.1.name", None, "rows[1].name"),
    ],
)
def test_a_wrong_value_of_the_gpu_script_is_named(path: str, value: Any, named: str) -> None:
    with pytest.raises(ValueError, match=r"a.json is no stream.json: ") as error:
        read(changed(GPU, path, value))
    assert named in str(error.value)
