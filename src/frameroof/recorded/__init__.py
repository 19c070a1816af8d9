"""What a run says beside its tables: its file, its machine, what a clock said, and what its advice is about.

Each is a typed record, so that what a saved run holds is checked where it is read, and named there if it is wrong.
`source.py`, `machine.py`, `measured.py`, `advice.py` and `concerns.py` own one each; `left_over.py` keeps what other
writers added.
"""

from __future__ import annotations

from .advice import Advice
from .left_over import left_over
from .machine import Cpu, Distributed, Environment, Gpu, TorchSettings
from .measured import Measured, Memory, StageTime
from .source import Origin

__all__ = [
    "Advice",
    "Cpu",
    "Distributed",
    "Environment",
    "Gpu",
    "Measured",
    "Memory",
    "Origin",
    "StageTime",
    "TorchSettings",
    "left_over",
]
