"""Names of ranges: what is written is read back, and nothing else is taken for it."""

from __future__ import annotations

import pytest

from frameroof.annotations import module_of, module_range, path_of, stage_of, stage_range


@pytest.mark.parametrize("name", ["denoise", "a::b", "mod::x", "", "stage::"])
def test_written_names_are_read_back(name: str) -> None:
    assert stage_of(stage_range(name)) == name
    assert path_of(module_range(name)) == name
    assert stage_of(module_range(name)) is None
    assert path_of(stage_range(name)) is None


def test_the_names_are_those_of_earlier_recordings() -> None:
    assert (stage_range("denoise"), module_range("blocks.0")) == ("stage::denoise", "mod::blocks.0")
    assert (module_of("nn.Module: Decoder_0"), module_of("mod::vae.decoder")) == ("Decoder_0", "vae.decoder")
    assert (path_of("nn.Module: Decoder_0"), stage_of("my stage::x"), module_of("else")) == (None, None, "else")
