"""The lengths of attention over a run, for a terminal: the series in one line of bars, and the distribution as a table
(Golden et al., figures 8 and 9)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from rich.text import Text

from ..run import Run, SequenceRow
from ..units import format_seconds

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 96


def series(rows: Sequence[SequenceRow], width: int = WIDTH) -> str:
    """One bar a call in order of start, as high as the logarithm of its query length; the longest of several calls
    where there are more than `width`."""
    lengths = [row.query_len for row in rows]
    if len(lengths) > width:
        cuts = [round(i * len(lengths) / width) for i in range(width + 1)]
        lengths = [max(lengths[a:b]) for a, b in pairwise(cuts)]
    low, high = math.log(min(lengths)), math.log(max(lengths))
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((math.log(length) - low) * scale)] for length in lengths)


def distribution(run: Run, most: int) -> Text:
    """Calls and time by query length: the `most` lengths with the longest time, in order of length.

    Lines of text, which are printed in a tenth of the time of a rich table.
    """
    calls: dict[int, int] = defaultdict(int)
    times: dict[int, int] = defaultdict(int)
    for row in run.sequence:
        calls[row.query_len] += 1
        times[row.query_len] += row.time_ns
    total = max(1, sum(times.values()))
    chosen = sorted(sorted(times, key=lambda length: -times[length])[:most])
    rows = [("query length", "calls", "of all calls", "time", "of attention's time")]
    rows += [
        (f"{length:,}", f"{calls[length]:,}", f"{calls[length] / len(run.sequence):.1%}",
         format_seconds(times[length] / 1e9, 4), f"{times[length] / total:.1%}")
        for length in chosen
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [" " + "   ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return Text("\n".join([lines[0], " " + "─" * (len(lines[0]) - 1), *lines[1:]]))
