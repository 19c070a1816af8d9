"""Reading files that a user names, and only those that end."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

MOST_BYTES = 1 << 25
"""Bytes of an input file, where a reader sets no limit of its own; the largest of the catalogue has 200 KB."""
MOST_PYTHON = 1 << 24
"""Bytes of a Python file that is run."""
MOST_UNPACKED = 1 << 25
"""Bytes that a gzip file may unfold to, where a reader sets no limit of its own."""
_GZIP = b"\x1f\x8b"
_PIECE = 1 << 20


def _refused(file: Path, status: os.stat_result, most: int | None) -> str | None:
    """Why a file is not read, as the end of a sentence: a pipe or a device would be waited for or read without end."""
    if stat.S_ISDIR(status.st_mode):
        return "it is a folder, not a file"
    if not stat.S_ISREG(status.st_mode):
        return "it is a pipe, socket or device, not a file"
    if most is not None and status.st_size > most:
        return f"it has {status.st_size:,} bytes, and at most {most:,} are read"
    return None


def check_file(path: str | os.PathLike[str], most: int | None = MOST_BYTES) -> Path:
    """`path`, if it is a regular file that can be read and has at most `most` bytes (None: any number).

    For what another library opens by its name. Raises `ValueError` with a sentence otherwise.
    """
    with opened(path, most):
        return Path(path)


@contextmanager
def opened(path: str | os.PathLike[str], most: int | None = MOST_BYTES) -> Iterator[BinaryIO]:
    """The one way in: a regular file of at most `most` bytes (None: any number), open for reading bytes.

    Opening never waits, and what was opened is what is checked. Raises `ValueError` with a sentence for what cannot
    be read, is no regular file or is too large, and for an `OSError` while it is read.
    """
    file = Path(path)
    try:
        handle = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as source:
            if why := _refused(file, os.fstat(handle), most):
                raise ValueError(f"{file} cannot be read: {why}")
            yield source
    except OSError as error:
        what = "it is a folder, not a file" if isinstance(error, IsADirectoryError) else error.strerror or error
        raise ValueError(f"{file} cannot be read: {what}") from error
    except ValueError as error:
        if "\0" not in str(file):
            raise
        raise ValueError(f"{str(file)!r} cannot be read: {error}") from error


def read_whole(path: str | os.PathLike[str], most: int = MOST_BYTES) -> bytes:
    """The bytes of a regular file of at most `most` bytes; `ValueError` with a sentence otherwise."""
    with opened(path, most) as source:
        return _bounded(source.read, path, most, f"it has more than {most:,} bytes")


def read_unpacked(path: str | os.PathLike[str], most: int = MOST_UNPACKED) -> bytes:
    """The bytes of a file, or what they unfold to where it is a gzip file: at most `most`; `ValueError` otherwise."""
    data = read_whole(path, most)
    if not data.startswith(_GZIP):
        return data
    import gzip
    import io
    import zlib

    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as unfolded:
            return _bounded(unfolded.read, path, most, f"it unfolds to more than {most:,} bytes")
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _bounded(read: Callable[[int], bytes], path: str | os.PathLike[str], most: int, why: str) -> bytes:
    """All that `read` gives, piece by piece: a small file may unfold to more than memory, and a growing one end
    never."""
    pieces, size = [], 0
    while piece := read(_PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise ValueError(f"{path} cannot be read: {why}")
    return b"".join(pieces)
