"""A diffusers folder (model_index.json and the components' configurations) -> a recipe; no weights."""

from __future__ import annotations

import difflib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import read_whole
from ..outside import MOST_QUOTED, clean, from_json

if TYPE_CHECKING:
    from ..workload.recipe import Recipe

MOST_BYTES = 1 << 22
"""Bytes of a configuration."""
WEIGHTLESS = ("scheduler", "tokenizer", "feature_extractor", "image_processor", "safety_checker", "processor")


def folder_recipe(folder: Path) -> Recipe:
    """The recipe of the pipeline in `folder`; `ValueError` with a sentence for what is missing."""
    index = _json(folder / "model_index.json")
    cls = index.get("_class_name")
    pipelines = _pipelines()
    if not isinstance(cls, str) or cls not in pipelines:
        near = difflib.get_close_matches(str(cls)[:MOST_QUOTED], pipelines, n=2)
        hint = f" (close: {', '.join(near)})" if near else ""
        known = ", ".join(sorted(pipelines))
        raise ValueError(f"{folder}: no recipe for a {clean(str(cls), MOST_QUOTED)}{hint}; known pipelines: {known}")
    components = {}
    for name, entry in index.items():
        if name.startswith("_") or not isinstance(entry, list) or len(entry) != 2 or entry[1] is None:
            continue
        if any(word in name for word in WEIGHTLESS):
            continue
        components[name] = (entry[1], _json(folder / name / "config.json"))
    try:
        recipe: Recipe = pipelines[cls](folder.resolve().name, components)
    except KeyError as error:
        raise ValueError(f"{folder}: a {cls} needs {error}, which its configuration does not give") from error
    except (TypeError, AttributeError, IndexError, ArithmeticError) as error:
        raise ValueError(f"{folder}: the configuration is none of a {cls}: {clean(str(error), MOST_QUOTED)}") from error
    return recipe


def _pipelines() -> dict[str, Any]:
    from . import FAMILIES

    found: dict[str, Any] = {}
    for family in FAMILIES:
        found.update(getattr(import_module(f".{family}", __package__), "PIPELINES", {}))
    return found


def _json(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise ValueError(f"{path} does not exist; a diffusers folder has model_index.json and COMPONENT/config.json")
    return from_json(read_whole(path, MOST_BYTES), dict[str, Any], f"{path} is not a configuration")
