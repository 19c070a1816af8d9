"""Two runs side by side: numbers by hand, probabilities by enumeration, thresholds, Markdown, exit codes."""

import itertools
import json
import math
import random
import re
import subprocess
import sys

import pytest
from cli_said import said
from run_made import MS, improved, made

from frameroof.recorded import Cpu, Environment, Measured, Memory
from frameroof.report.comparison import headline, markdown
from frameroof.run import save_run
from frameroof.study.compare import compare
from frameroof.study.samples import judge, p_value
from frameroof.study.thresholds import apply, parse_rules


@pytest.fixture(scope="module")
def found():
    return compare(made(), improved())


# ------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("group", "name", "before", "after", "state"),
    [
        ("run", "total", 100 * MS, 62 * MS, "changed"),
        ("run", "kernels", 100, 70, "changed"),
        ("idle", "host_launch", 30 * MS, 32 * MS, "changed"),
        ("idle", "synchronization", 10 * MS, None, "vanished"),
        ("class", "linear", 20 * MS, 20 * MS, "same"),
        ("stage", "denoise", 60 * MS, 30 * MS, "changed"),
        ("call", "denoise", 20 * MS, 10 * MS, "changed"),
        ("operator", "aten::bmm", 40 * MS, None, "vanished"),
        ("operator", "aten::_flash_attention_forward", None, 10 * MS, "appeared"),
        ("attention", "self 1 x 2 x 256 x 256 x 64", 40 * MS, 10 * MS, "changed"),
    ],
)
def test_every_quantity_is_that_of_its_run(found, group, name, before, after, state):
    change = found.find(group, name)
    assert (change.before, change.after, change.state) == (before, after, state)
    assert change.difference == (after or 0) - (before or 0)


def test_ratios_and_what_changed_beside_the_number(found):
    assert found.find("run", "total").ratio == pytest.approx(0.62)
    assert found.find("operator", "aten::_flash_attention_forward").ratio is None
    assert found.find("attention", "self 1 x 2 x 256 x 256 x 64").note == "eager -> fused"
    sizes = [abs(c.difference) for c in found.of("operator")]
    assert sizes == sorted(sizes, reverse=True)


def test_a_run_beside_itself_has_not_changed():
    same = compare(made(), made())
    assert {c.state for c in same.changes} == {"same"}
    assert same.brought == []
    assert same.notes == []


def test_what_makes_two_runs_less_comparable_is_said():
    other = improved()
    other.summary.device, other.summary.flops = "NVIDIA B200", 3e12
    other.stages[0].count = 6
    other.environment = Environment(
        versions={"torch": "2.7", "cuda": "12"}, date="today", cpu=Cpu(clock_mhz=3), extra={"XLA": "1"}
    )
    first = Environment(versions={"torch": "2.6", "cuda": "12"}, date="yesterday", cpu=Cpu(clock_mhz=2))
    notes = " ".join(compare(made(environment=first), other).notes)
    for part in (
        "NVIDIA H100 before, NVIDIA B200 after",
        "0.5 times",
        "3 x before and 6 x",
        "versions.torch 2.6 -> 2.7; XLA not set -> 1",
    ):
        assert part in notes
    assert not {"cuda", "date", "clock_mhz"} & set(re.findall(r"\w+", notes))


# --------------------------------------------------------------------------------------- significance


@pytest.mark.parametrize(("n", "p"), [(3, 2 / 20), (4, 2 / 70), (5, 2 / 252), (8, 2 / 12870)])
def test_sets_apart_have_the_probability_of_the_tables(n, p):
    assert p_value(range(n), range(100, 100 + n)) == pytest.approx(p)


def test_probabilities_with_ties_are_those_of_all_ways_to_divide_the_values():
    dice = random.Random(3)
    for _ in range(20):
        values = [dice.randint(0, 5) for _ in range(9)]
        n = dice.randint(2, 7)

        def distance(first, values=values):
            """Of the mean rank sum: pairs won, half for a tie, from half of all pairs."""
            rest = [values[i] for i in range(9) if i not in first]
            won = sum((values[i] > v) + (values[i] == v) / 2 for i in first for v in rest)
            return abs(won - len(first) * len(rest) / 2)

        ways = [distance(set(c)) for c in itertools.combinations(range(9), n)]
        expected = sum(d >= distance(set(range(n))) - 1e-9 for d in ways) / len(ways)
        assert p_value(values[:n], values[n:]) == pytest.approx(expected)


