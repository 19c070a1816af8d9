"""The profiler's file: torch.profiler around a block, and its trace written whole, packed, with our ranges named."""

from __future__ import annotations

import gzip
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity

from ..annotations import MODULE
from ..written import FULL, naming
from .timing import synchronize

BLOCK = 1 << 24
_AS_OPERATOR = re.compile(rf'"cat": "cpu_op",(\s*)"name": "{MODULE}'.encode())
_AS_ANNOTATION = rf'"cat": "user_annotation",\1"name": "{MODULE}'.encode()
_warm = False


@contextmanager
def profiled(path: Path, shapes: bool = True) -> Iterator[None]:
    """Record the block and write its trace to `path` (.json.gz); nothing is written where the block fails."""
    _warm_up()
    profiler = _profiler(shapes)
    synchronize()
    with without_marks():
        profiler.start()
    try:
        yield
        synchronize()
    except BaseException:
        with suppress(Exception), without_marks():  # the block's own error is what the user must see
            profiler.stop()
        raise
    with without_marks():
        profiler.stop()
    write(profiler, path)


@contextmanager
def without_marks() -> Iterator[None]:
    """Keep the lines that Kineto marks its start and stop with (`USDT:…`) off stderr; all others come at the end."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            caught.seek(0)
            for line in caught:
                if not line.startswith(b"USDT:"):
                    os.write(2, line)


def write(profiler: Any, path: Path) -> None:
    """The trace as a packed file; module ranges, which the profiler files under operators, become annotations."""
    handle, name = tempfile.mkstemp(suffix=".json", dir=path.parent)
    os.close(handle)
    try:
        profiler.export_chrome_trace(name)
        with naming(path, FULL), open(name, "rb") as plain, gzip.open(path, "wb", compresslevel=4) as packed:
            while lines := plain.readlines(BLOCK):
                if b'"cat"' in lines[-1]:  # some versions write the name on the next line
                    lines.append(plain.readline())
                packed.write(_AS_OPERATOR.sub(_AS_ANNOTATION, b"".join(lines)))
    finally:
        os.unlink(name)


def _profiler(shapes: bool) -> Any:
    activities = [ProfilerActivity.CPU]
    more: dict[str, Any] = {}
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    else:
        with suppress(TypeError, AttributeError):  # torch < 2.9 records the thread that starts it only
            more["experimental_config"] = torch._C._profiler._ExperimentalConfig(profile_all_threads=True)
    return torch.profiler.profile(activities=activities, record_shapes=shapes, **more)


def _warm_up() -> None:
    """Start the profiler once for nothing: its first start loads libraries."""
    global _warm
    if not _warm:
        with without_marks(), torch.profiler.profile(activities=[ProfilerActivity.CPU]):
            torch.zeros(1)
        _warm = True
