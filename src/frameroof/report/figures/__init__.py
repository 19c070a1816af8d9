"""A picture of each experiment: `draw` makes it, `saved` gives it as PNG and SVG, the same bytes every time."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import matplotlib
import msgspec
from matplotlib.figure import Figure

from ...outside import clean
from ...study.characterize.source import Experiment
from . import beyond, operators, sequence, taxonomy, video
from .style import STYLE

PARTS = (beyond, operators, sequence, taxonomy, video)


def figure_of(name: str) -> Callable[[Experiment], Figure]:
    """What draws an experiment: the function of its name, ``figure_8`` of ``figure-8``, in one of the parts."""
    word = name.replace("-", "_")
    found: Callable[[Experiment], Figure] = next(getattr(part, word) for part in PARTS if hasattr(part, word))
    return found


DOTS_PER_INCH = 130


def draw(experiment: Experiment) -> Figure | None:
    """The experiment's picture; None where it has no rows to draw."""
    if not experiment.rows:
        return None
    with matplotlib.rc_context(STYLE):
        made = figure_of(experiment.id)(_as_text(experiment))
        made.draw_without_rendering()
        made.set_layout_engine("none")  # one layout for both formats
        return made


def _as_text(experiment: Experiment) -> Experiment:
    """The same with text that matplotlib takes for text: a pair of dollar signs would be a formula."""
    shown = {name: _literal(getattr(experiment, name)) for name in ("title", "machine", "rows")}
    return msgspec.structs.replace(experiment, **shown)


def _literal(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value).replace("$", r"\$")
    if isinstance(value, dict):
        return {_literal(name): _literal(each) for name, each in value.items()}
    return type(value)(map(_literal, value)) if isinstance(value, (list, tuple)) else value


def saved(figure: Figure, kind: str) -> bytes:
    """The picture as ``png`` or ``svg``, without dates."""
    out = BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with matplotlib.rc_context(STYLE):
        figure.savefig(out, format=kind, dpi=DOTS_PER_INCH, metadata=metadata)
    return out.getvalue()
