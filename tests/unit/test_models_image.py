"""Image pipelines: parameters and FLOPs of components against the sourced facts, and sizes off the grid."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from meta_device import TINY_CLIP, counted, fact_of, part_of, quiet_and_offline, recipes_of  # noqa: E402, F401

from frameroof.models.common import catalogued, component, levels  # noqa: E402
from frameroof.workload.recipe import Part, Recipe  # noqa: E402

FAMILIES = ["stable_diffusion", "sd3", "flux", "pixart", "dit", "sana", "qwen_image", "amused", "deepfloyd"]
full = pytest.mark.full
T5 = "text_encoder(T5-XXL v1.1)"

# recipe, stage, role in the facts, sizes at which the facts were counted where they are not the defaults
CASES = [
    ("stable-diffusion-1.5", "text_encoder", "text_encoder", {}),
    ("stable-diffusion-1.5", "denoise", "unet", {}),
    ("stable-diffusion-1.5", "vae_decode", "vae", {}),
    ("stable-diffusion-2.1", "text_encoder", "text_encoder", {}),
    pytest.param("stable-diffusion-2.1", "denoise", "unet@768", {}, marks=full),
    pytest.param("stable-diffusion-2.1", "denoise", "unet@512", {"height": 512, "width": 512}, marks=full),
    pytest.param("stable-diffusion-2.1", "vae_decode", "vae", {"height": 512, "width": 512}, marks=full),
    ("sdxl-base", "text_encoder_2", "text_encoder_2", {}),
    pytest.param("sdxl-base", "denoise", "unet", {}, marks=full),
    ("sdxl-base", "vae_decode", "vae", {}),
    pytest.param("sdxl-refiner", "denoise", "unet", {}, marks=full),
    ("sd3-medium", "text_encoder_3", T5, {}),
    ("sd3-medium", "denoise", "mmdit", {}),
    ("sd3-medium", "vae_decode", "vae", {}),
    pytest.param("sd3.5-large", "denoise", "mmdit", {}, marks=full),
    pytest.param("sd3.5-medium", "denoise", "mmdit-x", {}, marks=full),
    pytest.param("flux.1-dev", "text_encoder_2", T5, {"text_tokens": 256}, marks=full),
    pytest.param("flux.1-dev", "denoise", "transformer", {}, marks=full),
    pytest.param("flux.1-schnell", "denoise", "transformer", {}, marks=full),
    ("flux.2-dev", "denoise", "transformer", {}),
    ("flux.2-dev", "vae_decode", "vae", {}),
    pytest.param("flux.2-klein-4b", "denoise", "transformer", {}, marks=full),
    pytest.param("flux.2-klein-9b", "denoise", "transformer", {}, marks=full),
    pytest.param("pixart-sigma-1024", "denoise", "transformer", {}, marks=full),
    pytest.param("pixart-alpha-1024", "denoise", "transformer", {}, marks=full),
    pytest.param("pixart-alpha-512", "denoise", "transformer", {}, marks=full),
    pytest.param("pixart-alpha-512", "vae_decode", "vae", {"height": 1024, "width": 1024}, marks=full),
    ("dit-xl-2", "denoise", "transformer@256", {}),
    pytest.param("dit-xl-2", "denoise", "transformer@512", {"height": 512}, marks=full),
    ("sana-1.6b", "text_encoder", "text_encoder", {}),
    ("sana-1.6b", "denoise", "transformer", {}),
    ("sana-1.6b", "vae_decode", "vae", {}),
    pytest.param("sana-0.6b", "denoise", "transformer", {}, marks=full),
    ("qwen-image", "text_encoder", "text_encoder", {}),
    pytest.param("qwen-image", "denoise", "transformer@1328", {}, marks=full),
    pytest.param("qwen-image", "denoise", "transformer@1024", {"height": 1024, "width": 1024}, marks=full),
    ("qwen-image", "vae_decode", "vae", {"height": 1024, "width": 1024}),
    ("amused-256", "denoise", "uvit", {}),
    ("amused-256", "vq_decode", "vq decode", {}),
    pytest.param("amused-512", "denoise", "uvit", {}, marks=full),
    ("deepfloyd-if", "denoise", "stage I unet 64px", {}),
    ("deepfloyd-if", "super_resolution", "stage II SR unet 256px", {}),
    pytest.param(
        "deepfloyd-if",
        "super_resolution_2",
        "stage III upscaler 1024px (SD x4, substitute for unreleased IF-III-L)",
        {},
        marks=full,
    ),
]

# sizes that are admissible but divide by nothing more than they must
ODD = [
    ("stable-diffusion-1.5", "denoise", {"height": 520, "width": 712}),
    ("sd3-medium", "denoise", {"height": 528, "width": 720, "batch": 2}),
    ("sana-0.6b", "vae_decode", {"height": 224, "width": 352}),
    ("amused-512", "denoise", {"height": 288, "width": 352, "batch": 2}),
    pytest.param("sdxl-base", "denoise", {"height": 520, "width": 712, "batch": 2}, marks=full),
    pytest.param("flux.1-dev", "denoise", {"height": 528, "width": 720, "batch": 2}, marks=full),
    pytest.param("flux.2-klein-4b", "denoise", {"height": 528, "width": 720, "batch": 2}, marks=full),
    pytest.param("pixart-alpha-1024", "denoise", {"height": 528, "width": 720, "batch": 2}, marks=full),
    pytest.param("qwen-image", "denoise", {"height": 528, "width": 720, "batch": 2}, marks=full),
    pytest.param("deepfloyd-if", "super_resolution", {"height": 640, "width": 896, "batch": 2}, marks=full),
]


@cache
def catalogue() -> Mapping[str, Recipe]:
    return recipes_of(FAMILIES)


def sizes_of(recipe: Recipe, part: Part, changed: Mapping[str, int]) -> dict[str, int]:
    """The sizes a stage's builder gets when the recipe's parameters are changed."""
    params = {name: size.default for name, size in recipe.params.items()} | dict(changed)
    found = {}
    for name, size in part.build.__frameroof_sizes__.sizes.items():  # type: ignore[attr-defined]
        text = part.sizes.get(name, name if name in params else str(size.default))
        found[name] = eval(text, {"__builtins__": {}}, params)
        size.check(name, found[name])
    return found


@pytest.mark.parametrize(("name", "stage", "role", "changed"), CASES)
def test_component_equals_the_facts(name: str, stage: str, role: str, changed: dict[str, int]) -> None:
    fact = fact_of(name, role)
    recipe = catalogue()[name]
    part = part_of(recipe, stage)

    params, flops, _ = counted(part.build, sizes_of(recipe, part, changed))

    assert params == fact["params_counted"]
    if fact["flops_counted_per_forward"] is not None:
        assert flops == pytest.approx(fact["flops_counted_per_forward"], rel=1e-3)


@pytest.mark.parametrize(("name", "stage", "changed"), ODD)
def test_a_size_off_the_grid_runs(name: str, stage: str, changed: dict[str, int]) -> None:
    recipe = catalogue()[name]
    part = part_of(recipe, stage)

    _, flops, output = counted(part.build, sizes_of(recipe, part, changed))

    first = output if isinstance(output, torch.Tensor) else output[0]
    assert first.shape[0] == changed.get("batch", 1)
    assert flops > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_recipes_are_whole(family: str) -> None:
    for recipe in import_module(f"frameroof.models.{family}").recipes():
        assert any(part.repeat == "steps*guidance" for part in recipe.parts)
        assert recipe.parts[-1].name in ("vae_decode", "vq_decode")
        assert recipe.notes
        assert recipe.source
        for part in recipe.parts:
            sizes_of(recipe, part, {})
            smallest = {name: recipe.params[name].lowest for name in ("height", "width") if name in recipe.params}
            sizes_of(recipe, part, smallest)


def test_a_small_folder_of_the_users_runs() -> None:
    """Sizes follow the configuration, and the library's own notes in it do no harm."""
    from frameroof.models.stable_diffusion import PIPELINES

    tiny_unet = {
        "_class_name": "UNet2DConditionModel",
        "_diffusers_version": "0.6.0",
        "block_out_channels": [32, 64],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        "layers_per_block": 1,
        "sample_size": 32,
        "in_channels": 4,
        "cross_attention_dim": 32,
        "attention_head_dim": 8,
    }
    tiny_vae = {
        "block_out_channels": [32, 64],
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "up_block_types": ["UpDecoderBlock2D"] * 2,
        "latent_channels": 4,
        "_class_name": "AutoencoderKL",
    }
    recipe = PIPELINES["StableDiffusionPipeline"](
        "tiny",
        {
            "unet": ("UNet2DConditionModel", tiny_unet),
            "text_encoder": ("CLIPTextModel", TINY_CLIP),
            "vae": ("AutoencoderKL", tiny_vae),
        },
    )

    assert recipe.params["height"].default == 64  # 32 latents of 2 pixels
    denoise = part_of(recipe, "denoise")
    assert sizes_of(recipe, denoise, {})["text_tokens"] == 20
    for part in recipe.parts:
        _, flops, _ = counted(part.build, sizes_of(recipe, part, {"batch": 2}))
        assert flops > 0


