"""Skips the folder where what serves is not installed, and lets its tests share what they make."""

import sys
from pathlib import Path

import pytest

for needed in ("torch", "fastapi", "uvicorn", "websockets", "prometheus_client", "PIL"):
    pytest.importorskip(needed)
sys.path.insert(0, str(Path(__file__).parent))
