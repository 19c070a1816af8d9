"""The tiny workload, recorded once for every test that asks for it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def tiny():
    from tiny import RECIPE

    from frameroof.count import record_recipe

    return record_recipe(RECIPE)
