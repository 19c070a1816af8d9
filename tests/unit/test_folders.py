"""Folders of diffusers that no family knows as a pipeline: component by component, and one component as a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from frameroof import count, predict  # noqa: E402

CLIP = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 100}
VAE = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [32, 32],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
}
FLUX = {
    "_class_name": "FluxTransformer2DModel",
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "axes_dims_rope": [4, 6, 6],
    "joint_attention_dim": 32,
    "pooled_projection_dim": 32,
}


def put(folder: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        path = folder / name / "config.json" if name else folder / "model_index.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return folder


def test_a_pipeline_that_is_not_known_is_its_components(tmp_path):
    index = {
        "_class_name": "SomethingNewPipeline",
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "extra": ["something_new", "SomethingNewModel"],
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    }
    made = put(tmp_path / "new", {"": index, "transformer": FLUX, "text_encoder": CLIP, "vae": VAE, "extra": {}})
    workload = count(made)
    assert [(stage.name, stage.repeat) for stage in workload.stages] == [
        ("transformer", "1"),
        ("text_encoder", "1"),
        ("vae", "1"),
    ]
    assert {name: size.default for name, size in workload.params.items()} == {
        "batch": 1, "height": 1024, "width": 1024, "text_tokens": 512,
    }  # fmt: skip
    assert any(note.startswith("extra is not counted: of a SomethingNewModel") for note in workload.notes)
    two = predict(workload, "H100", sizes={"batch": 2})
    assert two.estimate.total.flops == 2 * predict(workload, "H100").estimate.total.flops


def test_a_component_is_a_model(tmp_path):
    """The decoder's way in: a 1x1 convolution of 4 channels at every latent, 2 pixels wide."""
    made = put(tmp_path, {"vae": VAE, "clip": {**CLIP, "architectures": ["CLIPTextModel"]}})
    stage = count(made / "vae").stages[0]
    first = next(op for op in stage.ops if op.path == "vae.post_quant_conv")
    assert first.flops()({"b": 3, "h": 5, "w": 7}) == 2 * 3 * 5 * 7 * 4 * 4
    assert count(made / "clip", sizes={"text_tokens": 20}).params["text_tokens"].default == 20


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"": {"_class_name": "FluxPipelin"}}, r"no recipe for a FluxPipelin \(close: FluxPipeline.*no components"),
        ({"": {}}, "names no pipeline as its _class_name"),
        ({".": {"sample_size": 8}}, "config.json names no class"),
        ({".": {"_class_name": "NewTransformer"}}, "of a NewTransformer, what its forward takes is not known here"),
        ({".": {"_class_name": "FluxTransformer2DModel", "num_layers": "x"}}, "FluxTransformer2DModel|cannot|num"),
        (
            {"": {"_class_name": "FluxPipeline", "vae": ["diffusers", "AutoencoderKL"]}},
            "vae/config.json does not exist",
        ),
    ],
)
def test_bad_folders_get_a_sentence(tmp_path, files, said):
    with pytest.raises(ValueError, match=said):
        count(put(tmp_path, files))


def test_predict_says_to_count_a_folder_first(tmp_path):
    with pytest.raises(ValueError, match=r"is a folder: count it first, frameroof count .* --out"):
        predict(str(put(tmp_path, {"": {}})), "H100")