def test_the_approximation_meets_the_count(monkeypatch):
    dice = random.Random(1)
    first = [dice.gauss(0, 1) for _ in range(22)]
    second = [dice.gauss(0.6, 1) for _ in range(20)]
    near = p_value(first, second)
    monkeypatch.setattr("frameroof.study.samples.MOST_EXACT", 100)
    assert math.isclose(near, p_value(first, second), abs_tol=0.001)
    assert p_value([1.0] * 30, [1.0] * 30) == 1.0


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ([10, 11, 12, 13, 14], [20, 21, 22, 23, 24], "slower (p = 0.0079"),
        ([20, 21, 22, 23, 24], [10, 11, 12, 13, 14], "faster (p = 0.0079"),
        ([10, 20, 30, 40], [11, 21, 31, 41], "within the spread"),
        ([10, 11, 12], [20, 21, 22], "too few to tell (3 and 3"),
        ([10], [20], "single"),
    ],
)
def test_repetitions_are_judged_by_their_spread(before, after, verdict):
    assert judge(before, after).startswith(verdict)


def test_only_the_median_is_judged():
    first = Measured(
        median_ns=12 * MS,
        samples_ns=[11 * MS, 12 * MS, 12 * MS, 13 * MS],
        memory=Memory(peak_bytes=4_000_000_000, of="allocator"),
    )
    second = Measured(
        median_ns=6 * MS,
        samples_ns=[6 * MS, 5 * MS, 7 * MS, 6 * MS],
        memory=Memory(peak_bytes=3_000_000_000, of="allocator"),
    )
    both = compare(made(measured=first), made(measured=second))
    assert both.find("measured", "median").judged.startswith("faster")
    assert both.find("measured", "memory peak (allocator)").difference == -1_000_000_000
    assert "no spread" in both.find("run", "total").judged
    assert headline(both).startswith("measured 12.00 ms -> 6.000 ms: -50.0 %, faster")
    assert compare(made(measured=first), made()).of("measured") == []


# ----------------------------------------------------------------------------------------- thresholds


@pytest.mark.parametrize(
    ("rules", "exceeded"),
    [
        ("host_launch>5%", [True]),  # 30 -> 32 ms: 6.7 %
        ("host_launch>7%", [False]),
        ("host_launch>5%&1.9ms", [True]),
        ("host_launch>5%&2ms", [False]),  # not more than 2 ms
        ("total>0%, busy>0%", [False, False]),
        ("idle:host_launch > 5 % & 1 ms ,kernels>1%&5", [True, False]),
        ("aten::_flash_attention_forward>50%", [True]),  # it was not there before
        ("aten::_flash_attention_forward>50%&1s", [False]),
        ("class:attention>0%", [False]),
        ("group norm>0%", [False]),  # in neither run: no time, but no wrong name
        ("dependency>0%,graph>0%", [False, False]),
        ("flash|fwd>1%", [True]),
    ],
)
def test_a_check_fails_where_both_thresholds_are_passed(found, rules, exceeded):
    assert [check.exceeded for check in apply(parse_rules(rules), found)] == exceeded


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ("total", "'total' is not a rule; write METRIC>X%"),
        ("total>5", "not a rule"),
        ("total>5%&", "'' is not a duration"),
        ("total>5%&2", "'2' is not a duration"),
        ("kernels>5%&2ms", "write a number after &"),
        ("kernels>5%,totl>3%", "did you mean total.*allowed: total, busy, idle, kernels.*host_launch.*denoise"),
        ("measured>3%", "needs repetitions"),
        ("idle:nothing>3%", "neither run has 'idle:nothing'"),
        ("", "not a rule"),
    ],
)
def test_a_wrong_rule_is_a_sentence_with_what_is_allowed(found, rules, sentence):
    with pytest.raises(ValueError, match=sentence):
        apply(parse_rules(rules), found)


def test_a_name_of_two_things_must_be_told_apart():
    both = made(idle={"copy": MS}, operators=[])
    both.classes[1].name = "copy"
    with pytest.raises(ValueError, match="write idle:copy or class:copy"):
        apply(parse_rules("copy>1%"), compare(both, both))


