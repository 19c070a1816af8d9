"""`frameroof.profile`: a block, a function or a piece of work, recorded, timed, analyzed and saved whole."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from copy import copy
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..annotations import stage_range
from ..hardware import Device, device
from ..recorded import Environment, Measured
from ..run import Run, save_run
from ..written import check_new, check_place, make_folder, together, write_whole, writing_whole
from . import marks
from .environment import maths, surroundings
from .hooks import ModuleHooks, roots_of
from .memory import on_cuda
from .probe import probe
from .timing import Clock, Say, Timing, measure
from .trace import profiled

F = TypeVar("F", bound=Callable[..., Any])
TRACE, CAPTURE, RUN = "trace.json.gz", "capture.json.gz", "run.json"


def profile(
    model: Any = None, *, out: str | os.PathLike[str] | None = None, force: bool = False, shapes: bool = True
) -> Profile:
    """Record what runs: ``with frameroof.profile(model) as run: …``, or ``@frameroof.profile()`` on a function.

    `model` is what is named in the trace: a module, a mapping of modules, a diffusers pipeline; without it every
    module that is called. `out` is a folder for trace.json.gz and run.json, written when the block has ended well;
    `force` overwrites them. `shapes` records the inputs of operators, without which there are no FLOPs.
    Raises `ValueError`, a sentence, for a model that is none, and a folder that holds a run already.
    """
    return Profile(model, out=out, force=force, shapes=shapes)


class Profile:
    """One recording: `result` is the analyzed `Run`, `save` writes it; before the end of the block there is neither.

    Raises `ValueError`, a sentence, for a model that is none, a folder that holds a run already, and a result that is
    not there yet.
    """

    def __init__(
        self,
        model: Any = None,
        *,
        out: str | os.PathLike[str] | None = None,
        force: bool = False,
        shapes: bool = True,
    ) -> None:
        self.roots = roots_of(model)
        self.out, self.force, self.shapes = Path(out) if out is not None else None, force, shapes
        if self.out is not None:
            check_folder(self.out, force)
        self.measured = Measured()
        self.environment: Environment | None = None
        self.device: Device | None = None
        self.has_capture = False
        self.maths: str | None = None
        self._folder: Path | None = None
        self._result: Run | None = None
        self._open: ExitStack | None = None

    # ------------------------------------------------------------------------------- recording

    def __enter__(self) -> Profile:
        with ExitStack() as stack:
            stack.enter_context(self.recording())
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        stack, self._open = self._open, None
        if stack is not None:
            stack.__exit__(*error)
        if error[0] is None and self.out is not None:
            self.save(self.out, self.force)

    def __call__(self, function: F) -> F:
        """A decorator: every call is recorded; `function.profile` is the last call's recording."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if _recording:  # it calls itself, or something that is recorded calls it
                return function(*args, **kwargs)
            with self:
                return function(*args, **kwargs)

        call.profile = self  # type: ignore[attr-defined]
        return call  # type: ignore[return-value]

    def stage(self, name: str) -> marks.Stage:
        """A stage of the block: ``with run.stage("denoise"):``, the same as `frameroof.stage`.

        Raises `ValueError`, as that does.
        """
        return marks.stage(name)

    @contextmanager
    def recording(self, name: str = TRACE) -> Iterator[None]:
        """Record the block into the file `name` of a folder of our own.

        Raises `ValueError`, a sentence, where something is being recorded already.
        """
        global _recording
        if _recording:
            raise ValueError("a profile is being recorded already; end it first")
        self._result = None
        folder = self._fresh()
        _recording = True
        try:
            with ModuleHooks(self.roots) as hooks, marks.opening(_range), profiled(folder / name, self.shapes):
                start = Clock().now()
                yield
                Clock().wait()
                taken = Clock().now() - start
            self.maths = maths() if on_cuda() else None
        finally:
            _recording = False
        if name == TRACE:
            self.measured.profiled_ns = taken
        self.measured.modules = len(hooks.names)

    def measure(  # six arguments: what is run, and how often
        self,
        work: Callable[[], Any],
        *,
        warmup: int = 1,
        repeat: int = 5,
        graph: bool = False,
        say: Say = lambda _: None,
        clock: Clock | None = None,
    ) -> Timing:
        """Warm `work` up, time it `repeat` times without the profiler, then record it once.

        `graph` (CUDA) captures it in a CUDA graph after the warm-up; what is timed and recorded is its replay, and
        the capture is recorded too, so that the replayed kernels keep their modules.
        Raises `ValueError`, a sentence, for repetitions below 0, and where a graph cannot be captured.
        """
        if warmup < 0 or repeat < 0:
            raise ValueError(f"repetitions are 0 or more, not {min(warmup, repeat)}")
        self.measured = Measured()
        timing = measure(work, warmup=warmup, repeat=0 if graph else repeat, say=say, clock=clock)
        if graph:
            say("capturing a graph")
            work = self._captured(work)
            replayed = measure(work, warmup=1, repeat=repeat, say=say, clock=clock)
            replayed.cold_ns, replayed.compile_ns, replayed.warmup = timing.cold_ns, timing.compile_ns, warmup
            timing = replayed
        say("recording")
        with self.recording():
            work()
        seen, self.measured = self.measured, timing.record()
        self.measured.profiled_ns, self.measured.modules, self.measured.graph = (
            seen.profiled_ns, seen.modules, graph or None,
        )  # fmt: skip
        if self.out is not None:
            say("analyzing")
            self.save(self.out, self.force)
        return timing

    def _captured(self, work: Callable[[], Any]) -> Callable[[], Any]:
        if not on_cuda():
            raise ValueError("a CUDA graph needs a CUDA device, and the work did not use one")
        graph = torch.cuda.CUDAGraph()
        with self.recording(CAPTURE), torch.cuda.graph(graph):
            work()
        self.has_capture = True
        replay: Callable[[], Any] = graph.replay
        return replay

    # --------------------------------------------------------------------------------- results

    @property
    def trace(self) -> Path:
        """The trace's file, in a folder that goes with this object.

        Raises `ValueError`, a sentence, before the end of the block.
        """
        if self._folder is None or not (self._folder / TRACE).exists():
            raise ValueError("nothing has been recorded: the block has not ended, or it failed")
        return self._folder / TRACE

    @property
    def result(self) -> Run:
        """The recording, analyzed (torch-free data, as of `frameroof analyze`).

        Raises `ValueError`, a sentence, before the end of the block, and where the trace cannot be read.
        """
        trace = self.trace
        if self._result is None:
            from ..trace.advice import conclude
            from ..trace.to_run import analyze

            if self.environment is None:
                self.environment = surroundings()
            if not on_cuda() and self.device is None:
                self.device = _this_cpu()
            capture = trace.with_name(CAPTURE) if self.has_capture else None
            run = analyze(trace, capture=capture, on=self.device, maths=self.maths)
            run.measured, run.environment = copy(self.measured), copy(self.environment)
            if self.device is not None:
                run.environment.probe = self.device
                run.summary.hardware = None  # it is not in `frameroof hardware`
            known = self.device or (device(run.summary.hardware) if run.summary.hardware else None)
            conclude(run, known)  # once more: what was measured without the profiler bounds it
            self._result = run
        return self._result

    def save(
        self, folder: str | os.PathLike[str], force: bool = False, more: Mapping[str, bytes] | None = None
    ) -> Path:
        """Write trace.json.gz, run.json and `more` files by name, all or none of them.

        Raises `ValueError`, a sentence, where files are there already (`force` overwrites them) or cannot be written.
        """
        target = Path(folder)
        check_folder(target, force)
        run, trace = self.result, self.trace
        with together():
            make_folder(target)
            for name in (TRACE, CAPTURE) if self.has_capture else (TRACE,):
                with open(trace.with_name(name), "rb") as recorded, writing_whole(target / name, force) as out:
                    shutil.copyfileobj(recorded, out)
            for name, content in (more or {}).items():
                write_whole(target / name, content, force=True)
            save_run(run, target, force)
        return target

    def _fresh(self) -> Path:
        """A folder for this recording's files, removed with this object."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="frameroof-"))
            weakref.finalize(self, shutil.rmtree, self._folder, True)
        (self._folder / TRACE).unlink(missing_ok=True)
        return self._folder


_recording = False


@functools.cache
def _this_cpu() -> Device:
    return probe()


def _range(name: str) -> AbstractContextManager[Any]:
    opened: AbstractContextManager[Any] = torch.profiler.record_function(stage_range(name))
    return opened


def check_folder(folder: Path, force: bool) -> None:
    """Whether a recording may be written to `folder`; `ValueError` with a sentence if not."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; --out names a folder")
    check_place(folder, folder=True)
    for name in (RUN, TRACE, CAPTURE):
        check_new(folder / name, force)
