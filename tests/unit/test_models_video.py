"""Video pipelines: parameters and FLOPs of components against the sourced facts, and at other sizes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from meta_device import TINY_CLIP, counted, fact_of, part_of, quiet_and_offline, recipes_of  # noqa: E402, F401

from frameroof.models import longlive, wan  # noqa: E402
from frameroof.models.common import component  # noqa: E402
from frameroof.workload.expr import Expr  # noqa: E402
from frameroof.workload.recipe import Part, Recipe  # noqa: E402

FAMILIES = [
    "wan",
    "hunyuan",
    "hunyuan15",
    "cogvideox",
    "ltx",
    "mochi",
    "svd",
    "animatediff",
    "modelscope",
    "longlive",
]
T5 = "text_encoder(T5-XXL v1.1)"
UMT5 = "text_encoder(UMT5-XXL)"


def full(*case: Any) -> Any:
    return pytest.param(*case, marks=pytest.mark.full)


# recipe, stage, role in the facts, sizes at which the facts were counted where they are not the defaults
CASES = [
    full("wan2.1-t2v-1.3b", "text_encoder", UMT5, {}),
    ("wan2.1-t2v-1.3b", "denoise", "transformer", {}),
    full("wan2.1-t2v-1.3b", "vae_decode", "vae", {}),
    full("wan2.1-t2v-14b", "denoise", "transformer", {}),
    full("wan2.1-t2v-14b", "vae_decode", "vae", {}),
    full("wan2.1-t2v-14b-480p", "denoise", "transformer", {}),
    full("wan2.1-i2v-14b-720p", "denoise", "transformer", {}),
    full("wan2.1-i2v-14b-480p", "denoise", "transformer", {}),
    full("wan2.2-t2v-a14b", "denoise_high_noise", "transformer", {}),
    full("wan2.2-t2v-a14b", "denoise_low_noise", "transformer", {}),
    full("wan2.2-i2v-a14b", "denoise_low_noise", "transformer", {}),
    full("wan2.2-ti2v-5b", "vae_decode", "vae", {}),
    full("hunyuanvideo", "denoise", "transformer", {}),
    full("hunyuanvideo", "text_encoder_2", "text_encoder", {}),
    full("hunyuanvideo", "vae_decode", "vae", {}),
    full("hunyuanvideo-1.5", "text_encoder", "text_encoder", {}),
    full("hunyuanvideo-1.5", "denoise", "transformer@720p", {}),
    # 480p of the facts is 30x53 latents, whatever the pixels
    full("hunyuanvideo-1.5", "denoise", "transformer@480p", {"height": 480, "width": 848}),
    ("hunyuanvideo-1.5", "vae_decode", "vae", {}),
    full("cogvideox-2b", "text_encoder", T5, {"text_tokens": 256}),
    full("cogvideox-2b", "denoise", "transformer", {}),
    full("cogvideox-2b", "vae_decode", "vae", {}),
    full("cogvideox-5b", "denoise", "transformer", {}),
    full("cogvideox1.5-5b", "denoise", "transformer", {"text_tokens": 226}),
    full("cogvideox1.5-5b", "vae_decode", "vae", {"frames": 49, "height": 480, "width": 720}),
    ("ltx-video-2b", "denoise", "transformer", {}),
    full("ltx-video-13b", "denoise", "transformer", {}),
    full("mochi-1", "denoise", "transformer", {}),
    ("mochi-1", "vae_decode", "vae", {}),
    full("svd-xt", "image_encoder", "image_encoder", {}),
    full("svd-xt", "denoise", "unet", {}),
    ("svd-xt", "vae_decode", "vae", {}),
    full("animatediff-sd15", "denoise", "unet_motion", {}),
    full("modelscope-t2v-1.7b", "text_encoder", "text_encoder", {}),
    full("modelscope-t2v-1.7b", "denoise", "unet3d", {}),
]

# admissible sizes that are small, not square, and divide by nothing more than they must
OTHER = [
    ("wan2.1-t2v-1.3b", "denoise", {"frames": 21, "height": 112, "width": 144, "batch": 2}),
    ("wan2.1-i2v-14b-480p", "vae_encoder", {"frames": 13, "height": 48, "width": 80, "batch": 2}),
    ("wan2.1-i2v-14b-480p", "vae_decode", {"frames": 13, "height": 48, "width": 80, "batch": 2}),
    ("hunyuanvideo", "vae_decode", {"frames": 25, "height": 112, "width": 144, "batch": 2}),
    ("hunyuanvideo-1.5", "vae_decode", {"frames": 17, "height": 112, "width": 144}),
    ("cogvideox-2b", "denoise", {"frames": 25, "height": 112, "width": 144, "batch": 2}),
    full("cogvideox-2b", "vae_decode", {"frames": 25, "height": 112, "width": 144}),
    ("ltx-video-13b", "vae_decode", {"frames": 17, "height": 96, "width": 160, "batch": 2}),
    ("mochi-1", "vae_decode", {"frames": 25, "height": 112, "width": 144, "batch": 2}),
    full("hunyuanvideo", "denoise", {"frames": 21, "height": 112, "width": 144, "batch": 2}),
    full("hunyuanvideo-1.5", "denoise", {"frames": 17, "height": 112, "width": 144, "batch": 2}),
    full("mochi-1", "denoise", {"frames": 25, "height": 112, "width": 144, "batch": 2}),
    full("cogvideox1.5-5b", "denoise", {"frames": 25, "height": 112, "width": 144, "batch": 2}),
    full("wan2.2-ti2v-5b", "denoise", {"frames": 17, "height": 160, "width": 224, "batch": 2}),
    full("svd-xt", "denoise", {"frames": 7, "height": 136, "width": 200, "batch": 2}),
    full("animatediff-sd15", "denoise", {"frames": 7, "height": 136, "width": 200, "batch": 2}),
    full("modelscope-t2v-1.7b", "denoise", {"frames": 7, "height": 136, "width": 200, "batch": 2}),
]


@cache
def catalogue() -> Mapping[str, Recipe]:
    return recipes_of(FAMILIES)


def turns(recipe: Recipe, part: Part, changed: Mapping[str, int]) -> list[dict[str, int]]:
    """The sizes a stage's builder gets at each turn of its loop; all of them checked."""
    params = {name: size.default for name, size in recipe.params.items()} | dict(changed)
    for name, size in recipe.params.items():
        size.check(name, params[name])
    variable, count = part.loop or ("_", "1")
    found = []
    for turn in range(int(Expr(count)(params))):
        here = params | {variable: turn}
        sizes = {
            name: int(Expr(part.sizes[name])(here)) if name in part.sizes else here.get(name, size.default)
            for name, size in part.build.__frameroof_sizes__.sizes.items()  # type: ignore[attr-defined]
        }
        for name, size in part.build.__frameroof_sizes__.sizes.items():  # type: ignore[attr-defined]
            size.check(name, sizes[name])
        found.append(sizes)
    return found


