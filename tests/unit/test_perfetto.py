"""The trace with our tracks: the original untouched, bars where they belong, and always a file that opens."""

import gzip
import itertools
import json

import pytest
from trace_made import place_of

from frameroof.trace.export.perfetto import CATEGORY, PROCESS, export
from frameroof.trace.find.attention.calls import find_attention
from frameroof.trace.find.idle import explain_idle
from frameroof.trace.find.stages import find_stages
from frameroof.trace.read.decode import read
from frameroof.trace.resolve.work_table import make_work_table

BASE = 1_700_000_000_000_000  # µs since 1970: a double is a quarter of one wide here


def event(cat, name, ts, dur, **args):
    pid, tid = (0, 7) if cat == "kernel" else (100, 100)
    return {"ph": "X", "cat": cat, "name": name, "pid": pid, "tid": tid, "ts": ts, "dur": dur, "args": args}


def launch(number, at, kernel_at, dur, name="gemm"):
    """A launch call and the kernel that it leads to."""
    return [
        event("cuda_runtime", "cudaLaunchKernel", at, 2, correlation=number),
        event("kernel", name, kernel_at, dur, correlation=number, device=0, stream=7),
    ]


EVENTS = [
    {"ph": "M", "name": "process_name", "pid": 100, "tid": 0, "args": {"name": 'python "3"'}},
    event("user_annotation", "stage::denoise", 100, 50),
    event("user_annotation", "stage::decode", 160, 50),
    *launch(1, 110, 120, 10),
    *launch(2, 130, 140, 10.125),
    *launch(3, 170, 190, 20, name="flash_fwd_kernel"),
]
WHOLE = {"schemaVersion": 1, "traceEvents": EVENTS, "traceName": "x.json"}


def exported(path, target, force=False):
    """Export what is at `path`; (the result decoded, our bars by track)."""
    work_table = make_work_table(read(path))
    export(work_table, find_attention(work_table), find_stages(work_table), explain_idle(work_table), target, force)
    text = target.read_bytes()
    data = json.loads(gzip.decompress(text) if target.suffix == ".gz" else text)
    ours = [e for e in (data if isinstance(data, list) else data["traceEvents"]) if e["pid"] == PROCESS]
    tracks = {e["tid"]: e["args"]["name"] for e in ours if e["name"] == "thread_name"}
    bars = {name: [e for e in ours if e["tid"] == tid and e["ph"] == "X"] for tid, name in tracks.items()}
    return data, bars


def written(tmp_path, data, name="t.json"):
    path = tmp_path / name
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def spans(bars):
    return [(b["name"], b["ts"], round(b["ts"] + b["dur"], 3)) for b in bars]


def test_bars_stand_where_the_work_is(tmp_path):
    data, bars = exported(written(tmp_path, WHOLE), tmp_path / "out.json.gz")
    assert spans(bars["frameroof: stages"]) == [("denoise", 120, 150.125), ("decode", 190, 210)]
    assert spans(bars["frameroof: attention"]) == [("self attention (fused)", 190, 210)]
    assert [(b[1], b[2]) for b in spans(bars["frameroof: idle (cause)"])] == [(130, 140), (150.125, 190)]
    assert {b["cat"] for track in bars.values() for b in track} == {CATEGORY}
    assert [e for e in data["traceEvents"] if e["pid"] != PROCESS] == EVENTS
    assert {k: v for k, v in data.items() if k != "traceEvents"} == {"schemaVersion": 1, "traceName": "x.json"}


def test_it_reads_again_as_the_same_work(tmp_path):
    path = written(tmp_path, WHOLE)
    exported(path, tmp_path / "out.json")
    first, second = (explain_idle(make_work_table(read(p))) for p in (path, tmp_path / "out.json"))
    assert (first.busy_ns, first.span_ns, first.causes) == (second.busy_ns, second.span_ns, second.causes)
    assert (second.busy_ns, second.span_ns) == (40_125, 90_000)


def test_times_since_1970_keep_every_digit(tmp_path):
    text = json.dumps([event("kernel", "k", 1, 2)]).replace('"ts": 1,', f'"ts": {BASE}.123,')
    exported(written(tmp_path, text), tmp_path / "out.json")
    assert f'"ts":{BASE}.123,"dur":2.000' in (tmp_path / "out.json").read_text()


