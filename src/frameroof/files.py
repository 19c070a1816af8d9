"""Reading files that a user names, and only those that end."""

from __future__ import annotations

import os
import stat
from pathlib import Path

MOST_BYTES = 1 << 30  # what a user may name as an input file; the largest of the catalogue has 2 MB


def check_file(path: str | os.PathLike[str], most: int = MOST_BYTES) -> Path:
    """`path`, if it is a regular file of at most `most` bytes; `ValueError` with a sentence otherwise.

    A pipe or a device would be waited for, or read without end.
    """
    file = Path(path)
    try:
        status = file.stat()
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISDIR(status.st_mode):
        raise ValueError(f"{file} cannot be read: it is a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{file} cannot be read: it is a pipe, socket or device, not a file")
    if status.st_size > most:
        raise ValueError(f"{file} cannot be read: it has {status.st_size:,} bytes, and at most {most:,} are read")
    return file


def read_whole(path: str | os.PathLike[str], most: int = MOST_BYTES) -> bytes:
    """The bytes of a regular file of at most `most` bytes; `ValueError` with a sentence otherwise."""
    file = check_file(path, most)
    try:
        return file.read_bytes()
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from error
