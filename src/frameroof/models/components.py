"""Single models of diffusers and transformers by their class: what a folder holds that no family knows as a pipeline.

Which inputs a model takes is known to its family, which lists its builders as `COMPONENTS`. Nothing is guessed: a class
that none lists gets a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import lcm
from typing import Any

from ..outside import MOST_QUOTED, clean
from ..workload.recipe import Builder, Part, Recipe, Size, Sizes
from .autoencoders import decoder
from .common import Components
from .folder import collected
from .text_encoders import TRUNKS, seen, text_encoder

DECODERS = ("AutoencoderKL", "AutoencoderKLFlux2", "AutoencoderDC", "AutoencoderKLQwenImage")
ONCE = "Each component runs once: how often the pipeline runs it is not known."
WRITE = (
    "what its forward takes is not known here; write a builder, a function that returns (model, args, kwargs) with "
    "{cls}.from_config(…), and count FILE.py:FUNCTION"
)


def builder_of(cls: str, config: Mapping[str, Any]) -> Builder | None:
    """The builder of a model of this class; None where its inputs are not known."""
    if cls == "UNet2DConditionModel":
        from .stable_diffusion import unet

        return unet(cls, config, pooled=_pooled(config))
    if (make := collected("COMPONENTS").get(cls)) is not None:
        made: Builder = make(cls, config)
        return made
    if cls in DECODERS or (cls == "VQModel" and config.get("lookup_from_codebook")):
        return decoder(cls, config)
    if cls.startswith("CLIPText") or cls.endswith("T5EncoderModel") or cls in {*TRUNKS, *TRUNKS.values()}:
        return text_encoder(cls, config)
    return None


def _pooled(config: Mapping[str, Any]) -> int:
    """The width of the pooled text that SDXL's UNet is given beside six numbers of the picture."""
    if config.get("addition_embed_type") != "text_time":
        return 0
    return int(config["projection_class_embeddings_input_dim"]) - 6 * int(config["addition_time_embed_dim"])


def one_by_one(name: str, components: Components, why: str) -> Recipe:
    """A recipe of every component whose class is known, each run once; `why` begins the refusal where none is.

    Sizes of one name are one parameter; where components do not admit the same, each has its own. That refusal is a
    `ValueError`, a sentence.
    """
    built: dict[str, Builder] = {}
    notes = [ONCE] if len(components) > 1 else []
    for role, (cls, config) in components.items():
        made = builder_of(cls, config)
        if made is None:
            said = clean(cls, MOST_QUOTED)
            notes.append(f"{role} is not counted: of a {said}, {WRITE.format(cls=said)}.")
        else:
            built[role] = made
    if not built:
        left = "; ".join(note.removesuffix(".") for note in notes if note != ONCE) or "it has no components"
        raise ValueError(f"{why}{'; ' if why else ''}{left}")
    declared: dict[str, Sizes] = {role: vars(made)["__frameroof_sizes__"] for role, made in built.items()}
    clips = {role for role in built if components[role][0].startswith("CLIPText")}
    short = clips if len(components) > 1 else set()  # in a pipeline as long as CLIP pads every prompt
    params: dict[str, Size] = {}
    parts = []
    for role, made in built.items():
        cls, config = components[role]
        own = {"text_tokens": seen(cls, config, "text_tokens")} if role in short else {}
        for size, mine in declared[role].sizes.items():
            if size in own:
                continue
            others = [d.sizes[size] for r, d in declared.items() if size in d.sizes and r not in short]
            joint = _joint(others)
            own[size] = size if joint else f"{role}_{size}"
            params[own[size]] = joint or mine
        parts.append(Part(role, made, own))
    return Recipe(name=name, title=name, params=params, parts=tuple(parts), item="run", notes=tuple(notes))


def _joint(wanted: list[Size]) -> Size | None:
    """One size that all admit; None where their defaults do not meet."""
    widest = max(wanted, key=lambda size: (size.step, size.default))
    step = lcm(*(size.step for size in wanted))
    least = max(size.lowest for size in wanted)
    most = min((size.most for size in wanted if size.most is not None), default=None)
    found = replace(widest, step=step, least=least, most=most)
    try:
        for size in (*wanted, found):
            size.check("it", found.default)
            if (found.offset - size.offset) % size.step:
                return None
    except ValueError:
        return None
    return found
