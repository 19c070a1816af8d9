"""Text encoders that image and video pipelines share: CLIP, T5, and language models cut before their head.

CLIP and T5 run without a padding mask: pipelines pad every prompt to one length, so a mask changes which
scores count, not how many are computed. Language models get their causal mask whole, as they do beside
padding; made here, because making it inside asks for values, which meta tensors have not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..workload.recipe import Builder, Part, Size, sizes
from .common import Built, Components, token_ids, transformers_model

# The language model inside a class with a head or a vision tower, as pipelines use it for encoding.
TRUNKS = {
    "Gemma2ForCausalLM": "Gemma2Model",
    "LlamaForCausalLM": "LlamaModel",
    "LlavaForConditionalGeneration": "LlamaModel",
    "Mistral3ForConditionalGeneration": "MistralModel",
    "Qwen2_5_VLForConditionalGeneration": "Qwen2_5_VLTextModel",
    "Qwen3ForCausalLM": "Qwen3Model",
}
# google/byt5-small, which the catalogue's files name without listing it.
BYT5_SMALL = (
    "T5EncoderModel",
    {
        "d_model": 1472,
        "d_ff": 3584,
        "d_kv": 64,
        "num_heads": 6,
        "num_layers": 12,
        "feed_forward_proj": "gated-gelu",
        "vocab_size": 384,
    },
)
TOKENS_LET = {"b": "batch", "s": "text_tokens"}
FEWEST = 8  # below it a mask may be dropped or a relative-position bucket stay empty


def encoder_parts(components: Components, tokens: str = "text_tokens") -> tuple[Part, ...]:
    """The text encoders that a pipeline has, run once for every prompt that guidance needs.

    CLIP pads to its own length; the others see `tokens`, an expression of the recipe's parameters.
    """
    return tuple(
        Part(name, text_encoder(cls, config), {"text_tokens": seen(cls, config, tokens)}, repeat="guidance")
        for name, (cls, config) in components.items()
        if name.startswith("text_encoder")
    )


def seen(cls: str, config: Mapping[str, Any], tokens: str) -> str:
    """How many tokens an encoder of this class gets, as an expression."""
    return str(clip_length(config)) if cls.startswith("CLIP") else tokens


def text_encoder(cls: str, config: Mapping[str, Any]) -> Builder:
    """The builder for a text encoder's class."""
    if cls.startswith("CLIPText"):
        return clip_text(cls, config)
    if cls.endswith("T5EncoderModel"):
        return t5_encoder(cls, config)
    return causal_trunk(cls, config)


def clip_length(config: Mapping[str, Any]) -> int:
    """The tokens that CLIP pads every prompt to: as many as it has positions."""
    return int(config.get("max_position_embeddings", 77))


def clip_text(cls: str, config: Mapping[str, Any]) -> Builder:
    """CLIPTextModel, with or without projection; no more tokens than it has positions."""
    longest = clip_length(config)

    @sizes(
        let=TOKENS_LET,
        batch=Size(1),
        text_tokens=Size(longest, least=min(FEWEST, longest), most=longest, doc="tokens, padding included"),
    )
    def build(batch: int = 1, text_tokens: int = longest) -> Built:
        return transformers_model(cls, config), (token_ids(batch, text_tokens),), {}

    return build


def t5_encoder(cls: str, config: Mapping[str, Any]) -> Builder:
    """T5EncoderModel and UMT5EncoderModel: relative positions, so any length."""

    @sizes(
        let=TOKENS_LET,
        batch=Size(1),
        text_tokens=Size(256, least=FEWEST, doc="tokens, padding included"),
    )
    def build(batch: int = 1, text_tokens: int = 256) -> Built:
        return transformers_model(cls, config), (token_ids(batch, text_tokens),), {}

    return build


def causal_trunk(cls: str, config: Mapping[str, Any]) -> Builder:
    """A language model used as an encoder: no vision tower, no output head, no cache."""
    trunk = TRUNKS.get(cls.split()[0], cls.split()[0])
    text_config = config.get("text_config", config)

    @sizes(
        let=TOKENS_LET,
        batch=Size(1),
        text_tokens=Size(512, least=FEWEST, doc="tokens, template and padding included"),
    )
    def build(batch: int = 1, text_tokens: int = 512) -> Built:
        ids = token_ids(batch, text_tokens)
        mask = _causal_mask(batch, text_tokens)
        return transformers_model(trunk, text_config), (ids,), {"attention_mask": mask, "use_cache": False}

    return build


def _causal_mask(batch: int, tokens: int) -> torch.Tensor:
    """What is added to the scores: 0 at and before a query's own position, -inf after it."""
    return torch.full((batch, 1, tokens, tokens), float("-inf")).triu(1)
