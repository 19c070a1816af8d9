"""`frameroof reproduce`: every published number of a document beside ours."""

from __future__ import annotations

from typing import Annotated

import typer


def reproduce(
    what: Annotated[str, typer.Argument(help="movie-gen or llama-3.2-vision.")],
    steps: Annotated[int | None, typer.Option(help="Denoising steps, to see what follows from it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Reproduce a document's numbers from the counted workload: same, or different and why."""
    from ..report.reproduction import print_reproduction
    from ..study.reproduce import reproduce as run

    print_reproduction(run(what, steps=steps), as_json)
