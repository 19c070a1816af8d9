"""What all tests share: the folder of facts, markers that skip with a reason, and no network."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub
if "PYTEST_XDIST_WORKER" in os.environ:  # before anything imports torch: its threads would fight for the same cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder ../shared beside the repository; the test is skipped where there is none."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here")
    return SHARED


# One linear layer: a workload for tests that need one but no entry of the catalogue.
TINY = """{"format": "frameroof.workload", "version": 1, "grammar": 1, "name": "tiny",
 "params": {"batch": {"default": 1}}, "stages": [{"name": "forward",
 "tensors": ["bf16[batch,64]", "w:bf16[64,64]"],
 "ops": [{"path": "fc", "kind": "linear", "name": "linear", "reads": [0, 1], "writes": [0],
          "dims": {"b": 1, "m": "batch", "n": 64, "k": 64}}], "weights": {"bf16": 4096}}]}"""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a workload of one linear layer of 64 x 64."""
    path = tmp_path_factory.mktemp("workload") / "tiny.workload.json"
    path.write_text(TINY, "utf-8")
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that takes the fixture `shared` is marked so, to be selected by ``-m``."""
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.shared)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes, where there are two cores, for the suite or a folder of it; none besides this for files named."""
    whole = all(Path(argument).is_dir() for argument in config.args)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 2 if whole and cores > 1 else 0


def pytest_collection_finish() -> None:
    """What imports left (torch, diffusers) lives to the end: looking through it for cycles would cost a tenth more."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine cannot run, and say why."""
    if item.get_closest_marker("shared") and not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here")
    if item.get_closest_marker("gpu") and not _has_gpu():
        pytest.skip("no CUDA GPU here")


def _has_gpu() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())
