"""A picture of each experiment: `draw` makes it, `saved` gives it as PNG and SVG, the same bytes every time."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import matplotlib
from matplotlib.figure import Figure

from ...study.characterize.source import Experiment
from . import beyond, operators, sequence, taxonomy, video
from .style import STYLE

FIGURES: dict[str, Callable[[Experiment], Figure]] = {
    "figure-1": taxonomy.figure_1,
    "table-1": taxonomy.table_1,
    "figure-4": taxonomy.figure_4,
    "figure-5": taxonomy.figure_5,
    "figure-6": taxonomy.figure_6,
    "figure-7": operators.figure_7,
    "table-2": operators.table_2,
    "table-3": sequence.table_3,
    "figure-8": sequence.figure_8,
    "figure-9": sequence.figure_9,
    "section-5a": operators.section_5a,
    "figure-10": operators.figure_10,
    "figure-11": video.figure_11,
    "figure-12": video.figure_12,
    "figure-13": video.figure_13,
    "figure-14": video.figure_14,
    "beyond-video": beyond.beyond_video,
    "beyond-pipeline": beyond.beyond_pipeline,
    "beyond-cost": beyond.beyond_cost,
    "beyond-staggering": beyond.beyond_staggering,
    "beyond-staggering-series": beyond.beyond_staggering_series,
    "beyond-published": beyond.beyond_published,
}
DOTS_PER_INCH = 130


def draw(experiment: Experiment) -> Figure | None:
    """The experiment's picture; None where it has no rows to draw."""
    if not experiment.rows:
        return None
    with matplotlib.rc_context(STYLE):
        made = FIGURES[experiment.id](experiment)
        made.draw_without_rendering()
        made.set_layout_engine("none")  # one layout for both formats
        return made


def saved(figure: Figure, kind: str) -> bytes:
    """The picture as ``png`` or ``svg``, without dates."""
    out = BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with matplotlib.rc_context(STYLE):
        figure.savefig(out, format=kind, dpi=DOTS_PER_INCH, metadata=metadata)
    return out.getvalue()
