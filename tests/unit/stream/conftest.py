"""Skips the folder where torch is not installed, and lets its tests share what they make."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parent))
