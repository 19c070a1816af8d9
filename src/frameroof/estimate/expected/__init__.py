"""Expected time behind one protocol (`Expected`): what a model, a grid, a study or a script of measurements asks.

`protocol` says what is asked and answered. `kernels` is the model that is meant where nothing else is said: the curve
of each operation's kernel on its device (`gemm`, `attention`, `traffic`; `curves` reads them), for a state of the
software (`software`, `pipelines`). `uniform` is one share of the limit. `file` reads a model from a file. Another model
is a file here, and a ``kind`` in `file`. NumPy is imported only by what needs it.
"""

from __future__ import annotations

import os

from .protocol import About, Bounds, Clock, Expected, Formulas, Plain, Spent, Work, check_device, total_s
from .software import Software, software_of
from .uniform import DEFAULT_UTILIZATION, Utilization, parse_utilization


def chosen(
    utilization: Utilization | float | None = None,
    efficiency: str | os.PathLike[str] | Expected | None = None,
    software: str | Software | None = None,
) -> Expected:
    """The model of expected time that a user asked for: by a share, a model or a file of one; else kernels.

    `software` is the state that kernels run in. Raises `ValueError`, a sentence, for two that contradict each other,
    and for a share, a file or a software state that cannot be.
    """
    if utilization is not None and efficiency is not None:
        raise ValueError("a utilization and an efficiency file are two models of expected time; give one of them")
    if utilization is not None:
        if software is not None:
            raise ValueError("a utilization is one share whatever the software; give the one or the other")
        return utilization if isinstance(utilization, Utilization) else Utilization(utilization)
    if isinstance(efficiency, str | os.PathLike):
        from .file import load_efficiency

        efficiency = load_efficiency(efficiency)
    from .kernels import Kernels

    if efficiency is None:
        return Kernels(software_of(software))
    if software is None:
        return efficiency
    if not isinstance(efficiency, Kernels):
        raise ValueError("this efficiency file is one share whatever the software; give the one or the other")
    return Kernels(software_of(software), efficiency.own, efficiency.clock)


__all__ = [
    "DEFAULT_UTILIZATION",
    "About",
    "Bounds",
    "Clock",
    "Expected",
    "Formulas",
    "Plain",
    "Software",
    "Spent",
    "Utilization",
    "Work",
    "check_device",
    "chosen",
    "parse_utilization",
    "total_s",
]
