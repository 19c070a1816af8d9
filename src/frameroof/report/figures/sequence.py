"""Figures of sequence lengths: phases (Table III), the course of a run (8), the distribution (9)."""

from __future__ import annotations

from math import ceil

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ...study.characterize.source import Experiment
from .style import BLUE, ORANGE, named, percent, plain, powers_of_two, sheet

TICKS = tuple(4**n for n in range(12))


def table_3(experiment: Experiment) -> Figure:
    """Least to most query and key length of every stage."""
    rows = experiment.rows
    made, (axes,) = sheet(experiment, 9, 1.6 + 0.27 * len(rows))
    for at, row in enumerate(rows):
        for shift, what, color in ((-0.16, "query", BLUE), (0.16, "key", ORANGE)):
            ends = (row[f"{what}_min"], row[f"{what}_max"])
            axes.plot(ends, (at + shift, at + shift), "-o", color=color, markersize=4, linewidth=2)
    names = [f"{row['title'].split(' (')[0]}: {row['stage']}" for row in rows]
    axes.set_yticks(range(len(rows)), [f"{n}  [{r['phase']}]" for n, r in zip(names, rows, strict=True)], fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    most = max(row["key_max"] for row in rows)
    powers_of_two(axes.xaxis, [tick for tick in TICKS if tick <= 4 * most])
    axes.set_xlabel("length of self-attention, least to most over the run [token]")
    handles = [Line2D([], [], marker="o", color=c, label=n) for n, c in (("queries", BLUE), ("keys", ORANGE))]
    axes.legend(handles=handles, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return made


def figure_8(experiment: Experiment) -> Figure:
    """Sequence length over one fundamental period, with memory-bandwidth utilization along it, a panel a model."""
    names = named(experiment.rows)
    across = min(4, len(names))
    down = ceil(len(names) / across)
    made, axes = sheet(experiment, max(6.0, 3.1 * across), 1.2 + 2.5 * down, down, across)
    for panel in axes[len(names) :]:
        panel.remove()
    for number, (panel, name) in enumerate(zip(axes, names, strict=False)):
        mine = [row for row in experiment.rows if row["model"] == name]
        lengths = [row["sequence_len"] for row in mine]
        at = [row["call"] for row in mine]
        look = "-" if len(mine) > 100 else "-o"
        panel.step(at, lengths, look, where="mid", color=BLUE, markersize=3, linewidth=1.2)
        period = mine[0]["period"]
        repeat = f"period {period} call{'s' * (period != 1)}" if period else "never repeats"
        panel.set_title(f"{mine[0]['title'].split(' (')[0]}\n{mine[0]['stage']}: {repeat}", fontsize=8)
        if period and max(lengths) > 1.5 * min(lengths):  # a length that grows by one is a line on a linear axis
            panel.set_yscale("log", base=2)
            panel.set_yticks([t for t in TICKS if min(lengths) / 4 <= t <= 4 * max(lengths)])
        else:
            panel.set_ylim(0, 1.25 * max(lengths))
        plain(panel.yaxis)
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if len(mine) == 1:
            panel.set_xticks([0])
            panel.axhline(lengths[0], color=BLUE, linewidth=1.2)
        panel.tick_params(labelsize=7)
        panel.set_xlabel("call of self-attention", fontsize=8)
        if number % across == 0:
            panel.set_ylabel("sequence length [token]", fontsize=8, color=BLUE)
        shares = [(row["call"], row["bandwidth_share"]) for row in mine if row["bandwidth_share"] is not None]
        if shares:
            other = panel.twinx()
            other.plot([x for x, _ in shares], [y for _, y in shares], "-" if len(shares) > 100 else ".:",
                       color=ORANGE, linewidth=0.9)  # fmt: skip
            dram = [(row["call"], row["dram_share"]) for row in mine if row["dram_share"] is not None]
            if dram:
                other.plot([x for x, _ in dram], [y for _, y in dram], "x", color=ORANGE, markersize=3, label="counter")
                other.legend(fontsize=6)
            other.set_ylim(0, 1)
            percent(other.yaxis)
            other.grid(visible=False)
            other.tick_params(labelsize=7)
            if number % across == across - 1 or number == len(names) - 1:
                other.set_ylabel("memory bandwidth in use", fontsize=8, color=ORANGE)
    return made


def figure_9(experiment: Experiment) -> Figure:
    """Share of calls by sequence length, a panel an image size."""
    sides = list(dict.fromkeys(row["side_px"] for row in experiment.rows))
    across = min(4, len(sides))
    down = ceil(len(sides) / across)
    made, axes = sheet(experiment, max(5.0, 2.5 * across), 1.2 + 2.0 * down, down, across, sharex=True, sharey=True)
    for panel in axes[len(sides) :]:
        panel.remove()
    for panel, side in zip(axes, sides, strict=False):
        mine = [row for row in experiment.rows if row["side_px"] == side]
        lengths = [row["sequence_len"] for row in mine]
        left, right = [n / 1.5 for n in lengths], [n * 1.5 for n in lengths]
        widths = [b - a for a, b in zip(left, right, strict=True)]
        bars = panel.bar(left, [row["share"] for row in mine], widths, align="edge", color=BLUE)
        panel.bar_label(bars, labels=[f"{row['count']}x" for row in mine], fontsize=7, padding=1)
        panel.set_title(f"{side} x {side} px", fontsize=8)
        panel.set_xscale("log", base=2)
        panel.tick_params(axis="x", labelsize=7, rotation=90)
        panel.grid(axis="x", visible=False)
    most = max(row["sequence_len"] for row in experiment.rows)
    axes[0].set_xticks([tick for tick in TICKS if tick <= 2 * most])
    plain(axes[0].xaxis)
    percent(axes[0].yaxis)
    axes[0].margins(y=0.15)
    made.supxlabel("sequence length of a call of self-attention [token]", fontsize=9)
    made.supylabel("share of the calls in one period", fontsize=9)
    return made
