"""The workload record: what must be computed, exactly, at any admissible size; no torch."""
