"""What a run is made of: the rows of its tables, its file, its machine, what a clock said, and its advice.

Each is a typed record, so that what a saved run holds is checked where it is read, and named there if it is wrong.
`source.py`, `machine.py`, `measured.py`, `advice.py`, `concerns.py` and `first_lines.py` own one each, `rows.py` the
rows of tables, `whole.py` what is said of the run as a whole; `left_over.py` keeps what other writers added.
"""

from __future__ import annotations

from .advice import Advice
from .first_lines import FirstLines
from .left_over import left_over
from .machine import Cpu, Distributed, Environment, Gpu, TorchSettings
from .measured import Measured, Memory, StageTime
from .source import Origin

__all__ = [
    "Advice",
    "Cpu",
    "Distributed",
    "Environment",
    "FirstLines",
    "Gpu",
    "Measured",
    "Memory",
    "Origin",
    "StageTime",
    "TorchSettings",
    "left_over",
]
