"""`frameroof compare`: two runs side by side, and a check that fails where one became worse."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .runs import load
from .streams import complain
from .window import Asked, BetweenOption, StepOption


def compare(  # one argument an option
    before: Annotated[str, typer.Argument(help="Folder of a run, its JSON, or a trace (.json, .json.gz).")],
    after: Annotated[str, typer.Argument(help="The same of the run after the change.")],
    fail_on: Annotated[
        str | None,
        typer.Option(
            help="Exit code 1 if worse, or not comparable: METRIC>X% or METRIC>X%&Y; several with commas: "
            "total>5%&2ms,kernels>10%."
        ),
    ] = None,
    step: StepOption = None,
    between: BetweenOption = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown for a pull request.")] = False,
    top: Annotated[int, typer.Option(min=1, help="Rows of the longer tables.")] = 12,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare two runs: what became faster or slower, what appeared or vanished, what the advice brought."""
    from ..report import comparison as report
    from ..study.compare import compare as run
    from ..study.thresholds import apply, parse_rules

    if markdown and as_json:
        raise ValueError("--markdown and --json are two forms of one answer; choose one")
    rules = parse_rules(fail_on) if fail_on is not None else []
    first, second = (load(path, Asked(step, between)) for path in (before, after))
    found = run(first, second)
    found.before.path, found.after.path = before, after  # as they were typed
    checks = apply(rules, found)
    if as_json:
        from ..report.json import print_json

        print_json({**found.to_dict(), "checks": [check.to_dict() for check in checks]})
    elif markdown:
        sys.stdout.write(report.markdown(found, checks, top))
    else:
        report.print_comparison(found, checks, top)
    if rules and found.incomparable:
        complain(f"check failed: these runs cannot be compared: {'; '.join(found.incomparable)}")
        raise typer.Exit(1)
    exceeded = [check.sentence for check in checks if check.exceeded]
    if exceeded:
        complain(f"check failed: {'; '.join(exceeded)}")
        raise typer.Exit(1)
