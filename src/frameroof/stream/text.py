"""Prompts to text features: umT5's encoder, and a tokenizer that says what it is.

Wan pads a prompt to 512 tokens, masks the padding inside the encoder, and zeroes the padded features before
the transformer, which attends to all of them. Shapes: B prompts, S tokens, C channels.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from ..models.common import component, transformers_model

Tokenize = Callable[[str], list[int]]


class Encode(Protocol):
    """Prompts to features (B, S, C); `says` is what every output must say of them ("" where nothing)."""

    @property
    def says(self) -> str: ...

    def __call__(self, prompts: Sequence[str]) -> torch.Tensor: ...


END = 1  # </s> of T5's vocabularies; 0 is padding, 2 is unknown
RESERVED = 3
HASHED = "Prompts are split into words and hashed to tokens: no tokenizer file was given, so words carry no meaning."
LONGEST_PROMPT = 10_000  # characters

TINY_UMT5 = {
    "d_model": 24,
    "d_ff": 32,
    "d_kv": 8,
    "num_heads": 3,
    "num_layers": 2,
    "vocab_size": 512,
    "feed_forward_proj": "gated-gelu",
}


def hashed_tokens(vocabulary: int) -> Tokenize:
    """A tokenizer without a file: each word, and each other sign, is hashed into the vocabulary."""

    def tokenize(prompt: str) -> list[int]:
        words = re.findall(r"\w+|[^\w\s]", prompt.lower())
        digests = (hashlib.blake2b(word.encode(), digest_size=8).digest() for word in words)
        return [RESERVED + int.from_bytes(d, "big") % (vocabulary - RESERVED) for d in digests]

    return tokenize


def folder_tokens(folder: Path) -> Tokenize:
    """The tokenizer of a local folder (transformers' AutoTokenizer); nothing is downloaded.

    Raises `ValueError`, a sentence, for a folder that is not there or holds no tokenizer.
    """
    if not folder.is_dir():
        raise ValueError(f"There is no tokenizer folder {folder}.")
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(f"{folder} holds no tokenizer that transformers can read.") from error
    return lambda prompt: list(tokenizer(prompt, add_special_tokens=False)["input_ids"])


@dataclass
class TextEncoder:
    """umT5 with its tokenizer."""

    model: Any
    tokenize: Tokenize
    tokens: int
    says: str = ""

    @torch.inference_mode()
    def __call__(self, prompts: Sequence[str]) -> torch.Tensor:
        """Features (B, S, C), zero where a prompt is padded; a prompt that is too long is cut, its end kept.

        Raises `ValueError`, a sentence, for a prompt of more characters than any tokenizer is given.
        """
        for prompt in prompts:
            if len(prompt) > LONGEST_PROMPT:
                raise ValueError(f"A prompt has {len(prompt)} characters; at most {LONGEST_PROMPT} are taken.")
        rows = [[*self.tokenize(prompt)[: self.tokens - 1], END] for prompt in prompts]
        ids = torch.tensor([row + [0] * (self.tokens - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (self.tokens - len(row)) for row in rows])
        device = next(self.model.parameters()).device
        ids, mask = ids.to(device), mask.to(device)
        features = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return features * mask.unsqueeze(-1).to(features.dtype)


def umt5(width: int, tokens: int, tokenizer: Path | None = None) -> TextEncoder:
    """umT5 without weights: XXL where the transformer takes its 4096 channels, else a small one of `width`.

    Made on the default device and in the default dtype; the caller fills it.
    """
    cls, config = component("longlive-1.3b", "text_encoder")
    if width != config["d_model"]:
        config = {**TINY_UMT5, "d_model": width}
    tokenize = folder_tokens(tokenizer) if tokenizer else hashed_tokens(int(config["vocab_size"]))
    return TextEncoder(transformers_model(cls, config), tokenize, tokens, "" if tokenizer else HASHED)


@dataclass(frozen=True)
class HashedFeatures:
    """In the place of a text encoder: noise seeded by the prompt, as long as its words; for timing without umT5."""

    width: int
    tokens: int
    device: torch.device | str = "cpu"
    says: str = "Prompts are noise seeded by their words: no text encoder is run."

    def __call__(self, prompts: Sequence[str]) -> torch.Tensor:
        out = torch.zeros(len(prompts), self.tokens, self.width)
        for row, prompt in zip(out, prompts, strict=True):
            seed = int.from_bytes(hashlib.blake2b(prompt.encode(), digest_size=7).digest(), "big")
            words = min(self.tokens, len(prompt.split()) + 1)
            row[:words] = torch.randn(words, self.width, generator=torch.Generator().manual_seed(seed))
        return out.to(self.device)
