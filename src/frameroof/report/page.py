"""A study as one HTML file that needs nothing else: claims, pictures, tables, assumptions. Works offline."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import jinja2

from ..outside import clean
from ..study.characterize.source import Experiment
from .cells import cell, heading

if TYPE_CHECKING:
    from .study import Study

TEMPLATE = "page.html.jinja"
OPEN_ROWS, LONG = 12, 120
"""Tables of more rows are folded up; reasons of so many characters are shortened further."""


def page(study: Study, experiments: Sequence[Experiment], pictures: Mapping[str, bytes]) -> str:
    """The page; `pictures` are SVG by the experiment's id."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_fit)
    environment.filters["short"] = first_sentence
    template = environment.from_string(files(__package__).joinpath(TEMPLATE).read_text("utf-8"))
    common = shared_assumptions(experiments)
    sections = [_section(each, pictures.get(each.id), common) for each in experiments]
    verdicts = Counter(claim.verdict for each in experiments for claim in each.claims)
    return template.render(study=study, sections=sections, common=common, verdicts=verdicts, rows=OPEN_ROWS) + "\n"


def _fit(value: Any) -> Any:
    """Text without control characters; what the template made itself stays."""
    return clean(value, len(value)) if type(value) is str else value


def first_sentence(text: str) -> str:
    """A text up to its first full stop; of a long sentence the list behind its colon is left out."""
    first = re.split(r"(?<=\.) (?=[A-Z])", text, maxsplit=1)[0]
    return first if len(first) < LONG else first.partition(": ")[0].rstrip(".") + "."


def shared_assumptions(experiments: Sequence[Experiment]) -> tuple[str, ...]:
    """What most experiments assume, in order: it is said once, at the top."""
    seen = Counter(text for each in experiments for text in dict.fromkeys(each.assumptions))
    return tuple(text for text, count in seen.items() if len(experiments) > 1 and count > len(experiments) / 2)


def _section(experiment: Experiment, picture: bytes | None, common: Sequence[str]) -> dict[str, Any]:
    return {
        "id": experiment.id,
        "title": experiment.title,
        "how": experiment.how,
        "machine": experiment.machine,
        "claims": experiment.claims,
        "missing": experiment.missing,
        "picture": base64.b64encode(picture).decode() if picture else "",
        "columns": [{"name": heading(c), "meaning": c.meaning, "unit": c.unit} for c in experiment.columns],
        "rows": [[_shown(row.get(c.name), c) for c in experiment.columns] for row in experiment.rows],
        "assumptions": [text for text in dict.fromkeys(experiment.assumptions) if text not in common],
        "shares": any(text in common for text in experiment.assumptions),
    }


def _shown(value: Any, column: Any) -> tuple[str, bool]:
    """The text of a cell, and whether it is a number."""
    return cell(value, column), isinstance(value, int | float) and not isinstance(value, bool)
