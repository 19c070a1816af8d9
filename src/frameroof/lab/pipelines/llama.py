"""LLaMA-2 7B: a prompt in one prefill, then token after token against a growing cache.

Golden et al. name the model but neither its size nor its lengths: the 7B one, 2048 tokens and 128 new ones.

Shape letters: B batch, N tokens of the prompt, T new tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...models.common import component, transformers_model
from ...profiler import stage
from .common import Pipeline, like, narrow, prompt


class Llama(nn.Module):
    """Greedy decoding; the answer is the logits of every new token."""

    def __init__(self, cls: str, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.language_model = transformers_model(cls, config)

    def forward(self, sizes: Mapping[str, int]) -> Tensor:
        ids_BN = prompt(self, sizes["batch"], sizes["prompt_tokens"], self.language_model.config.vocab_size)
        return self.generate(ids_BN, sizes["new_tokens"])

    def generate(self, ids_BN: Tensor, new: int) -> Tensor:
        """Logits (B, T, V): the first from the prefill, each other from one decoding step."""
        from ...models.kv_cache import in_place_cache

        batch, prompt_tokens = ids_BN.shape
        with like(self):
            entries = prompt_tokens + new - 1
            cache: Any = in_place_cache(self.language_model.config, batch, entries=entries, seen=0)
        with stage("prefill"):
            logits_BNV = self.language_model(ids_BN, past_key_values=cache).logits
        found_B1V = [logits_BNV[:, -1:]]
        for seen in range(prompt_tokens, entries):
            for layer in cache.layers:
                layer.seen = seen
            with stage("decode"):
                token_B1 = found_B1V[-1].argmax(dim=-1)
                found_B1V.append(self.language_model(token_B1, past_key_values=cache).logits)
        return torch.cat(found_B1V, dim=1)


def build(reduced: bool) -> Llama:
    cls, config = component("llama2-7b", "decoder")
    return Llama(cls, narrow(config, num_hidden_layers=4) if reduced else config)


PIPELINE = Pipeline(
    workload="llama2-7b",
    build=build,
    reduced={"prompt_tokens": 512, "new_tokens": 32},
    notes=("Reduced: 4 of 32 identical layers, width 512 with 4 heads of 128, vocabulary 4000.",),
)
