"""Settings of this process's memory, for verbs that read large files and then end, and for those that end at once."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM, _MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h
_KEPT = 256 << 20


@contextmanager
def no_search() -> Iterator[None]:
    """Look for no cycles among objects in the block: of modules that are loaded, and of a short answer, all stay.

    Python would walk through them again and again: a tenth of the time of `frameroof predict`.
    """
    searches = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searches:
            gc.enable()


def suit_large_files() -> None:
    """Keep freed megabytes for the next piece of the file, and look for no cycles among its objects: there are none.

    glibc would give every freed megabyte back, and taking it again costs a page fault for each 4 KiB: about a seventh
    of the time of reading a trace. Elsewhere than on glibc that part does nothing.
    """
    gc.disable()
    if sys.platform != "linux":
        return
    import ctypes

    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_TRIM, _KEPT)
        libc.mallopt(_MMAP, _KEPT)
