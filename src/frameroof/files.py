"""Reading files that a user names, and writing them whole or not at all, never over another one unasked."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

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


def write_whole(path: str | os.PathLike[str], data: bytes | str, force: bool = False) -> Path:
    """Write `data` to `path` through a temporary file beside it; `ValueError` if it exists or cannot be."""
    with writing_whole(path, force) as out:
        out.write(data.encode() if isinstance(data, str) else data)
    return Path(path)


@contextmanager
def writing_whole(path: str | os.PathLike[str], force: bool = False) -> Iterator[BinaryIO]:
    """A file to write piece by piece: it stands at `path` once the block is done, and nothing does if that fails."""
    target = Path(path)
    if target.exists() and not force:
        raise ValueError(f"{target} exists; --force overwrites it")
    try:
        import tempfile  # only here: a twentieth of the time in which a verb starts

        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise ValueError(f"{target} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as out:
            yield out
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


@contextmanager
def folder_beside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """An empty folder beside `path`, to be filled and then moved into its place; removed at the end where it was not.

    Folders above are made; `ValueError` with a sentence where that cannot be.
    """
    import shutil
    import tempfile

    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{target.name[:40]}.", dir=target.parent))
        os.chmod(beside, 0o755)
    except OSError as error:
        raise ValueError(f"{target} cannot be made: {error.strerror}") from error
    try:
        yield beside
    finally:
        shutil.rmtree(beside, ignore_errors=True)
