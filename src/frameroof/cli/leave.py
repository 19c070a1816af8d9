"""How the command ends: at once."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from contextlib import suppress

from .heap import no_search
from .streams import complain, open_streams


def main() -> None:
    """Run the command; loaded where Ctrl-C is a sentence already."""
    with no_search():
        from .app import main

    main()


def program() -> None:
    """`main`, as the command runs it: once all is said, the process ends without taking the interpreter apart.

    Freeing a trace piece by piece would take 50 ms, all to give back what the system takes anyway. What a library
    registered for the end is done (matplotlib removes a folder). Where somebody still has a part to play (torch, a
    thread, a profiler or debugger of this program) it ends as any other.
    """
    try:
        open_streams()
    except ValueError as error:
        complain(str(error))
        _leave(2)
    try:
        with no_search():
            from .stops import on_signals
        on_signals()
        main()
    except SystemExit as end:
        if not _alone() or not isinstance(end.code, int | None):
            raise
        atexit._run_exitfuncs()
        _leave(end.code or 0)
    except KeyboardInterrupt:  # while it was loaded
        complain("interrupted; nothing was written")
        _leave(130)


def _leave(status: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # what could be said of it has been said
            stream.flush()
    os._exit(status)


def _alone() -> bool:
    """Whether nothing of this process has to be ended in order."""
    tool = getattr(getattr(sys, "monitoring", None), "get_tool", None)  # cProfile and coverage since Python 3.12
    watched = sys.gettrace() or sys.getprofile() or (tool and any(map(tool, range(6))))
    waited_for = any(not t.daemon for t in threading.enumerate() if t is not threading.main_thread())
    return not (watched or waited_for or "torch" in sys.modules)
