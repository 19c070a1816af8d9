"""Names of ranges in a trace, written and read: our own for stages and modules, and those of torch's profiler.

It exists so that what opens a range and what reads it back agree: a format is spelled here and nowhere else.
"""

from __future__ import annotations

STAGE = "stage::"
"""How `frameroof.stage` names a part of a pipeline: this and the stage's name."""
MODULE = "mod::"
"""How `frameroof profile` names the call of a module: this and its path in the model."""
FRAME = "nn.Module: "
"""How torch's Python tracer names the call of a module (``with_stack``): this, its class, ``_`` and a number."""
STEP = "ProfilerStep#"
"""How torch's schedule names a step: this and its number."""
COMPILED = ("Torch-Compiled Region", "## Call CompiledFxGraph", "CompiledFunction", "CallCompiled", "CUDAGraph")
"""How names of the ranges around compiled code, or around a graph's replay, begin."""
COLLECTIVE = "nccl:"
"""How torch names the ranges around a collective: this and the collective."""


def stage_range(name: str) -> str:
    """The range of a stage."""
    return STAGE + name


def module_range(path: str) -> str:
    """The range of a call of the module at `path`."""
    return MODULE + path


def stage_of(name: str) -> str | None:
    """The stage that a range names; None for other ranges."""
    return name[len(STAGE) :] if name.startswith(STAGE) else None


def path_of(name: str) -> str | None:
    """The module's path that a range of ours names; None for other ranges."""
    return name[len(MODULE) :] if name.startswith(MODULE) else None


def module_of(name: str) -> str:
    """What a range says of its module: the path, or in frames the class with its number; other names as they are."""
    return name.removeprefix(FRAME).removeprefix(MODULE)
