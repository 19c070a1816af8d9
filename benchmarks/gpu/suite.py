"""Whole models with random weights, baseline beside flash attention: times in turns, then a trace of each.

Needs msgspec and diffusers (they can travel as wheels); polars is not needed. Traces come back packed,
for `frameroof analyze` where there is no GPU.
"""

from __future__ import annotations

import gc
import gzip
import json
import shutil
import statistics
import tarfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from frameroof.lab.attention import NAMES, attention

from .clock import between, mark, sample, settle
from .record import Log, Row, Session

NOTES = (
    "One call of a whole pipeline with random weights: times are real, pictures are not. Of identical steps the few of "
    "`ran` were run. Two calls warm up; baseline and flash then take turns, without the profiler: five times, fewer "
    "where a model is slow.",
    "kernels: device seconds and calls by name in one recorded run, the 25 that took most. speedup: median time with "
    "baseline attention over that with flash.",
    "traces-N.tar: the traces, for `frameroof analyze`; what is larger than a file that comes back is left out.",
)
REPEAT = 5
BUDGET = 40.0  # seconds of samples of one model, where two calls of each attention take no longer
TOP = 25
PACK = 15 << 20  # bytes of one file that may have to be sent back
PACKS = 4
LAST = ("parti", "phenaki", "make-a-video", "wan2.1-t2v-1.3b")  # the long ones


def run(session: Session) -> Log:
    """Every pipeline; a row for each attention."""
    log = Log.open(session, "suite", NOTES)
    try:
        from frameroof.lab import pipelines
    except ImportError as error:
        log.predict("suite", {})
        log.refuse("suite", error)
        return log
    names = ["stable-diffusion"] if session.tiny else sorted(pipelines.names(), key=lambda n: (n in LAST, n))
    names = [name for name in names if session.wanted(f"suite/{name}")]
    for name in names:
        which = pipelines.pipeline(name)
        sizes = which.run(which.sizes({"height": 64, "width": 64} if session.tiny else {}, session.tiny))
        for how in NAMES:
            log.predict(f"suite/{name}/{how}", _predicted(session, which.workload, sizes, how), ran=dict(sizes))
    log.save()
    for name in names:
        if session.late:
            break
        if log.todo([f"suite/{name}/{how}" for how in NAMES]):
            _model(log, name, pipelines.pipeline(name))
            log.save()
    _pack(session.out)
    return log


def _predicted(s: Session, workload: str, sizes: Mapping[str, int], how: str) -> Row:
    """frameroof's own prediction; without a record of the machine there is none. Reduced models have no workload."""
    if s.machine.record is None or s.tiny:
        return {"limit_s": None, "expected_s": None}
    from frameroof.study.predict import predict

    kind = "fused" if how == "flash" else "baseline"
    found = predict(workload, s.machine.record, sizes=sizes, attention=kind, elementwise="eager", cold=True)
    total = found.estimate.total
    names = ("flops", "bytes", "limit_s", "expected_s")
    stages = {e.name: e.limit_s for e in found.estimate.stages}
    return {name: getattr(total, name) for name in names} | {"stages": stages}


def _model(log: Log, name: str, which: Any) -> None:
    """Build one model, time both attentions in turns, record each."""
    from frameroof.profiler.build import make

    s, rows = log.session, [f"suite/{name}/{how}" for how in NAMES]
    try:
        dtype = "bf16" if s.cuda else "fp32"
        module = make(name, lambda: (which.build(s.tiny), (), {}), s.device.type, dtype).module
        ran = log.rows[rows[0]]["ran"]
        works = {how: _attending(how, module, ran) for how in NAMES}
        warm = {how: _warm(s, work) for how, work in works.items()}
        fitting = max(2, int(BUDGET / sum(seconds for _, seconds in warm.values())))
        times = sample(replace(s, samples=min(s.samples, REPEAT, fitting)), works)
        for how, row in zip(NAMES, rows, strict=True):
            folder = s.out / "traces"
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / f"{name}-{how}.trace.json.gz"
            profiled = _record(works[how], module, file)
            log.measure(
                row,
                times[how],
                peak_bytes=warm[how][0],
                speedup=statistics.median(times["baseline"]) / statistics.median(times[how]),
                parameters=sum(p.numel() for p in module.parameters()),
                profiled_s=profiled,
                kernels=top_kernels(file),
                trace_bytes=file.stat().st_size,
            )
    except Exception as error:  # no memory, or a package that is not here
        for row in rows:
            if not log.done(row):
                log.refuse(row, error)
    module = works = None
    gc.collect()
    if s.cuda:
        torch.cuda.empty_cache()


def _attending(how: str, module: Any, ran: Mapping[str, int]) -> Any:
    def work() -> None:
        with attention(how):
            module(ran)

    return work


@torch.inference_mode()
def _warm(s: Session, work: Any) -> tuple[int | None, float]:
    """Two calls; the most memory in use in the second, and its seconds."""
    work()
    settle(s)
    if s.cuda:
        torch.cuda.reset_peak_memory_stats()
    start = mark(s)
    work()
    end = mark(s)
    settle(s)
    return torch.cuda.max_memory_allocated() if s.cuda else None, between(start, end)


@torch.inference_mode()
def _record(work: Any, module: Any, file: Path) -> float:
    """One call under frameroof's profiler, its trace kept; seconds that it took."""
    from frameroof.profiler import Profile

    profile = Profile(module)
    with profile.recording():
        work()
    shutil.copyfile(profile.trace, file)
    return profile.measured.profiled_ns / 1e9


def top_kernels(file: Path) -> list[Row]:
    """What ran on the device by name, longest first; empty for a trace of a CPU."""
    events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0])
    for event in events:
        if event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset"):
            sums[event["name"]][0] += event["dur"] / 1e6
            sums[event["name"]][1] += 1
    ordered = sorted(sums.items(), key=lambda pair: -pair[1][0])[:TOP]
    return [{"name": name[:160], "seconds": seconds, "calls": calls} for name, (seconds, calls) in ordered]


def _pack(out: Path) -> None:
    """Traces into at most four files small enough to come back; the smallest first, so that most of them do."""
    folder = out / "traces"
    if not folder.is_dir():
        return
    packs: list[list[Path]] = [[]]
    room = PACK
    for file in sorted(folder.glob("*.trace.json.gz"), key=lambda path: path.stat().st_size):
        size = file.stat().st_size + 2048  # with tar's header and padding
        if size > PACK:
            continue
        if size > room:
            if len(packs) == PACKS:
                break
            packs.append([])
            room = PACK
        packs[-1].append(file)
        room -= size
    for number, files in enumerate(packs):
        if files:
            with tarfile.open(out / f"traces-{number}.tar", "w") as tar:
                for file in files:
                    tar.add(file, arcname=file.name)
                    file.unlink()
