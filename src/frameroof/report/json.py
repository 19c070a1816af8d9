"""JSON on standard output: UTF-8, indented, numbers as they are."""

from __future__ import annotations

import sys
from typing import Any

import msgspec


def print_json(data: Any) -> None:
    """Print `data` as indented JSON."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(data), indent=2).decode() + "\n")
