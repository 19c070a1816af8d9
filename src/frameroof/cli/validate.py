"""`frameroof validate`: predicted times beside published ones, and how far off they are."""

from __future__ import annotations

from typing import Annotated

import typer

from .streams import complain


def validate(
    on: Annotated[str | None, typer.Option("--on", help="Only rows of this machine.")] = None,
    model: Annotated[str | None, typer.Option(help="Only rows of this model.")] = None,
    rows: Annotated[
        str | None, typer.Option("--table", help="A CSV file of your own rows: model, on, seconds, and sizes by name.")
    ] = None,
    fail_on: Annotated[
        str | None, typer.Option(help="Exit with 1 past a stated error: median>10%, end to end.p90>30% …")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Put predicted times beside published ones: error by row, device, family and software."""
    from ..study.validate.fail import parse_rules
    from ..study.validate.rows import read_table, shipped
    from ..study.validate.score import chosen, groups, score, to_dict

    rules = parse_rules(fail_on) if fail_on else []
    scored = [score(row) for row in chosen(read_table(rows) if rows else shipped(), on, model)]
    if not scored:
        raise ValueError("there are no published rows of that; without --on and --model all are shown")
    found = groups(scored)
    broken = [said for rule in rules if (said := rule.broken(found))]
    if as_json:
        from ..report.json import print_json

        print_json(to_dict(scored))
    else:
        from ..report.validation import print_validation

        print_validation(scored, found)
    if broken:
        complain(f"check failed: {'; '.join(broken)}")
        raise typer.Exit(1)
