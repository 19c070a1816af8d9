"""`python -m frameroof`: the same as the command."""

from .cli import main

main()
