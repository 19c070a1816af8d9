"""Every published number of two documents beside ours, from counted workloads; nothing is run."""

from __future__ import annotations

from .llama_vision import reproduce_llama_vision
from .movie_gen import reproduce_movie_gen
from .records import Correction, Reproduction, Row

DOCUMENTS = {"movie-gen": reproduce_movie_gen, "llama-3.2-vision": reproduce_llama_vision}
ALIASES = {"movie-gen-30b": "movie-gen", "llama3.2-11b-vision": "llama-3.2-vision"}


def reproduce(what: str, steps: int | None = None) -> Reproduction:
    """The numbers of a document, ``"movie-gen"`` or ``"llama-3.2-vision"``, beside ours, with verdicts.

    `steps` replaces the 50 denoising steps on our side; published numbers stay. Raises `ValueError`, a
    sentence, for another name and for steps that are not admissible.
    """
    key = what.strip().lower().replace("_", "-")
    found = DOCUMENTS.get(ALIASES.get(key, key))
    if found is None:
        raise ValueError(f"nothing to reproduce is called {what!r}; there are {' and '.join(DOCUMENTS)}")
    return found(steps)


__all__ = ["DOCUMENTS", "Correction", "Reproduction", "Row", "reproduce"]
