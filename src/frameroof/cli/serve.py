"""`frameroof stream serve`: a stream in a browser, its prompts switched while it plays."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
from .streams import say

if TYPE_CHECKING:
    from ..serve.app import App
    from ..serve.engine import EngineSource
    from ..serve.limits import Limits

MISSING = "serving a stream needs FastAPI, uvicorn, websockets, prometheus-client and Pillow: pip install '.[serve]'"


def serve(  # more than five arguments: each is an option of the command
    prompt: Annotated[str, typer.Argument(help="What a new viewer's video shows first.")] = "a cat runs",
    model: Model = "tiny",
    host: Annotated[str, typer.Option(help="Address to listen on; any but this machine's own needs a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes any free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(envvar="FRAMEROOF_TOKEN", help="What viewers must know; made and printed where one is needed."),
    ] = None,
    sessions: Annotated[int, typer.Option(help="Viewers at the same time, each with a cache of its own.")] = 4,
    longest_prompt: Annotated[int, typer.Option(help="Characters that a prompt may have.")] = 1000,
    largest_message: Annotated[int, typer.Option(help="Bytes that a message of a viewer may have.")] = 16_384,
    queue: Annotated[int, typer.Option(help="Frames that wait for a viewer; of more the oldest is dropped.")] = 36,
    grace: Annotated[float, typer.Option(help="Seconds in which a viewer may come back to its session.")] = 30.0,
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
) -> None:
    """Serve a live page: frames as they are made, latencies beside them, prompts switched while it plays."""
    _need_serve()
    from ..serve.limits import Limits
    from ..serve.server import listen

    limits = Limits(sessions=sessions, prompt=longest_prompt, message=largest_message, queue=queue, grace_s=grace)
    limits.checked_prompt(prompt)
    _check_token(token)
    with listen(host, port) as sock:  # before torch is loaded and anything is built: a port in use is said at once
        setup = setup_of(model, device, dtype, decoder=decoder_of(decoder, model), weights=weights, seed=seed,
                         changes={"window": window, "sink": sink, "height": height, "width": width})  # fmt: skip
        advice = "; allow fewer with --sessions" if sessions > 1 else ""
        setup.check_memory(variant=variant, streams=sessions, advice=advice)
        _serve(_source(setup, variant), limits, sock, prompt, token)


def _need_serve() -> None:
    from importlib.util import find_spec

    if any(find_spec(name) is None for name in ("fastapi", "uvicorn", "websockets", "prometheus_client", "PIL")):
        raise ValueError(MISSING)


def _check_token(token: str | None) -> None:
    from ..serve.guard import check_token

    if token:
        check_token(token)


def _source(setup: Any, variant: str) -> EngineSource:
    from ..report.progress import status
    from ..serve.engine import EngineSource

    with status(f"building {setup.model}") as say:
        source = EngineSource(setup.engine(variant), setup, variant)
        say("warming up")
        source.warm()
    return source


def _serve(source: EngineSource, limits: Limits, sock: socket.socket, prompt: str, token: str | None) -> None:
    """Serve until stopped. Where others than this machine can reach the socket, a token is needed and made."""
    from ..serve.app import create_app
    from ..serve.guard import HOME, is_home, new_token
    from ..serve.server import run

    host, port = sock.getsockname()[:2]  # what was really bound, whatever it was called
    token = token or (None if is_home(host) else new_token())
    app = create_app(source, limits, prompt=prompt, token=token, names=None if token else HOME)
    run(app, sock, limits, lambda: _print_ready(source, (host, port), token))
    say(_summary(app))
    if not app.worker.stop(0):  # a step of a large model may take minutes, and nothing is lost by not waiting
        sys.stdout.flush()
        os._exit(0)


def _print_ready(source: EngineSource, address: tuple[str, int], token: str | None) -> None:
    facts, (host, port) = source.facts, address
    say(f"{facts.model}, {facts.height} x {facts.width} at {facts.fps} FPS, variant {facts.variant}, {facts.device}")
    for text in facts.says:
        say(text)
    everywhere = host in ("0.0.0.0", "::")
    name = socket.gethostname() if everywhere else f"[{host}]" if ":" in host else host
    say(f"open  http://{name}:{port}/" + (f"?token={token}" if token else ""))
    if host not in ("127.0.0.1", "::1"):
        say(
            "      Who has this address may watch. Nothing is encrypted: on an open network, put a TLS proxy before it."
        )
    say("stop  Ctrl-C")


def _summary(app: App) -> str:
    def total(name: str) -> int:
        return int(app.counts.registry.get_sample_value(f"frameroof_stream_{name}_total") or 0)

    return (
        f"stopped: {total('sessions_opened')} sessions, {total('blocks')} blocks, {total('frames_made')} frames made, "
        f"{total('frames_sent')} sent"
    )
