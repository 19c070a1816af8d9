"""The tiny workload, recorded once for every test that asks for it, a probe of the CPU that takes no time, the script
that measures GPUs."""

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

sys.path.insert(0, str(Path(__file__).parent))
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


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


@pytest.fixture(scope="module")
def gpu() -> Iterator[Callable[[str], ModuleType]]:
    """Imports a module of the package of `benchmarks/gpu.py`; the folder leaves the path again."""
    sys.path.insert(0, str(BENCHMARKS))
    yield lambda name: import_module(f"gpu.{name}")
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def script(gpu: Callable[[str], ModuleType]) -> ModuleType:
    """`benchmarks/gpu.py`, whose folder is on the path."""
    spec = spec_from_file_location("gpu_script", BENCHMARKS / "gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
