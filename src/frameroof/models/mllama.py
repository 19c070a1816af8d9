"""Llama 3.2 Vision: a tiled image encoder, and a Llama that reads it through extra cross-attention layers.

The stages are the parts of `MllamaForConditionalGeneration`: encoder, projector and language model hold
all its weights between them. The vision tokens of an image enter the prefill once; their keys and values
stay in the cache, so that decoding reads them and never projects them again.
"""

from __future__ import annotations

from typing import Any

from ..workload.recipe import Builder, Part, Recipe, Size, sizes
from .common import Built, activations, component, token_ids, transformers_model
from .llama import NOTES as LANGUAGE_NOTES
from .llama import LanguageModel

TILES = 4  # transformers pads every image to max_num_tiles

TITLES = {
    "llama3.2-11b-vision": "Llama 3.2 11B Vision (560 px tiles)",
    "llama3.2-11b-vision-448": "Llama 3.2 11B Vision (448 px tiles, the base model)",
    "llama3.2-90b-vision": "Llama 3.2 90B Vision (560 px tiles)",
}
NOTES = (
    "One image of 4 full tiles per prompt. Vision attention runs over all tiles as one sequence, each "
    "tile padded to a multiple of 8 tokens, under the additive mask that the class builds.",
    "Cross-attention reads every unpadded vision token of the image and takes no mask: with one image of "
    "full tiles at the head of the prompt the mask would be zero everywhere. Transformers' processor "
    "passes that mask of zeros all the same, which costs bytes and keeps grouped-query kernels from being "
    "chosen.",
    "In the class the key and value projections of vision tokens happen in the prefill, once per image.",
    *LANGUAGE_NOTES,
)
SOURCE = (
    "https://github.com/meta-llama/llama-models/blob/main/models/llama3_2/MODEL_CARD_VISION.md",
    "https://github.com/meta-llama/llama-models/blob/main/models/sku_list.py (chunk sizes 448 and 560)",
    "transformers MllamaConfig",
)


def vision_tokens(config: dict[str, Any]) -> int:
    """Unpadded tokens of one tile: its patches and the class token."""
    return int(config["image_size"] // config["patch_size"]) ** 2 + 1


def vision_encoder(config: dict[str, Any]) -> Builder:
    """`MllamaVisionModel` over images of four tiles."""

    @sizes(let={"b": "batch"}, batch=Size(1))
    def build(batch: int = 1) -> Built:
        model = transformers_model("MllamaVisionModel", config)
        pixels = activations(batch, 1, TILES, 3, config["image_size"], config["image_size"])
        ids, mask = token_ids(batch, 1), token_ids(batch, TILES).view(batch, 1, TILES)
        return model, (), {"pixel_values": pixels, "aspect_ratio_ids": ids, "aspect_ratio_mask": mask}

    return build


def projector(config: dict[str, Any]) -> Builder:
    """The linear layer from the vision encoder's six concatenated states to the width of the text."""

    @sizes(let={"b": "batch"}, batch=Size(1))
    def build(batch: int = 1) -> Built:
        from torch import nn

        vision, width = config["vision"], config["text"]["hidden_size"]
        tokens = vision_tokens(vision)
        model = nn.Sequential()
        model.add_module("multi_modal_projector", nn.Linear(vision["vision_output_dim"], width))
        return model, (activations(batch, 1, TILES, tokens, vision["vision_output_dim"]),), {}

    return build


def language_model(config: dict[str, Any]) -> LanguageModel:
    """Prefill and decode of the text side, cross-attention layers included."""
    image_tokens = TILES * vision_tokens(config["vision"])

    @sizes(let={"b": "batch", "n": "tokens"}, batch=Size(1), tokens=Size(2048, least=2))
    def prefill(batch: int = 1, tokens: int = 2048) -> Built:
        model = text_side(config)
        width = config["text"]["hidden_size"]
        states = activations(batch * TILES, image_tokens // TILES, width)
        cache = mixed_cache(model, batch, (tokens, 0), (image_tokens, 0))
        return (
            model,
            (token_ids(batch, tokens),),
            {"cross_attention_states": states, "past_key_values": cache},
        )

    @sizes(let={"b": "batch"}, batch=Size(1), kv=Size(2049, least=2))
    def decode(batch: int = 1, kv: int = 2049) -> Built:
        model = text_side(config)
        cache = mixed_cache(model, batch, (kv, kv - 1), (image_tokens, image_tokens))
        return model, (token_ids(batch, 1),), {"past_key_values": cache}

    return LanguageModel(prefill, decode)


def text_side(config: dict[str, Any]) -> Any:
    """`MllamaForConditionalGeneration` without encoder and projector, which run as stages of their own."""
    from torch import nn
    from transformers import MllamaConfig, MllamaForConditionalGeneration

    vision = {
        **config["vision"],
        "num_hidden_layers": 1,
        "num_global_layers": 1,
        "intermediate_layers_indices": [0],
    }
    whole = MllamaConfig(vision_config=vision, text_config=config["text"], attn_implementation="sdpa")
    model = MllamaForConditionalGeneration(whole).eval()
    for layer in model.model.language_model.layers:
        if hasattr(layer, "cross_attn"):  # without a mask transformers would take it for causal
            layer.cross_attn.is_causal = False
    model.model.vision_model = nn.Identity()
    model.model.multi_modal_projector = nn.Identity()
    return model


def mixed_cache(model: Any, batch: int, text: tuple[int, int], image: tuple[int, int]) -> Any:
    """A cache of text tokens, but of vision tokens in the cross-attention layers: each (entries, seen)."""
    from transformers.cache_utils import Cache

    from .kv_cache import in_place_layer

    config = model.config.text_config
    crossing = set(config.cross_attention_layers)
    lengths = [image if i in crossing else text for i in range(config.num_hidden_layers)]
    return Cache(layers=[in_place_layer(config, batch, *length) for length in lengths])


def recipe(name: str) -> Recipe:
    _, config = component(name, "full model")
    return Recipe(
        name=name,
        title=TITLES[name],
        params={
            "batch": Size(1, doc="prompts with one image each"),
            "prompt_tokens": Size(2048, least=2, doc="text tokens of the prompt"),
            "new_tokens": Size(128, least=1, doc="tokens generated; the first comes out of the prefill"),
        },
        parts=(
            Part("vision_encoder", vision_encoder(config["vision"])),
            Part("projector", projector(config)),
            *language_model(config).parts(),
        ),
        item="answer",
        notes=NOTES,
        source=SOURCE,
    )


def recipes() -> tuple[Recipe, ...]:
    return tuple(recipe(name) for name in TITLES)
