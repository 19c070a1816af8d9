"""Every table and figure by its id, in the paper's order, and what runs some of them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from .beyond import beyond_cost, beyond_pipeline, beyond_video
from .fleet import figure_1
from .frames import figure_14
from .intensity import figure_5
from .phases import table_3
from .published import beyond_published
from .quality import figure_4
from .reuse import figure_13
from .scaling import figure_10
from .sequence import figure_8, figure_9
from .shares import figure_7
from .similarity import section_5a
from .source import Experiment, Source
from .speedup import table_2
from .staggering import beyond_staggering, beyond_staggering_series
from .taxonomy import table_1
from .temporal import AXES, figure_11, figure_12
from .training import figure_6

EXPERIMENTS: dict[str, Callable[[Source], Experiment]] = {
    "figure-1": figure_1,
    "table-1": table_1,
    "figure-4": figure_4,
    "figure-5": figure_5,
    "figure-6": figure_6,
    "figure-7": figure_7,
    "table-2": table_2,
    "table-3": table_3,
    "figure-8": figure_8,
    "figure-9": figure_9,
    "section-5a": section_5a,
    "figure-10": figure_10,
    "figure-11": figure_11,
    "figure-12": figure_12,
    "figure-13": figure_13,
    "figure-14": figure_14,
    "beyond-video": beyond_video,
    "beyond-pipeline": beyond_pipeline,
    "beyond-cost": beyond_cost,
    "beyond-staggering": beyond_staggering,
    "beyond-staggering-series": beyond_staggering_series,
    "beyond-published": beyond_published,
}
# Words of `--only`, each for the experiments it means.
TOPICS: dict[str, tuple[str, ...]] = {
    "taxonomy": ("table-1", "figure-4"),
    "intensity": ("figure-5",),
    "training": ("figure-1", "figure-6"),
    "operators": ("figure-7",),
    "attention": ("figure-7", "table-2", "section-5a", "figure-10"),
    "sequence": ("table-3", "figure-8", "figure-9"),
    "scaling": ("figure-10", "figure-14"),
    "temporal": ("figure-11", "figure-12", "figure-13", "figure-14"),
    "beyond": tuple(name for name in EXPERIMENTS if name.startswith("beyond")),
}


def chosen(only: str | None = None) -> tuple[str, ...]:
    """Ids from ``figure-8``, ``8`` (a figure), topics such as ``attention``, comma-separated; None for all.

    Raises `ValueError` with the close ones for a name that means nothing.
    """
    if only is None or not only.strip():
        return tuple(EXPERIMENTS)
    wanted: set[str] = set()
    for word in (part.strip().lower().replace(" ", "-").replace("_", "-") for part in only.split(",")):
        found = TOPICS.get(word) or tuple(i for i in (word, f"figure-{word}", f"table-{word}") if i in EXPERIMENTS)[:1]
        if not found:
            near = difflib.get_close_matches(word, (*EXPERIMENTS, *TOPICS), n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join((*EXPERIMENTS, *TOPICS))}"
            raise ValueError(f"unknown figure or topic {word!r}; {hint}")
        wanted.update(found)
    return tuple(name for name in EXPERIMENTS if name in wanted)


def run(
    source: Source,
    ids: Sequence[str] | None = None,
    jobs: str | os.PathLike[str] | None = None,
    counters: Mapping[str, str | os.PathLike[str]] | None = None,
) -> Iterator[Experiment]:
    """The experiments of `ids` (None: all) one after the other. `jobs`: job records for figure 1; `counters`: Nsight
    Compute exports: of ``temporal`` and ``spatial`` attention for figure 13, of models by name for figure 8."""
    given = counters or {}
    axes = {name: path for name, path in given.items() if name in AXES} or None
    for name in ids if ids is not None else EXPERIMENTS:
        if name == "figure-1":
            made = figure_1(source, jobs)
        elif name == "figure-13":
            made = figure_13(source, axes)
        elif name == "figure-8":
            made = figure_8(source, {name: path for name, path in given.items() if name not in AXES})
        else:
            made = EXPERIMENTS[name](source)
        yield _warned(made, source.caveat) if made.how == source.how and made.rows else made


def _warned(experiment: Experiment, caveat: str) -> Experiment:
    """The source's caveat as part of the reason of every claim that our numbers decide."""
    claims = tuple(
        replace(claim, why=f"{claim.why.strip()} {caveat}".strip()) if claim.ours and not claim.counted else claim
        for claim in experiment.claims
    )
    return replace(experiment, claims=claims)
