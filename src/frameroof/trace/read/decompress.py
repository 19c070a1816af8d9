"""The text of a plain or gzip file, block by block, and ahead of its use."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from queue import Full, Queue
from threading import Event, Thread

from ...files import opened

_GZIP = b"\x1f\x8b"
_PACKED_BYTES = 1 << 16


class Ahead:
    """The same blocks, made ahead of their use by a thread: zlib works without the interpreter's lock."""

    def __init__(self, blocks: Iterator[bytes], most: int = 32) -> None:
        self._blocks, self._stopped = blocks, Event()
        self._ready: Queue[bytes | BaseException | None] = Queue(most)
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[bytes]:
        while (item := self._ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        """End the thread, wherever it is."""
        self._stopped.set()
        self._thread.join()

    def _work(self) -> None:
        try:
            for block in self._blocks:
                self._give(block)
                if self._stopped.is_set():
                    return
            self._give(None)
        except BaseException as error:  # handed over: it belongs to the reader
            self._give(error)

    def _give(self, item: bytes | BaseException | None) -> None:
        while not self._stopped.is_set():
            try:
                return self._ready.put(item, timeout=0.1)
            except Full:
                continue


def is_packed(path: Path) -> bool:
    """Whether a file starts as gzip's do."""
    with opened(path, None) as file:
        return file.read(2) == _GZIP


def unpacked(path: Path, piece: int, problems: list[str]) -> Iterator[bytes]:
    """The text of a plain or gzip file, block by block; a broken end of a gzip file is a problem, not an error.

    No block is longer than `piece` bytes; the problems are sentences.
    """
    with opened(path, None) as file:
        start = file.read(2)
        file.seek(0)
        if start != _GZIP:
            while block := file.read(piece):
                yield block
            return
        unpacker = zlib.decompressobj(wbits=31)
        while True:
            data = unpacker.unconsumed_tail or file.read(_PACKED_BYTES)
            if unpacker.eof:
                data = (unpacker.unused_data + data).lstrip(b"\0")  # tapes and disks pad with zeros
                if not data and not (data := file.read(_PACKED_BYTES).lstrip(b"\0")):
                    return
                if data[:2] != _GZIP:
                    problems.append("behind the compressed text stands something else; it is left out")
                    return
                unpacker = zlib.decompressobj(wbits=31)
            if not data:
                yield unpacker.flush()
                problems.append("the compressed file ends too early; what follows is lost")
                return
            before = unpacker.copy()
            try:
                yield unpacker.decompress(data, piece)
            except zlib.error as error:
                yield _up_to_the_break(before, data)
                problems.append(
                    f"the compressed file is broken ({error}); what follows is lost, the text just before may be wrong"
                )
                return


def _up_to_the_break(unpacker: zlib._Decompress, data: bytes) -> bytes:
    """What can be unpacked of `data`, whose unpacking failed at once: byte by byte."""
    out = []
    try:
        for i in range(len(data)):
            out.append(unpacker.decompress(data[i : i + 1]))
    except zlib.error:
        pass
    return b"".join(out)
