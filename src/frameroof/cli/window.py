"""The options that cut a report to a stretch of the run: `--step` and `--between`."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import typer

StepOption = Annotated[
    str | None,
    typer.Option("--step", help="Only this step: N (of ProfilerStep#N, or of the denoiser's calls), last, or A..B."),
]
BetweenOption = Annotated[
    str | None,
    typer.Option("--between", help="Only what was launched inside this annotation, module or stage; * is any text."),
]


class Asked(NamedTuple):
    """The stretch that a user asked for; both None: all of the run."""

    step: str | None = None
    between: str | None = None

    def __bool__(self) -> bool:
        return self.step is not None or self.between is not None
