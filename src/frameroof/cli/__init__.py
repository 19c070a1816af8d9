"""The command line: one file a verb; the only place that wires the parts together."""

from .app import main
from .leave import program

__all__ = ["main", "program"]
