"""Find a user's builder: ``my_file.py:build`` or ``my_package.module:build``."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from typing import Any

from ..files import MOST_PYTHON, check_file
from ..workload.recipe import Builder
from .ends import Ends, ends_refused


def load_builder(spec: str) -> Builder:
    """The builder that `spec` names; `ValueError` with a sentence if there is none."""
    where, colon, name = spec.rpartition(":")
    if not colon or not where or not name:
        raise ValueError(f"{spec!r} names no builder; write my_file.py:build or my_package.module:build")
    module = _from_file(Path(where)) if where.endswith(".py") else _from_package(where)
    build = getattr(module, name, None)
    if build is None:
        functions = sorted(n for n, f in vars(module).items() if inspect.isfunction(f) and not n.startswith("_"))
        raise ValueError(f"{where} has no {name!r}; its functions are: {', '.join(functions) or 'none'}")
    if not callable(build):
        raise ValueError(f"{spec} is no function but a value of type {type(build).__name__}")
    builder: Builder = build
    return builder


def _from_file(path: Path) -> Any:
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    check_file(path, MOST_PYTHON)
    found = importlib.util.spec_from_file_location(path.stem, path)
    if found is None or found.loader is None:
        raise ValueError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(found)
    sys.modules[path.stem] = module
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        with ends_refused():
            found.loader.exec_module(module)
    except (Exception, SystemExit, Ends) as error:
        raise ValueError(f"{path} cannot be imported: {_where(error)}{type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    return module


def _from_package(name: str) -> Any:
    sys.path.insert(0, "")
    try:
        with ends_refused():
            return importlib.import_module(name)
    except (Exception, SystemExit, Ends) as error:
        raise ValueError(f"{name} cannot be imported: {_where(error)}{type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)


def _where(error: BaseException) -> str:
    """The line that ends the process where one would; what else fails says it itself."""
    if isinstance(error, Exception):
        return ""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/frameroof/count/" not in f.filename]
    return f"{frames[-1].filename}:{frames[-1].lineno}: `{frames[-1].line}`: " if frames else ""


def size_defaults(build: Builder) -> dict[str, int]:
    """A builder's sizes and defaults, from its signature; `ValueError` if a default is no whole number."""
    sizes: dict[str, int] = {}
    for name, parameter in inspect.signature(build).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if type(parameter.default) is not int:
            raise ValueError(
                f"the builder's argument {name!r} needs a whole number as its default: arguments are sizes"
            )
        sizes[name] = parameter.default
    return sizes
