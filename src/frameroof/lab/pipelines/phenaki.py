"""Phenaki: T5, a masked transformer that decodes all tokens of a video in parallel, and C-ViViT's decoder.

Shape letters: B batch, N video tokens, M text tokens, D text width; T token frames, R rows, S columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ...models.common import component, transformers_model
from ...models.muse import MaskedConfig, MaskedTransformer
from ...models.phenaki import C_VIVIT, MASKED, CViViTConfig, CViViTDecoder, grid
from ...profiler import stage
from ..decoding import parallel_decode
from .common import Pipeline, like, loops, narrow, prompt, with_and_without
from .muse import narrow_masked


class Phenaki(nn.Module):
    """Text to one window of video; the answer is (B, frames, 3, height, width)."""

    def __init__(self, t5: Mapping[str, Any], masked: MaskedConfig, video: CViViTConfig) -> None:
        super().__init__()
        self.text_encoder = transformers_model("T5EncoderModel", t5)
        self.transformer, self.decoder = MaskedTransformer(masked), CViViTDecoder(video)
        self.codes = masked.codes
        self.register_buffer("empty_text", torch.randn(1, 1, masked.text_dim))  # states of no prompt, a constant

    def forward(self, sizes: Mapping[str, int]) -> Tensor:
        batch, tokens = sizes["batch"], grid(sizes["frames"], sizes["height"], sizes["width"])
        ids_BM = prompt(self, batch, sizes["text_tokens"], self.text_encoder.config.vocab_size)
        with stage("text_encoder"):
            text_BMD = self.text_encoder(ids_BM).last_hidden_state
        guidance = sizes["guidance"]
        text_BMD = with_and_without(text_BMD, self.empty_text, guidance)

        with like(self):
            codes_BTRS = torch.full((batch, *tokens), self.codes)
        codes_BN = codes_BTRS.flatten(1)
        codes_BN = parallel_decode("decode", self.transformer, codes_BN, text_BMD, sizes["steps"], guidance)
        with stage("c_vivit_decode"):
            first_BTPRS, later_BTPRS = self.decoder(codes_BN.unflatten(1, tokens))
            return torch.cat([x.flatten(1, 2).unflatten(1, (-1, 3)) for x in (first_BTPRS, later_BTPRS)], dim=1)


def build(reduced: bool) -> Phenaki:
    _, t5 = component("muse-3b", "text_encoder")
    if not reduced:
        return Phenaki(t5, MASKED, C_VIVIT)
    masked = narrow_masked(MASKED, layers=6)
    video = replace(C_VIVIT, dim=64, heads=1, codes=masked.codes)
    return Phenaki(narrow(t5, num_layers=3), masked, video)


PIPELINE = Pipeline(
    workload="phenaki",
    build=build,
    steps={"steps": 2},
    stages=loops(decode="steps"),
    sides=(64, 128, 256),
    notes=(
        "Reduced: transformer 192 wide with 3 heads of 64 and 6 of 48 layers, C-ViViT 64 wide with 1 head and all its "
        "layers, 1024 codes, T5 512 wide with 3 of 24 layers; the published 11 frames of 128 pixels.",
    ),
)
