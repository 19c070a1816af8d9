"""Expected time behind one protocol (`Expected`): what a model, a grid, a study or a script of measurements asks.

`protocol` says what is asked and answered, `uniform` is one share of the limit, `efficiency` a table by kind and size,
`file` reads one from a file. Another model is a file here, and a ``kind`` in `file`. NumPy and msgspec are imported
only by what needs them.
"""

from __future__ import annotations

import os

from .protocol import About, Bounds, Clock, Expected, Formulas, Plain, Spent, Work, check_device, total_s
from .uniform import DEFAULT_UTILIZATION, Utilization, parse_utilization


def chosen(
    utilization: Utilization | float | None, efficiency: str | os.PathLike[str] | Expected | None
) -> Expected | None:
    """The model of expected time that a user asked for, by a share, a model or a file of one; None for neither.

    Raises `ValueError`, a sentence, where both were given, and for a share or a file that cannot be.
    """
    if utilization is not None and efficiency is not None:
        raise ValueError("a utilization and an efficiency file are two models of expected time; give one of them")
    if utilization is not None:
        return utilization if isinstance(utilization, Utilization) else Utilization(utilization)
    if isinstance(efficiency, str | os.PathLike):
        from .file import load_efficiency

        return load_efficiency(efficiency)
    return efficiency


__all__ = [
    "DEFAULT_UTILIZATION",
    "About",
    "Bounds",
    "Clock",
    "Expected",
    "Formulas",
    "Plain",
    "Spent",
    "Utilization",
    "Work",
    "check_device",
    "chosen",
    "parse_utilization",
    "total_s",
]
