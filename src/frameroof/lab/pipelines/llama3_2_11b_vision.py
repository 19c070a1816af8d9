"""Llama 3.2 11B Vision: an image of four tiles through an encoder once, then text that reads it by cross-attention.

Shape letters: B batch, L tiles, I tokens of a tile, D width, N tokens of the prompt, T new tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...models.common import component, transformers_model
from ...models.mllama import TILES, mixed_cache, text_side, vision_tokens
from ...profiler import stage
from .common import Pipeline, like, noise, prompt

NAME = "llama3.2-11b-vision"


class LlamaVision(nn.Module):
    """Greedy decoding of an answer about one image; the answer is the logits of every new token."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.vision = config["vision"]
        self.vision_model = transformers_model("MllamaVisionModel", self.vision)
        self.projector = nn.Linear(self.vision["vision_output_dim"], config["text"]["hidden_size"])
        self.language_model = text_side(dict(config))

    def forward(self, sizes: Mapping[str, int]) -> Tensor:
        batch, side = sizes["batch"], self.vision["image_size"]
        pixels = noise(self, batch, 1, TILES, 3, side, side)
        with like(self):
            ratio, mask = torch.ones((batch, 1), dtype=torch.int64), torch.ones((batch, 1, TILES), dtype=torch.int64)
        with stage("vision_encoder"):
            found_B1LID = self.vision_model(pixel_values=pixels, aspect_ratio_ids=ratio, aspect_ratio_mask=mask)[0]
        with stage("projector"):
            image_LID = self.projector(found_B1LID).flatten(0, 2)
        ids_BN = prompt(self, batch, sizes["prompt_tokens"], self.language_model.config.text_config.vocab_size)
        return self.generate(ids_BN, image_LID, sizes["new_tokens"])

    def generate(self, ids_BN: Tensor, image_LID: Tensor, new: int) -> Tensor:
        """Logits (B, T, V): the first from the prefill, each other from one decoding step."""
        batch, prompt_tokens = ids_BN.shape
        entries, image_tokens = prompt_tokens + new - 1, TILES * vision_tokens(self.vision)
        with like(self):
            cache = mixed_cache(self.language_model, batch, (entries, 0), (image_tokens, 0))
        with stage("prefill"):
            found = self.language_model(ids_BN, cross_attention_states=image_LID, past_key_values=cache)
        found_B1V = [found.logits[:, -1:]]
        crossing = set(self.language_model.config.text_config.cross_attention_layers)
        for seen in range(prompt_tokens, entries):
            for at, layer in enumerate(cache.layers):
                layer.seen = image_tokens if at in crossing else seen
            with stage("decode"):
                token_B1 = found_B1V[-1].argmax(dim=-1)
                found_B1V.append(self.language_model(token_B1, past_key_values=cache).logits)
        return torch.cat(found_B1V, dim=1)


def reduced_config(full: Mapping[str, Any]) -> dict[str, Any]:
    """An eighth of the widths and heads; tiles as large as before."""
    vision = {
        "hidden_size": 160,
        "intermediate_size": 640,
        "attention_heads": 2,
        "num_hidden_layers": 6,
        "num_global_layers": 2,
        "intermediate_layers_indices": [0, 1, 2, 3, 4],
        "vision_output_dim": 6 * 160,
    }
    text = {
        "hidden_size": 512,
        "intermediate_size": 1792,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "num_hidden_layers": 5,
        "cross_attention_layers": [3],
        "vocab_size": 16032,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return {"vision": {**full["vision"], **vision}, "text": {**full["text"], **text}}


def build(reduced: bool) -> LlamaVision:
    _, config = component(NAME, "full model")
    return LlamaVision(reduced_config(config) if reduced else config)


PIPELINE = Pipeline(
    workload=NAME,
    build=build,
    reduced={"prompt_tokens": 128, "new_tokens": 16},
    notes=(
        "One image of four full tiles. Reduced: text 512 wide with 4 heads of 128 and 5 of 40 layers, one of them "
        "cross-attention, vision 160 wide with 2 heads of 80 and 6 of 32 and 2 of 8 layers; "
        "tiles of the published 560 pixels.",
    ),
)
