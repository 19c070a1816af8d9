"""`frameroof validate`: predicted times beside published ones, and a check that fails past a stated error."""

from __future__ import annotations

from typing import Annotated

import typer

from .streams import complain


def validate(
    on: Annotated[str | None, typer.Option("--on", help="Only rows of this device.")] = None,
    model: Annotated[str | None, typer.Option(help="Only rows of this model.")] = None,
    table: Annotated[
        str | None,
        typer.Option(help="CSV of your own rows: model, hardware, seconds, height, steps, dtype, software, scope …"),
    ] = None,
    fail_on: Annotated[
        str | None,
        typer.Option(help="Exit code 1 past an error: median>10%,p90>30%,within_20<78%,components:median>20% …"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Predict times that were published, show how far off each is, and in which groups; nothing is run."""
    from ..study.validate.groups import parse_rules
    from ..study.validate.validate import validate as run

    rules = parse_rules(fail_on) if fail_on is not None else []
    found = run(on, model, table)
    broken = [text for rule in rules if (text := rule.broken(found.groups))]
    if as_json:
        from ..report.json import print_json

        print_json({**found.to_dict(), "failed": broken})
    else:
        from ..report.validation import print_validation

        print_validation(found)
    if broken:
        complain(f"check failed: {'; '.join(broken)}")
        raise typer.Exit(1)
