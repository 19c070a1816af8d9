"""A folder of diffusers (model_index.json and its components, or one component) -> a recipe; no weights."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
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
    """The recipe of the pipeline in `folder`, or of the one model whose ``config.json`` it holds.

    A pipeline that no family knows is its components, each run once. Raises `ValueError`, a sentence, for what is
    missing, and where no component is known either.
    """
    if (folder / "config.json").exists() and not (folder / "model_index.json").exists():
        return _of_model(folder)
    index = _json(folder / "model_index.json")
    cls = index.get("_class_name")
    if not isinstance(cls, str):
        raise ValueError(f"{folder}: model_index.json names no pipeline as its _class_name")
    pipelines = collected("PIPELINES")
    components = {}
    for name, entry in index.items():
        if name.startswith("_") or not isinstance(entry, list) or len(entry) != 2 or entry[1] is None:
            continue
        if any(word in name for word in WEIGHTLESS) or not isinstance(entry[1], str):
            continue
        components[name] = (entry[1], _json(folder / name / "config.json"))
    with _said(folder, cls):
        if cls in pipelines:
            recipe: Recipe = pipelines[cls](folder.resolve().name, components)
            return recipe
        from .components import one_by_one

        return one_by_one(folder.resolve().name, components, f"{folder}: no recipe for a {_hinted(cls, pipelines)}")


def _of_model(folder: Path) -> Recipe:
    """The recipe of one model: of diffusers by its ``_class_name``, of transformers by its ``architectures``."""
    from .components import one_by_one

    config = _json(folder / "config.json")
    named = config.get("architectures")
    cls = config.get("_class_name") or (named[0] if isinstance(named, list) and named else None)
    if not isinstance(cls, str):
        raise ValueError(f"{folder}: config.json names no class, as its _class_name or first of its architectures")
    name = folder.resolve().name
    with _said(folder, cls):
        return one_by_one(name, {name: (cls, config)}, "")


@contextmanager
def _said(folder: Path, cls: str) -> Iterator[None]:
    """What a configuration lacks, or does not mean, as a sentence."""
    cls = clean(cls, MOST_QUOTED)
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{folder}: a {cls} needs {error}, which its configuration does not give") from error
    except (TypeError, AttributeError, IndexError, ArithmeticError) as error:
        raise ValueError(f"{folder}: the configuration is none of a {cls}: {clean(str(error), MOST_QUOTED)}") from error


def _hinted(cls: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(cls[:MOST_QUOTED], known, n=2)
    return clean(cls, MOST_QUOTED) + (f" (close: {', '.join(near)})" if near else "")


def collected(table: str) -> dict[str, Any]:
    """What the families put into their tables of this name."""
    from . import FAMILIES

    found: dict[str, Any] = {}
    for family in FAMILIES:
        found.update(getattr(import_module(f".{family}", __package__), table, {}))
    return found


def _json(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise ValueError(f"{path} does not exist; a pipeline's folder has model_index.json and COMPONENT/config.json")
    return from_json(read_whole(path, MOST_BYTES), dict[str, Any], f"{path} is not a configuration")
