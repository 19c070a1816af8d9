"""How the documentation is built: `sphinx-build -W docs docs/_build`. Built-in theme, no network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from made import CliReference, Public, Runs

import frameroof

project = "frameroof"
author = "the frameroof authors"
copyright = "2026, the frameroof authors"
version = release = frameroof.__version__

exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {
    "description": "How fast it could run, how fast it does, and what closes the gap.",
    "page_width": "1400px",  # the tables of the verbs are up to 160 columns wide, and are read whole
    "body_max_width": "none",
    "code_font_size": "0.65em",
}
html_show_sourcelink = False
nitpicky = True
highlight_language = "text"


def setup(app: Any) -> dict[str, bool]:
    """Directives of our own: the references of command line and Python, and commands run as the pages are built."""
    app.add_directive("cli-reference", CliReference)
    app.add_directive("public", Public)
    app.add_directive("runs", Runs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
