"""Golden et al.'s characterization by running: pipelines under the profiler, as a `Source` of measured frames."""

from .source import measured_source

__all__ = ["measured_source"]
