"""Broken traces: every event that is still there is read as it was, what was mended or lost is counted."""

from __future__ import annotations

import gzip
import json
import time

import pytest
from odd_made import ODD, RENAMED, SOUND, cut_off, odd
from test_trace_read import SHARED, event, rows, written

from frameroof.trace.read import file
from frameroof.trace.read.decode import read
from frameroof.trace.read.events import Kind
from frameroof.trace.read.file import TraceError

pytestmark = pytest.mark.filterwarnings("error")
needs_traces = pytest.mark.skipif(not (SHARED / "traces/malformed").is_dir(), reason="no ../shared/traces here")


def reports(trace):
    return {(p.what, p.count) for p in trace.problems}


def lost(trace):
    return sum(p.count for p in trace.problems if p.action.startswith("left out"))


@pytest.fixture(scope="module")
def sound():
    """The trace that the malformed ones were made from."""
    return read(SHARED / "traces/real/h100_bert_small.json.gz")


@pytest.mark.shared
@needs_traces
@pytest.mark.parametrize(
    ("name", "report"),
    [
        ("cpu_ops_as_BE_pairs.json", {("pairs of begin and end events (B, E)", 479)}),
        ("no_flow_events.json", set()),  # correlation numbers say all that the arrows said
        ("string_ts_dur.json", {("events whose times are written as text", 2059)}),
        ("toplevel_list.json", {("the file is a bare list of events: it names no device, version or date", 1)}),
        ("unescaped_quotes_pre_kineto1459.json", {("events with unescaped quotes or backslashes in a name", 3)}),
    ],
)
def test_what_is_only_odd_is_read_whole(sound, name, report):
    trace = read(SHARED / "traces/malformed" / name)
    assert reports(trace) == report
    mended = {'{"device": "cpu"}(12): run': "aten::linear"}  # three operators were renamed to break the file
    renamed = [(kind, mended.get(label, label), *times) for kind, label, *times in rows(trace)]
    if name.startswith("cpu_ops"):  # whose ends were written as doubles of 2**-12 us
        assert [r[:3] for r in sorted(renamed)] == [r[:3] for r in rows(sound)]
        assert max(abs(a[3] - b[3]) for a, b in zip(sorted(renamed), rows(sound), strict=True)) <= 1
    else:
        assert sorted(renamed) == rows(sound)
    assert trace.work.correlation.tolist() == sound.work.correlation.tolist()
    assert sorted(trace.host.external) == sorted(sound.host.external)
    assert len(trace.arguments) == len(sound.arguments)
    if "list" not in name:
        assert trace.header == sound.header


@pytest.mark.shared
@needs_traces
def test_the_start_of_a_truncated_file_is_kept(sound):
    trace = read(SHARED / "traces/malformed/truncated.json.gz")
    found, whole = rows(trace), set(rows(sound))
    assert (len(found), trace.events) == (745, 981)  # the others are 236 instants of the memory
    assert set(found) <= whole
    assert reports(trace) == {
        ("the compressed file ends too early; what follows is lost", 1),
        ("the list of events has no end: the file was cut off", 1),
        ("events too broken to read", 1),
    }


@pytest.mark.shared
@needs_traces
def test_empty_and_overlong(sound):
    trace = read(SHARED / "traces/malformed/empty_events.json")
    assert reports(trace) == {("the file holds no timed event", 1)}
    assert trace.header == sound.header
    overflow = read(SHARED / "traces/malformed/one_kernel_1.6s_overflow_TL669.json")  # clipped by clip.py, not here
    assert len(set(rows(overflow)) - set(rows(sound))) == 1


@pytest.mark.parametrize("name", ODD)
def test_what_is_only_odd_is_read_whole_here_too(tmp_path, name):
    """The same of a small made trace, for whoever lacks the real one."""
    trace, whole = read(odd(tmp_path, name)), read(SOUND)
    assert reports(trace) == ODD[name][1]
    assert sorted((kind, label.replace(RENAMED, "aten::silu"), *at) for kind, label, *at in rows(trace)) == rows(whole)
    assert trace.work.correlation.tolist() == whole.work.correlation.tolist()
    assert sorted(trace.host.external) == sorted(whole.host.external)
    assert (trace.header == whole.header) == (name != "bare list")


@pytest.mark.parametrize("share", [0.3, 0.7, 0.97])
def test_the_start_of_a_made_file_that_was_cut_off_is_kept(tmp_path, share):
    path, whole = cut_off(tmp_path, share)
    trace = read(path)
    assert set(rows(trace)) <= set(rows(read(SOUND)))
    assert trace.events == whole > 0
    assert {
        ("the compressed file ends too early; what follows is lost", 1),
        ("the list of events has no end: the file was cut off", 1),
    } <= reports(trace)


TAIL = {"deviceProperties": [{"id": 0, "name": "GPU", "list": [{"a": [1]}, {"name": "x"}]}], "traceName": "t.json"}


