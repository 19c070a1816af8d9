"""The command line: one file a verb; the only place that wires the parts together."""

from .app import main

__all__ = ["main"]