@pytest.mark.parametrize(("name", "stage", "role", "changed"), CASES)
def test_component_equals_the_facts(name: str, stage: str, role: str, changed: dict[str, int]) -> None:
    fact = fact_of(name, role)
    part = part_of(catalogue()[name], stage)

    per_turn = [counted(part.build, sizes) for sizes in turns(catalogue()[name], part, changed)]

    assert {params for params, _, _ in per_turn} == {fact["params_counted"]}
    if fact["flops_counted_per_forward"] is not None:
        total = sum(flops for _, flops, _ in per_turn)
        assert total == pytest.approx(fact["flops_counted_per_forward"], rel=1e-3)


@pytest.mark.parametrize(
    ("name", "changed", "pictures"),
    [
        ("animatediff-sd15", {"frames": 18}, 18),  # one chunk of 16 and one of 2
        ("modelscope-t2v-1.7b", {"frames": 2, "height": 512, "width": 512}, 2),
    ],
)
def test_frames_are_decoded_as_pictures(name: str, changed: dict[str, int], pictures: int) -> None:
    part = part_of(catalogue()[name], "vae_decode")

    total = sum(counted(part.build, sizes)[1] for sizes in turns(catalogue()[name], part, changed))

    assert total == pictures * fact_of(name, "vae")["flops_counted_per_forward"]


@pytest.mark.parametrize(("name", "stage", "changed"), OTHER)
def test_another_size_runs(name: str, stage: str, changed: dict[str, int]) -> None:
    part = part_of(catalogue()[name], stage)

    for sizes in turns(catalogue()[name], part, changed):
        assert counted(part.build, sizes)[1] > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_recipes_are_whole(family: str) -> None:
    for recipe in import_module(f"frameroof.models.{family}").recipes():
        assert any(part.name.startswith("denoise") for part in recipe.parts)
        assert recipe.parts[-1].name == "vae_decode"
        assert recipe.item == "video"
        assert recipe.title
        assert recipe.notes
        assert recipe.source
        smallest = {name: size.lowest for name, size in recipe.params.items()}
        for part in recipe.parts:
            turns(recipe, part, {})
            turns(recipe, part, smallest)
            Expr(part.repeat)({name: size.default for name, size in recipe.params.items()})


@pytest.mark.parametrize(("kind", "steps", "high"), [("t2v", 40, 26), ("i2v", 40, 15), ("t2v", 20, 13)])
def test_the_high_noise_expert_has_its_steps(kind: str, steps: int, high: int) -> None:
    assert wan.EXPERTS[kind].high(steps) == high


