"""What a verb is: a command whose help ends with its limits; and one that answers at once."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from .heap import no_search
from .usage import path_of


class Verb(TyperCommand):
    """A verb whose help ends with its limits."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """As click does, then a section of the limits."""
        from .limits import limits

        super().format_epilog(ctx, formatter)
        told = limits(path_of(ctx))
        if told:
            with formatter.section("Limits"):
                for text in told:
                    formatter.write_text(f"{text}.")


class Brief(Verb):
    """A verb that has answered before cycles of objects could add up."""

    def invoke(self, ctx: Any) -> Any:
        """As click does, without a search for them."""
        with no_search():
            return super().invoke(ctx)