def test_bars_that_overlap_get_lanes(tmp_path):
    events = [*EVENTS[1:3], *launch(1, 110, 120, 100), *launch(2, 165, 170, 90)]
    events[-1]["args"]["stream"] = events[-1]["tid"] = 8
    _, bars = exported(written(tmp_path, events), tmp_path / "out.json")
    assert spans(bars["frameroof: stages"]) == [("denoise", 120, 220)]
    assert spans(bars["frameroof: stages 2"]) == [("decode", 170, 260)]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (json.dumps(EVENTS), 9),
        (json.dumps(EVENTS)[:-1], 9),  # a list without its end is legal
        (json.dumps(WHOLE)[: json.dumps(WHOLE).index('"flash_fwd') + 5], 8),  # cut off in an event
        (json.dumps(WHOLE).replace('\\"3\\"', '"3"'), 9),  # quotes that are not escaped
        (json.dumps(WHOLE).replace('python \\"3\\"', "C:\\User\n"), 9),
        (json.dumps({"traceEvents": []}), 0),
        ('{"traceEvents": [\n], "traceName": "a"}', 0),
        ('{"schemaVersion": NaN, "traceEvents": ' + json.dumps(EVENTS) + ', "trace_id": "7"}', 9),
    ],
)
def test_whatever_was_broken_the_result_is_json(tmp_path, text, kept):
    path = written(tmp_path, text)
    data, bars = exported(path, tmp_path / "out.json")
    events = data if isinstance(data, list) else data["traceEvents"]
    assert len([e for e in events if e["pid"] != PROCESS]) == kept
    assert (
        explain_idle(make_work_table(read(path))).busy_ns
        == explain_idle(make_work_table(read(tmp_path / "out.json"))).busy_ns
    )
    assert sum(b["dur"] for b in bars.get("frameroof: idle (cause)", [])) == (
        pytest.approx({9: 49.875, 8: 10, 0: 0}[kept], abs=1e-6)
    )


def test_pieces_are_copied_at_their_borders(tmp_path, monkeypatch):
    monkeypatch.setattr("frameroof.trace.read.file.PIECE_BYTES", 64)
    events = [event("kernel", f"k{i}", 10 * i, 5) for i in range(200)]
    data, _ = exported(written(tmp_path, {"traceEvents": events, "traceName": "y"}), tmp_path / "out.json")
    assert [e for e in data["traceEvents"] if e["pid"] != PROCESS] == events
    assert data["traceName"] == "y"


def test_nothing_is_written_where_it_should_not_be(tmp_path):
    path, target = written(tmp_path, WHOLE), tmp_path / "out.json.gz"
    exported(path, target)
    before = target.read_bytes()
    for source, to, force, sentence in (
        (path, target, False, "--force overwrites"),
        (path, path, True, "is the trace itself"),
        (target, tmp_path / "again.json", False, "tracks already"),
    ):
        with pytest.raises(ValueError, match=sentence):
            exported(source, to, force)
    assert target.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.json.gz", "t.json"]


@pytest.mark.parametrize(
    "name",
    [
        *("h100_eager_diffusion.json", "a100_cuda_graph.json", "cpu.json", "v100_2021.json"),
        *(
            pytest.param(f"{name}.json.gz", marks=pytest.mark.shared)
            for name in ("h100_bert_small", "a100_sam_fast_cudagraph", "edge_cpu_only_no_dist")
        ),
    ],
)
def test_traces_in_files_keep_every_event(tmp_path, name):
    path = place_of(name)
    data, bars = exported(path, tmp_path / "out.json.gz")
    text = path.read_bytes()
    original = json.loads(gzip.decompress(text) if path.suffix == ".gz" else text)
    assert [e for e in data["traceEvents"] if e.get("pid") != PROCESS] == original["traceEvents"]
    assert {**data, "traceEvents": 0} == {**original, "traceEvents": 0}
    work_table = make_work_table(read(tmp_path / "out.json.gz"))
    idle = explain_idle(work_table)
    if not work_table.on_cpu:
        assert round(1000 * sum(b["dur"] for b in bars["frameroof: idle (cause)"])) == idle.idle_ns
    for track in bars.values():
        edges = sorted((b["ts"], b["ts"] + b["dur"]) for b in track)
        assert all(end <= start + 1e-3 for (_, end), (start, _) in itertools.pairwise(edges))
