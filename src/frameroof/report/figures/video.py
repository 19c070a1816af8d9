"""Figures of the temporal dimension: tensors (11), time and FLOPs (12), caches (13), frames (14)."""

from __future__ import annotations

from functools import partial
from math import ceil
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...study.characterize.source import Experiment
from ...units import format_flops, format_seconds
from ..cells import cell
from .style import ATTENTION, AXIS, BLUE, GRAY, MARKERS, clusters, digits, engineering, named, plain, sheet


def figure_11(experiment: Experiment) -> Figure:
    """Tokens of a sequence against sequences in the batch: the same tokens, cut one way or the other."""
    made, (axes,) = sheet(experiment, 8.5, 4.6)
    rows = [row for row in experiment.rows if row["tensor"] == "q"]
    for at, name in enumerate(named(rows)):
        mine = [row for row in rows if row["model"] == name]
        axes.plot([r["tokens"] for r in mine], [r["batch"] for r in mine], ":", color=GRAY, linewidth=1)
        for row in mine:
            axes.plot(row["tokens"], row["batch"], MARKERS[at], color=AXIS[row["kind"]], markersize=8)
            text = f"{name}, {row['kind']}\nshape {row['shape']}\nstride {row['stride']}"
            axes.annotate(text, (row["tokens"], row["batch"]), xytext=(9, 0), textcoords="offset points", fontsize=8,
                          va="center")  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    least, most = axes.get_xlim()
    axes.set_xlim(least / 1.3, most * 6)
    axes.margins(y=0.15)
    plain(axes.xaxis)
    plain(axes.yaxis)
    axes.set_xlabel("tokens in one sequence")
    axes.set_ylabel("sequences in the batch")
    axes.set_title("queries of the first spatial and first temporal attention: batch, heads, tokens, head dimension",
                   fontsize=8)  # fmt: skip
    return made


def figure_12(experiment: Experiment) -> Figure:
    """Time and FLOPs by kind of attention; a column a model."""
    names = named(experiment.rows)
    made, axes = sheet(experiment, max(6.0, 5.2 * len(names)), 5.6, 2, len(names))
    for at, name in enumerate(names):
        mine = [row for row in experiment.rows if row["model"] == name]
        kinds = [k for k in named(mine, "kind") if k in AXIS or any(r["share"] > 0.002 for r in mine if r["kind"] == k)]
        attentions = named(mine, "attention")
        of = {(row["kind"], row["attention"]): row for row in mine}
        times = {a: [of[k, a]["time_s"] if (k, a) in of else None for k in kinds] for a in attentions}
        clusters(axes[at], kinds, times, ATTENTION, lambda value: format_seconds(value, 3))
        axes[at].set_title(name, fontsize=9)
        axes[at].set_ylabel("time in one run [s]")
        axes[at].margins(y=0.12)
        axes[at].legend(fontsize=8)
        flops = {"FLOPs": [next(r["flops"] for r in mine if r["kind"] == k) for k in kinds]}
        below = axes[at + len(names)]
        clusters(below, kinds, flops, {"FLOPs": BLUE}, lambda value: format_flops(value, 3))
        engineering(below.yaxis, "FLOP")
        below.set_ylabel("both products in one run")
        below.margins(y=0.12)
    return made


def figure_13(experiment: Experiment) -> Figure:
    """Counters of temporal and spatial attention where they were read; else the estimate of reuse."""
    if experiment.rows and "reuse" in experiment.rows[0]:
        return _reuse(experiment)
    measures = [column for column in experiment.columns if column.name not in ("kind", "class", "kernels")]
    known = [m for m in measures if any(isinstance(row.get(m.name), int | float) for row in experiment.rows)]
    across = min(3, len(known))
    down = ceil(len(known) / across)
    made, axes = sheet(experiment, 4 * across, 1 + 2.4 * down, down, across)
    classes = named(experiment.rows, "class")
    kinds = named(experiment.rows, "kind")
    of = {(row["class"], row["kind"]): row for row in experiment.rows}
    for panel in axes[len(known) :]:
        panel.remove()
    for panel, measure in zip(axes, known, strict=False):
        values = {k: [of[c, k].get(measure.name) if (c, k) in of else None for c in classes] for k in kinds}
        clusters(panel, classes, values, AXIS, partial(cell, column=measure))
        panel.set_title(measure.meaning, fontsize=8)
        panel.set_ylabel(f"{measure.name}" + (f" [{measure.unit}]" if measure.unit else ""), fontsize=8)
        panel.margins(y=0.15)
    axes[0].legend(fontsize=8)
    return made


def _reuse(experiment: Experiment) -> Figure:
    names = named(experiment.rows)
    made, axes = sheet(experiment, max(6.0, 4.4 * len(names)), 3.8, 1, len(names), sharey=True)
    for panel, name in zip(axes, names, strict=True):
        mine = [row for row in experiment.rows if row["model"] == name]
        classes = named(mine, "class")
        of = {(row["class"], row["kind"]): row["reuse"] for row in mine}
        values = {k: [of.get((c, k)) for c in classes] for k in named(mine, "kind")}
        clusters(panel, classes, values, AXIS, digits)
        panel.set_title(name)
        panel.set_ylabel("bytes asked for over bytes there are [x]")
        panel.margins(y=0.12)
    axes[0].legend(fontsize=8)
    return made


def figure_14(experiment: Experiment) -> Figure:
    """FLOPs against frames, a panel a resolution, with the crossover."""
    sides = list(dict.fromkeys(row["side_px"] for row in experiment.rows))
    across = min(2, len(sides))
    down = ceil(len(sides) / across)
    made, axes = sheet(experiment, 4.8 * across, 1.2 + 2.9 * down, down, across, sharex=True, sharey=True)
    for panel in axes[len(sides) :]:
        panel.remove()
    looks: Any = {"spatial": "-", "temporal": "-", "full": "--", "windowed": ":", "causal": "-."}
    for panel, side in zip(axes, sides, strict=False):
        mine = [row for row in experiment.rows if row["side_px"] == side]
        frames = [row["frames"] for row in mine]
        for name, look in looks.items():
            panel.plot(frames, [row[name] for row in mine], look, color=AXIS[name], linewidth=1.6)
        cross = mine[0]["crossover_frames"]
        panel.axvline(cross, color=GRAY, linewidth=0.8)
        panel.annotate(f"temporal = spatial\nat {cross:,.0f} frames", (cross, 0.03), xytext=(-3, 0), ha="right",
                       xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=7.5,
                       bbox={"facecolor": "white", "linewidth": 0, "pad": 1})  # fmt: skip
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        engineering(panel.yaxis, "FLOP")
        panel.set_title(f"{side} x {side} px, {mine[0]['tokens']:,} tokens a frame", fontsize=8)
        panel.set_ylabel("FLOPs of one layer's products", fontsize=8)
        panel.set_xlabel("frames", fontsize=8)
        panel.set_xticks(frames)
        plain(panel.xaxis)
        panel.tick_params(labelsize=7)
    meaning = {
        "spatial": "spatial: frame by frame", "temporal": "temporal: place by place",
        "full": "full: all tokens of all frames", "windowed": "temporal, 16 frames at most",
        "causal": "temporal, past frames only",
    }  # fmt: skip
    handles = [Line2D([], [], linestyle=look, color=AXIS[n], label=meaning[n]) for n, look in looks.items()]
    made.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8)
    return made
