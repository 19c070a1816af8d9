"""Runnable models, one family a file: builders over diffusers and transformers, and our own.

The room can be called: ``frameroof.models()`` lists the catalogue. A new family is one file with `recipes()` (and
`PIPELINES` where a diffusers folder can name it) and one line in `FAMILIES`. What families share: `common`, `image`
and `video` for the pipelines, `autoencoders`, `text_encoders` and `kv_cache` for their ends, `layers` for the models
that exist only as papers.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

from ..public import make_callable
from .folder import folder_recipe

if TYPE_CHECKING:
    from ..catalogue import Entry
    from ..public import Listing
    from ..workload.recipe import Recipe

FAMILIES = (
    "llama",
    "stable_diffusion",
    "sd3",
    "flux",
    "pixart",
    "dit",
    "sana",
    "qwen_image",
    "deepfloyd",
    "imagen",
    "muse",
    "amused",
    "parti",
    "make_a_video",
    "phenaki",
    "modelscope",
    "animatediff",
    "svd",
    "wan",
    "hunyuan",
    "hunyuan15",
    "cogvideox",
    "mochi",
    "ltx",
    "longlive",
    "movie_gen",
    "mllama",
    "vlm",
)


def models() -> Listing[Entry]:
    """Every model that is known, sorted by name, with its aliases, title, assumptions and sources."""
    from ..catalogue import entries  # here, because engines run where msgspec is not installed

    return entries()


def all_recipes() -> Iterator[Recipe]:
    """Every recipe of every family, in the order of `FAMILIES`."""
    for family in FAMILIES:
        yield from import_module(f".{family}", __name__).recipes()


def named_recipe(name: str) -> Recipe:
    """The recipe of one model of the catalogue; `ValueError` with close matches if there is none."""
    import difflib

    from ..catalogue import ALIASES

    key = ALIASES.get(name.lower(), name.lower())
    found = {recipe.name: recipe for recipe in all_recipes()}
    if key in found:
        return found[key]
    near = difflib.get_close_matches(key, found, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "`frameroof models` lists all"
    raise ValueError(f"unknown model {name!r}: no builder, no diffusers folder and no such name; {hint}")


__all__ = ["FAMILIES", "all_recipes", "folder_recipe", "models", "named_recipe"]

make_callable(__name__, models)
