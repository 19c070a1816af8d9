"""Comparing two runs where a rule turns: which of several is meant, what is added up, what counts as a change."""

from __future__ import annotations

import pytest
from run_made import MS, attention, improved, made

from frameroof.run import GroupRow, OperatorRow, StageRow
from frameroof.study.compare import SINGLE, Change, compare
from frameroof.study.thresholds import apply, change_percent, find_metric, parse_rules, quantity


def stage(name="denoise", calls=(), source="DiT", count=3):
    return StageRow(name, source, sum(calls), sum(calls), count, list(calls), {}, 1.0)


# --------------------------------------------------------------------------------------- quantities


def test_the_call_of_a_stage_is_its_median():
    before, after = (made(stages=[stage(calls=calls)]) for calls in ([1 * MS, 2 * MS, 90 * MS], [4 * MS, 5 * MS]))
    change = compare(before, after).find("call", "denoise")
    assert (change.before, change.after) == (2 * MS, 4.5 * MS)


def test_what_lies_outside_of_any_stage_has_no_call():
    run = made(stages=[stage(calls=[MS]), stage("rest", [MS], source=""), stage("empty")])
    assert [c.name for c in compare(run, run).of("call")] == ["denoise"]
    assert [c.name for c in compare(run, run).of("stage")] == ["denoise", "rest", "empty"]


def test_rows_of_one_name_are_added_and_their_types_named_once():
    rows = [
        OperatorRow("linear", "aten::mm", ns, 1, 1, dtype=dtype) for ns, dtype in ((3, "bf16"), (4, "fp8"), (5, "bf16"))
    ]
    change = compare(made(operators=rows), made(operators=rows[:1])).find("operator", "aten::mm")
    assert (change.before, change.after, change.note) == (12, 3, "bf16 and fp8 -> bf16")


def test_attention_is_told_apart_by_its_size():
    run = made(
        attention=[attention(MS, True), attention(2 * MS, True, key_len=77), attention(4 * MS, True, query_len=0)]
    )
    assert {c.name: c.before for c in compare(run, run).of("attention")} == {
        "self 1 x 2 x 256 x 256 x 64": MS,
        "self 1 x 2 x 256 x 77 x 64": 2 * MS,
        "self, size not recorded": 4 * MS,
    }


def test_the_largest_change_stands_first_whichever_way_it_goes():
    first = made(kernels=[GroupRow("a", 10, 1, 0), GroupRow("b", 10, 1, 0), GroupRow("c", 10, 1, 0)])
    second = made(kernels=[GroupRow("a", 11, 1, 0), GroupRow("b", 40, 1, 0), GroupRow("d", 20, 1, 0)])
    assert [c.name for c in compare(first, second).of("kernel")] == ["b", "d", "c", "a"]


def test_on_a_processor_the_operators_are_the_kernels():
    host = made()
    host.summary.on_cpu = True
    assert compare(host, host).of("kernel") == []
    assert compare(made(), host).of("kernel") != []


@pytest.mark.parametrize(
    ("before", "after", "state", "difference", "ratio"),
    [
        (0, 5, "appeared", 5, None),
        (None, 5, "appeared", 5, None),
        (5, 0, "vanished", -5, 0.0),
        (5, None, "vanished", -5, 0.0),
        (0, None, "same", 0, None),
        (4, 5, "changed", 1, 1.25),
        (5, 5, "same", 0, 1.0),
    ],
)
def test_a_change_says_what_it_is(before, after, state, difference, ratio):
    change = Change("run", "x", "ns", before, after)
    assert (change.state, change.difference, change.ratio) == (state, difference, ratio)


@pytest.mark.parametrize(("flops", "said"), [(6.05e12, False), (6.07e12, True), (5.95e12, False), (5.93e12, True)])
def test_more_or_less_work_is_said_from_one_percent_on(flops, said):
    other = made()
    other.summary.flops = flops
    assert any("The work differs" in note for note in compare(made(), other).notes) == said


# --------------------------------------------------------------------------------------- thresholds


