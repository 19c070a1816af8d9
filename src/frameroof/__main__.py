"""`python -m frameroof`: the same as the command."""

from .cli import program

program()
