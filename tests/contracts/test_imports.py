"""What loads what: the torch line, in fresh processes, and the rooms' order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "ray", "matplotlib", "diffusers", "transformers", "accelerate", "plotly", "fastapi")
PROBE = """
import contextlib, io, sys
words = sys.argv[1:]
if words:
    from frameroof.cli import main
    sys.argv = ["frameroof", *words]
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            main()
    except SystemExit as stop:
        if stop.code:
            raise
    if not out.getvalue().strip():
        raise SystemExit(f"{words} printed nothing")
else:
    import frameroof
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def loaded(*words: str) -> set[str]:
    """The top-level modules in a fresh process after `import frameroof`, or after a command."""
    done = subprocess.run([sys.executable, "-c", PROBE, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    modules = loaded()
    assert "frameroof" in modules
    assert not modules & {*HEAVY, "polars", "numpy", "typer", "rich"}


@pytest.mark.parametrize("verb", ["predict", "predict --ops --json", "models", "hardware", "hardware H100"])
def test_torch_free_verbs_load_nothing_heavy(verb: str, tiny: Path):
    words = verb.split()
    modules = loaded(*words, str(tiny)) if words[0] == "predict" else loaded(*words)
    assert not modules & set(HEAVY)


def test_predict_loads_no_arrays(tiny: Path):
    """Nor NumPy, where no stage loops: a fifth of the time in which it answers."""
    assert not loaded("predict", str(tiny)) & {"polars", "numpy"}


@pytest.mark.parametrize("document", ["movie-gen", "llama-3.2-vision"])
def test_reproduce_loads_nothing_heavy(document: str):
    assert not loaded("reproduce", document) & set(HEAVY)


def test_a_predicted_characterization_loads_nothing_heavy_until_a_figure_is_drawn():
    words = ("characterize", "--predict", "--models", "stable-diffusion", "--figure", "9")
    assert not loaded(*words) & {*HEAVY, "jinja2"}


def test_wrong_input_loads_no_torch_and_says_one_sentence():
    program = """
import sys
from frameroof.cli import main
try:
    main()
finally:
    assert "torch" not in sys.modules
"""
    words = [sys.executable, "-c", program, "predict", "no-such-model"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("frameroof: ")
    assert "Traceback" not in done.stderr


def test_imports_go_one_way(root: Path):
    """The same contracts as in CI, so that a broken one shows where the tests are run."""
    linter = Path(sys.executable).with_name("lint-imports")
    if not linter.exists():
        pytest.skip("import-linter is not installed")
    done = subprocess.run([linter, "--no-cache"], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
