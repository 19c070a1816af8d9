"""A diffusers folder (model_index.json and the components' configurations) -> a recipe; no weights."""

from __future__ import annotations

import difflib
import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..workload.recipe import Recipe

WEIGHTLESS = ("scheduler", "tokenizer", "feature_extractor", "image_processor", "safety_checker", "processor")


def folder_recipe(folder: Path) -> Recipe:
    """The recipe of the pipeline in `folder`; `ValueError` with a sentence for what is missing."""
    index = _json(folder / "model_index.json")
    cls = index.get("_class_name")
    pipelines = _pipelines()
    if cls not in pipelines:
        near = difflib.get_close_matches(str(cls), pipelines, n=2)
        hint = f" (close: {', '.join(near)})" if near else ""
        raise ValueError(f"{folder}: no recipe for a {cls}{hint}; known pipelines: {', '.join(sorted(pipelines))}")
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
    return recipe


def _pipelines() -> dict[str, Any]:
    from . import FAMILIES

    found: dict[str, Any] = {}
    for family in FAMILIES:
        found.update(getattr(import_module(f".{family}", __package__), "PIPELINES", {}))
    return found


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path} does not exist; a diffusers folder has model_index.json and COMPONENT/config.json")
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path} is not a configuration: it holds no JSON object")
    return data
