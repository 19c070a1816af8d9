"""Traces: a Kineto file -> where the time went. Nothing here imports torch."""
