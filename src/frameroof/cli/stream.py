"""`frameroof stream`: a real-time video stream predicted, run and measured."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..dtypes import name_of
from ..written import as_json as json_of
from ..written import check_new, check_place, make_folder, together, write_whole
from .expected import EfficiencyFile, Share, SoftwareState, expected_of
from .serve import serve
from .stream_options import (
    Decoder,
    DeviceName,
    Dtype,
    Height,
    Model,
    Seed,
    Sink,
    Variant,
    Weights,
    Width,
    Window,
    decoder_of,
    setup_of,
)
from .verb import Verb

if TYPE_CHECKING:
    from ..study.stream_records import Bench, Tuned

stream = typer.Typer(
    name="stream",
    help="A real-time video stream: predict its limits, run it, measure it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@stream.command(cls=Verb)
def predict(  # more than five arguments: each is an option of the command
    on: Annotated[str, typer.Option("--on", help="The machine: H100, H200, MI300X …")] = "H100",
    window: Annotated[int, typer.Option(help="Latent frames attended, sinks and the block included.")] = 12,
    sink: Annotated[int, typer.Option(help="Latent frames at the start that stay in the window.")] = 3,
    blocks: Annotated[int, typer.Option(help="Blocks of 3 latent frames, for the whole.")] = 80,
    steps: Annotated[int, typer.Option(help="Denoising steps of a block.")] = 4,
    batch: Annotated[int, typer.Option(help="Streams side by side.")] = 1,
    height: Annotated[int, typer.Option(help="Height in pixels.")] = 480,
    width: Annotated[int, typer.Option(help="Width in pixels.")] = 832,
    dtype: Annotated[str | None, typer.Option(help="fp8, or PART=DTYPE,…: linear=fp8 …")] = None,
    utilization: Share = None,
    efficiency: EfficiencyFile = None,
    software: SoftwareState = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Predict a stream's step, block, switch, decoding and whole on a machine; nothing is run."""
    from ..study.latency_report import as_dict
    from ..study.stream import Sizes
    from ..study.stream import predict as run

    sizes = Sizes(window=window, sink=sink, blocks=blocks, steps=steps, batch=batch, height=height, width=width)
    expected = expected_of(utilization, efficiency, software)
    found = run(on, sizes, dtype=dtype, expected=expected)
    if as_json:
        from ..report.json import print_json

        print_json(as_dict(found))
    else:
        from ..report.stream_predict import print_stream_prediction

        print_stream_prediction(found)


@stream.command(cls=Verb)
def run(  # more than five arguments: each is an option of the command
    prompt: Annotated[str, typer.Argument(help="What the video shows until the first switch.")] = "a cat runs",
    model: Model = "tiny",
    blocks: Annotated[
        int, typer.Option(help="Blocks of 3 latent frames; the first gives 9 frames, later ones 12.")
    ] = 8,
    switch: Annotated[list[str], typer.Option(help="BLOCK:PROMPT, a prompt from this block on; repeatable.")] = [],  # noqa: B006
    out: Annotated[Path, typer.Option(help="The video, .mp4.")] = Path("clip.mp4"),
    variant: Variant = "fold",
    window: Window = None,
    sink: Sink = None,
    height: Height = None,
    width: Width = None,
    decoder: Decoder = None,
    weights: Weights = [],  # noqa: B006
    device: DeviceName = None,
    dtype: Dtype = None,
    seed: Seed = 0,
    preview: Annotated[bool, typer.Option("--preview", help="Show the last frame of each block as text.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the video.")] = False,
) -> None:
    """Make a clip: blocks generated, prompts switched in flight, decoded and written as they come."""
    setup = setup_of(model, device, dtype, decoder=decoder_of(decoder, model), weights=weights, seed=seed,
                   changes={"window": window, "sink": sink, "height": height, "width": width})  # fmt: skip
    from ..lab.stream.clip import Clip, make
    from ..report.progress import status
    from ..report.stream_run import print_made

    if not prompt.strip():
        raise ValueError("The prompt is empty; say what the video is to show.")
    if preview and not sys.stdout.isatty():
        raise ValueError("--preview shows frames in a terminal, and the output is none.")
    switches = _switches(switch, blocks)
    c = setup.config(variant)
    clip = Clip(out, (c.height, c.width), c.fps, force)
    setup.check_memory(variant=variant)
    with status(f"building {model}") as say:
        engine = setup.engine(variant)
        say("encoding the prompt")
        session = engine.prepare(prompt, seed=seed)
        steps = len(c.steps)
        session.on_step.append(
            lambda block, step, _: say(f"block {block + 1} of {blocks}, step {step + 1} of {steps} done")
        )
        say(f"block 1 of {blocks}")

        def told(block: Any, video: Any) -> None:
            say(f"block {block.number + 1} of {blocks}, {clip.frames} frames, prompt {block.prompts[0]!r}")
            if preview:
                _show(video)

        with clip:
            made = make(session, blocks, switches, clip, told)
    print_made(made, clip, c, engine.says)


