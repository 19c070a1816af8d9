"""Writing what a user names: whole or not at all, several files all or none, never over another file unasked.

Whatever cannot be written is one sentence that names the file: no room on the disk, no permission, a folder in its way.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO

from .outside import clean

Name = str | os.PathLike[str]
FULL = frozenset(
    number for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS") if (number := getattr(errno, name, None)) is not None
)
"""Errors that only writing meets: no room, a quota, a file too large, a disk that is read only."""


@contextmanager
def naming(target: Path, only: frozenset[int] | None = None) -> Iterator[None]:
    """Raises an `OSError` of the block, of some kinds or of all, as a `ValueError` that names the file."""
    try:
        yield
    except OSError as error:
        if only is not None and error.errno not in only:
            raise
        raise ValueError(f"{clean(str(target))} cannot be written: {error.strerror or error}") from error


class _Batch:
    """Files that lie beside their places, and the folders made for them."""

    def __init__(self) -> None:
        self.waiting: dict[Path, Path] = {}
        self.folders: list[Path] = []

    def add(self, target: Path, beside: Path) -> None:
        place = target.parent.resolve() / target.name
        if place in self.waiting:
            raise ValueError(f"{clean(str(target))} is to be written twice; give each file a name of its own")
        self.waiting[place] = beside

    def place(self) -> None:
        """Move every file into its place; where one cannot be moved, those before it go back."""
        undo: list[Callable[[], object]] = []
        kept: list[Path] = []
        try:
            for target, beside in self.waiting.items():
                check_new(target, force=True)
                with naming(target):
                    old = _put_aside(target, beside)
                    if old is not None:
                        kept.append(old)
                        undo.append(lambda old=old, target=target: os.replace(old, target))  # type: ignore[misc]
                    else:
                        undo.append(lambda target=target: target.unlink(missing_ok=True))  # type: ignore[misc]
                    os.replace(beside, target)
        except BaseException:
            for step in reversed(undo):
                with suppress(OSError):
                    step()
            raise
        _placed.extend(self.waiting)
        for old in kept:
            old.unlink(missing_ok=True)

    def drop(self) -> None:
        """Remove what was not placed, and the folders that were made for it."""
        for beside in self.waiting.values():
            beside.unlink(missing_ok=True)
        for folder in reversed(self.folders):
            with suppress(OSError):
                folder.rmdir()


_placed: list[Path] = []


def placed() -> tuple[Path, ...]:
    """The files that this command has written, each whole and in its place."""
    return tuple(_placed)


def forget() -> None:
    """A new command begins: `placed` is empty."""
    _placed.clear()


_batch: ContextVar[_Batch | None] = ContextVar("_batch", default=None)


@contextmanager
def together() -> Iterator[None]:
    """All files written in the block come into their places at its end; none does where the block or a move fails."""
    if _batch.get() is not None:  # a part of a larger whole
        yield
        return
    batch = _Batch()
    token = _batch.set(batch)
    try:
        yield
        batch.place()
    except BaseException:
        batch.drop()
        raise
    finally:
        _batch.reset(token)


def write_whole(path: Name, data: bytes | str, force: bool = False) -> Path:
    """Write `data` to `path` through a temporary file beside it; `ValueError` if it exists or cannot be."""
    with writing_whole(path, force) as out:
        out.write(data.encode("utf-8", "replace") if isinstance(data, str) else data)
    return Path(path)


@contextmanager
def writing_whole(path: Name, force: bool = False) -> Iterator[BinaryIO]:
    """A file to write piece by piece: it stands at `path` once the block is done, and nothing does if that fails."""
    target = Path(path)
    check_new(target, force)
    with naming(target):
        import tempfile  # only here: a twentieth of the time in which a verb starts

        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:40]}.")
    batch = _batch.get()
    try:
        with naming(target, FULL):
            with os.fdopen(handle, "wb") as out:
                yield out
            os.chmod(name, 0o644)
        if batch is not None:
            batch.add(target, Path(name))
        else:
            with naming(target):
                os.replace(name, target)
            _placed.append(target)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def make_folder(path: Name) -> Path:
    """The folder `path`, made with those above it where it is missing; `ValueError` with a sentence if it cannot be.

    Within `together` a folder that was made goes again where the whole fails.
    """
    target, batch = Path(path), _batch.get()
    try:
        missing = [folder for folder in (target, *target.parents) if not folder.exists()]
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{clean(str(target))} cannot be made: {error.strerror}") from error
    if batch is not None:
        batch.folders += reversed(missing)
    return target


@contextmanager
def folder_beside(path: Name) -> Iterator[Path]:
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
        raise ValueError(f"{clean(str(target))} cannot be made: {error.strerror}") from error
    try:
        with naming(target, FULL):
            yield beside
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def check_new(path: Name, force: bool = False) -> None:
    """`ValueError` where a file cannot stand at `path`: something else does, or a file and no `force`."""
    target = Path(path)
    with naming(target):
        there = target.exists()
    if not there:
        return
    if target.is_dir():
        raise ValueError(f"{clean(str(target))} cannot be written: it is a folder, not a file")
    if not target.is_file():
        raise ValueError(f"{clean(str(target))} cannot be written: it is a pipe, socket or device, not a file")
    if not force:
        raise ValueError(f"{clean(str(target))} exists; --force overwrites it")


def check_place(path: Name, folder: bool = False) -> None:
    """`ValueError` where nothing can be written at `path`, said before a long measurement and not after it.

    A `folder` is made with those above it, so that the nearest one that exists counts; a file's must be there.
    """
    target = Path(path)
    with naming(target):
        above = [target, *target.parents] if folder else [target.parent]
        nearest = next((each for each in above if each.exists()), None)
    cannot = f"{clean(str(target))} cannot be {'made' if folder else 'written'}"
    if nearest is None:
        raise ValueError(f"{cannot}: there is no folder {clean(str(target.parent))}")
    if not nearest.is_dir():
        what = "it" if nearest == target else f"Not a directory: {clean(str(nearest))}"
        raise ValueError(f"{cannot}: {what} is a file, not a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ValueError(f"{cannot}: nothing may be written into {clean(str(nearest))}")


def _put_aside(target: Path, beside: Path) -> Path | None:
    """Another name of the file that stands at `target`; None where none does."""
    if not target.exists():
        return None
    old = beside.with_name(beside.name + ".old")
    try:
        os.link(target, old)  # it stays in its place until the new one takes it
    except OSError:  # a disk without links
        os.replace(target, old)
    return old


# DEL, C1, and what turns the direction of writing or ends a line: legal in JSON as they are, but not on a terminal
_UNSEEN = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def as_json(data: Any, indent: int = 1) -> bytes:
    """Indented JSON as of `encoded`; what could steer a terminal becomes an escape."""
    import msgspec

    text = msgspec.json.format(encoded(data).decode(), indent=indent)
    return _UNSEEN.sub(lambda sign: f"\\u{ord(sign[0]):04x}", text).encode()


def encoded(data: Any) -> bytes:
    """JSON on one line, in UTF-8 whatever the text; half surrogate pairs become U+FFFD."""
    import msgspec

    try:
        return msgspec.json.encode(data)
    except UnicodeEncodeError:
        return msgspec.json.encode(_encodable(data))


def _encodable(data: Any) -> Any:
    """The same with text that UTF-8 can write."""
    import msgspec

    if isinstance(data, msgspec.Struct):
        data = msgspec.to_builtins(data)
    if isinstance(data, str):
        return data if data.isascii() else re.sub("[\ud800-\udfff]", "\ufffd", data)
    if isinstance(data, dict):
        return {_encodable(name): _encodable(value) for name, value in data.items()}
    return [_encodable(value) for value in data] if isinstance(data, (list, tuple)) else data
