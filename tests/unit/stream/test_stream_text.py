"""Prompts: padding does not count, words are hashed the same everywhere, long ones are cut or refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from frameroof.stream.text import END, HASHED, LONGEST_PROMPT, folder_tokens, hashed_tokens, umt5


def test_words_are_hashed_alike_on_every_machine() -> None:
    tokens = hashed_tokens(512)("A dog, a DOG")
    assert len(tokens) == 5
    assert tokens[:2] == tokens[3:]
    assert all(3 <= token < 512 for token in tokens)
    assert tokens == [48, 162, 354, 48, 162]  # 3 + blake2b of 64 bits (b2sum -l 64) modulo 509


def test_padding_is_zero_and_changes_nothing() -> None:
    short = umt5(24, 6)
    long = replace(short, tokens=12)
    a, b = short(["a red fox"]), long(["a red fox"])
    assert a.shape == (1, 6, 24)
    assert torch.allclose(a[:, :4], b[:, :4], atol=1e-5)  # three words and the end
    assert (a[:, :4].abs().amax(dim=-1) > 0.01).all()
    assert not a[:, 4:].any()
    assert not b[:, 4:].any()


def test_a_prompt_does_not_depend_on_its_neighbors() -> None:
    encoder = umt5(24, 8)
    both = encoder(["one two three four", "rain"])
    assert torch.allclose(both[1:], encoder(["rain"]), atol=1e-5)


def test_long_prompts_are_cut_and_longer_ones_refused() -> None:
    encoder = umt5(24, 4)
    assert torch.equal(encoder(["a b c d e f"]), encoder(["a b c"]))
    with pytest.raises(ValueError, match=f"at most {LONGEST_PROMPT}"):
        encoder(["x" * (LONGEST_PROMPT + 1)])


def test_without_a_tokenizer_file_it_is_said() -> None:
    assert umt5(24, 4).says == HASHED


def test_a_tokenizer_folder_is_read(tmp_path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = {"<pad>": 0, "</s>": END, "<unk>": 2, "a": 3, "fox": 4}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    assert folder_tokens(tmp_path)("a fox sings") == [3, 4, 2]
    assert umt5(24, 4, tmp_path).says == ""
    with pytest.raises(ValueError, match="no tokenizer folder"):
        folder_tokens(tmp_path / "none")


def test_a_folder_without_a_tokenizer_is_one_sentence(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"holds no tokenizer that transformers can read\.$"):
        folder_tokens(tmp_path)
