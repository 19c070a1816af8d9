"""The second process that decodes beside the first: the same trace comes out, whichever took which piece."""

from __future__ import annotations

import json
import os
from dataclasses import fields

import numpy as np
import pytest

from frameroof.trace.read import decode_process, file
from frameroof.trace.read.decode import read


def event(i, **other):
    kernel = {"ph": "X", "cat": "kernel", "name": f"k{i % 7}", "pid": 0, "tid": i % 3, "ts": i, "dur": 0.5}
    call = {"ph": "X", "cat": "cpu_op", "name": f"aten::op{i % 5}", "pid": 1, "tid": 9, "ts": i - 1, "dur": 0.25}
    args = {"correlation": i + 1, "Input Dims": [[i % 11, 3]]}
    return (kernel if i % 2 else call) | {"args": args} | other


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(file, "PIECE_BYTES", 500)


def written(tmp_path, events):
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"traceEvents": events}))
    return path


def told(trace):
    """Everything a trace says, with numbers of names, threads and arguments replaced by what they stand for."""
    out = [trace.events, trace.ignored, [p.to_dict() for p in trace.problems]]
    for table in (trace.host, trace.work):
        columns = {f.name: getattr(table, f.name).tolist() for f in fields(table)}
        for name in ("name", "detail"):
            columns[name] = [trace.names[n] if n >= 0 else None for n in columns[name]]
        for name, texts in (("thread", trace.threads), ("args", trace.arguments)):
            if name in columns:
                columns[name] = [texts[n] if n >= 0 else None for n in columns[name]]
        out.append(columns)
    return out


def test_the_same_with_and_without(tmp_path, small_pieces):
    path = written(tmp_path, [event(i) for i in range(400)])
    assert told(read(path, helper=True)) == told(read(path, helper=False))


def test_the_helper_takes_a_share(tmp_path, small_pieces, monkeypatch):
    taken = []
    absorb = decode_process.ColumnBuilder.absorb

    def counted(self, other):
        taken.append(other.events)
        absorb(self, other)

    monkeypatch.setattr(decode_process.ColumnBuilder, "absorb", counted)
    monkeypatch.setattr(decode_process.DecodeProcess, "give_back", lambda self: None)  # what it was given stays with it
    read(written(tmp_path, [event(i) for i in range(400)]), helper=True)
    assert len(taken) == 1
    assert 0 < taken[0] <= 400


@pytest.mark.parametrize("odd", [{"name": 3}, {"ph": "B"}, {"ts": "12.5"}, {"name": 'a }, {"ph" b'}])
def test_what_a_helper_cannot_take_is_read_by_one(tmp_path, small_pieces, odd):
    path = written(tmp_path, [event(i, **(odd if i == 200 else {})) for i in range(400)])
    assert told(read(path, helper=True)) == told(read(path, helper=False))


def test_an_interrupt_ends_the_helper(tmp_path, small_pieces, monkeypatch):
    helpers = []
    start = decode_process.DecodeProcess.__init__
    monkeypatch.setattr(
        decode_process.DecodeProcess, "__init__", lambda self, decode: (helpers.append(self), start(self, decode))[1]
    )

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read(written(tmp_path, [event(i) for i in range(400)]), helper=True, progress=stop)
    assert helpers[0]._pid == 0
    assert not helpers[0]._feeder.is_alive()


def test_an_interrupt_while_waiting_for_the_answer_ends_the_helper(tmp_path, small_pieces, monkeypatch):
    """What was read to its end is not closed a second time: its number may be another file's by then."""
    end = decode_process.DecodeProcess._end

    def interrupted(self):
        monkeypatch.setattr(decode_process.DecodeProcess, "_end", end)
        raise KeyboardInterrupt

    monkeypatch.setattr(decode_process.DecodeProcess, "_end", interrupted)
    with pytest.raises(KeyboardInterrupt):
        read(written(tmp_path, [event(i) for i in range(400)]), helper=True)


def test_where_no_process_can_be_made_one_reads(tmp_path, small_pieces, monkeypatch):
    path = written(tmp_path, [event(i) for i in range(400)])

    def full():
        raise BlockingIOError("no room")

    alone, opened = told(read(path, helper=False)), set(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "fork", full)
    assert told(read(path, helper=True)) == alone
    assert set(os.listdir("/proc/self/fd")) == opened


def test_a_helper_that_dies_is_done_without(tmp_path, small_pieces, monkeypatch):
    """Even in the middle of its answer, which is then no whole pickle."""
    path = written(tmp_path, [event(i) for i in range(400)])

    def cut(found, target, protocol):
        target.write(b"\x80\x05\x95")
        target.flush()
        raise MemoryError

    alone = told(read(path, helper=False))
    monkeypatch.setattr(decode_process.pickle, "dump", cut)
    assert told(read(path, helper=True)) == alone


def test_small_files_need_no_helper():
    assert not decode_process.worthwhile(decode_process.WORTH_BYTES - 1)


def test_columns_of_pieces_stand_in_the_order_of_the_file():
    first, second = decode_process.ColumnBuilder(), decode_process.ColumnBuilder()
    from frameroof.trace.read.events import Args, Event, Header

    second.add([Event("X", "kernel", "b", 0, 7, 5.0, 1.0, None, Args(correlation=2))], 0)
    first.add([Event("X", "kernel", "a", 0, 7, 5.0, 1.0, None, Args(correlation=1))], 1)
    second.seal()
    first.absorb(second)
    trace = first.finish("x", Header(), [])
    assert [trace.names[n] for n in trace.work.name] == ["b", "a"]
    assert np.array_equal(trace.work.correlation, [2, 1])