def broken(tmp_path, name, indent=None, around=5):
    """A file whose middle event has a name written raw, between sound ones; the trace and that name as read."""
    events = [event(f"k{i}", stream=i, correlation=i) for i in range(2 * around + 1)]
    events[around]["name"] = "BROKEN"
    text = json.dumps({"schemaVersion": 1, "traceEvents": events, **TAIL}, indent=indent)
    return written(tmp_path, text.encode().replace(b"BROKEN", name))


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    ("name", "read_as"),
    [
        (b'say "hi"', 'say "hi"'),
        (b'{"device": "cpu", "n": 1}(12): run', '{"device": "cpu", "n": 1}(12): run'),
        (b'a", "b", ["c"', 'a", "b", ["c"'),
        (b'"', '"'),
        (b'said \\"so\\" "then"', 'said "so" "then"'),
        (b"C:\\Users\\new\\x.py(3): f", r"C:\Users\new\x.py(3): f"),
        (b"ends in \\", "ends in \\"),
        (b"import torch\n(1): <module>\t\r\n", "import torch (1): <module> "),
        (b"bell \x07", "bell "),
        (b"latin \xe9", "latin \ufffd"),
        (b'new\nline and "quote"', 'new line and "quote"'),
    ],
)
def test_names_that_no_one_escaped(tmp_path, indent, name, read_as):
    trace = read(broken(tmp_path, name, indent))
    assert [trace.names[i] for i in trace.work.name] == [f"k{i}" if i != 5 else read_as for i in range(11)]
    assert trace.work.correlation.tolist() == list(range(11))
    assert trace.work.start.tolist() == [10_000] * 11
    assert (trace.events, trace.header.devices[0].name) == (11, "GPU")
    assert [(p.count, p.action) for p in trace.problems] == [(1, "mended")]


def test_half_a_surrogate_pair_is_replaced_and_the_rest_of_its_piece_stays_sound(tmp_path):
    trace = read(broken(tmp_path, b"half \\ud800 pair \\ud83d\\ude00 \\\\ud800", None))
    assert [trace.names[i] for i in trace.work.name][5] == "half \ufffd pair \U0001f600 \\ud800"
    assert trace.problems == []


@pytest.mark.parametrize(
    ("old", "new", "events", "gone"),
    [
        ('"dur": 5, "args": {"stream": 3', '"dur": NaN, "args": {"stream": 3', 7, 0),
        ('"stream": 3', '"stream": Infinity', 7, 0),
        ('"stream": 3', '"stream": 3, "x": 1e999', 7, 0),
        ('"pid": 0, "tid": 7, "ts": 10, "dur": 5, "args": {"stream": 3', '"pid": [[1], {}], "tid": true, "ts": 10, '
         '"dur": 5, "args": {"stream": 3, "correlation": {"a": 1}, "device": "0"', 7, 0),
        ('"name": "k3"', '"name": {"a": "k3"}', 7, 0),
        ('"args": {"stream": 3}', '"args": [1, 2]', 7, 0),
        ('"args": {"stream": 3}', '"args": {"stream": 3, "stream": 4}', 7, 0),
        ('"args": {"stream": 3}}', '"args": {"stream": 3}', 7, 0),  # a lost brace
        ('"args": {"stream": 3}}', '"args": {"stream": 3}} INFO: written by a logger\n', 7, 0),
        ('"args": {"stream": 3}}', '"args": {"stream": 3}}, null, 7, "x", [], {}', 8, 0),
        ('"args": {"stream": 3}', '"args": {"stream": 3, "deep": ' + "[" * 9999 + "]" * 9999 + "}", 6, 1),
        ('"args": {"stream": 3}}, {"ph": "X"', '"args": {"stre, {"ph": "X"', 6, 1),
        ('"ts": 10, "dur": 5, "args": {"stream": 3}}', '"ts": 1', 6, 1),  # cut off: its time is not believed
    ],
)  # fmt: skip
def test_one_broken_event(tmp_path, old, new, events, gone):
    text = json.dumps({"traceEvents": [event(f"k{i}", stream=i) for i in range(7)], **TAIL})
    assert text.count(old) == 1
    trace = read(written(tmp_path, text.replace(old, new)))
    assert trace.events == events
    names = [trace.names[i] for i in trace.work.name]
    assert [name for name in names if name not in ("k3", "")] == ["k0", "k1", "k2", "k4", "k5", "k6"]
    assert set(trace.work.start.tolist()) == {10_000}
    assert trace.header.devices[0].name == "GPU"
    if gone:
        assert ("events too broken to read", 1) in reports(trace)
    else:
        assert "events too broken to read" not in {p.what for p in trace.problems}


def test_numbers_of_64_bits(tmp_path):
    events = [event(correlation=number) for number in (2**64 - 1, 2**63, str(2**64 - 2), "x", 1e300)]
    events.insert(3, event(stream=10**30))
    trace = read(written(tmp_path, {"traceEvents": events}))
    assert sorted(trace.work.correlation.tolist()) == [-(2**63), -2, -1, -1, -1, -1]
    assert trace.work.stream.tolist() == [7, 7, 7, -1, 7, 7]


