"""A wrong command line in one sentence: what was wrong, and what is allowed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

import typer

UsageError: Any = typer.BadParameter.__mro__[1]  # click's, or the copy of click that newer typer carries


def sentence(error: Any) -> str:
    """One sentence for a `UsageError`, with the nearest thing that is allowed."""
    context, kind = error.ctx, type(error).__name__
    where = path_of(context)
    if kind == "BadOptionUsage":
        needs = "takes no value" if "not take" in _plain(error) else "needs a value"
        return f"{error.option_name} {needs}"
    if context is None:
        return _plain(error)
    if kind == "NoSuchOption":
        return _no_such_option(error.option_name, context, where)
    if kind == "MissingParameter" and error.param is not None:
        return f"{where} needs {_name(error.param)}{_meaning(error.param)}"
    if kind == "BadParameter" and error.param is not None:
        return f"{where}: {_name(error.param)} {_wrong_value(error)}{_meaning(error.param)}"
    if hasattr(context.command, "commands"):
        return _no_such_verb(error, context)
    extra = re.search(r"extra arguments?(?:\(s\))? \((.*)\)", _plain(error))
    if extra:
        takes = [_name(p) for p in context.command.params if p.param_type_name == "argument"]
        return f"{where} takes {' '.join(takes) or 'no argument'} and options; {extra[1]!r} is too much"
    return f"{where}: {_plain(error)}"


def path_of(context: Any) -> str:
    """The verb that was typed, with the one that it belongs to: "stream serve"."""
    names: list[str] = []
    while context is not None and context.parent is not None:
        names.insert(0, context.info_name)
        context = context.parent
    return " ".join(names)


def _plain(error: Any) -> str:
    return " ".join(str(error.format_message()).split()).rstrip(".")


def _no_such_option(name: str, context: Any, where: str) -> str:
    known = [n for p in context.command.get_params(context) for n in p.opts if n.startswith("-")]
    help_ = " ".join(("`frameroof", *([where] if where else []), "--help` lists all"))
    return f"{where or 'frameroof'} has no option {name}; {_near(name, known, help_)}"


def _no_such_verb(error: Any, context: Any) -> str:
    verbs = list(context.command.commands)
    typed = re.search(r"'([^']*)'", _plain(error))
    if typed is None:
        return f"a verb is missing: {', '.join(verbs)}"
    return f"there is no verb {typed[1]!r}; {_near(typed[1], verbs, '')}verbs: {', '.join(verbs)}"


def _near(name: str, known: Iterable[str], otherwise: str) -> str:
    near = difflib.get_close_matches(name, list(dict.fromkeys(known)), n=2, cutoff=0.6)
    if not near:
        return otherwise
    return f"did you mean {' or '.join(near)}?" + ("" if otherwise else " ")


def _name(param: Any) -> str:
    if param.param_type_name == "argument":
        return str(param.name).upper()
    return next((n for n in param.opts if n.startswith("--")), str(param.name))


def _wrong_value(error: Any) -> str:
    typed = re.search(r"'(.*)' is not a valid", str(error.message))
    kinds = {"int": "a whole number", "integer": "a whole number", "float": "a number"}
    name = str(error.param.type.name).removesuffix(" range")
    if typed and name in kinds:
        return f"is {kinds[name]}, not {typed[1]!r}"
    return f"is wrong: {str(error.message).rstrip('.')}"


def _meaning(param: Any) -> str:
    text = str(getattr(param, "help", None) or "").strip().rstrip(".")
    return f" ({text})" if text else ""
