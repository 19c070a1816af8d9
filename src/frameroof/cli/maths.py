"""What multiplies fp32, as an option: of `predict` for what is counted, of `gap` and `analyze` for a trace."""

from __future__ import annotations

from typing import Annotated

import typer

Maths = Annotated[
    str | None,
    typer.Option(help="What computes fp32: torch (convolutions in TF32, products in fp32; default), strict or tf32."),
]
