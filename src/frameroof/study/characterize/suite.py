"""The models that are characterized: the paper's eight, and others by the name of their workload.

Adding a model is one line in `MODELS` (its builder or workload file is the other half).
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import msgspec

from ... import catalogue

Family = Literal["llm", "diffusion", "transformer"]
Modality = Literal["text", "image", "video"]


class Model(msgspec.Struct, frozen=True):
    """One model: `family` as the paper groups them, `workload` its name in the catalogue (or a workload file).

    `space` is "pixel" or "latent" for diffusion models. `speedup` is the paper's Table II (None: not in it). `note`
    says what stands in for what the paper does not publish.
    """

    name: str
    title: str
    family: Family
    modality: Modality
    workload: str
    space: Literal["", "pixel", "latent"] = ""
    speedup: float | None = None
    note: str = ""


MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model(
            "llama",
            "LLaMA-2 7B",
            "llm",
            "text",
            "llama2-7b",
            "",
            1.52,
            "The paper gives neither the size nor the lengths: 7B, 2048 tokens of prompt and 128 new ones.",
        ),
        Model(
            "imagen",
            "Imagen",
            "diffusion",
            "image",
            "imagen",
            "pixel",
            1.22,
            "Super-resolution to 256 x 256 and 1024 x 1024, as in Imagen's paper; Golden et al. write 768 x 768 and "
            "1024 x 1024. Stages are named by the sizes they make at full size.",
        ),
        Model(
            "stable-diffusion",
            "Stable Diffusion",
            "diffusion",
            "image",
            "stable-diffusion-1.5",
            "latent",
            1.67,
            "Version 1.5; the paper retrained the architecture on licensed data.",
        ),
        Model(
            "muse",
            "Muse",
            "transformer",
            "image",
            "muse-3b",
            "",
            1.11,
            "The width of its super-resolution is not public.",
        ),
        Model("parti", "Parti", "transformer", "image", "parti-20b", "", 1.17),
        Model(
            "prod-image",
            "Production image (SDXL stands in)",
            "diffusion",
            "image",
            "sdxl-base",
            "latent",
            1.04,
            "The production model is not public: SDXL, another latent diffusion model, stands in.",
        ),
        Model(
            "make-a-video",
            "Make-A-Video",
            "diffusion",
            "video",
            "make-a-video",
            "pixel",
            1.06,
            "Widths are not public: chosen to reach the published parameters.",
        ),
        Model(
            "phenaki",
            "Phenaki",
            "transformer",
            "video",
            "phenaki",
            "",
            1.15,
            "Widths are not public: chosen to reach the published parameters.",
        ),
    )
}
GOLDEN = tuple(MODELS)


def model(name: str) -> Model:
    """A model of the suite by name, or any workload of the catalogue by its name or alias (or a workload file).

    The class of a model that is not in the suite is read from its workload: what it makes (answers make it an LLM), and
    diffusion if it has denoising steps. `ValueError` with close matches for an unknown name.
    """
    key = name.strip().lower().replace("_", "-")
    if key in MODELS:
        return MODELS[key]
    is_file = name.endswith((".json", ".json.gz"))
    found = name if is_file else catalogue.canonical(key)
    for known in MODELS.values():
        if known.workload == found:
            return known
    return _outside(found)


@cache
def _outside(found: str) -> Model:
    workload = catalogue.load(found)
    made: dict[str, Modality] = {"answer": "text", "image": "image", "video": "video"}
    modality = made.get(workload.item, "video" if "frames" in workload.params else "image")
    family: Family = "llm" if modality == "text" else "diffusion" if "steps" in workload.params else "transformer"
    return Model(found, workload.title or workload.name, family, modality, found)


def suite(names: str | None = None) -> tuple[str, ...]:
    """Names of a comma-separated list of models, in which ``golden`` stands for the paper's eight; None: those."""
    words = [name.strip() for name in (names or "golden").split(",") if name.strip()] or ["golden"]
    found = [each for word in words for each in (GOLDEN if word == "golden" else (model(word).name,))]
    return tuple(dict.fromkeys(found))
