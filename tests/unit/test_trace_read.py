"""Reading traces: the truths of 14 real files, the schemas of every year, exact times, huge and odd but sound files."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from trace_made import STANDING, place_of

from frameroof.trace.read import file
from frameroof.trace.read.decode import read
from frameroof.trace.read.events import Kind
from frameroof.trace.read.file import TraceError
from frameroof.trace.read.timestamps import exact, nanoseconds

SHARED = Path(__file__).parents[3] / "shared"
INDEX = SHARED / "traces/INDEX.json"
WORK = ("kernel", "gpu_memcpy", "Kernel", "Memcpy")
REAL = {entry["file"]: entry for entry in json.loads(INDEX.read_text("utf-8"))} if INDEX.is_file() else {}


def written(tmp_path, data, name="trace.json"):
    """`data` (text, bytes, or something for JSON) as a file."""
    if not isinstance(data, str | bytes):
        data = json.dumps(data)
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def event(name="k", cat="kernel", ts=10, dur=5, pid=0, tid=7, **args):
    return {"ph": "X", "cat": cat, "name": name, "pid": pid, "tid": tid, "ts": ts, "dur": dur, "args": args}


def rows(trace):
    """(kind, name, start, end) of every row, host and work, sorted."""
    return sorted(
        (int(k), trace.names[n], int(s), int(e))
        for table in (trace.host, trace.work, trace.device_spans)
        for k, n, s, e in zip(table.kind, table.name, table.start, table.end, strict=True)
    )


def microseconds(numbers):
    """The nanoseconds that `truth` gives as microseconds."""
    return round(numbers * 1000)


@pytest.mark.shared
@pytest.mark.skipif(not REAL, reason="no ../shared/traces here")
@pytest.mark.parametrize("name", REAL or ["none"])
def test_the_truths_of_the_real_traces(name):
    entry = REAL[name]
    trace, truth, cats = read(SHARED / "traces/real" / name), entry["truth"], entry["cats"]
    work = trace.work
    assert trace.events == entry["events"]
    assert trace.problems == []
    assert trace.ignored == {k: v for k, v in cats.items() if k == "Trace"}
    assert len(trace.host) + len(work) + len(trace.device_spans) == sum(cats.values()) - cats.get("Trace", 0)
    modules = entry["nn_module_events"]
    assert int((trace.host.kind == Kind.MODULE).sum()) == modules
    assert int((trace.host.kind == Kind.PYTHON).sum()) == entry["python_events"] - modules
    operators = trace.host.kind == Kind.OPERATOR
    assert int((trace.host.args[operators] >= 0).sum()) == entry["ops_with_shapes"]
    assert [d.name for d in trace.header.devices[:1]] == ([entry["gpu"]] if entry["gpu"] else [])
    assert len(trace.header.devices) == entry["n_devices_listed"]
    assert trace.header.base_ns == entry["baseTimeNanoseconds"]
    assert (trace.header.distributed is not None) == entry["distributedInfo"]
    if truth["n_kernel"] is None:
        assert len(work) == 0
        return
    kernels, length = work.kind == Kind.KERNEL, work.end - work.start
    latest = np.maximum.accumulate(work.end)
    before = np.concatenate([work.start[:1], latest[:-1]])
    assert (int(kernels.sum()), int((~kernels).sum())) == (truth["n_kernel"], truth["n_mem"])
    assert int(length[kernels].sum()) == microseconds(truth["kernel_sum_us"])
    assert int(length[~kernels].sum()) == microseconds(truth["mem_sum_us"])
    assert int(np.maximum(work.end - np.maximum(work.start, before), 0).sum()) == microseconds(truth["busy_us"])
    assert int(latest[-1] - work.start[0]) == microseconds(truth["span_us"])
    assert len(np.unique(work.stream)) == truth["streams"]


@pytest.mark.parametrize(
    "name",
    [
        *STANDING,
        *(
            pytest.param(f"{name}.json.gz", marks=pytest.mark.shared)
            for name in ("h100_bert_small", "a100_sam_fast_cudagraph")
        ),
    ],
)
def test_every_row_is_what_json_and_decimal_say(name):
    path = place_of(name)
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        events = json.load(file, parse_float=Decimal)["traceEvents"]
    trace = read(path)
    truth = sorted(
        (e["name"], round(Decimal(e["ts"]) * 1000), round((Decimal(e["ts"]) + Decimal(e["dur"])) * 1000))
        for e in events
        if e["ph"] == "X" and e["cat"] != "Trace"
    )
    assert [row[1:] for row in sorted(rows(trace), key=lambda r: r[1:])] == truth
    correlation = sorted(int(e["args"]["correlation"]) for e in events if e.get("cat") in WORK)
    assert sorted(trace.work.correlation.tolist()) == correlation


def test_the_names_of_2021(tmp_path):
    trace = read(written(tmp_path, {"traceEvents": [
        event("aten::mm", "Operator", 0, 9, 1, 1, **{"external id": 4}),
        event("ProfilerStep#2", "Operator", 0, 20, 1, 1),
        event("cudaLaunchKernel", "Runtime", 1, 2, 1, 1, correlation=9, **{"external id": 4}),
        event("sgemm", "Kernel", 5, 3, 0, "stream 7", device=0, correlation=9),
        event("Memcpy HtoD", "Memcpy", 8, 3, 0, "stream 7", bytes=64),
        event("Memset", "Memset", 12, 0, 0, "stream 20"),
    ]}))  # fmt: skip
    assert trace.host.kind.tolist() == [Kind.ANNOTATION, Kind.OPERATOR, Kind.RUNTIME]
    assert trace.work.kind.tolist() == [Kind.KERNEL, Kind.MEMCPY, Kind.MEMSET]
    assert trace.work.stream.tolist() == [7, 7, 20]
    assert trace.work.bytes.tolist() == [-1, 64, -1]
    assert trace.host.external.tolist() == [-1, 4, 4]
    assert trace.problems == []


def test_flows_are_kept_only_without_correlation(tmp_path):
    arrows = [
        {"ph": "s", "cat": "ac2g", "id": 3, "name": "ac2g", "pid": 1, "tid": 1, "ts": 1.5},
        {"ph": "f", "cat": "ac2g", "id": 3, "name": "ac2g", "pid": 0, "tid": 7, "ts": 10},
        {"ph": "f", "cat": "ac2g", "id": 4, "name": "ac2g", "pid": 0, "tid": 7},
    ]
    trace = read(written(tmp_path, {"traceEvents": [event(), *arrows]}))
    assert trace.flows.arrows() == [(("1", "1", 1500), ("0", "7", 10_000))]


def test_begin_and_end_events_are_joined(tmp_path):
    def half(ph, name, ts, tid=1):
        return {"ph": ph, "cat": "cpu_op", "name": name, "pid": 1, "tid": tid, "ts": ts}

    events = [half("B", "a", 0), half("B", "b", 1.5), half("E", "", 2), half("E", "a", 5), half("B", "a", 9)]
    events += [half("B", "x", 0, 2), half("B", "y", 3, 2), half("E", "x", 3, 2), half("E", "y", 4, 2)]
    trace = read(written(tmp_path, {"traceEvents": [*events, half("E", "z", None)]}))
    assert [row[1:] for row in rows(trace)] == [
        ("a", 0, 5000), ("b", 1500, 2000), ("x", 0, 3000), ("y", 3000, 4000)
    ]  # fmt: skip
    assert [(p.count, p.action) for p in trace.problems] == [(4, "joined to complete events"), (2, "left out")]


def test_absolute_times_keep_every_nanosecond(tmp_path):
    times = ["1712345678901234.567", "1712345678901234568", '"1712345678901235.001"', "1712345678901236"]
    text = ", ".join(json.dumps(event(name=str(i))).replace('"ts": 10', f'"ts": {t}') for i, t in enumerate(times))
    trace = read(written(tmp_path, '{"traceEvents": [' + text.replace('"dur": 5', '"dur": 0.001') + "]}"))
    kept = [1712345678901234567, 1712345678901235001, 1712345678901236000]
    assert trace.work.start.tolist() == kept
    assert trace.work.end.tolist() == [ns + 1 for ns in kept]
    assert [(p.what, p.count) for p in trace.problems] == [("events whose time is no believable number", 1)]
    # 1712345678901234568 is nanoseconds, where microseconds belong


@pytest.mark.parametrize(
    ("value", "ns"),
    [
        (0, 0), (-1.5, -1500), ("12.0005", 12000), ("12.0015", 12002), (Decimal("1e15") + Decimal("0.001"), 10**18 + 1),
        (None, None), ("", None), ("abc", None), ("nan", None), ("1e400", None), (10**30, None), (float("inf"), None),
        (Decimal("sNaN"), None),
    ],
)  # fmt: skip
def test_one_time(value, ns):
    assert exact(value) == ns
    numbers, valid = nanoseconds([value, 1])
    assert (numbers.tolist(), valid.tolist()) == ([ns or 0, 1000], [ns is not None, True])


def test_times_that_cannot_be_are_left_out(tmp_path):
    odd = [event(ts=None), event(ts="soon"), event(ts=1e300), event(ts=10**40), event(dur=9e18), event(dur=-4)]
    trace = read(written(tmp_path, {"traceEvents": [*odd, event(dur=None), event()]}))
    assert (trace.work.end - trace.work.start).tolist() == [5000, 0, 0]
    assert sum(p.count for p in trace.problems if p.action == "left out") == 5


def test_head_and_tail_complete_each_other(tmp_path):
    head, tail = {"deviceProperties": [{"id": 0, "name": "GPU"}]}, {"distributedInfo": {"rank": 3}, "note": [{"a": 1}]}
    orders = [{**head, "traceEvents": [event()], **tail}, {**tail, "traceEvents": [event()], **head}]
    for indent in (None, 2):
        for order in orders:
            text = json.dumps(order, indent=indent)
            for data in (text, text.replace("\n", "\r\n"), "\ufeff" + text):
                trace = read(written(tmp_path, data))
                assert trace.header.devices[0].name == "GPU"
                assert trace.header.distributed.rank == 3
                assert (len(trace.work), trace.problems) == (1, [])


@pytest.mark.parametrize("piece", [64, 300, 2000])
def test_borders_that_are_none(tmp_path, monkeypatch, piece):
    """Objects within arguments look like events; a long tail looks like events too."""
    monkeypatch.setattr(file, "PIECE_BYTES", piece)
    nested = [{"a": 1}, {"name": "x", "ph": "X", "ts": 1, "cat": "kernel"}, {"ph": "X", "cat": "kernel", "ts": 2}]
    events = [event(name=f'{i}\\"}}, {{"ph"', list=nested * (i % 4), stream=i) for i in range(60)]
    whole = {"traceEvents": events, "more": nested * 40, "deviceProperties": [{"name": "GPU"}], "traceName": "x"}
    for indent in (None, 1):
        trace = read(written(tmp_path, json.dumps(whole, indent=indent)))
        assert sorted(trace.work.stream.tolist()) == list(range(60))
        assert (trace.events, trace.problems) == (60, [])
        assert trace.header.devices[0].name == "GPU"


def test_the_events_of_the_file_are_found(tmp_path):
    trace = read(written(tmp_path, {"metadata": {"traceEvents": [event("wrong")]}, "traceEvents": [event("right")]}))
    assert trace.names == ["right"]
    text = json.dumps({"traceEvents": [event("one")]})[:-1] + ', "traceEvents": ' + json.dumps([event("two")]) + "}"
    trace = read(written(tmp_path, text))
    assert sorted(trace.names) == ["one", "two"]
    assert [p.what for p in trace.problems] == ["the file holds `traceEvents` twice"]


def test_gzip_in_several_members(tmp_path):
    text = json.dumps({"traceEvents": [event()] * 50}).encode()
    packed = gzip.compress(text[:700]) + gzip.compress(b"") + gzip.compress(text[700:])
    for behind, problems in ((b"", 0), (b"\0" * 600, 0), (b"garbage", 1)):
        trace = read(written(tmp_path, packed + behind))
        assert (len(trace.work), len(trace.problems)) == (50, problems)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "is empty"), (b" \n", "is empty"), (b"\x89PNG\r\n\x1a\n" + bytes(50), "a picture"),
        (b"\x7fELF" + bytes(99), "a program"), (b"PK\x03\x04zip", "zip"), (b"\x1f\x8b\x08", "ends too early"),
        (gzip.compress(b"", mtime=0), "is empty"), ('{"traceEvents": null}', "no list"),
        ("[1, 2, 3]", "nothing in it is an event"), ("hello", "no list"), ("{}", "no list"),
        ('{"traceEvents": {"a": 1}}', "no list"),
        ("{}".encode("utf-16"), "UTF-16"),
    ],
)  # fmt: skip
def test_what_is_no_trace_is_refused_in_a_sentence(tmp_path, data, word):
    with pytest.raises(TraceError, match=word):
        read(written(tmp_path, data))


def test_paths_that_cannot_be_read(tmp_path):
    for path in (tmp_path, tmp_path / "none", "a\0b", "/dev/zero"):
        with pytest.raises(TraceError):
            read(path)


def test_a_bomb_is_stopped_at_the_limit(tmp_path):
    bomb = written(tmp_path, gzip.compress(b'{"traceEvents": [' + b" " * (40 << 20)))
    seen = []
    with pytest.raises(TraceError, match=r"more than 0\.00977 GiB"):
        read(bomb, limit_bytes=10 << 20, progress=seen.append)
    assert all(text <= 10 << 20 for text in seen)


def test_a_file_may_be_unpacked_before_it_is_read(tmp_path, monkeypatch):
    """What `frameroof analyze` does while NumPy is imported: the same trace, no thread left, and twice is no harm."""
    monkeypatch.setattr(file, "_WORTH_A_THREAD", 0)
    events = [{"ph": "X", "cat": "kernel", "name": f"k{i}", "ts": i, "dur": 1, "tid": 7} for i in range(2000)]
    path = tmp_path / "trace.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"traceEvents": events}).encode()))
    begun = file.open_trace(path).begin()
    worker = begun._ahead._thread
    assert read(begun).work.start.tolist() == [1000 * i for i in range(2000)] == read(begun).work.start.tolist()
    assert not worker.is_alive()
    left = file.open_trace(path).begin()
    worker = left._ahead._thread
    left.close()
    assert not worker.is_alive()
