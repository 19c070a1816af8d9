"""Options that several verbs of `frameroof stream` share."""

from __future__ import annotations

from typing import Annotated

import typer

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
