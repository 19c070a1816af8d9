"""The options that choose a model of expected time, for every verb that has one, and the model they choose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..estimate import Expected

Share = Annotated[str | None, typer.Option(help="Share of the limit that is reached: 0.5, or 0.5,attention=0.7.")]
EfficiencyFile = Annotated[
    str | None,
    typer.Option(help="Efficiency file in place of the default, as `benchmarks/gpu.py calibrate` writes it."),
]


SoftwareState = Annotated[
    str | None,
    typer.Option(
        help="What runs it: compiled (the default), diffusers-eager, xdit, wan, tensorrt or ideal, with what is "
        "otherwise: wan,attention=fa3,vae=bf16 …"
    ),
]


def expected_of(utilization: str | None, efficiency: str | None, software: str | None = None) -> Expected:
    """The model of expected time that was asked for. `ValueError`, a sentence."""
    from ..estimate.expected import chosen, parse_utilization

    if utilization is not None and efficiency is not None:
        raise ValueError("--utilization and --efficiency are two models of expected time; give one of them")
    return chosen(None if utilization is None else parse_utilization(utilization), efficiency, software)
