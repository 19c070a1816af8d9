"""Whole pipelines with random weights, at full size and reduced: one file a model, named as `study.characterize.suite`.

A new model is one file here with `PIPELINE` (a `common.Pipeline`) and one line in the suite. A model of the catalogue
that is not in the suite has the catalogue's name, with _ for - and dots, and needs no line. A reduced model keeps
every kind of block, resolution and attention site of the full one and is at most 8 times narrower, with heads as wide
as the full model's; so are norm groups where the library does not fix their number.
"""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules

from ... import catalogue
from ...study.characterize.suite import MODELS
from .common import Pipeline


def names() -> tuple[str, ...]:
    """Models that run here, by name."""
    known = {_file(name): name for name in (*catalogue.names(), *MODELS)}
    return tuple(sorted(known.get(m.name, m.name) for m in iter_modules(__path__) if m.name != "common"))


def pipeline(name: str) -> Pipeline:
    """The pipeline of a model; `ValueError` if there is none."""
    file = _file(name)
    if file == "common" or find_spec(f"{__name__}.{file}") is None:
        raise ValueError(f"there is no pipeline of {name!r} to run; there are: {', '.join(names())}")
    found: Pipeline = import_module(f"{__name__}.{file}").PIPELINE
    return found


def _file(name: str) -> str:
    return re.sub("[-.]", "_", name)


__all__ = ["Pipeline", "names", "pipeline"]
