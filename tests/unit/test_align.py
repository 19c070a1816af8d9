"""Traces of one module at several sizes become one table: calls that repeat, calls that grow, calls without a rule."""

from __future__ import annotations

import pytest

from frameroof.count.align import StructureChanges, align
from frameroof.count.fit import Fitter
from frameroof.count.operands import RawTensor
from frameroof.count.recorder import RawOp, Trace

FRAMES = (2, 3, 5, 8)


def called(path, visit, *sizes, kind="elementwise", name="add", dims=None, attrs=None, traffic=""):
    """A call that writes a tensor of each of the sizes."""
    writes = [RawTensor((size,), "bf16", (0, 0), traffic=traffic) for size in sizes]
    return RawOp(path, visit, 0, kind, name, [], writes, dims or {}, attrs or {}, False)


def table(calls, at=FRAMES):
    """(path, size, how often) of the rows that traces at these frames lead to; `calls` gives the calls of one."""
    rows = align([Trace(ops=calls(t)) for t in at], Fitter([{"t": t} for t in at]))
    return [(r.op.path, str(r.op.writes[0].shape[0]), str(r.op.count), bool(r.op.attrs.get("total"))) for r in rows]


def test_a_size_that_follows_the_frames_is_one_row():
    assert table(lambda t: [called("a", 0, 3 * t + 1), called("b", 0, 7)]) == [
        ("a", "3*t+1", "1", False),
        ("b", "7", "1", False),
    ]


def test_the_first_calls_may_differ_from_those_that_repeat():
    assert table(lambda t: [called("a", i, 5 if i == 0 else 7) for i in range(t + 1)]) == [
        ("a", "5", "1", False),
        ("a", "7", "t", False),
    ]


def test_calls_may_take_turns():
    assert table(lambda t: [called("a", i, 3 + i % 2) for i in range(2 * t)]) == [
        ("a", "3", "t", False),
        ("a", "4", "t", False),
    ]


def test_turns_that_are_not_whole_are_summed():
    assert table(lambda t: [called("a", i, 3 + i % 2) for i in range(2 * t + 1)]) == [("a", "7*t+3", "2*t+1", True)]


def test_calls_that_grow_are_the_sum_of_their_sizes():
    # 2 + 4 + … + 2 t = t (t + 1)
    assert table(lambda t: [called("a", i, 2 * (i + 1)) for i in range(t)]) == [("a", "t*t+t", "t", True)]


def test_rows_stand_in_the_order_of_the_first_trace():
    assert [row[0] for row in table(lambda t: [called("b", 0, 1), called("a", 0, 1), called("c", 0, t)])] == [
        "b",
        "a",
        "c",
    ]


def test_an_operand_moves_what_it_moves_at_the_least_size():
    def calls(t):
        return [called("a", i, 4, traffic="chip" if t == 3 and i else "given") for i in range(2)]

    rows = align([Trace(ops=calls(t)) for t in FRAMES], Fitter([{"t": t} for t in FRAMES]))
    assert [row.op.writes[0].traffic for row in rows] == ["given", "chip"]


def test_the_first_turn_of_a_loop_moves_something_else():
    def calls(t):
        return [called("a", i, 4, traffic="again" if i else "given") for i in range(t)]

    assert table(calls) == [("a", "4", "1", False), ("a", "4", "t-1", False)]
    assert table(calls, at=(1, 2, 4, 7)) == [("a", "4", "1", False), ("a", "4", "t-1", False)]


@pytest.mark.parametrize(
    ("calls", "sentence"),
    [
        (lambda t: [called("a", 0, 1, kind="linear", name="mm", dims={"m": t**3})], "a size of mm is no polynomial"),
        (
            lambda t: [called("a", 0, 1, kind="linear", name="mm", dims={"m": 1}, attrs={"x": t > 2})],
            "not alike at every size",
        ),
        (lambda t: [called("a", 0, *[1] * t, kind="linear", name="mm", dims={"m": 1})], "not the same at every size"),
        (
            lambda t: [called("a", i, 1, name="mm", dims={"m": i + 1}) for i in range(t)],
            "differ in a way that has no rule",
        ),
        (lambda t: [called("a", i, 2**i) for i in range(t)], "the sum over the calls of add is no polynomial"),
    ],
)
def test_what_follows_no_rule_is_refused(calls, sentence):
    with pytest.raises(StructureChanges, match=sentence):
        table(calls)


def test_a_call_that_does_not_occur_at_some_size_is_counted_there_as_none():
    assert table(lambda t: [called("a", i, 4) for i in range(t - 2)]) == [("a", "4*t-8", "t-2", True)]
