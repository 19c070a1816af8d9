"""A `Source` whose numbers were measured here: pipelines run under the profiler when an experiment asks for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import torch

from ...files import read_whole
from ...hardware import Device, Node, parse_node
from ...outside import from_json
from ...profiler.environment import cpu_name
from ...profiler.probe import probe
from ...study.characterize.predicted import SIDES
from ...study.characterize.source import Attention, How, Row
from ...study.characterize.suite import GOLDEN, model
from ...written import as_json, make_folder, write_whole
from ..pipelines import pipeline
from .runs import Runs, Say

ATTENTIONS: tuple[Attention, Attention] = ("baseline", "flash")
EXTRAS = ("similarity", "fsdp", "layout")
SIMILAR = "stable-diffusion"  # whose similarity matrix is allocated, and which is swept over sizes
REDUCED = (
    "Models are reduced: at most 8 times narrower, fewer of identical layers; every kind of block, resolution and "
    "attention site is kept. Shares of time differ from those of the full models."
)
REDUCED_CAVEAT = "Measured here with reduced models: shares and ratios need not be those at full size."
BUSY_NOTE = (
    "Other programs kept this machine busy during some runs (load_per_core in run.json): those times mean little. "
    "Remove the runs and measure again on a quiet machine."
)
COMMON = (
    "Random weights: times are real, pictures are not.",
    "Times are operators' own times in one recorded run after a warm-up; what the warm-up took, and of full models one "
    "more run without the profiler, is in each run's run.json.",
    "Of identical steps a few were run and stand for all (run.json: sizes and ran).",
    "Baseline attention: scores, scale, mask, softmax and values as operators of their own, the softmax in fp32. "
    "Flash: PyTorch's scaled_dot_product_attention.",
    "Shapes and strides of temporal and spatial attention are those at the published sizes, from meta tensors.",
    "FSDP: the UNet of Stable Diffusion, one picture a device; communication includes waiting for the other processes.",
)


class Measured:
    """See `Source`. What is asked for is run once and kept under `out`; what is there is not run again."""

    how: How = "measured"

    def __init__(self, models: Sequence[str], runs: Runs) -> None:
        self.runs = runs
        self._models = tuple(dict.fromkeys(model(name).name for name in models))
        for name in self._models:
            pipeline(name)
        self.machine, self.dtype = machine(runs.device, runs.dtype), runs.dtype
        self.caveat = REDUCED_CAVEAT if runs.reduced else ""
        notes = [f"{model(name).title}: {note}" for name in self._models for note in pipeline(name).notes]
        kept = [note for note in notes if runs.reduced or ": Reduced" not in note]
        self.assumptions = (*COMMON, *((REDUCED,) if runs.reduced else ()), *kept)

    @property
    def node(self) -> Node | None:
        """See `Source.node`: a known GPU, or this processor's peaks, measured once and kept."""
        if self.runs.device.startswith("cuda"):
            try:
                return parse_node(torch.cuda.get_device_name())
            except ValueError:
                return None
        return Node(msgspec.convert(self._kept("processor", _processor)[0], Device))

    def fit(self) -> tuple[str, ...]:
        """Leave out the models whose runs at their own sizes need more memory than is free; a sentence for each.

        `ValueError` with the numbers where none is left.
        """
        refused: dict[str, str] = {}
        for name in self._models:
            try:
                for attention in ATTENTIONS:
                    self.runs.check(name, attention, self.sizes(name))
            except ValueError as error:
                refused[name] = str(error)
        if len(refused) == len(self._models):
            raise ValueError("; ".join(refused.values()))
        self._models = tuple(name for name in self._models if name not in refused)
        self.assumptions = (*self.assumptions, *(f"{text}: left out." for text in refused.values()))
        return tuple(f"{text}: left out" for text in refused.values())

    def models(self) -> tuple[str, ...]:
        """See `Source.models`."""
        return self._models

    def sizes(self, model: str) -> dict[str, int]:
        """See `Source.sizes`."""
        return self.runs.sizes(model, {})

    def sides(self, model: str) -> tuple[int, ...]:
        """See `Source.sides`: a full Stable Diffusion goes on to what is predicted, as far as memory holds it."""
        own = pipeline(model).sides
        return own if self.runs.reduced or model != SIMILAR else tuple(sorted({*own, *SIDES}))

    def parameters(self, model: str) -> int:
        """See `Source.parameters`."""
        return self.runs.parameters(model)

    def work(self, model: str, attention: Attention, sizes: Mapping[str, int]) -> pl.DataFrame:
        """See `Source.work`. An assumption is added where the machine was busy with other things."""
        if BUSY_NOTE not in self.assumptions and self.runs.disturbed(model, attention, sizes):
            self.assumptions = (*self.assumptions, BUSY_NOTE)
        return self.runs.work(model, attention, sizes)

    def calls(self, model: str, attention: Attention, sizes: Mapping[str, int]) -> pl.DataFrame:
        """See `Source.calls`."""
        return self.runs.calls(model, attention, sizes)

    def extra(self, name: str) -> list[Row]:
        """See `Source.extra`; what was measured once is kept under `out`."""
        return self._kept(name, lambda: self._extra(name)) if name in EXTRAS else []

    def _kept(self, name: str, measure: Callable[[], list[Row]]) -> list[Row]:
        """Rows that are measured once for a study and then read."""
        file = self.runs.out / "extra" / f"{self.runs.settings}-{name}.json"
        if not file.exists():
            self.runs.say(f"measuring {name}")
            rows = measure()
            make_folder(file.parent)
            write_whole(file, as_json(rows))
        return from_json(read_whole(file), list[Row], f"{file} holds no measured rows")

    def _extra(self, name: str) -> list[Row]:
        runs = self.runs
        if name == "fsdp":
            from .training import training_rows

            return training_rows(_devices(runs.device), runs.reduced, runs.device, runs.say)
        if name == "layout":
            from .layout import MODEL, layout_rows

            return layout_rows(pipeline(MODEL).sizes({}, reduced=False), reduced=False)
        from .memory import similarity_rows

        heads = 1 if runs.reduced else 8
        return similarity_rows(pipeline(SIMILAR).sides, heads, 40, runs.device, runs.dtype)

    def prepare(self) -> None:
        """Run every model with both attentions at its own sizes, saying how far it is."""
        parts = [(name, attention) for name in self._models for attention in ATTENTIONS]
        for at, (name, attention) in enumerate(parts, 1):
            sizes = self.sizes(name)
            done = ", done before" if self.runs.done(name, attention, sizes) else ""
            self.runs.say(f"part {at} of {len(parts)}: {name}, {attention} attention{done}")
            self.runs.record(name, attention, sizes)


def measured_source(
    models: Sequence[str] = GOLDEN,
    out: str | os.PathLike[str] = "study",
    progress: Say = lambda _: None,
    full: bool | None = None,
) -> Measured:
    """A measured source of these models that keeps its runs under `out`; nothing is run before it is asked for.

    `full` sizes are the default where there is a GPU, reduced ones on a CPU. `progress` is told what is being done.
    `ValueError`, a sentence, for an unknown model or one without a pipeline.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    full = device == "cuda" if full is None else full
    runs = Runs(Path(out), not full, device, "bf16" if device == "cuda" else "fp32", progress)
    return Measured(models, runs)


def _processor() -> list[Row]:
    row: Row = msgspec.to_builtins(probe())
    return [row]


def machine(device: str, dtype: str) -> str:
    """This machine as a person would name it."""
    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name()}, {dtype}"
    threads = torch.get_num_threads()
    return f"{cpu_name()}, {threads} thread{'s' * (threads > 1)}, {dtype}"


def _devices(device: str) -> tuple[int, ...]:
    """How many processes a training step is measured with."""
    most: Any = torch.cuda.device_count() if device.startswith("cuda") else 2
    return tuple(n for n in (1, 2, 4, 8) if n <= most)
