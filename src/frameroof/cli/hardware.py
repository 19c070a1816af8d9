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
    """List the machines that are known, or show one: peaks (dense), price, and the source of each value."""
    from ..hardware import device, devices, seed_devices
    from ..report import machines

    if unconfirmed:
        machines.print_unconfirmed(devices() if name is None else (device(name),), as_json)
    elif name is None:
        machines.print_devices(devices(), seed_devices(), as_json)
    else:
        machines.print_device(device(name), as_json)
