"""Golden et al.'s characterisation: every table and figure from any source of numbers, predicted or measured."""
