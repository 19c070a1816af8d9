"""`frameroof predict`: stages, limits, expected times, memory and cost of a model on a machine."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .expected import EfficiencyFile, Share, SoftwareState, expected_of
from .maths import Maths
from .sizes import parse_sizes

Int = int | None


def predict(  # more than five arguments: each is an option of the command
    model: Annotated[str, typer.Argument(help="A model of the catalogue, or a workload file.")],
    on: Annotated[str, typer.Option("--on", help="The machine: H100, 8xH100, MI300X …")] = "H100",
    hardware_file: Annotated[
        str | None,
        typer.Option(help="TOML file with machines of your own; --on finds them by name."),
    ] = None,
    set_: Annotated[
        list[str],
        typer.Option("--set", help="What if: mem_bandwidth=4TB/s, bf16=1.2e15, memory=96GB, tdp=600 …; repeatable."),
    ] = [],  # noqa: B006
    batch: Annotated[Int, typer.Option(help="Items generated at once.")] = None,
    steps: Annotated[Int, typer.Option(help="Denoising steps.")] = None,
    height: Annotated[Int, typer.Option(help="Height in pixels.")] = None,
    width: Annotated[Int, typer.Option(help="Width in pixels.")] = None,
    frames: Annotated[Int, typer.Option(help="Frames of video.")] = None,
    size: Annotated[list[str], typer.Option(help="Any other size: NAME=NUMBER; repeatable.")] = [],  # noqa: B006
    dtype: Annotated[str | None, typer.Option(help="fp8, or PART=DTYPE,…: linear=fp8,weights=int8,kv=fp8 …")] = None,
    maths: Maths = None,
    utilization: Share = None,
    efficiency: EfficiencyFile = None,
    software: SoftwareState = None,
    attention: Annotated[str, typer.Option(help="fused, or baseline (similarity matrix in memory).")] = "fused",
    elementwise: Annotated[
        str | None, typer.Option(help="fused within regions (ideal), or eager: the bound unfused.")
    ] = None,
    bound: Annotated[
        str | None, typer.Option(help="Which limit: compulsory, light, fused (the default) or unfused.")
    ] = None,
    cold: Annotated[bool, typer.Option("--cold", help="Take nothing off for the last-level cache.")] = False,
    price: Annotated[float | None, typer.Option(help="US dollars per device and hour.")] = None,
    target: Annotated[str | None, typer.Option(help="A rate to reach, such as 1000/h.")] = None,
    measured: Annotated[
        str | None, typer.Option(help='What you saw of this model, to anchor expected times by: "H100 batch=1 4.2s".')
    ] = None,
    versus: Annotated[
        list[str],
        typer.Option(help="Why isn't it faster: beside it another one, NAME=VALUE (on=B200, dtype=fp8 …); repeatable."),
    ] = [],  # noqa: B006
    ops: Annotated[bool, typer.Option("--ops", help="List every operation.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Predict how fast a model could run on a machine, and what it costs; nothing is run."""
    from ..hardware import load_devices, parse_node
    from ..study.predict import predict as run

    if price is not None and not 0 < price < 1e6:
        raise ValueError(f"--price is US dollars per device and hour, above 0, not {price:g}")
    node = parse_node(on, load_devices(hardware_file) if hardware_file else ())
    if set_:
        from ..hardware import parse_changes, what_if

        node = what_if(node, parse_changes(set_))
    sizes = parse_sizes(size, batch=batch, steps=steps, height=height, width=width, frames=frames)
    choices: dict[str, Any] = {
        "dtype": dtype,
        "attention": attention,
        "elementwise": elementwise,
        "maths": maths,
        "bound": bound,  # checked there, with a sentence
        "cold": cold,
        "usd_per_device_hour": price,
        "measured": measured,
    }
    prediction = run(model, node, sizes=sizes, efficiency=expected_of(utilization, efficiency, software), **choices)
    beside = None
    if versus:
        from ..study.versus import parse_versus
        from ..study.versus import versus as put

        other, other_sizes = parse_versus(versus, sizes)
        other_node = parse_node(other.pop("on")) if "on" in other else node
        expected = expected_of(utilization, efficiency, other.pop("software", software))
        after = run(model, other_node, sizes=other_sizes, efficiency=expected, **{**choices, **other})
        beside = put(prediction, after)
    reached = None
    if target:
        from ..study.target import reach

        reached = reach(prediction, target)
    if as_json:
        from ..report.json import print_json

        data = prediction.to_dict(ops=ops)
        more = {name: each.to_dict() for name, each in (("target", reached), ("versus", beside)) if each}
        print_json({**data, **more})
    else:
        from ..report.prediction import print_prediction

        print_prediction(prediction, ops=ops, target=reached, beside=beside)
