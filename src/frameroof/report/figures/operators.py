"""Figures of operators and image size: breakdown (7), flash attention (Table II), growth with the image (10, V-A)."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ...study.characterize.scaling import crossovers
from ...study.characterize.source import Experiment, Row
from .style import (
    ATTENTION,
    BLUE,
    FAMILY,
    GRAY,
    GREEN,
    ORANGE,
    OVER_LINES,
    PURPLE,
    RED,
    SKY,
    YELLOW,
    clusters,
    engineering,
    named,
    plain,
    powers_of_two,
    sheet,
    wrapped,
)

CLASSES = {
    "attention": RED, "convolution": BLUE, "linear": ORANGE, "group norm": GREEN, "layer norm": SKY,
    "elementwise": YELLOW, "copy": PURPLE, "other": GRAY,
}  # fmt: skip
LEAN = "ours, leaner baseline"


def figure_7(experiment: Experiment) -> Figure:
    """Time by class of operation, baseline and flash, over each model's baseline."""
    made, (axes,) = sheet(experiment, 10, 4.8)
    names = named(experiment.rows)
    titles = {row["model"]: row["title"] for row in experiment.rows}
    for at, name in enumerate(names):
        for side, kind in ((-0.21, "baseline"), (0.21, "flash")):
            parts = _folded([r for r in experiment.rows if r["model"] == name and r["attention"] == kind])
            bottom = 0.0
            for each, color in CLASSES.items():
                height = parts.get(each, 0.0)
                axes.bar(at + side, height, 0.38, bottom=bottom, color=color, edgecolor="white", linewidth=0.4,
                         hatch="///" if kind == "flash" else "")  # fmt: skip
                if height > 0.06 and each in ("attention", "convolution", "linear"):
                    axes.text(at + side, bottom + height / 2, f"{height / (sum(parts.values()) or 1) * 100:.0f}",
                              ha="center", va="center", fontsize=7,
                              bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "linewidth": 0})  # fmt: skip
                bottom += height
    axes.set_xticks(range(len(names)), [wrapped(titles[name]) for name in names])
    axes.set_ylabel("time over the run with baseline attention")
    axes.set_title("left bar: baseline attention, right bar (hatched): flash; numbers: percent of that run", fontsize=8)
    axes.grid(axis="x", visible=False)
    handles = [Patch(color=color, label=name) for name, color in CLASSES.items()]
    axes.legend(handles=handles[::-1], loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
    return made


def _folded(rows: list[Row]) -> dict[str, float]:
    """Heights by class, those without a color of their own as other."""
    out: dict[str, float] = {}
    for row in rows:
        name = row["class"] if row["class"] in CLASSES else "other"
        out[name] = out.get(name, 0.0) + row["of_baseline"]
    return out


def table_2(experiment: Experiment) -> Figure:
    """What flash attention brings, end to end beside the paper's, and of attention alone by family."""
    made, (whole, alone) = sheet(experiment, 11.5, 6.2, 2, 1)
    rows = experiment.rows
    titles = [row["title"] for row in rows]
    columns = {"paper": ("paper, Table II", GRAY), "speedup": ("ours", BLUE), "lean_speedup": (LEAN, GREEN)}
    known = {c: label for c, label in columns.items() if any(row.get(c) is not None for row in rows)}
    series = {name: [row.get(column) for row in rows] for column, (name, _) in known.items()}
    colors = dict(known.values())
    clusters(whole, titles, series, colors, lambda value: f"{value:.2f}")
    whole.axhline(1, color="black", linewidth=0.8)
    whole.set_ylabel("speed-up end to end [x]")
    whole.margins(y=0.12)
    whole.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    bars = alone.bar(range(len(rows)), [row["attention_speedup"] or 0 for row in rows], 0.6,
                     color=[FAMILY[row["family"]] for row in rows])  # fmt: skip
    alone.bar_label(bars, fmt="{:.2f}", fontsize=7, padding=1, bbox=OVER_LINES)
    alone.axhline(1, color="black", linewidth=0.8)
    alone.set_xticks(range(len(rows)), [
        f"{wrapped(row['title'])}\n{row['attention_share'] * 100:.0f} % of baseline" for row in rows
    ])  # fmt: skip
    alone.set_ylabel("speed-up of attention alone [x]")
    alone.margins(y=0.12)
    alone.grid(axis="x", visible=False)
    present = set(named(rows, "family"))
    alone.legend(handles=[Patch(color=c, label=f) for f, c in FAMILY.items() if f in present], fontsize=8,
                 loc="upper left", bbox_to_anchor=(1.0, 1.0))  # fmt: skip
    return made


def figure_10(experiment: Experiment) -> Figure:
    """Time of attention and convolution against the image's side, and where they are equal."""
    made, (axes,) = sheet(experiment, 7.5, 4.4)
    sides = sorted({row["side_px"] for row in experiment.rows})
    for kind, marker in (("baseline", "o"), ("flash", "s")):
        mine = [row for row in experiment.rows if row["attention"] == kind]
        if not mine:
            continue
        at = [row["side_px"] for row in mine]
        axes.plot(at, [r["attention_s"] for r in mine], f"-{marker}", color=ATTENTION[kind], label=f"attention, {kind}")
        for cross in crossovers(at, [row["ratio"] for row in mine]):
            axes.axvline(cross, color=ATTENTION[kind], linewidth=0.8, linestyle="--")
            axes.annotate(f"{kind}: equal at {cross:.0f} px", (cross, 0.98), xytext=(3, 0), fontsize=7.5, rotation=90,
                          va="top", xycoords=("data", "axes fraction"), textcoords="offset points")  # fmt: skip
    times = {row["convolution_s"] for row in experiment.rows if row["side_px"] == sides[-1]}
    apart = max(times) > 1.01 * min(times)  # measured: the same convolutions, in two runs
    for kind, look in (("flash", "-^"), ("baseline", ":^"))[: 1 + apart]:
        mine = [row for row in experiment.rows if row["attention"] == kind]
        axes.plot([r["side_px"] for r in mine], [r["convolution_s"] for r in mine], look, color=ORANGE,
                  label=f"convolution, {kind} run" if apart else "convolution")  # fmt: skip
    axes.set_yscale("log")
    powers_of_two(axes.xaxis, sides)
    axes.tick_params(axis="x", labelsize=8)
    plain(axes.yaxis)
    axes.set_xlabel("side of the image [px]")
    axes.set_ylabel("time in one run [s]")
    axes.legend(fontsize=8, loc="upper left")
    return made


def section_5a(experiment: Experiment) -> Figure:
    """Bytes of the similarity matrix against the side of the latent."""
    made, (axes,) = sheet(experiment, 8.5, 4.4)
    rows = experiment.rows
    sides = [row["latent"] for row in rows]
    lines = (
        ("formula_bytes", "closed form of the paper", "-", GRAY),
        ("counted_bytes", "counted: one head, one call a level", "o", BLUE),
        ("counted_all_bytes", "counted: all heads and calls", "s", ORANGE),
        ("largest_bytes", "counted: largest single call", "^", GREEN),
        ("matrix_bytes", "one matrix of the call that was measured", "-", PURPLE),
        ("allocated_bytes", "measured peak allocation of that call", "D", RED),
    )
    for column, label, look, color in lines:
        known = [(side, row[column]) for side, row in zip(sides, rows, strict=True) if row.get(column)]
        if known:
            axes.plot([x for x, _ in known], [y for _, y in known], look, color=color, label=label)
    last = [row["formula_bytes"] for row in rows if row.get("formula_bytes")]
    if last and len(sides) > 1:
        axes.plot(sides, [last[-1] * (s / sides[-1]) ** 4 * 3 for s in sides], ":", color="black", linewidth=0.9,
                  label="slope of the fourth power")  # fmt: skip
    axes.set_yscale("log")
    powers_of_two(axes.xaxis, sides)
    engineering(axes.yaxis, "B")
    axes.set_xlabel("side of the latent [latent pixels, 8 image pixels each]")
    axes.set_ylabel("similarity matrix [byte]")
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return made
