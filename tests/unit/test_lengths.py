"""The lengths of attention over a run, in the terminal."""

from __future__ import annotations

from trace_made import H100, Made

from frameroof.report.analysis import print_run
from frameroof.report.lengths import series
from frameroof.run import SequenceRow


def rows(*lengths):
    return [SequenceRow(i, length, 7, 1) for i, length in enumerate(lengths)]


def test_a_bar_is_as_high_as_the_logarithm_of_its_length():
    assert series(rows(*(2**n for n in range(8)))) == "▁▂▃▄▅▆▇█"
    assert series(rows(64, 4096, 64)) == "▁█▁"
    assert series(rows(77, 77)) == "▁▁"


def test_a_long_run_keeps_its_longest_lengths():
    """1000 calls in 10 bars: the one long call is in the fifth hundred."""
    assert series(rows(*(4096 if i == 450 else 64 for i in range(1000))), 10) == "▁▁▁▁█▁▁▁▁▁"


def test_lengths_are_counted_by_calls_and_time(tmp_path, capsys):
    t = Made(**H100)
    for i, (length, time) in enumerate([(16, 1_000), (64, 7_000), (16, 2_000)]):
        dims = [[1, 2, length, 8]] * 3
        operator = "aten::_scaled_dot_product_flash_attention"
        t.one(operator, 20_000 * (i + 1), time, "flash_fwd", dims, ["c10::Half"] * 3)
    print_run(t.run(tmp_path))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    at = lines.index(["Lengths", "of", "attention"])
    assert lines[at + 3 : at + 5] == [
        ["16", "2", "66.7%", "3.000", "µs", "30.0%"],
        ["64", "1", "33.3%", "7.000", "µs", "70.0%"],
    ]
    assert ["▁█▁"] in lines
