"""One pipeline, one attention, one set of sizes -> a folder with the Run, its trace and its frames; done once.

A folder is written whole or not at all, so a folder that is there is finished, and an interrupted study goes on with
those that are not.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import torch
from torch import nn

from ...hardware import Device
from ...profiler import Profile
from ...profiler.build import make
from ...profiler.environment import surroundings
from ...profiler.probe import probe
from ...profiler.timing import measure
from ...run import Run, load_run, save_run
from ...trace.find.idle import explain_idle
from ...trace.find.stages import find_stages
from ...trace.to_run import describe
from ...written import folder_beside
from ..attention import attention
from ..pipelines import Pipeline, pipeline
from .frames import Recorded, whole_calls, whole_work
from .memory import check_memory, needed_bytes, on_meta

Say = Callable[[str], None]
WARMUP = 1
BUSY = 1.75
"""Load for each core above which other programs must have been running: a run itself makes one."""
RUN, WORK_FILE, CALLS_FILE, TRACE_FILE = "run.json", "work.parquet", "calls.parquet", "trace.json.gz"


@dataclass
class Runs:
    """Runs of pipelines on this machine under a folder. One built model is kept for the runs that follow."""

    out: Path
    reduced: bool
    device: str
    dtype: str
    say: Say = lambda _: None
    _built: tuple[str, nn.Module] | None = field(default=None, repr=False)
    _needed: dict[Path, int] = field(default_factory=dict, repr=False)

    @property
    def settings(self) -> str:
        """What all runs share and another study under the same folder may not."""
        return f"{'reduced' if self.reduced else 'full'}-{self.device.split(':')[0]}-{self.dtype}"

    def sizes(self, model: str, asked: Mapping[str, int]) -> dict[str, int]:
        """All sizes of a run for which some were asked."""
        return pipeline(model).sizes(asked, self.reduced)

    def folder(self, model: str, how: str, sizes: Mapping[str, int]) -> Path:
        """Where the run of these (whole) sizes is or will be; of identical steps their number that was run."""
        ran = pipeline(model).run(sizes)
        return self.out / "runs" / self.settings / model / how / "-".join(f"{n}{v}" for n, v in sorted(ran.items()))

    def done(self, model: str, how: str, sizes: Mapping[str, int]) -> bool:
        """Whether that run is finished."""
        return (self.folder(model, how, sizes) / RUN).is_file()

    def work(self, model: str, how: str, asked: Mapping[str, int]) -> pl.DataFrame:
        """The work of a whole run, identical steps included; recorded now if it was not."""
        sizes = self.sizes(model, asked)
        work = pl.read_parquet(self.record(model, how, sizes) / WORK_FILE)
        return whole_work(work, pipeline(model).repeats(sizes))

    def calls(self, model: str, how: str, asked: Mapping[str, int]) -> pl.DataFrame:
        """The calls of attention of a whole run, identical steps included."""
        sizes = self.sizes(model, asked)
        calls = pl.read_parquet(self.record(model, how, sizes) / CALLS_FILE)
        return whole_calls(calls, pipeline(model).repeats(sizes))

    def check(self, model: str, how: str, sizes: Mapping[str, int]) -> None:
        """`ValueError` with the number where a run that is not finished needs more memory than is free now."""
        if self.done(model, how, sizes):
            return
        folder = self.folder(model, how, sizes)
        if folder not in self._needed:
            self.say(f"{self._label(model, how, sizes)}: estimating memory")
            which = pipeline(model)
            self._needed[folder] = needed_bytes(which, how, which.run(sizes), self.reduced, self.dtype)
        check_memory(f"{model} with {how} attention", self._needed[folder], self.device)

    def record(self, model: str, how: str, sizes: Mapping[str, int]) -> Path:
        """The folder of a run, which is made now unless it is there; `ValueError` where it cannot fit."""
        folder = self.folder(model, how, sizes)
        if self.done(model, how, sizes):
            return folder
        which = pipeline(model)
        ran, label = which.run(sizes), self._label(model, how, sizes)
        self._give_up(model)
        self.check(model, how, sizes)
        self.say(f"{label}: building")
        module = self._module(model, which)
        torch.manual_seed(0)
        with torch.inference_mode(), attention(how):
            recorded = Profile(module)
            self.say(f"{label}: timing")
            timing = measure(lambda: module(ran), warmup=WARMUP, repeat=0 if self.reduced else 1)
            self.say(f"{label}: recording")
            with recorded.recording():
                module(ran)
        load = os.getloadavg()[0] / (os.cpu_count() or 1)
        self.say(f"{label}: analyzing")
        frames = Recorded.of(recorded.trace)
        run = self._run(frames, {"model": model, "attention": how})
        run.measured = msgspec.structs.replace(
            timing.record(), profiled_ns=recorded.measured.profiled_ns, modules=recorded.measured.modules,
            sizes=dict(sizes), ran=ran, needed_bytes=self._needed[folder], parameters=parameters(module),
            load_per_core=load,
        )  # fmt: skip
        return _write(folder, run, frames, recorded.trace)

    def disturbed(self, model: str, how: str, asked: Mapping[str, int]) -> bool:
        """Whether other programs were running while that was recorded: its times then mean little."""
        folder = self.record(model, how, self.sizes(model, asked))
        return (load_run(folder).measured.load_per_core or 0.0) > BUSY

    def _label(self, model: str, how: str, sizes: Mapping[str, int]) -> str:
        """What is run, for people: the sizes that are not the model's own are named."""
        own = self.sizes(model, {})
        asked = ", ".join(f"{name} {size}" for name, size in sizes.items() if own[name] != size)
        return f"{model}{f' ({asked})' if asked else ''}, {how} attention"

    def _give_up(self, model: str) -> None:
        """Let go of a module that was built for another model, before memory is looked at."""
        if self._built is not None and self._built[0] != model:
            self._built = None
            if self.device.startswith("cuda"):
                torch.cuda.empty_cache()

    def _module(self, model: str, which: Pipeline) -> nn.Module:
        """The pipeline on the device, built unless it is there."""
        if self._built is None:
            found = make(model, lambda: (which.build(self.reduced), (), {}), self.device, self.dtype)
            self._built = model, found.module
        return self._built[1]

    def _run(self, frames: Recorded, source: dict[str, Any]) -> Run:
        work_table, on = frames.work_table, _cpu() if self.device == "cpu" else None
        run = describe(work_table, (frames.attention, find_stages(work_table), explain_idle(work_table)), on=on)
        run.source = msgspec.structs.replace(run.source, **source, reduced=self.reduced, dtype=self.dtype)
        run.environment = surroundings()
        if on is not None:
            run.environment.probe = on
            run.summary.hardware = None
        return run

    def parameters(self, model: str) -> int:
        """Parameters of a model as it is run."""
        return parameters(on_meta(pipeline(model), self.reduced))


def parameters(module: nn.Module) -> int:
    """Parameters, shared ones once."""
    return sum(p.numel() for p in module.parameters())


@cache
def _cpu() -> Device:
    return probe()


def _write(folder: Path, run: Run, frames: Recorded, trace: Path) -> Path:
    """Everything into a folder beside, which then takes its place."""
    with folder_beside(folder) as beside:
        frames.work().write_parquet(beside / WORK_FILE)
        frames.calls().write_parquet(beside / CALLS_FILE)
        shutil.copyfile(trace, beside / TRACE_FILE)
        save_run(run, beside)
        shutil.rmtree(folder, ignore_errors=True)  # without run.json it is none of ours that is finished
        os.replace(beside, folder)
    return folder
