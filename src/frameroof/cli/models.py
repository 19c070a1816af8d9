"""`frameroof models`: what the catalogue knows, with every source."""

from __future__ import annotations

from typing import Annotated

import typer


def models(
    name: Annotated[str | None, typer.Argument(help="A model of the catalogue.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models that are known, or show one with its sizes, stages and sources."""
    from .. import catalogue
    from ..report import listing

    if name is None:
        listing.print_models(catalogue.entries(), as_json)
    else:
        listing.print_model(catalogue.load(name), as_json)
