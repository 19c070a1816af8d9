"""Llama 2 and 3.1: what the rest of the field is compared with, prefill and decode apart.

Both stages are one `LlamaForCausalLM`; `language_model` builds them for any configuration of a
transformers class of that form, so that vision-language models use the same pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..workload.recipe import Builder, Part, Recipe, Size, sizes
from .common import Built, component, token_ids, transformers_model

PROMPT_PARAMS = {
    "batch": Size(1, doc="prompts answered together"),
    "prompt_tokens": Size(2048, least=2, doc="tokens of the prompt"),
    "new_tokens": Size(128, least=1, doc="tokens generated; the first comes out of the prefill"),
}
NOTES = (
    "Prefill puts lm_head on every position (logits_to_keep=0), as the class does when it is called "
    "plainly; a serving engine computes only the last position's logits.",
    "Causal attention counts the full square of prompt tokens.",
    "Decode: each step reads all weights and the cached keys and values in use, and writes one token's "
    "keys and values in place (no concatenation, no padding to a static length). Sampling is not counted.",
)
SOURCE = (
    "https://huggingface.co/meta-llama (config.json of each size)",
    "arXiv:2307.09288 (Llama 2)",
    "arXiv:2407.21783 (Llama 3)",
)
TITLES = {
    "llama2-7b": "Llama 2 7B",
    "llama2-13b": "Llama 2 13B",
    "llama2-70b": "Llama 2 70B",
    "llama3.1-8b": "Llama 3.1 8B",
    "llama3.1-70b": "Llama 3.1 70B",
    "llama3.1-405b": "Llama 3.1 405B",
}


@dataclass(frozen=True)
class LanguageModel:
    """The two builders of one language model."""

    prefill: Builder
    decode: Builder

    def parts(self, prompt_tokens: str = "prompt_tokens") -> tuple[Part, Part]:
        """Both stages of an answer; `prompt_tokens` is an expression of the recipe's parameters."""
        return (
            Part("prefill", self.prefill, {"tokens": prompt_tokens}, weights="language_model"),
            Part(
                "decode",
                self.decode,
                {"kv": f"{prompt_tokens} + i + 1"},
                loop=("i", "new_tokens - 1"),
                weights="language_model",
            ),
        )


def language_model(cls: str, config: Mapping[str, Any]) -> LanguageModel:
    """Prefill and decode of a causal language model of transformers."""

    @sizes(let={"b": "batch", "n": "tokens"}, batch=Size(1), tokens=Size(2048, least=2))
    def prefill(batch: int = 1, tokens: int = 2048) -> Built:
        from .kv_cache import in_place_cache

        model: Any = transformers_model(cls, config)
        cache = in_place_cache(model.config, batch, entries=tokens, seen=0)
        return model, (token_ids(batch, tokens),), {"past_key_values": cache, "logits_to_keep": 0}

    @sizes(let={"b": "batch"}, batch=Size(1), kv=Size(2049, least=2))
    def decode(batch: int = 1, kv: int = 2049) -> Built:
        from .kv_cache import in_place_cache

        model: Any = transformers_model(cls, config)
        cache = in_place_cache(model.config, batch, entries=kv, seen=kv - 1)
        return model, (token_ids(batch, 1),), {"past_key_values": cache}

    return LanguageModel(prefill, decode)


def recipes() -> tuple[Recipe, ...]:
    """One recipe per published size."""
    return tuple(
        Recipe(
            name=name,
            title=title,
            params=PROMPT_PARAMS,
            parts=language_model(*component(name, "decoder")).parts(),
            item="answer",
            notes=NOTES,
            source=SOURCE,
        )
        for name, title in TITLES.items()
    )
