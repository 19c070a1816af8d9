"""Small networks, and what a recorded trace holds of them, for tests that record."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

# Marks of a file of such tests: torch warns of global hooks, and the probe of the CPU is cut short (conftest.py).
RECORDS = [
    pytest.mark.filterwarnings("ignore:.*global hooks on modules.*"),
    pytest.mark.usefixtures("cheap_probe"),
]


class Net(nn.Module):
    """Two linear layers, of which one is called twice, and one shared under a second name."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 32)
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(32, 32))
        self.again = self.rest[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.again(self.rest(self.first(x)))


def ranges(path: Path, prefix: str) -> list[dict[str, Any]]:
    """Our ranges in a trace, in order of time; read with json alone."""
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    found = [e for e in events if e.get("ph") == "X" and e["name"].startswith(prefix)]
    return sorted(found, key=lambda e: (e["ts"], -e["dur"]))


def names(path: Path, prefix: str = "mod::") -> list[str]:
    return [e["name"].removeprefix(prefix) for e in ranges(path, prefix)]
