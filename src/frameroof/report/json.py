"""JSON on standard output: UTF-8, indented, numbers as they are."""

from __future__ import annotations

import sys
from typing import Any

from ..written import as_json


def print_json(data: Any) -> None:
    """Print `data` as indented JSON."""
    sys.stdout.write(as_json(data, 2).decode() + "\n")
