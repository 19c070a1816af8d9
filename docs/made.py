"""What the pages are made with: the CLI reference from the command itself, and commands that are run.

Nothing is written beside the pages: both directives make their content while Sphinx builds.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

HERE = Path(__file__).parent
PRETEND = ("FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE")  # pretend a terminal


def verbs() -> dict[str, Any]:
    """Every verb's command by name, in the order of `frameroof -h`."""
    from typer.main import get_command

    from frameroof.cli.app import app

    return dict(get_command(app).commands)  # type: ignore[attr-defined]


def cli_reference() -> str:
    """The reference of every verb as reStructuredText."""
    return "\n".join(line for name, command in verbs().items() for line in _verb(name, command))


def _verb(name: str, command: Any) -> Iterator[str]:
    title = f"frameroof {name}"
    yield from (f".. _cli-{name.replace(' ', '-')}:", "", title, "-" * len(title), "", _escaped(command.help), "")
    context = command.context_class(command, info_name=title)
    for heading, kind in (("Arguments", "argument"), ("Options", "option")):
        params = [param for param in command.params if param.param_type_name == kind]
        if params:
            yield from (f"{heading}:", "")
        for param in params:
            term, text = param.get_help_record(context)
            yield from (f"``{term}``", f"   {_escaped(text)}")
        yield ""
    for below, verb in getattr(command, "commands", {}).items():  # a verb of verbs, such as `stream`
        yield from _verb(f"{name} {below}", verb)


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace("*", "\\*").replace("`", "\\`")


def output_of(command: str, folder: Path = HERE) -> str:
    """What a `frameroof …` command prints; `RuntimeError` with its error if it fails."""
    words = shlex.split(command)
    if words[0] != "frameroof":
        raise RuntimeError(f"only frameroof is run here, not {words[0]!r}")
    env = {name: value for name, value in os.environ.items() if name not in PRETEND}
    env |= {"HF_HUB_OFFLINE": "1", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    program = [sys.executable, "-c", "from frameroof.cli import main; main()", *words[1:]]
    done = subprocess.run(program, capture_output=True, text=True, env=env, cwd=folder, encoding="utf-8", check=False)
    if done.returncode:
        raise RuntimeError(f"{command!r} failed with exit code {done.returncode}: {done.stderr.strip()}")
    return "\n".join(line.rstrip() for line in done.stdout.splitlines()).strip("\n")


class CliReference(SphinxDirective):
    """``.. cli-reference::`` puts every verb with its arguments and options here."""

    def run(self) -> list[nodes.Node]:
        """Make the sections."""
        return self.parse_text_to_nodes(cli_reference(), allow_section_headings=True)


class Runs(SphinxDirective):
    """``.. runs:: frameroof …`` runs a command while Sphinx builds and shows both; a failure is an error."""

    required_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar[dict[str, Any]] = {"lines": directives.positive_int}

    def run(self) -> list[nodes.Node]:
        """Run it in the folder of the page."""
        command = " ".join(self.arguments[0].split())
        try:
            text = output_of(command, Path(self.env.doc2path(self.env.docname)).parent)
        except RuntimeError as error:
            raise self.error(str(error)) from error
        lines = text.splitlines()
        keep = self.options.get("lines")
        if keep and len(lines) > keep:
            lines = [*lines[:keep], "…"]
        shown = "\n".join([f"$ {command}", *lines])
        block = nodes.literal_block(shown, shown, language="text")
        return [block]
