"""Golden et al.'s characterization: every table and figure from any source of numbers, predicted or measured."""
