"""The command line: one file a verb; the only place that wires the parts together."""

from .leave import main, program

__all__ = ["main", "program"]
