"""Traces: a file of a profiler -> where the time went. Nothing here imports torch.

One pipeline: `read` (file -> columns) -> `resolve` (one row for every piece of work) -> `find` (attention, stages, idle
time …) -> `tables` (sums) -> `advice` -> `to_run`, which runs all of it. Design: docs/design/0008-traces.rst.
"""
