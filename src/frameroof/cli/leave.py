"""How the command ends: at once."""

from __future__ import annotations

import atexit
import os
import sys
import threading

from .app import main


def program() -> None:
    """`main`, as the command runs it: once all is said, the process ends without taking the interpreter apart.

    Freeing a trace piece by piece would take 50 ms, all to give back what the system takes anyway. What a library
    registered for the end is done (matplotlib removes a folder). Where somebody still has a part to play (torch, a
    thread, a profiler or debugger of this program) it ends as any other.
    """
    try:
        main()
    except SystemExit as end:
        if not _alone() or not isinstance(end.code, int | None):
            raise
        atexit._run_exitfuncs()
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:  # it was closed before the program began
                    stream.flush()
        except OSError:
            raise end from None
        os._exit(end.code or 0)


def _alone() -> bool:
    """Whether nothing of this process has to be ended in order."""
    tool = getattr(getattr(sys, "monitoring", None), "get_tool", None)  # cProfile and coverage since Python 3.12
    watched = sys.gettrace() or sys.getprofile() or (tool and any(map(tool, range(6))))
    waited_for = any(not t.daemon for t in threading.enumerate() if t is not threading.main_thread())
    return not (watched or waited_for or "torch" in sys.modules)
