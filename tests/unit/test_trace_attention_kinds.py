"""Self, cross, temporal, spatial: by names, by lengths, by the pattern of the calls; traces made by hand.

Every answer is known from how the model would have been written, not from its trace.
"""

from __future__ import annotations

import pytest
from trace_made import Made

from frameroof.trace.find.attention.calls import find_attention

SDPA = "aten::_scaled_dot_product_flash_attention"
STEP = 100_000


class Model(Made):
    """Calls of modules one after the other, named as our profiler or as torch names them."""

    at = 10_000

    def attend(self, path, q, k=None, batch=1, heads=2, projections=(), causal=None):
        """A module that calls attention; `projections` are the paths below it of a linear before and one after."""
        if "/" in path:
            for depth, name in enumerate(path.split("/")):
                self.module(name, self.at + depth, STEP - 1_000 - 2 * depth)
        elif path:
            self.note(f"mod::{path}", self.at, STEP - 1_000)
        for child, start in zip(projections, (self.at + 20_000, self.at + 60_000), strict=False):
            self.note(f"mod::{path}.{child}" if path else f"mod::{child}", start - 6_000, 3_000)
            self.one("aten::mm", start, 1_000, dims=[[batch * q, 8], [8, 8]])
        dims = [[batch, heads, q, 4], *[[batch, heads, k or q, 4]] * 2]
        flag = ["", "", "", "0.", str(causal)] if causal is not None else None
        self.one(SDPA, self.at + 40_000, 4_000, "flash_fwd", dims, ["c10::Half"] * 3, flag)
        self.at += STEP
        return self

    def convolve(self, images, side, kernel=3):
        """A convolution of square images."""
        dims = [[images, 8, side, side], [8, 8, kernel, kernel], [8]]
        self.one("aten::cudnn_convolution", self.at + 40_000, 4_000, dims=dims)
        self.at += STEP
        return self

    def kinds(self, tmp_path):
        return [call.kind for call in find_attention(self.place(tmp_path))]


@pytest.mark.parametrize(
    ("path", "want"),
    [
        ("blocks.0.cross_attn", "cross"),
        ("decoder.block.3.layer.1.EncDecAttention", "cross"),
        ("bert.encoder.layer.0.crossattention.self", "cross"),
        ("bert.encoder.layer.0.attention.self", "self"),
        ("T5Block_0/T5LayerCrossAttention_0/T5Attention_1", "cross"),
        ("WanBlock_3/WanT2VCrossAttention_3", "cross"),
        ("UNet_0/CrossAttnDownBlock2D_0/Transformer2DModel_0/BasicTransformerBlock_0/Attention_0", "self"),
        ("SpatialTransformer_0/BasicTransformerBlock_0/CrossAttention_0", "self"),  # the class of both in that model
        ("BasicTransformerBlock_0/MemoryEfficientCrossAttention_0", "self"),  # likewise
        ("unet.down_blocks.0.motion_modules.1.transformer_blocks.0.attn1", "temporal"),
        ("unet.down_blocks.0.motion_modules.1.transformer_blocks.0.attn2", "temporal"),
        ("unet.down_blocks.0.temp_attentions.1.transformer_blocks.0.attn1", "temporal"),
        ("timesformer.encoder.layer.0.temporal_attention.attention", "temporal"),
        ("unet.down_blocks.0.attentions.0.temporal_transformer_blocks.0.attn1", "temporal"),
        ("TransformerSpatioTemporalModel_0/TemporalBasicTransformerBlock_0/Attention_2", "temporal"),
        ("TransformerSpatioTemporalModel_0/BasicTransformerBlock_0/Attention_0", "self"),
        ("spatio_temporal.blocks.0.attn", "self"),
        ("up.2.spatial.attn", "spatial"),
        ("transformer.transformer_blocks.0.attn2", "self"),  # SD3.5 medium: a second self-attention
        ("transformer.time_embedding.blocks.0.layers.1.inner.core.attn", "self"),
    ],
)
def test_names(tmp_path, path, want):
    assert Model().attend(path, 16).kinds(tmp_path) == [want]


@pytest.mark.parametrize(
    ("projections", "want"),
    [
        (("cross_attn.wq", "cross_attn.wo"), "cross"),
        (("attn.wv", "attn.wo"), "self"),
        (("attn.wv", "cross_attn.wq"), "self"),  # no output projection: what follows belongs to the next one
        (("proj_in", "proj_out"), "self"),
        ((), "self"),
    ],
)
@pytest.mark.parametrize("path", ["blocks.0", ""])
def test_a_block_that_calls_attention_itself_is_told_by_the_projections_around(tmp_path, projections, want, path):
    assert Model().attend(path, 6, projections=projections).kinds(tmp_path) == [want]


def test_a_module_is_not_told_by_its_neighbors(tmp_path):
    model = Model().attend("blocks.0.attn", 6, projections=["q", "out"])
    model.attend("blocks.0.cross_attn", 6, projections=["q", "out"]).attend("blocks.1.attn", 6, projections=["q", "o"])
    assert model.kinds(tmp_path) == ["self", "cross", "self"]


# ---- keys ----


