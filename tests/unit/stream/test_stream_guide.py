"""The Python of the guide's page does what the page says."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "guide" / "stream.rst"


def shown() -> list[str]:
    """The blocks of Python under "From Python"."""
    section = PAGE.read_text("utf-8").split("From Python\n-----------\n")[1].split("\nWatch it live\n")[0]
    return [textwrap.dedent(text) for text in re.findall(r"\.\. code-block:: python\n\n((?:   .*\n|\n)+)", section)]


def test_the_engine_from_python(capsys: pytest.CaptureFixture[str]) -> None:
    space: dict[str, Any] = {}
    exec(shown()[0], space)
    said = capsys.readouterr().out.splitlines()
    steps = [line for line in said if ", step " in line]
    assert steps == [f"block {block}, step {step}" for block in range(4) for step in range(4)]
    prompts = ["a cat runs", "a fox runs", "a wolf", "a wolf"]
    assert [line for line in said if line.startswith("block") and line not in steps] == [
        f"block {number}: {prompt}" for number, prompt in enumerate(prompts)
    ]
    assert said[5] == "1"
    assert tuple(space["video"].shape) == (1, 3, 9, 32, 48)
    assert said.count("torch.Size([1, 3, 32, 48])") == 3 * 12


def test_weights_and_variants_from_python() -> None:
    """What needs files of 17 GB or a GPU is at least spelled as the code spells it."""
    space: dict[str, Any] = {"Engine": None, "preset": None}
    imports = [line for line in shown()[1].splitlines() if line.startswith("from ")]
    exec("\n".join(imports), space)
    made = space["Files"](transformer=Path("base.pt"), lora=Path("lora.pt"), vae=Path("Wan2.1_VAE.pth"))
    assert made.lora == Path("lora.pt")
    engine = space["Setup"](model="tiny", device="cpu", decoder="wan").engine("fused")
    assert engine.c.context == "fold"
