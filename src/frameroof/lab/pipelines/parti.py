"""Parti: an encoder for the prompt, then 1024 image tokens one after the other, then ViT-VQGAN's detokenizer.

With guidance every token is one forward over a batch of two, with the prompt and without it.

Shape letters: B batch (with guidance twice the images), M text tokens, T image tokens, V codes, D width, H heads,
C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from ...models.parti import PARTI, Decoder, Detokenizer, Encoder, PartiConfig, TextKeysValues
from ...profiler import stage
from ..decoding import guided
from .common import Pipeline, like, prompt

KeysValues = list[tuple[Tensor, Tensor]]  # of the text, (B, H, M, C), one pair a layer


class Parti(nn.Module):
    """Text to image."""

    def __init__(self, config: PartiConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder, self.detokenizer = Encoder(config), Decoder(config), Detokenizer(config)
        states_BMD = torch.randn(1, config.text_positions, config.dim)  # of no prompt, a constant
        self.register_buffer("empty_text", states_BMD, persistent=False)
        self._empty: tuple[int, KeysValues] | None = None

    def forward(self, sizes: Mapping[str, int]) -> Tensor:
        batch, text_tokens = sizes["batch"], sizes["text_tokens"]
        rows, columns = sizes["height"] // self.config.patch, sizes["width"] // self.config.patch
        ids_BM = prompt(self, batch, text_tokens, self.config.text_vocabulary)
        with stage("text_encoder"):
            text_BMD = self.encoder(ids_BM)
        with stage("text_keys_values"):
            text = TextKeysValues(self.decoder)(text_BMD)
        if sizes["guidance"] == 2:
            text = both(text, self.no_prompt(batch, text_tokens))
        codes_BT, _ = self.generate(text, rows * columns, sizes["guidance"])
        with stage("vq_decode"):
            image: Tensor = self.detokenizer(codes_BT.unflatten(1, (rows, columns)))
        return image

    def no_prompt(self, batch: int, text_tokens: int) -> KeysValues:
        """Keys and values of no prompt, for all layers: constants, made at the first run."""
        if self._empty is None or self._empty[0] != text_tokens:
            self._empty = text_tokens, TextKeysValues(self.decoder)(self.empty_text[:, :text_tokens])
        return [(k.expand(batch, -1, -1, -1), v.expand(batch, -1, -1, -1)) for k, v in self._empty[1]]

    def generate(self, text: KeysValues, tokens: int, guidance: int) -> tuple[Tensor, Tensor]:
        """Codes (B, T), the likeliest each time, and the logits (B, T, V) that they were chosen from."""
        from ...models.kv_cache import InPlaceLayer

        batch, c = text[0][0].shape[0], self.config
        shape = (batch, c.heads, tokens, c.dim // c.heads)
        with like(self):
            past = [InPlaceLayer(torch.empty(shape), torch.empty(shape), seen=0) for _ in self.decoder.blocks]
            code_B1 = torch.full((batch // guidance, 1), c.codes)  # the start of an image
        codes_BT, logits_BTV = [], []
        for seen in range(tokens):
            for layer in past:
                layer.seen = seen
            with stage("decode"):
                logits_B1V = self.decoder(code_B1.repeat(guidance, 1), past, text)
            with stage("decode_sampler"):
                logits_B1V = guided(logits_B1V, guidance)
                code_B1 = logits_B1V.argmax(dim=-1)
            codes_BT.append(code_B1)
            logits_BTV.append(logits_B1V)
        return torch.cat(codes_BT, dim=1), torch.cat(logits_BTV, dim=1)


def both(given: KeysValues, nothing: KeysValues) -> KeysValues:
    """Of every layer, the keys and values with the prompt and, behind them, those without it."""
    pairs = zip(given, nothing, strict=True)
    return [(torch.cat([k, k_none]), torch.cat([v, v_none])) for (k, v), (k_none, v_none) in pairs]


REDUCED = replace(
    PARTI,
    dim=512,
    hidden=2048,
    heads=8,
    encoder_layers=2,
    decoder_layers=4,
    text_vocabulary=2000,
    codes=1024,
    image_dim=160,
    image_hidden=640,
    image_heads=2,
    image_layers=4,
)
PIPELINE = Pipeline(
    workload="parti-20b",
    build=lambda reduced: Parti(REDUCED if reduced else PARTI),
    reduced={"height": 96, "width": 96},
    full={"height": 96, "width": 96},
    sides=(64, 96, 128, 256),
    notes=(
        "Pictures of 96 pixels, 144 tokens of the published 1024: all of them would be millions of kernels in a trace.",
        "Reduced: 512 wide with 8 heads of 64, 2 of 16 encoder and 4 of 64 decoder layers, 1024 codes, detokenizer 160 "
        "wide with 4 of 32 layers.",
    ),
)