@pytest.mark.parametrize("cut", range(1, 400, 7))
def test_a_file_cut_anywhere(tmp_path, cut):
    """The events before the cut are read, nothing else; the head or tail that is left is kept."""
    text = json.dumps({"traceEvents": [event(f"k{i}", x=[1, 2]) for i in range(20)], **TAIL})
    trace = read(written(tmp_path, text[: len(text) - cut]))
    whole = text[: len(text) - cut].count('"args": {"x": [1, 2]}}')
    assert len(trace.work) == whole
    assert set(trace.work.end.tolist()) == {15_000}
    assert trace.problems


def test_a_broken_head_and_tail_are_read_field_by_field(tmp_path):
    head = '{"schemaVersion": 1, "note": "a "quoted" one", INFO: 2024 log, "host_name": "box", "traceEvents": ['
    tail = '], "cuda_runtime_version": 12040, "x": "C:\\dir", "deviceProperties": [{"id": 0, "name": "GPU"}], "baseTime'
    trace = read(written(tmp_path, head + json.dumps(event()) + tail + 'Nanoseconds": "17"} log line'))
    assert (trace.header.host_name, trace.header.cuda_runtime, trace.header.base_ns) == ("box", 12040, 17)
    assert trace.header.devices[0].name == "GPU"
    assert [p.action for p in trace.problems].count("read field by field") == 2
    odd = {"traceEvents": [event()], "host_name": 5, "deviceProperties": "none", "trace_id": "T"}
    trace = read(written(tmp_path, odd))
    assert (len(trace.work), trace.header.trace_id) == (1, "T")


def test_a_break_in_the_middle_of_the_compressed_text(tmp_path):
    text = json.dumps({"traceEvents": [event(f"k{i * 7919}", stream=i) for i in range(20_000)]}).encode()
    packed = bytearray(gzip.compress(text))
    packed[len(packed) // 2 : len(packed) // 2 + 99] = b"\xff" * 99
    trace = read(written(tmp_path, bytes(packed)))
    assert len(trace.work) > 9_000
    assert trace.work.stream.tolist()[:9_000] == list(range(9_000))  # just before the break the text may be wrong
    assert any("may be wrong" in p.what for p in trace.problems)
    checksum = bytearray(gzip.compress(text))
    checksum[-8:] = bytes(8)
    assert len(read(written(tmp_path, bytes(checksum))).work) == 20_000


@pytest.mark.parametrize("piece", [1000, 1 << 20])
def test_only_the_broken_event_suffers(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(file, "PIECE_BYTES", piece)
    trace = read(broken(tmp_path, b'a "b" c', around=500))
    assert trace.work.correlation.tolist() == list(range(1001))
    assert reports(trace) == {("events with unescaped quotes or backslashes in a name", 1)}


ADVERSARIAL = {
    "starts": b'{"ph":' * 400_000,
    "quotes": b'{"ph": "X", "name": "' + b'" ,' * 600_000,
    "opened": b'"name": "' * 200_000,
    "blanks": b'{"ph": "X"}' + b" " * 1_000_000 + b"," + b"\n" * 1_000_000,
    "brackets": b"[" * 2_000_000,
    "closed": b"}], " * 500_000,
    "backslashes": b'{"ph": "X", "name": "' + b"\\" * 2_000_000,
    "trailers": b'{"ph": "X"}' + b'], "a": [[' * 200_000,
    "lists": b'"traceEvents": [' * 120_000,
    "keys": b', {"name": "' * 180_000,
}


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_two_megabytes_of_ruins_take_linear_time(tmp_path, name):
    start = time.process_time()
    try:
        trace = read(written(tmp_path, b'{"traceEvents": [' + ADVERSARIAL[name]))
    except TraceError:
        pass
    else:
        assert trace.problems
    assert time.process_time() - start < 6


def test_a_sound_file_is_never_salvaged(tmp_path, monkeypatch):
    monkeypatch.setattr("frameroof.trace.read.repair.Repairer.events", None)
    trace = read(written(tmp_path, {"traceEvents": [event(ts=1, dur=True), event(), 5], "schemaVersion": [1]}))
    assert len(trace.work) == 2
    assert trace.host.kind.tolist() == []
    assert Kind.KERNEL in trace.work.kind
    assert lost(trace) == 1


def test_text_without_an_event_is_bounded_and_said_once(tmp_path, monkeypatch):
    monkeypatch.setattr(file, "PIECE_BYTES", 1 << 12)
    monkeypatch.setattr(file, "LONGEST_EVENT", 1 << 16)
    first = {"ph": "X", "cat": "kernel", "name": "k", "ts": 1, "dur": 1}
    path = tmp_path / "blanks.json"
    path.write_text('{"traceEvents":[' + json.dumps(first) + "," + " " * (1 << 19) + json.dumps(first) + "]}")
    trace = read(path)
    said = [p for p in trace.problems if "without the end of an event" in p.what]
    assert len(said) == 1
    assert trace.events <= 2
