"""Traces: a Kineto file -> where the time went. Nothing here imports torch."""

from .columns import Trace
from .read import read
from .source import TraceError

__all__ = ["Trace", "TraceError", "read"]
