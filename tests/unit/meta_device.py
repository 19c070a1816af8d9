"""What the tests of models share: running a builder on meta as the recorder does, and the sourced facts.

Import it behind ``pytest.importorskip("torch")``.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from frameroof.workload.recipe import Builder, Part, Recipe

FACTS = json.loads((Path(__file__).parents[1] / "golden" / "model_facts.json").read_text("utf-8"))["components"]

TINY_CLIP = {
    "architectures": ["CLIPTextModel"],
    "model_type": "clip_text_model",
    "torch_dtype": "float32",
    "hidden_size": 32,
    "intermediate_size": 37,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 1000,
    "max_position_embeddings": 20,
}


@pytest.fixture(autouse=True)
def quiet_and_offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No hub, and the libraries' own warnings stay theirs; for every test of a module that imports it."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def fact_of(name: str, role: str) -> dict[str, Any]:
    return next(each for each in FACTS if (each["model"], each["role"]) == (name, role))


def recipes_of(families: Iterable[str]) -> dict[str, Recipe]:
    """Every recipe of these families, by name."""
    modules = (import_module(f"frameroof.models.{family}") for family in families)
    return {recipe.name: recipe for module in modules for recipe in module.recipes()}


def part_of(recipe: Recipe, stage: str) -> Part:
    return next(part for part in recipe.parts if part.name == stage)


@contextmanager
def bf16_on_meta() -> Iterator[None]:
    """The default type and device that the recorder builds under."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("meta"):
            yield
    finally:
        torch.set_default_dtype(before)


def counted(build: Builder, sizes: Mapping[str, int]) -> tuple[int, int, Any]:
    """Parameters, FLOPs and output of one forward."""
    with bf16_on_meta(), torch.no_grad(), FlopCounterMode(display=False) as flops:
        module, args, kwargs = build(**sizes)
        output = module(*args, **kwargs)
    return sum(p.numel() for p in module.parameters()), flops.get_total_flops(), output
