"""The sizes that a run had, from its shapes: by hand for SD3.5, whose latents are an eighth, in patches of two."""

from __future__ import annotations

import pytest
from run_made import MS, attention, made

from frameroof import catalogue
from frameroof.gap import find_gap
from frameroof.gap.inferred import infer
from frameroof.run import ShapeRow

SD35 = catalogue.load("sd3.5-large")


def run_at(height, width, text=256, picture=True):
    """Attention over picture and text (CLIP has 77 positions more), a product of the picture, a convolution."""
    tokens = height // 16 * (width // 16)
    both = tokens + 77 + text
    attended = attention(50 * MS, True, query_len=both, key_len=both, heads=38, batch=2, dtype="bf16", stage="denoise")
    flops = 2.0 * 2 * tokens * 2432 * 2432
    dims = [[2 * tokens, 2432], [2432, 2432]]
    shapes = [ShapeRow("linear", "aten::mm", "denoise", "", dims, "bf16", 30 * MS, 10, flops, 1e6)]
    if picture:
        dims = [[1, 128, height, width], [128, 128, 3, 3]]
        flops = 2.0 * height * width * 128 * 128 * 9
        row = ShapeRow("convolution", "aten::convolution", "vae decode", "", dims, "bf16", 10 * MS, 1, flops, 1e6)
        shapes.append(row)
    return made(shapes=shapes, attention=[attended])


@pytest.mark.parametrize(
    ("height", "width", "text"), [(1024, 1024, 256), (512, 768, 256), (768, 512, 256), (512, 512, 77), (1536, 640, 256)]
)
def test_the_picture_and_its_tokens_are_found(height, width, text):
    found = infer(run_at(height, width, text), SD35, None)
    values = SD35.sizes(found.sizes)
    assert (values["height"], values["width"]) == (height, width)
    assert "steps" not in found.told
    assert "height" in found.told
    assert f"height {height} (from " in found.sentence


def test_without_the_decoder_the_usual_pictures_are_tried():
    found = infer(run_at(512, 512, picture=False), SD35, None)
    assert (found.sizes["height"], found.sizes["width"]) == (512, 512)


def test_sizes_that_are_given_win_and_nothing_else_is_changed():
    run = run_at(512, 512)
    found = infer(run, SD35, {"height": 1024, "width": 1024})
    assert (found.sizes["height"], found.sizes["width"]) == (1024, 1024)
    assert not {"height", "width"} & set(found.told)
    with pytest.raises(ValueError, match="height"):
        infer(run, SD35, {"height": 17})


def test_a_run_without_shapes_tells_no_sizes():
    found = infer(made(shapes=[], attention=[]), SD35, None)
    assert (found.sizes, found.told, found.sentence) == ({}, {}, "")


def test_gap_says_what_was_inferred_and_no_longer_doubts_the_sizes():
    found = find_gap(run_at(512, 512), against=SD35)
    assert found.coverage_exact == 1.0
    assert any("height 512" in line and "steps 28" in line for line in found.assumptions)
    assert any(line.startswith("sizes inferred from the trace: height 512 (from") for line in found.assumptions)