# ------------------------------------------------------------------------------------------- Markdown


def test_markdown_has_whole_tables_and_the_biggest_change_first(found):
    text = markdown(found, apply(parse_rules("host_launch>5%"), found))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} == {8}
    assert text.startswith("### total 100.0 ms -> 62.00 ms: -38.0 %\n")
    assert "**FAILED** host\\_launch: +6.7 % (30.00 ms -> 32.00 ms), more than host\\_launch>5%" in text
    assert text.index("`aten::bmm`") < text.index("`aten::_flash_attention_forward`")
    assert "`flash\\|fwd` (10.00 ms)" in text
    assert "device.fused-attention: brought 30.00 ms of at most 20.00 ms (attention: 40.00 ms -> 10.00 ms)" in text


# -------------------------------------------------------------------------------------------- command


def command(*words):
    return said("compare", *words)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    save_run(made(), folder / "before")
    renamed = save_run(improved(), folder / "after").rename(folder / "other name.json")
    return folder / "before", renamed


def test_paths_are_compared_as_their_runs(saved):
    found, paths = compare(made(), improved()), compare(*map(str, saved))
    assert paths.changes == found.changes
    assert [paths.before.path, paths.after.path] == list(map(str, saved))
    assert compare(saved[0], improved()).changes == found.changes
    with pytest.raises(ValueError, match="no-such-folder"):
        compare(saved[0], "no-such-folder/run.json")


def test_exit_code_1_and_a_sentence_where_a_check_fails(saved):
    bad = command(*saved, "--fail-on", "total>5%&2ms,host_launch>5%")
    assert bad.returncode == 1
    assert bad.stderr == (
        "frameroof: check failed: host_launch: +6.7 % (30.00 ms -> 32.00 ms), more than host_launch>5%\n"
    )
    good = command(*saved, "--fail-on", "total>5%&2ms")
    assert (good.returncode, good.stderr) == (0, "")
    assert "passed  total: -38.0 %" in good.stdout
    assert "Kernels that vanished: gemm<float> (40.00 ms)." in good.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--fail-on", "nothing>5%"], "neither run has 'nothing'"),
        (["--fail-on", "total>x%"], "is not a rule"),
        (["--markdown", "--json"], "choose one"),
    ],
)
def test_wrong_input_is_exit_code_2(saved, words, sentence):
    result = command(*saved, *words)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert sentence in result.stderr


def test_json_holds_every_change(saved):
    data = json.loads(command(*saved, "--json", "--fail-on", "total>5%").stdout)
    assert data["schema"] == "frameroof.compare/1"
    total = next(c for c in data["changes"] if (c["group"], c["name"]) == ("run", "total"))
    assert (total["difference"], total["ratio"], total["unit"]) == (-38 * MS, 0.62, "ns")
    assert [(a["id"], a["brought_ns"]) for a in data["advice"]] == [
        ("device.fused-attention", 30 * MS),
        ("host.wait", 10 * MS),
    ]
    assert [c["exceeded"] for c in data["checks"]] == [False]


def test_traces_are_analyzed_on_the_way(tmp_path):
    for name, kernel in (("a.json", 10), ("b.json", 15)):
        events = [{"ph": "X", "cat": "kernel", "name": "k", "pid": 0, "tid": 7, "ts": 100, "dur": kernel}]
        (tmp_path / name).write_text(json.dumps({"traceEvents": events}))
    result = command(tmp_path / "a.json", tmp_path / "b.json", "--json", "--fail-on", "busy>40%&4us")
    assert result.returncode == 1
    data = json.loads(result.stdout)
    busy = next(c for c in data["changes"] if c["name"] == "busy")
    assert (busy["before"], busy["after"], busy["ratio"]) == (10_000, 15_000, 1.5)


def test_it_loads_nothing_heavy(saved):
    program = "import sys\nfrom frameroof.cli import main\ntry: main()\nexcept SystemExit: print(*sys.modules)"
    words = [sys.executable, "-c", program, "compare", *map(str, saved)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "frameroof.study.compare" in done.stdout
    assert not {"torch", "polars", "matplotlib"} & set(done.stdout.split())
