"""LLaVA-1.5: the plain vision-language model, whose image becomes tokens of the prompt.

Unlike Llama 3.2 Vision there is no cross-attention: a CLIP tower and two linear layers make 576 tokens, and
from then on a language model runs as it would on any longer prompt. The parts hold the weights of
transformers' `LlavaForConditionalGeneration` between them.
"""

from __future__ import annotations

from ..workload.recipe import Part, Recipe, Size, sizes
from .common import Built, activations, transformers_model
from .llama import NOTES as LANGUAGE_NOTES
from .llama import PROMPT_PARAMS, language_model

IMAGE_TOKENS = 576  # 24 x 24 patches; the class token is dropped
CLIP_L_336 = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
}
VICUNA_7B = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "vocab_size": 32064,
    "max_position_embeddings": 4096,
}
NOTES = (
    "One 336-px image per prompt: 577 tokens in the tower, 576 in the prompt. prompt_tokens counts the text alone.",
    "The tower runs all 24 layers, as the class does, though the states of the last but one are used.",
    "The prefill looks token ids up for the whole prompt; in the class the image's rows then replace them.",
    *LANGUAGE_NOTES,
)


@sizes(let={"b": "batch"}, batch=Size(1))
def vision_encoder(batch: int = 1) -> Built:
    """CLIP ViT-L/14 at 336 px."""
    side = CLIP_L_336["image_size"]
    return transformers_model("CLIPVisionModel", CLIP_L_336), (activations(batch, 3, side, side),), {}


@sizes(let={"b": "batch"}, batch=Size(1))
def projector(batch: int = 1) -> Built:
    """Two linear layers around a GELU, from the tower's width to the language model's."""
    from torch import nn

    narrow, wide = CLIP_L_336["hidden_size"], VICUNA_7B["hidden_size"]
    model = nn.Sequential()
    model.add_module("linear_1", nn.Linear(narrow, wide))
    model.add_module("act", nn.GELU())
    model.add_module("linear_2", nn.Linear(wide, wide))
    return model, (activations(batch, IMAGE_TOKENS, narrow),), {}


def recipes() -> tuple[Recipe, ...]:
    """LLaVA-1.5 7B."""
    return (
        Recipe(
            name="llava-1.5-7b",
            title="LLaVA-1.5 7B",
            params={**PROMPT_PARAMS, "prompt_tokens": Size(128, least=2, doc="text tokens of the prompt")},
            parts=(
                Part("vision_encoder", vision_encoder),
                Part("projector", projector),
                *language_model("LlamaForCausalLM", VICUNA_7B).parts(f"(prompt_tokens + {IMAGE_TOKENS})"),
            ),
            item="answer",
            notes=NOTES,
            source=("arXiv:2310.03744", "https://huggingface.co/llava-hf/llava-1.5-7b-hf (config.json)"),
        ),
    )
