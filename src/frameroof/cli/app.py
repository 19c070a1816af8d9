"""The `frameroof` command: its verbs, and how errors reach a user: one sentence and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import typer

from ..written import forget
from .stops import Stopped, Verbs, code
from .stops import sentence as stop_sentence
from .streams import complain
from .usage import UsageError, sentence
from .verb import Brief, Verb

HELP = "How fast an image, video or vision-language model could run, how fast it does run, and what closes the gap."
VERBS = (
    "predict",
    "analyze",
    "profile",
    "gap",
    "compare",
    "models",
    "hardware",
    "count",
    "reproduce",
    "characterize",
    "validate",
)
"""Each is a function of the file beside this one that is called as it is."""
BRIEF = ("predict", "models", "hardware")


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"frameroof {version('frameroof')}")
        raise typer.Exit


def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),
) -> None:
    """Options before the verb."""
    if debug:
        os.environ["FRAMEROOF_DEBUG"] = "1"


def command_line(words: Sequence[str] = ()) -> typer.Typer:
    """The command with all its verbs; with the one alone that `words` start with, if they do.

    To load every verb, and to read its signature, takes longer than a short answer.
    """
    made = typer.Typer(
        name="frameroof",
        cls=Verbs,
        help=HELP,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback()(_options)
    first = words[0] if words else ""
    for verb in [first] if first in VERBS else VERBS:
        kind = Brief if verb in BRIEF else Verb
        made.command(cls=kind)(getattr(import_module(f".{verb}", __package__), verb))
    if first not in VERBS:
        from .stream import stream

        made.add_typer(stream)
    return made


def main() -> None:
    """Run the command: exit code 0, 1 (a check failed), 2 (wrong input, said in one sentence) or 130 (Ctrl-C)."""
    forget()
    try:
        status = command_line(sys.argv[1:])(standalone_mode=False)
        sys.stdout.flush()
        raise SystemExit(status)
    except UsageError as error:
        if not sys.argv[1:]:  # a bare `frameroof` shows its help
            print(error.format_message())
            raise SystemExit(2) from None
        complain(sentence(error))
        raise SystemExit(2) from None
    except (ValueError, OSError) as error:
        if os.environ.get("FRAMEROOF_DEBUG"):
            raise
        complain(str(error))
        raise SystemExit(2) from None
    except Stopped as stopped:
        complain(stop_sentence(stopped.__cause__))
        raise SystemExit(code(stopped.__cause__)) from None
