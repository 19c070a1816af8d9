"""Code of users that would end this process raises an error instead, which can name its line.

`sys.exit` raises one by itself. What ends a process at once (`os._exit`, `os.abort`, a deadly signal to oneself) is
refused while a builder, its file or a forward runs; a first run in a child process would tell as much and take as long
again. What crashes inside a library is beyond this.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

HARMLESS = {0, *(getattr(signal, n, 0) for n in ("SIGINT", "SIGCHLD", "SIGCONT", "SIGURG", "SIGWINCH"))}
"""Signals that end nothing, or that a user may send by Ctrl-C."""


class Ends(BaseException):
    """A call that would have ended the process; no `Exception`, as `SystemExit` is none."""


@contextmanager
def ends_refused() -> Iterator[None]:
    """Within, what would end this process raises `Ends`; children that it forks end as they like."""
    own, places = os.getpid(), [(os, "_exit"), (os, "abort"), (os, "kill"), (os, "killpg"), (signal, "raise_signal")]
    before = {(room, name): getattr(room, name) for room, name in places if hasattr(room, name)}

    def instead(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def refuses(*args: Any) -> Any:
            if os.getpid() != own or not _ends(name, args):
                return call(*args)
            raise Ends(f"{name}({', '.join(map(_said, args))}) ends the process")

        return refuses

    for (room, name), call in before.items():
        setattr(room, name, instead(f"{room.__name__}.{name}", call))
    try:
        yield
    finally:
        for (room, name), call in before.items():
            setattr(room, name, call)


def _ends(name: str, args: tuple[Any, ...]) -> bool:
    if name in ("os._exit", "os.abort"):
        return True
    if len(args) != (1 if name == "signal.raise_signal" else 2) or args[-1] in HARMLESS:
        return False
    mine = {"os.kill": {os.getpid(), 0, -os.getpgrp()}, "os.killpg": {os.getpgrp(), 0}}
    return name not in mine or args[0] in mine[name]


def _said(value: Any) -> str:
    return value.name if isinstance(value, signal.Signals) else repr(value)