def _show(video: Any) -> None:
    """The last frame of a block's video (3, frames, H, W) in the terminal."""
    from rich.console import Console

    from ..lab.stream.clip import pixels
    from ..report.preview import frame_text

    Console().print(frame_text(pixels(video[:, -1])), end="")


def _switches(asked: list[str], blocks: int) -> dict[int, str]:
    """Prompts by the block that they begin with, checked before anything is built."""
    if blocks < 1:
        raise ValueError(f"blocks is {blocks}; a stream has at least 1.")
    found: dict[int, str] = {}
    for text in asked:
        number, colon, prompt = text.partition(":")
        if not colon or not number.strip().isdigit() or not prompt.strip():
            raise ValueError(f'{text!r} is no switch; write BLOCK:PROMPT, such as 20:"a fox runs".')
        if not 1 <= int(number) < blocks:
            raise ValueError(
                f"A switch at block {int(number)} is beyond the stream: its later blocks are 1 to {blocks - 1}."
            )
        if int(number) in found:
            raise ValueError(f"Block {int(number)} has two switches; it can begin with one prompt.")
        found[int(number)] = prompt.strip()
    return found


@stream.command(cls=Verb)
def bench(  # more than five arguments: each is an option of the command
    model: Model = "tiny",
    variant: Annotated[list[str], typer.Option(help="What is set beside the baseline, or all; repeatable.")] = ["all"],  # noqa: B006
    blocks: Annotated[int, typer.Option(help="Blocks that are timed, those that fill the window included.")] = 16,
    window: Window = None,
    sink: Sink = None,
    batch: Annotated[str, typer.Option(help="Streams at once; of 1,2,4 the first is reported, all compared.")] = "1",
    decoder: Annotated[
        str | None, typer.Option(help="wan, tiny or none; by default tiny for medium, else wan.")
    ] = None,
    weights: Weights = [],  # noqa: B006
    device: DeviceName = None,
    dtype: Dtype = None,
    out: Annotated[Path | None, typer.Option(help="Folder for stream.json and a recorded run of each variant.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """The latency report of a stream here: latencies, breakdown and log of the baseline and of every variant."""
    decoder = decoder_of(decoder, model)
    sizes = _batches(batch)
    setup = setup_of(model, device, dtype, decoder=None if decoder == "none" else decoder, weights=weights, seed=0,
                   changes={"window": window, "sink": sink}, batch=sizes[0])  # fmt: skip
    from ..lab.stream.bench import Plan
    from ..lab.stream.variants import chosen
    from ..profiler.recorder import check_folder
    from ..report.progress import status

    names, left = chosen(variant, setup.device, setup.decoder)
    plan = Plan(setup=setup, variants=names, blocks=blocks, out=out, force=force)
    if out is not None:
        check_place(out, folder=True)
        check_new(out / "stream.json", force)
        for name in names:
            check_folder(out / name, force)
    with together():  # the report and the recordings that it speaks of
        with status(f"counting {model}") as say:
            data = _benched(plan, left, sizes, say)
        if out is not None:
            _write(out / "stream.json", data, force)
    if as_json:
        from ..report.json import print_json

        print_json(data)
    else:
        from ..report.stream_bench import print_bench

        print_bench(data, out)


def _benched(plan: Any, left: dict[str, str], sizes: list[int], say: Any) -> Bench:
    """Measure a plan; where there are several batches, the baseline and the fastest kept variant at each."""
    from ..lab.stream.batches import batches
    from ..lab.stream.bench import bench as measure
    from ..lab.stream.needed import Needed, machine
    from ..lab.stream.report import report

    setup = plan.setup
    needed = Needed(setup.config(), machine(setup.device), name_of(setup.dtype), setup.batch, setup.decoder)
    needed.parts(plan.blocks, len(plan.switches))  # what cannot be counted is said before anything is measured
    found = list(measure(plan, say))
    data = report(plan, needed, found, left)
    if len(sizes) > 1:
        names = list(dict.fromkeys(("baseline", data.variant)))
        data = report(plan, needed, found, left, batches(setup, names, sizes, needed, say))
    return data


def _batches(text: str) -> list[int]:
    """Batches of "1,2,4", each once."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--batch is a number, or several such as 1,2,4; not {text!r}.") from None
    if any(size < 1 for size in found):
        raise ValueError(f"batch is {min(found)}; a stream has at least 1 sample.")
    return list(dict.fromkeys(found))


def _write(path: Path, data: Bench | Tuned, force: bool) -> None:
    with together():
        make_folder(path.parent)
        write_whole(path, json_of(data), force)


@stream.command(cls=Verb)
def tune(  # more than five arguments: each is an option of the command
    model: Model = "tiny",
    window: Annotated[list[int], typer.Option(help="Latent frames attended; repeatable.")] = [6, 9, 12],  # noqa: B006
    sink: Annotated[list[int], typer.Option(help="Sink frames; repeatable.")] = [0, 3],  # noqa: B006
    precision: Annotated[
        list[str], typer.Option(help="Of the linears: full, fp8, fp8-ffn, int8, int8-ffn; repeatable.")
    ] = ["full", "fp8"],  # noqa: B006
    variant: Annotated[list[str], typer.Option(help="How it is run: ring, fold, fused …; repeatable.")] = ["fold"],  # noqa: B006
    most_error: Annotated[float, typer.Option(help="The most that latents may drift, relative.")] = 0.05,
    weights: Weights = [],  # noqa: B006
    device: DeviceName = None,
    dtype: Dtype = None,
    out: Annotated[Path | None, typer.Option(help="The JSON file to write.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Window, sinks, precision and variants against each other: latency beside quality, and the point to take."""
    if not most_error >= 0:
        raise ValueError(f"--most-error is 0 or more, not {most_error:g}.")
    if out is not None:
        check_place(out.parent, folder=True)
        check_new(out, force)
    setup = setup_of(model, device, dtype, decoder="wan" if weights else None, weights=weights, seed=0, changes={})
    from ..lab.stream.needed import machine
    from ..lab.stream.tune import Axes, grid, report
    from ..lab.stream.tune import tune as measure
    from ..lab.stream.variants import refused
    from ..report.progress import status

    for name in variant:
        if reason := refused(name, setup.device, setup.decoder):
            raise ValueError(f"Variant '{name}' {reason}.")
    choices = grid(setup, Axes(window, sink, precision, variant))
    node = machine(setup.device)
    with status(f"tuning {model}") as say:
        data = report(setup, node, measure(setup, choices, say), most_error)
    if out is not None:
        _write(out, data, force)
    if as_json:
        from ..report.json import print_json

        print_json(data)
    else:
        from ..report.stream_tune import print_tuned

        print_tuned(data)


@stream.command(cls=Verb)
def log(
    benches: Annotated[list[Path], typer.Argument(help="stream.json files of `frameroof stream bench`.")],
    on: Annotated[str, typer.Option("--on", help="The machine of the predicted rows.")] = "H100",
    out: Annotated[Path | None, typer.Option(help="The Markdown file; without it the log is printed.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """The optimization log as Markdown: measured rows of benches, predicted rows of a machine."""
    from ..files import read_whole
    from ..report.stream_log import optimization_log
    from ..study.stream import predict as run
    from ..study.stream_records import read_log_file

    if out is not None:
        check_place(out)
        check_new(out, force)
    text = optimization_log([read_log_file(read_whole(path), str(path)) for path in benches], run(on))
    if out is None:
        print(text)
    else:
        write_whole(out, text, force)


stream.command(cls=Verb)(serve)
