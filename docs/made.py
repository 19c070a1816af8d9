"""What the pages are made with: the references of command line and Python from the program itself, and commands run.

Nothing is written beside the pages: the directives make their content while Sphinx builds.
"""

from __future__ import annotations

import inspect
import os
import re
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

    from frameroof.cli.app import command_line

    return dict(get_command(command_line()).commands)  # type: ignore[attr-defined]


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
    from frameroof.cli.limits import limits

    told = limits(name)
    if told:
        yield from ("Limits:", "", *(f"- {_escaped(text)}." for text in told), "")
    for below, verb in getattr(command, "commands", {}).items():  # a verb of verbs, such as `stream`
        yield from _verb(f"{name} {below}", verb)


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace("*", "\\*").replace("`", "\\`")


def public_entry(name: str) -> str:
    """One public name as reStructuredText: how it is called, its documentation, and for a class what it has."""
    import frameroof

    entry = getattr(frameroof, name)
    call = name + (_signature(entry) if not inspect.isclass(entry) or entry.__init__ is not object.__init__ else "")
    if inspect.isclass(entry) and hasattr(entry, "__struct_fields__"):
        call = name  # a record that is read, and made by nobody
    function = entry.__call__ if inspect.ismodule(entry) else entry
    lines = [f".. _python-{name}:", "", name, "^" * len(name), "", f"``frameroof.{call}``", "", _documented(function)]
    for own, value in sorted(vars(entry).items()) if inspect.isclass(entry) else ():
        function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if own.startswith("_") or not (inspect.isfunction(function) or isinstance(value, property)):
            continue
        called = f"{name}.{own}" + ("" if isinstance(value, property) else _signature(getattr(entry, own)))
        lines += ["", f"``{called}``", *(f"   {line}" for line in _documented(function).splitlines())]
    return "\n".join(lines) + "\n"


def _signature(function: Any) -> str:
    """Names and short defaults of the arguments; types are in the text."""
    shown = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "self":
            continue
        default = parameter.default
        plain = default is parameter.empty or len(repr(default)) <= 12
        given = parameter.replace(annotation=parameter.empty, default=default if plain else parameter.empty)
        shown.append(str(given) if plain else f"{given}=…")
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in shown:
            shown.insert(-1, "*")
    return f"({', '.join(shown)})"


def _documented(function: Any) -> str:
    """A docstring, its names in backticks as code."""
    text = inspect.cleandoc(function.__doc__ or "").replace("\\", "\\\\")
    return re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", text)


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


class Public(SphinxDirective):
    """``.. public:: NAME`` puts a public name of the package with its documentation here."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the section."""
        return self.parse_text_to_nodes(public_entry(self.arguments[0]), allow_section_headings=True)


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
