"""How every figure looks: colors that the color-blind can tell apart (Okabe and Ito), axes with units, one title."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter

from ...study.characterize.source import Experiment, Row

STYLE: Any = {
    "svg.hashsalt": "frameroof",
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e2e2e2",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
}
OVER_LINES = {"facecolor": "white", "linewidth": 0, "pad": 0.4}
"""The box of a number that stands where a line may run."""
BLUE, ORANGE, GREEN, PURPLE, SKY, RED, YELLOW, BLACK, GRAY = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000", "#9a9a9a",
)  # fmt: skip
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED, BLACK, YELLOW, GRAY)
MARKERS = "osD^vP*Xh"
FAMILY = {"llm": BLACK, "diffusion": BLUE, "transformer": ORANGE}
ATTENTION = {"baseline": RED, "flash": BLUE, "lean": PURPLE}
AXIS = {"spatial": BLUE, "temporal": ORANGE, "full": PURPLE, "windowed": GREEN, "causal": SKY}


def sheet(  # six arguments: what is drawn, and the size and grid of the picture
    experiment: Experiment, width: float, height: float, rows: int = 1, columns: int = 1, **how: Any
) -> tuple[Figure, list[Axes]]:
    """An empty picture in inches with its title and `rows` x `columns` axes, row by row; `how` goes to `subplots`."""
    made = Figure(figsize=(width, height), layout="constrained")
    source = experiment.how if experiment.machine == "" else f"{experiment.how}, {experiment.machine}"
    made.suptitle(f"{experiment.title}\n\n", x=0.01, ha="left", fontsize=11, fontweight="bold")
    made.text(0.01, 1 - 0.36 / height, source, ha="left", va="top", fontsize=8.5, color="#444444")
    axes = made.subplots(rows, columns, squeeze=False, **how)
    return made, list(np.ravel(axes))


def wrapped(text: str, width: int = 14) -> str:
    """A label on several lines."""
    return "\n".join(textwrap.wrap(text, width))


def named(rows: Sequence[Row], column: str = "model") -> list[str]:
    """The values of a column in their order, each once."""
    return list(dict.fromkeys(str(row[column]) for row in rows))


def engineering(axis: Any, unit: str) -> None:
    """Ticks such as ``10 TFLOP`` on a matplotlib axis (``axes.xaxis``)."""
    if axis.get_scale() == "log":
        axis.set_major_locator(LogLocator(numticks=5))
        axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(EngFormatter(unit=unit))


def plain(axis: Any) -> None:
    """Ticks as plain numbers, also on a logarithmic axis: ``0.1``, ``20``, ``4,096``."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}" if value < 1e4 else f"{value:,.0f}"))
    axis.set_minor_formatter(FuncFormatter(lambda value, _: ""))


def percent(axis: Any) -> None:
    """Ticks of shares as percent."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:.0f} %"))


def powers_of_two(axis: Any, values: Sequence[float]) -> None:
    """A logarithmic axis whose ticks are these values."""
    axis.axes.set_xscale("log", base=2) if axis.axis_name == "x" else axis.axes.set_yscale("log", base=2)
    axis.set_ticks(sorted(set(values)))
    axis.set_ticks([], minor=True)
    plain(axis)


def beside(axes: Axes, columns: int = 1) -> None:
    """The legend to the right of the axes."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, ncols=columns)


def digits(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}"


def clusters(
    axes: Axes,
    groups: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    colors: Mapping[str, str],
    text: Callable[[float], str],
) -> None:
    """Bars side by side, a cluster a group; each bar says its value as `text` has it; None leaves a gap."""
    width = 0.8 / max(1, len(series))
    for at, (name, values) in enumerate(series.items()):
        where = [i + (at - (len(series) - 1) / 2) * width for i in range(len(groups))]
        heights = [value if value is not None else 0.0 for value in values]
        hatch = "" if at % 2 == 0 else "///"
        bars = axes.bar(where, heights, width * 0.94, label=name, color=colors[name], hatch=hatch, edgecolor="white")
        labels = [text(value) if value is not None else "" for value in values]
        axes.bar_label(bars, labels=labels, fontsize=7, padding=1, bbox=OVER_LINES)
    axes.set_xticks(range(len(groups)), [wrapped(name) for name in groups])
    axes.grid(axis="x", visible=False)


def stacked(axes: Axes, groups: Sequence[str], parts: Mapping[str, Sequence[float]], colors: Mapping[str, str]) -> None:
    """Horizontal bars, one a group from the top, cut into parts."""
    left = np.zeros(len(groups))
    for at, (name, values) in enumerate(parts.items()):
        hatch = "" if at < len(CYCLE) - 1 else "///"
        axes.barh(range(len(groups)), values, left=left, label=name, color=colors[name], hatch=hatch,
                  edgecolor="white", linewidth=0.5)  # fmt: skip
        left = left + np.asarray(values, dtype=float)
    axes.set_yticks(range(len(groups)), [wrapped(name, 22) for name in groups])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