def test_catalogued_reads_roles_under_a_pipelines_names() -> None:
    found = catalogued("flux.1-dev", text_encoder_2="text_encoder#2")
    assert found == {"text_encoder_2": component("flux.1-dev", "text_encoder#2")}


def test_levels_of_a_unet_halve_and_round_up() -> None:
    found = levels(3)
    assert list(found) == ["h", "h2", "h4", "w", "w2", "w4"]
    assert (found["h"], found["h2"], found["w4"]) == ("height//8", "ceil(h, 2)", "ceil(w2, 2)")


@pytest.mark.parametrize(
    ("family", "pipeline", "tokens", "steps", "guidance"),
    [
        ("pixart", "PixArtSigmaPipeline", 300, 20, 2),
        ("pixart", "PixArtAlphaPipeline", 120, 20, 2),
        ("flux", "FluxPipeline", 512, 28, 1),
        ("flux", "Flux2KleinPipeline", 512, 50, 1),
        ("sana", "SanaPipeline", 300, 20, 2),
        ("sd3", "StableDiffusion3Pipeline", 256, 28, 2),
    ],
)
def test_a_users_folder_gets_its_pipelines_own_defaults(
    family: str, pipeline: str, tokens: int, steps: int, guidance: int
) -> None:
    components = {"transformer": ("Transformer", {"guidance_embeds": False}), "vae": ("AutoencoderKL", {})}
    recipe = import_module(f"frameroof.models.{family}").PIPELINES[pipeline]("mine", components)

    asked = {name: size.default for name, size in recipe.params.items()}
    assert (recipe.title, recipe.source) == ("mine", ())
    assert (asked["text_tokens"], asked["steps"], asked["guidance"]) == (tokens, steps, guidance)
