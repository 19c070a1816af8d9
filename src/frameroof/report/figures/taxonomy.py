"""Figures of the whole field: fleet (1), taxonomy (Table I), quality (4), roofline (5), training (6)."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...study.characterize.source import Experiment
from ...units import format_rate
from .style import BLACK, BLUE, FAMILY, GRAY, ORANGE, clusters, engineering, named, sheet, wrapped


def figure_1(experiment: Experiment) -> Figure:
    """GPUs per parameter and memory utilization, relative to LLMs."""
    made, (axes,) = sheet(experiment, 6.5, 3.6)
    kinds = named(experiment.rows, "kind")
    series = {
        "GPUs per parameter": [row["gpus_per_billion_over_llm"] for row in experiment.rows],
        "memory utilization": [row["memory_utilization_over_llm"] for row in experiment.rows],
    }
    clusters(
        axes, kinds, series, {"GPUs per parameter": BLUE, "memory utilization": ORANGE}, lambda value: f"{value:.3g}x"
    )
    axes.set_ylabel("relative to LLM jobs")
    axes.set_xlabel("kind of model trained")
    axes.legend(fontsize=8, loc="upper left")
    return made


def table_1(experiment: Experiment) -> Figure:
    """Parameters, FLOPs and time of each model of Table I, with the class that follows."""
    made, axes = sheet(experiment, 11, 3.4, 1, 3, sharey=True)
    names = [wrapped(row["title"], 20) for row in experiment.rows]
    panels = (
        ("parameters", "parameters of all parts", "", "memory"),
        ("flops", "compute of one image", "FLOP", "compute"),
        ("time_s", "time of one image", "s", "latency"),
    )
    for panel, (column, label, unit, kind) in zip(axes, panels, strict=True):
        for at, row in enumerate(experiment.rows):
            color = FAMILY[str(row["architecture"]).split()[0]]
            panel.plot(row[column], at, "o", color=color)
            if row[kind]:
                panel.annotate(row[kind], (row[column], at), xytext=(0, 6), textcoords="offset points", fontsize=8,
                               ha="center")  # fmt: skip
        panel.set_xscale("log")
        values = [row[column] for row in experiment.rows]
        panel.set_xlim(min(values) / 4, max(values) * 4)
        panel.margins(y=0.18)
        engineering(panel.xaxis, unit)
        panel.set_xlabel(f"{label}" + (f" [{unit}]" if unit else ""))
        panel.tick_params(axis="x", labelsize=8)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    return made


def figure_4(experiment: Experiment) -> Figure:
    """Published FID against parameters, with the front."""
    made, (axes,) = sheet(experiment, 7, 4.4)
    drawn: list[tuple[float, float]] = []
    for row in experiment.rows:
        crowded = any(abs(x - row["fid"]) < 4 and 0.8 < y / row["parameters"] < 1.25 for x, y in drawn)
        drawn.append((row["fid"], row["parameters"]))
        axes.plot(row["fid"], row["parameters"], "o" if row["pareto"] else "s", color=FAMILY[row["family"]],
                  markerfacecolor=FAMILY[row["family"]] if row["pareto"] else "white")  # fmt: skip
        axes.annotate(row["title"], (row["fid"], row["parameters"]), textcoords="offset points",
                      xytext=(6, -11) if crowded else (6, 4), fontsize=8)  # fmt: skip
    front = sorted((row["fid"], row["parameters"]) for row in experiment.rows if row["pareto"])
    axes.step([x for x, _ in front], [y for _, y in front], color=GRAY, linewidth=1, where="post", zorder=0)
    axes.set_yscale("log")
    axes.margins(x=0.2, y=0.15)
    engineering(axes.yaxis, "")
    axes.set_xlabel("FID on COCO, published (lower is better)")
    axes.set_ylabel("trainable parameters, published")
    handles = [
        *(Line2D([], [], marker="o", linestyle="", color=FAMILY[f], label=f) for f in ("diffusion", "transformer")),
        Line2D([], [], color=GRAY, label="front: none is smaller and better"),
        Line2D([], [], marker="s", linestyle="", color=BLACK, markerfacecolor="white", label="not on the front"),
    ]
    axes.legend(handles=handles, fontsize=8, loc="upper right")
    return made


def figure_5(experiment: Experiment) -> Figure:
    """The roofline, with each model at both of its intensities."""
    made, (axes,) = sheet(experiment, 9, 5)
    peak, bandwidth, ridge = (experiment.rows[0][name] for name in ("peak", "bandwidth", "ridge"))
    values = [row[c] for row in experiment.rows for c in ("intensity_bytes", "intensity_capacity")]
    if peak and bandwidth:
        ends = (min([*values, 1.0]) / 2, ridge, max(values) * 2)
        axes.plot(ends, [bandwidth * ends[0], peak, peak], color=BLACK, linewidth=1.2)
        axes.annotate(f"dense peak {format_rate(peak)}, ridge at {ridge:.0f} FLOP/byte",
                      (ends[2], peak), xytext=(0, 4), textcoords="offset points", fontsize=8, ha="right")  # fmt: skip
    for number, row in enumerate(experiment.rows, 1):
        color, rate = FAMILY[row["family"]], row["achieved"]
        both = (row["intensity_bytes"], row["intensity_capacity"])
        axes.plot(both, (rate, rate), color=color, linewidth=0.6, linestyle=":")
        axes.plot(both[0], rate, "o", color=color)
        axes.plot(both[1], rate, "s", color=color, markerfacecolor="white")
        axes.annotate(str(number), (both[1], rate), xytext=(7, 0), textcoords="offset points", fontsize=8, va="center")
    axes.set_xscale("log")
    axes.set_yscale("log")
    rates = [row["achieved"] for row in experiment.rows]
    axes.set_ylim(min(rates) / 4, max([*rates, peak or 0]) * 4)
    engineering(axes.yaxis, "FLOP/s")
    axes.set_xlabel("arithmetic intensity [FLOP/byte]")
    axes.set_ylabel("rate of the whole run [FLOP/s]")
    handles = [
        Line2D([], [], marker="o", linestyle="", color=GRAY, label="FLOPs over bytes moved"),
        Line2D([], [], marker="s", linestyle="", color=GRAY, markerfacecolor="white", label="over capacity (paper)"),
        *(
            Line2D([], [], marker=f"${n}$", linestyle="", color=FAMILY[row["family"]], label=row["title"])
            for n, row in enumerate(experiment.rows, 1)
        ),
    ]
    axes.legend(handles=handles, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return made


def figure_6(experiment: Experiment) -> Figure:
    """Compute and communication of a training step against devices."""
    made, (axes,) = sheet(experiment, 7, 3.8)
    devices = [str(row["devices"]) for row in experiment.rows]
    compute = [row["compute_s"] for row in experiment.rows]
    communication = [row["communication_s"] for row in experiment.rows]
    axes.bar(devices, compute, 0.6, label="compute", color=BLUE)
    top = axes.bar(devices, communication, 0.6, bottom=compute, label="communication", color=ORANGE, hatch="///",
                   edgecolor="white")  # fmt: skip
    shares = [f"{row['communication_share'] * 100:.1f} %" for row in experiment.rows]
    axes.bar_label(top, labels=shares, fontsize=8, padding=2)
    axes.set_ylim(0, 1.15 * max(a + b for a, b in zip(compute, communication, strict=True)))
    axes.set_xlabel(f"data-parallel devices ({experiment.rows[0].get('backend') or 'collectives'})")
    axes.set_ylabel("time of one step [s]")
    axes.set_title("above each bar: share of communication, one after the other", fontsize=8)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes.grid(axis="x", visible=False)
    return made
