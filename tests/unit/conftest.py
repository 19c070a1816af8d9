"""The tiny workload, recorded once for every test that asks for it, and a probe of the CPU that takes no time."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def tiny():
    from tiny import RECIPE

    from frameroof.count import record_recipe

    return record_recipe(RECIPE)


@pytest.fixture
def cheap_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe of a recording takes two seconds; one test measures it, at a fraction of that."""
    from frameroof.profiler import recorder
    from frameroof.profiler.probe import probe

    monkeypatch.setattr(recorder, "_this_cpu", lambda: probe(0.001))
