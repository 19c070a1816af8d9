"""Recording: run something under torch.profiler with our stages and module paths, and time it without the profiler.

`marks.py` is what a user's program may name (torch-free), `hooks.py` names modules, `timing.py` repeats and times,
`trace.py` writes the profiler's file, `recorder.py` ties them together; `environment.py`, `probe.py` and `build.py`
describe the machine, measure a CPU's peaks, and make a builder's module real. (Not called `profile`: that is the
function `frameroof.profile`, and a package of the same name would take its place in `frameroof` once imported.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .marks import stage

if TYPE_CHECKING:
    from .recorder import Profile, profile

__all__ = ["Profile", "profile", "stage"]


def __getattr__(name: str) -> Any:
    """`Profile` and `profile` need torch; `stage`, which a program may name without recording, does not."""
    if name not in ("Profile", "profile"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import recorder

    return getattr(recorder, name)
