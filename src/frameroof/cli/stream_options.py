"""Options that several verbs of `frameroof stream` share, and what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..dtypes import STREAMED, check, torch_name
from ..public import need_torch
from .device import torch_device

if TYPE_CHECKING:
    from ..lab.stream.variants import Setup

Model = Annotated[str, typer.Option(help="tiny, medium or longlive-1.3b.")]
Variant = Annotated[str, typer.Option(help="How it is run: baseline, ring, fold, fused, graph, fp8 …")]
Window = Annotated[int | None, typer.Option(help="Latent frames attended, sinks and the block included.")]
Sink = Annotated[int | None, typer.Option(help="Latent frames at the start that stay in the window.")]
Height = Annotated[int | None, typer.Option(help="Height in pixels.")]
Width = Annotated[int | None, typer.Option(help="Width in pixels.")]
Decoder = Annotated[str | None, typer.Option(help="wan, or tiny (fast); by default tiny for medium, else wan.")]
Weights = Annotated[
    list[str],
    typer.Option(
        help="PART=PATH with PART transformer, lora, vae, text_encoder or tokenizer; repeatable. None: random."
    ),
]
DeviceName = Annotated[str | None, typer.Option(help="cpu or cuda; by default cuda where there is one.")]
Dtype = Annotated[str | None, typer.Option(help="fp32 or bf16; by default bf16 on cuda.")]
Seed = Annotated[int, typer.Option(help="Of the noise.")]


def decoder_of(asked: str | None, model: str) -> str:
    """The decoder asked for; Wan's has one size for real latents, 45 s a block of medium on a CPU."""
    return asked or ("tiny" if model == "medium" else "wan")


def setup_of(  # eight arguments: options of the verbs that run a stream
    model: str,
    device: str | None,
    dtype: str | None,
    *,
    decoder: str | None,
    weights: list[str],
    seed: int,
    changes: dict[str, int | None],
    batch: int = 1,
) -> Setup:
    """What is run, where and with which weights; ValueError, a sentence, before anything is built."""
    need_torch("running a stream")
    import torch

    from ..lab.stream.variants import Setup
    from ..stream.engine import DECODERS

    if decoder is not None and decoder not in DECODERS:
        raise ValueError(f"No decoder is called '{decoder}'; there are {', '.join(DECODERS)}.")
    where = torch_device(device)
    check(dtype, STREAMED, "--dtype is", "what a stream runs has no other; stream predict --dtype takes tf32, fp8 …")
    chosen = getattr(torch, torch_name(dtype or ("bf16" if where == "cuda" else "fp32")))
    made = Setup(
        model=model,
        changes={name: value for name, value in changes.items() if value is not None},
        device=where,
        dtype=chosen,
        decoder=decoder,
        files=_files(weights),
        seed=seed,
        batch=batch,
    )
    made.config()  # sizes are checked before anything is built
    return made


def _files(asked: list[str]) -> Any:
    """Weights by part, or None where all are random."""
    if not asked:
        return None
    from dataclasses import fields

    from ..stream.engine import Files

    parts = [field.name for field in fields(Files)]
    found: dict[str, Path] = {}
    for text in asked:
        part, equals, path = text.partition("=")
        if not equals or part not in parts:
            raise ValueError(f"{text!r} names no weights; write PART=PATH with PART {', '.join(parts)}.")
        found[part] = Path(path)
    return Files(**found)