def test_a_name_that_is_the_runs_too_means_the_run():
    run = made(classes=[GroupRow("kernels", 3 * MS, 1, 1.0)], operators=[OperatorRow("linear", "total", MS, 1, 1)])
    both = compare(run, run)
    assert find_metric("kernels", both).group == "run"
    assert find_metric("total", both).before == 100 * MS
    assert find_metric("class:kernels", both).before == 3 * MS
    assert find_metric("operator: total", both).before == MS


def test_a_stage_means_all_of_its_time_and_not_one_call():
    both = compare(made(), improved())
    assert find_metric("denoise", both).group == "stage"
    assert find_metric("call:denoise", both).before == 20 * MS


def test_a_cause_or_class_in_neither_run_is_no_time_and_passes():
    both = compare(made(), made())
    assert find_metric("graph", both) == Change("idle", "graph", "ns", None, None)
    assert find_metric("class:convolution", both) == Change("class", "convolution", "ns", None, None)
    for wrong in ("idle:convolution", "class:graph", "idle:", "kernel::graph"):
        with pytest.raises(ValueError, match=f"neither run has '{wrong}'"):
            find_metric(wrong, both)


def rows(before, after):
    return compare(*(made(kernels=[GroupRow("k", ns, 1, 1.0)] if ns else []) for ns in (before, after)))


@pytest.mark.parametrize(
    ("rule", "before", "after", "exceeded"),
    [
        ("k>10%", 100 * MS, 110 * MS, False),  # ten percent is not more than ten percent
        ("k>10%", 100 * MS, 110 * MS + 1, True),
        ("k>0%&10ms", 100 * MS, 110 * MS, False),
        ("k>0%&9.99ms", 100 * MS, 110 * MS, True),
        ("k>20%&1ms", 100 * MS, 110 * MS, False),  # both must be passed
        ("k>0%", 100 * MS, 100 * MS, False),
        ("k>0%", 100 * MS, 90 * MS, False),
        ("k>1000%", 0, 1, True),  # out of nothing is more than any percentage
        ("k>.5%", 1000, 1006, True),
    ],
)
def test_thresholds_are_passed_and_not_reached(rule, before, after, exceeded):
    (check,) = apply(parse_rules(rule), rows(before, after))
    assert check.exceeded == exceeded


def test_counts_take_a_number_after_the_ampersand():
    both = compare(made(), made())
    both.changes[3] = Change("run", "kernels", "count", 100, 106)
    assert [c.exceeded for c in apply(parse_rules("kernels>5%&5,kernels>5%&6"), both)] == [True, False]
    for wrong in ("nan", "inf"):
        with pytest.raises(ValueError, match="write a number after &"):
            apply(parse_rules(f"kernels>5%&{wrong}"), both)


def test_rules_are_read_one_after_the_other():
    first, second = parse_rules(" aten::mm <1> >  2.5 % & 3 ms , total>7%")
    assert (first.metric, first.percent, first.least, first.text) == (
        "aten::mm <1>",
        2.5,
        "3 ms",
        "aten::mm <1> >  2.5 % & 3 ms",
    )
    assert (second.metric, second.percent, second.least, second.text) == ("total", 7.0, None, "total>7%")


def test_a_check_says_what_happened():
    (check,) = apply(parse_rules("k>5%&1ms"), rows(100 * MS, 110 * MS))
    assert check.sentence == "k: +10.0 % (100.0 ms -> 110.0 ms), more than k>5%&1ms"
    assert check.change.judged == SINGLE
    (check,) = apply(parse_rules("k>15%"), rows(100 * MS, 110 * MS))
    assert check.sentence == "k: +10.0 % (100.0 ms -> 110.0 ms), within k>15%"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (100, 112.34, "+12.3 %"),
        (100, 50, "-50.0 %"),
        (100, 1098, "+998.0 %"),
        (100, 1100, "x 11"),
        (100, 100, "same"),
        (0, 1, "appeared"),
    ],
)
def test_changes_are_percentages_up_to_ten_times(before, after, said):
    assert change_percent(Change("run", "x", "ns", before, after)) == said


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (None, "ns", "none"),
        (1.5e6, "ns", "1.500 ms"),
        (2e9, "bytes", "2.000 GB"),
        (3e12, "flops", "3.000 TFLOP"),
        (1234, "count", "1,234"),
    ],
)
def test_quantities_are_written_in_their_unit(value, unit, said):
    assert quantity(value, unit) == said
