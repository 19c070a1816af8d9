"""The most memory in use: of the device's allocator, or of this process; over a while, and in each stage."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import torch

from ..recorded import Memory


def on_cuda() -> bool:
    """Whether this process uses a CUDA (or ROCm) device."""
    return bool(torch.cuda.is_available() and torch.cuda.is_initialized())


class Peak:
    """The most memory in use from its making on: of the device's allocator, or of this process."""

    def __init__(self) -> None:
        self.cuda = on_cuda()
        self.whole_life = False
        """Whether the system tells the peak since the process started only."""
        self.before = int(torch.cuda.memory_allocated()) if self.cuda else _status("VmRSS")
        self._start()

    def _start(self) -> None:
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
            return
        try:
            Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
        except OSError:
            self.whole_life = True

    def lap(self) -> int:
        """The peak until now; from here on it is measured anew."""
        peak = int(torch.cuda.max_memory_allocated()) if self.cuda else _peak_rss()
        self._start()
        return peak

    def read(self) -> Memory:
        """The peak and what was in use before."""
        if self.cuda:
            return Memory(
                of="allocator of the device",
                peak_bytes=int(torch.cuda.max_memory_allocated()),
                reserved_bytes=int(torch.cuda.max_memory_reserved()),
                before_bytes=self.before,
            )
        since = " since it started" if self.whole_life else ""
        return Memory(of=f"resident set of the process{since}", peak_bytes=_peak_rss(), before_bytes=self.before)


class StagePeaks:
    """The peak in every stage that is opened with `open`; one inside another counts for both."""

    def __init__(self) -> None:
        self._peak = Peak()
        self._opened: list[str] = []
        self._found: dict[str, int] = {}

    @property
    def found(self) -> dict[str, int]:
        """Stage -> bytes; nothing where the system cannot tell one stage's from another's."""
        return {} if self._peak.whole_life else self._found

    def open(self, name: str) -> AbstractContextManager[None]:
        """The range of one call of a stage."""
        return self._open(name)

    @contextmanager
    def _open(self, name: str) -> Iterator[None]:
        self._lap()
        self._opened.append(name)
        try:
            yield
        finally:
            self._lap()
            self._opened.pop()

    def _lap(self) -> None:
        peak = self._peak.lap()
        for name in self._opened:
            self._found[name] = max(self._found.get(name, 0), peak)


def _peak_rss() -> int:
    found = _status("VmHWM")
    if not found:
        with suppress(ImportError):
            import resource

            found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return found


def _status(name: str) -> int:
    """A line of /proc/self/status in bytes; 0 where there is no such file."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0