@pytest.mark.full
def test_a_timestep_per_token_is_what_the_facts_leave_out() -> None:
    """Wan 2.2's 5B pipeline modulates every token; the facts were counted with one timestep."""
    cls, config = component("wan2.2-ti2v-5b", "transformer")
    sizes = {"frames": 121, "height": 704, "width": 1280}
    fact = fact_of("wan2.2-ti2v-5b", "transformer")
    tokens, dim, frequencies = 31 * 22 * 40, 24 * 128, 256

    params, once, _ = counted(wan.transformer(cls, config, 16), sizes)
    _, per_token, _ = counted(wan.transformer(cls, config, 16, timestep_per_token=True), sizes)

    assert params == fact["params_counted"]
    assert once == pytest.approx(fact["flops_counted_per_forward"], rel=1e-3)
    assert per_token - once == (tokens - 1) * 2 * (frequencies * dim + dim * dim + dim * 6 * dim)


def test_longlive_has_wan_s_weights_and_attends_to_the_window() -> None:
    frame, dim, layers = 1560, 1536, 30
    new = 3 * frame

    params, first, _ = counted(longlive.block, {"kv_frames": 3})
    _, steady, _ = counted(longlive.block, {"kv_frames": 12})

    assert params == fact_of("longlive-1.3b", "transformer(bidirectional stand-in)")["params_counted"]
    assert steady - first == layers * 4 * new * 9 * frame * dim
    linear = 2 * new * dim * (6 * dim + 2 * 8960)
    attention = 4 * new * (12 * frame + 512) * dim
    assert steady == pytest.approx(layers * (linear + attention), rel=1e-3)


def test_longlive_fills_its_window_and_stays_there() -> None:
    recipe = catalogue()["longlive-1.3b"]
    seen = [sizes["kv_frames"] for sizes in turns(recipe, part_of(recipe, "denoise"), {"blocks": 6})]
    assert seen == [3, 6, 9, 12, 12, 12]
    assert turns(recipe, part_of(recipe, "vae_decode"), {})[0]["frames"] == 477


TINY_T5 = {"d_model": 32, "d_ff": 37, "d_kv": 8, "num_heads": 4, "num_layers": 2, "vocab_size": 1000}
TINY_UNET = {
    "_class_name": "UNet2DConditionModel",
    "block_out_channels": [32, 64],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "layers_per_block": 2,
    "cross_attention_dim": 32,
    "attention_head_dim": 8,
}
TINY_KL = {
    "block_out_channels": [32, 64, 64, 64],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "latent_channels": 4,
}
TINY_WAN = {
    "_class_name": "WanTransformer3DModel",
    "_diffusers_version": "0.35.0",
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 32,
    "ffn_dim": 32,
    "num_layers": 2,
}
TINY_WAN_VAE = {"_class_name": "AutoencoderKLWan", "base_dim": 4, "z_dim": 16, "num_res_blocks": 1}
FOLDERS: list[tuple[str, str, dict[str, tuple[str, dict[str, Any]]], dict[str, int]]] = [
    (
        "animatediff",
        "AnimateDiffPipeline",
        {
            "unet": ("UNet2DConditionModel", TINY_UNET),
            "motion_adapter": (
                "MotionAdapter",
                {
                    "_class_name": "MotionAdapter",
                    "block_out_channels": [32, 64],
                    "motion_num_attention_heads": 4,
                    "motion_max_seq_length": 24,
                },
            ),
            "text_encoder": ("CLIPTextModel", TINY_CLIP),
            "vae": ("AutoencoderKL", TINY_KL),
        },
        {"frames": 5, "height": 128, "width": 136},
    ),
    (
        "wan",
        "WanPipeline",
        {
            "transformer": ("WanTransformer3DModel", TINY_WAN),
            "transformer_2": ("WanTransformer3DModel", TINY_WAN),
            "text_encoder": ("UMT5EncoderModel", TINY_T5),
            "vae": ("AutoencoderKLWan", TINY_WAN_VAE),
        },
        {"frames": 13, "height": 64, "width": 48},
    ),
]


@pytest.mark.parametrize(("family", "pipeline", "components", "changed"), FOLDERS)
def test_a_small_folder_of_the_users_runs(
    family: str,
    pipeline: str,
    components: dict[str, tuple[str, dict[str, Any]]],
    changed: dict[str, int],
) -> None:
    """Sizes follow the configuration, and the library's own notes in it do no harm."""
    recipe = import_module(f"frameroof.models.{family}").PIPELINES[pipeline]("tiny", components)

    assert recipe.title == "tiny"
    for part in recipe.parts:
        for sizes in turns(recipe, part, changed):
            assert counted(part.build, sizes)[1] > 0