def decode(*modules, tokens=3):
    """A decoder that writes one token at a time; `modules` are (path, keys at a step)."""
    model = Model()
    for step in range(1, tokens + 1):
        for path, keys in modules:
            model.attend(path, 1, keys(step))
    return model


def test_of_two_caches_in_a_block_the_one_that_stays_is_of_the_text(tmp_path):
    model = decode(("blocks.0.a", lambda step: 4 + step), ("blocks.0.b", lambda _: 6))
    assert model.kinds(tmp_path) == ["self", "cross"] * 3


def test_a_sliding_window_in_another_block_is_no_text(tmp_path):
    model = decode(("blocks.0.a", lambda step: 4 + step), ("blocks.1.a", lambda _: 6))
    assert model.kinds(tmp_path) == ["self"] * 6


def test_a_cache_that_grows_by_blocks_of_frames(tmp_path):
    model = Model()
    for keys in (4, 8, 12, 12):  # the last one is the second denoising step of its block
        model.attend("blocks.0.a", 4, keys).attend("blocks.0.b", 4, 7)
    assert model.kinds(tmp_path) == ["self", "cross"] * 4


def test_a_named_self_attention_may_see_a_whole_window(tmp_path):
    model = Model().attend("blocks.0.self_attn", 4, 12).attend("blocks.0.self_attn", 4, 12)
    assert model.kinds(tmp_path) == ["self"] * 2


# ---- place ----


def test_as_many_queries_as_keys_at_one_resolution(tmp_path):
    model = Model()
    for level, tokens in enumerate((28, 7)):
        for number in (1, 2):
            model.attend(f"down.{level}.blocks.0.attn{number}", tokens, 7 if number == 2 else tokens)
    assert model.kinds(tmp_path) == ["self", "cross", "self", "cross"]


def test_classes_instead_of_names(tmp_path):
    """diffusers' blocks: torch numbers the calls of a class, so the second attention of a block has any number."""
    model = Model()
    for block, tokens in enumerate((28, 7)):
        for number in (0, 1):
            path = f"UNet_0/BasicTransformerBlock_{block}/Attention_{2 * block + number}"
            model.attend(path, tokens, 7 if number else tokens)
    assert model.kinds(tmp_path) == ["self", "cross", "self", "cross"]


def test_one_module_for_all_is_no_place(tmp_path):
    model = Model()
    for tokens, keys in ((28, 28), (28, 7), (7, 7)):
        model.attend("Compiled_0/UNet_0", tokens, keys)
    assert model.kinds(tmp_path) == ["self", "cross", "self"]


# ---- axes ----


def both(model, frames, positions, names=("", "")):
    """Attention along space, then along time, of one video."""
    return model.attend(names[0], positions, batch=frames).attend(names[1], frames, batch=positions)


def test_more_frames_than_positions_by_name(tmp_path):
    """One of the two names is enough."""
    for names in (("a.spatial", "a.other"), ("a.other", "a.temporal")):
        assert both(Model(), 16, 4, names).kinds(tmp_path) == ["spatial", "temporal"]


def test_more_frames_than_positions_by_the_images_of_convolutions(tmp_path):
    assert both(Model().convolve(images=16, side=2), 16, 4).kinds(tmp_path) == ["spatial", "temporal"]
    assert both(Model().convolve(images=16, side=6, kernel=2), 16, 9).kinds(tmp_path) == ["spatial", "temporal"]


def test_more_frames_than_positions_by_the_other_resolutions(tmp_path):
    """The length that stays the same when the picture gets smaller is that of time."""
    model = Model()
    for positions in (64, 9, 4):
        both(model, 16, positions)
    assert model.kinds(tmp_path) == ["spatial", "temporal"] * 3


def test_without_any_evidence_the_shorter_is_time_if_it_is_much_shorter(tmp_path):
    assert both(Model(), 16, 64).kinds(tmp_path) == ["spatial", "temporal"]
    assert both(Model(), 16, 9).kinds(tmp_path) == ["self", "self"]


def test_the_same_number_of_tokens_by_chance_is_no_video(tmp_path):
    """8 x 64 tokens beside 2 x 256: neither batch holds the length of the other."""
    assert Model().attend("", 64, batch=8).attend("", 256, batch=2).kinds(tmp_path) == ["self", "self"]


def test_attention_to_a_text_in_a_temporal_block_is_cross_attention(tmp_path):
    path = "down.0.temporal_transformer_blocks.0"
    model = Model().attend(f"{path}.attn1", 16, batch=64).attend(f"{path}.attn2", 16, 1, batch=64)
    assert model.kinds(tmp_path) == ["temporal", "cross"]


def test_one_query_over_the_prompt_is_cross(tmp_path):
    """Stable Diffusion at 64 pixels: one token is left in the middle, beside 77 of the prompt."""
    model = Model()
    for block, tokens in (("down.0", 16), ("mid", 1), ("up.0", 16)):
        model.attend(f"unet.{block}.transformer_blocks.0.attn1", tokens)
        model.attend(f"unet.{block}.transformer_blocks.0.attn2", tokens, 77)
    assert model.kinds(tmp_path) == ["self", "cross"] * 3
