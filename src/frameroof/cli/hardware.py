"""`frameroof hardware`: the machines that are known, with every source."""

from __future__ import annotations

from typing import Annotated

import typer


def hardware(
    name: Annotated[str | None, typer.Argument(help="A machine, such as H100.")] = None,
    unconfirmed: Annotated[
        bool,
        typer.Option("--unconfirmed", help="List the values that no one has re-read at a source."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the machines that are known, or show one with its peaks (dense), price and sources."""
    from ..hardware import device, devices
    from ..report import listing

    if unconfirmed:
        listing.print_unconfirmed(devices() if name is None else (device(name),), as_json)
    elif name is None:
        listing.print_devices(devices(), as_json)
    else:
        listing.print_device(device(name), as_json)
