"""Figures beyond the paper: video transformers, whole pipelines, cost, staggered requests, published times."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from ...study.characterize.source import Experiment
from .style import (
    BLACK,
    BLUE,
    CYCLE,
    GRAY,
    MARKERS,
    ORANGE,
    RED,
    YELLOW,
    beside,
    clusters,
    digits,
    engineering,
    named,
    percent,
    plain,
    sheet,
    stacked,
    wrapped,
)

ROLES = {
    "text encoder": BLACK, "generator": BLUE, "super-resolution, interpolation": ORANGE, "decoder": RED,
    "other": GRAY,
}  # fmt: skip


def beyond_video(experiment: Experiment) -> Figure:
    """Where the time of video models goes, with flash attention."""
    rows = experiment.rows
    parts = {name: [row[f"{name}_share"] for row in rows] for name in ("attention", "linear", "convolution")}
    parts["other"] = [1 - sum(values) for values in zip(*parts.values(), strict=True)]
    texts = [f"{r['flash_s']:,.4g} s, flash {r['speedup']:.3g}x; longest sequence {r['sequence_len']:,}" for r in rows]
    colors = {"attention": RED, "linear": ORANGE, "convolution": BLUE, "other": YELLOW}
    return _shares(experiment, {row["title"]: text for row, text in zip(rows, texts, strict=True)}, parts, colors)


def beyond_pipeline(experiment: Experiment) -> Figure:
    """Shares of the stages of each pipeline."""
    names = named(experiment.rows)
    parts = {role: [0.0] * len(names) for role in ROLES}
    texts: dict[str, str] = {}
    for row in experiment.rows:
        parts[role_of(row["stage"])][names.index(row["model"])] += row["share"]
        plain_s = row["without_guidance_s"]
        texts[row["title"]] = f"{row['whole_s']:,.4g} s" + (f", {plain_s:,.4g} s without guidance" if plain_s else "")
    return _shares(experiment, texts, parts, ROLES)


def _shares(
    experiment: Experiment, texts: Mapping[str, str], parts: Mapping[str, list[float]], colors: Mapping[str, str]
) -> Figure:
    """A horizontal bar for each title of `texts`, cut into shares of a run, its text beside it."""
    made, (axes,) = sheet(experiment, 9.5, 1.7 + 0.42 * len(texts))
    stacked(axes, list(texts), parts, colors)
    for at, text in enumerate(texts.values()):
        axes.text(1.01, at, text, va="center", fontsize=8)
    axes.set_xlim(0, 1)
    percent(axes.xaxis)
    axes.set_xlabel("share of the time of one run, flash attention")
    made.legend(loc="outside lower center", ncols=5, fontsize=8)
    return made


def role_of(stage: str) -> str:
    """What a stage is for, by its name."""
    if stage in ("prefill", "decode"):
        return "generator"
    roles = {
        "text encoder": ("text_encoder", "t5", "clip"),
        "super-resolution, interpolation": ("super_resolution", "interpolat", "upsampl"),
        "decoder": ("decode", "vae", "vq"),
        "generator": ("denoise", "base", "prior", "transformer"),
    }
    return next((role for role, words in roles.items() if any(word in stage for word in words)), "other")


def beyond_cost(experiment: Experiment) -> Figure:
    """Seconds and, where a price is known, US dollars of one image, answer or second of video, by machine."""
    rows = experiment.rows
    wanted = [("seconds", "time [s]"), ("usd", "cost [US dollars]")]
    wanted = [(column, label) for column, label in wanted if any(row[column] for row in rows)]
    machines = named(rows, "machine")
    made, panels = sheet(experiment, 11, 2.6 + 0.3 * len(machines), 1, max(1, len(wanted)), sharey=True)
    units = {row["model"]: row["unit"] for row in rows}
    for panel, (column, label) in zip(panels, wanted, strict=False):
        for at, name in enumerate(named(rows)):
            known = [(r[column], machines.index(r["machine"])) for r in rows if r["model"] == name and r[column]]
            panel.plot([x for x, _ in known], [y for _, y in known], MARKERS[at % len(MARKERS)],
                       color=CYCLE[at % len(CYCLE)], label=f"{name}: one {units[name]}", markersize=6)  # fmt: skip
        panel.set_xscale("log")
        panel.set_xlabel(label)
        plain(panel.xaxis)
        for row, machine in enumerate(machines):
            if column == "usd" and not any(r["usd"] for r in rows if r["machine"] == machine):
                panel.text(0.5, row, "no price known", transform=panel.get_yaxis_transform(), color=GRAY, fontsize=8,
                           ha="center", va="center")  # fmt: skip
    panels[0].set_yticks(range(len(machines)), [wrapped(machine, 28) for machine in machines])
    panels[0].invert_yaxis()
    beside(panels[-1])
    return made


def beyond_staggering(experiment: Experiment) -> Figure:
    """Mean use of bandwidth and speed-up of concurrent requests, in step and staggered."""
    kinds = named(experiment.rows, "attention")
    made, axes = sheet(experiment, 8.5, 5.4, 2, len(kinds), sharey="row")
    colors = {"in step": GRAY, "staggered": BLUE}
    for at, kind in enumerate(kinds):
        mine = [row for row in experiment.rows if row["attention"] == kind]
        requests = list(dict.fromkeys(str(row["requests"]) for row in mine))
        both = (("in step", False), ("staggered", True))
        for down, (column, label, text) in enumerate((
            ("bandwidth_mean", "mean bandwidth in use", lambda value: f"{value:.0%}"),
            ("speedup", "speed-up over one by one [x]", digits),
        )):  # fmt: skip
            panel = axes[at + down * len(kinds)]
            clusters(panel, requests, {n: [r[column] for r in mine if r["staggered"] is s] for n, s in both}, colors,
                     text)  # fmt: skip
            panel.set_ylabel(label, fontsize=8)
            panel.margins(y=0.15)
            panel.set_xlabel("requests at once")
        percent(axes[at].yaxis)
        axes[at].set_title(f"{kind} attention")
    beside(axes[len(kinds) - 1])
    return made


def beyond_staggering_series(experiment: Experiment) -> Figure:
    """Bandwidth demand and similarity matrices over time, in step and staggered."""
    kinds = named(experiment.rows, "attention")
    made, axes = sheet(experiment, 10, 5.4, 2, len(kinds), sharey="row")
    requests = experiment.rows[0]["requests"]
    for at, kind in enumerate(kinds):
        for staggered, label, color, width in ((False, "in step", GRAY, 2.2), (True, "staggered", BLUE, 1.1)):
            mine = [r for r in experiment.rows if r["attention"] == kind and r["staggered"] is staggered]
            times = [row["time_s"] for row in mine]
            axes[at].plot(times, [r["bandwidth_demand"] for r in mine], color=color, linewidth=width, label=label)
            axes[at + len(kinds)].plot(times, [r["held_bytes"] for r in mine], color=color, linewidth=width)
        axes[at].axhline(1, color=RED, linewidth=0.9)
        axes[at].set_title(f"{kind} attention, {requests} requests; red: what the device gives", fontsize=8)
        axes[at].set_ylabel("bandwidth asked for over bandwidth", fontsize=8)
        axes[at + len(kinds)].set_ylabel("similarity matrices held [byte]", fontsize=8)
        axes[at + len(kinds)].set_ylim(bottom=0)
        engineering(axes[at + len(kinds)].yaxis, "B")
        axes[at + len(kinds)].set_xlabel("time [s]")
    beside(axes[len(kinds) - 1])
    return made


def beyond_published(experiment: Experiment) -> Figure:
    """Predicted against published times."""
    rows = experiment.rows
    made, (axes,) = sheet(experiment, 9, 4.6)
    times = [row[c] for row in rows for c in ("published_s", "wall_s", "device_s") if row[c]]
    ends = (min(times) / 2, max(times) * 2)
    axes.plot(ends, ends, color=BLACK, linewidth=0.9, label="equal")
    groups = list(dict.fromkeys((row["model"], row["attention"]) for row in rows))
    for at, (name, kind) in enumerate(groups):
        mine = [row for row in rows if (row["model"], row["attention"]) == (name, kind)]
        color, marker = CYCLE[at % len(CYCLE)], MARKERS[at % len(MARKERS)]
        published = [row["published_s"] for row in mine]
        axes.plot(published, [r["device_s"] for r in mine], marker, color=color, markerfacecolor="white",
                  label=f"{name}, {kind}: device")  # fmt: skip
        axes.plot(published, [r["wall_s"] for r in mine], marker, color=color, label=f"{name}, {kind}: wall")
    axes.set_xscale("log")
    axes.set_yscale("log")
    plain(axes.xaxis)
    plain(axes.yaxis)
    axes.set_xlabel("published time of a run [s]")
    axes.set_ylabel("predicted time of a run [s]")
    beside(axes)
    return made
