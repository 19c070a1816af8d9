"""A second process that helps to decode a large file.

Decoding holds the interpreter's lock, so a thread would not help. The forked helper takes a piece whenever it is free,
this process takes the others, and at the end the helper's columns come back whole. It takes sound pieces only: once it
met another, its work is thrown away and the file is read again by one process (`Unsound`).
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import struct
import sys
import warnings
from collections.abc import Callable
from queue import Empty, Full, Queue
from threading import Thread
from typing import BinaryIO

from .column_builder import ColumnBuilder

WORTH_BYTES = 2 << 20
"""The smallest file, as it lies on the disk, that is worth a second process."""
WAITING = 4
"""Pieces that it is given ahead: it has something to do while this process does something else."""
_HEAD = struct.Struct("<qq")  # number of the piece, bytes of its text; -1: no more
_UNSAFE = ("torch", "polars", "jax")
"""Libraries whose own threads may hold a lock while this process is copied."""

Decode = Callable[[bytes, ColumnBuilder, int], bool]


class Unsound(Exception):
    """There is no helper, or it met text that it cannot take: its columns are not complete."""


def worthwhile(size: int) -> bool:
    """Whether a file of this size should be read by two processes here and now."""
    enough = size >= WORTH_BYTES and len(os.sched_getaffinity(0)) > 1 if sys.platform == "linux" else False
    return enough and not any(name in sys.modules for name in _UNSAFE)


class DecodeProcess:
    """A forked process that is given pieces of text and gives back one `ColumnBuilder`.

    Raises `Unsound` where no process can be made.
    """

    def __init__(self, decode: Decode) -> None:
        pieces, self._pieces = os.pipe()
        answer, result = os.pipe()
        with warnings.catch_warnings():  # Python 3.12 warns of any thread, OpenBLAS's sleeping ones too
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                self._pid = os.fork()
            except OSError as error:  # no room for another process here
                for end in (pieces, self._pieces, answer, result):
                    os.close(end)
                raise Unsound from error
        if not self._pid:
            status = 1
            try:
                os.close(self._pieces)
                os.close(answer)
                _help(decode, pieces, result)
                status = 0
            finally:
                os._exit(status)  # nothing of the parent's is flushed or closed twice
        os.close(pieces)
        os.close(result)
        self._answer = os.fdopen(answer, "rb")  # closed once, however it ends
        self._waiting: Queue[tuple[int, bytes] | None] = Queue(WAITING)
        self._feeder = Thread(target=self._feed, daemon=True)
        self._feeder.start()

    def take(self, number: int, text: bytes) -> bool:
        """Give the helper a piece if it can begin soon; whether it was given."""
        try:
            self._waiting.put_nowait((number, text))
        except Full:
            return False
        return True

    def give_back(self) -> tuple[int, bytes] | None:
        """A piece that the helper has not begun, if there is one."""
        try:
            return self._waiting.get_nowait()
        except Empty:
            return None

    def result(self) -> ColumnBuilder:
        """Everything that the helper took; raises `Unsound` where it could not take all."""
        self._waiting.put(None)
        with self._answer:
            answer = self._answer.read()
        self._feeder.join()
        if self._end() or not answer:
            raise Unsound
        found: ColumnBuilder = pickle.loads(answer)
        return found

    def stop(self) -> None:
        """End the helper now, whatever it is doing; nothing happens if it has ended."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            self._answer.close()
            self._end()
            self.give_back()
            self._waiting.put(None)
            self._feeder.join()

    def _end(self) -> int:
        """Wait for it; 0 if it ended as it should."""
        status = os.waitpid(self._pid, 0)[1]
        self._pid = 0
        return status

    def _feed(self) -> None:
        with open(self._pieces, "wb", buffering=0) as file:
            ended = False
            while True:
                item = self._waiting.get()
                try:
                    if not ended:
                        number, text = item or (-1, b"")
                        _write(file, _HEAD.pack(number, len(text)))
                        _write(file, text)
                except OSError:  # the helper ended early: `result` says so
                    ended = True
                if item is None:
                    return


def _write(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _help(decode: Decode, pieces: int, result: int) -> None:
    """The helper's life: take pieces until there are no more, then answer; no answer where one was unsound."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    gc.disable()
    builder = ColumnBuilder()
    with open(pieces, "rb") as source, open(result, "wb") as target:
        while head := source.read(_HEAD.size):
            number, length = _HEAD.unpack(head)
            if number < 0:
                builder.seal()
                pickle.dump(builder, target, protocol=5)
                return
            if not decode(source.read(length), builder, number):
                return
