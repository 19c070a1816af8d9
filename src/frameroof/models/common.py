"""What every family shares: reading a configuration, building on meta, calling one method as a module."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import nn

from ..workload.recipe import Part, Recipe, Size

# A pipeline's components by name ("unet", "vae", "text_encoder_2" …): class name and configuration.
Components = Mapping[str, tuple[str, Mapping[str, Any]]]
Built = tuple[Any, tuple[Any, ...], dict[str, Any]]  # what a builder returns: module, args, kwargs


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What a pipeline is asked for unless the user says otherwise, and where that was read."""

    item: ClassVar[str]  # what one run yields
    steps: int = 50
    guidance: int = 2
    text_tokens: int = 0  # 0 where a pipeline leaves no choice
    title: str = ""
    notes: tuple[str, ...] = ()
    source: tuple[str, ...] = ()

    def recipe(
        self, name: str, params: Mapping[str, Size], *, parts: tuple[Part, ...], notes: tuple[str, ...]
    ) -> Recipe:
        """The recipe of a whole pipeline asked for this; `notes` hold for its family."""
        return Recipe(
            name=name,
            title=self.title or name,
            params=params,
            parts=parts,
            item=self.item,
            notes=(*notes, *self.notes),
            source=self.source,
        )


@contextmanager
def made_on(device: torch.device | str, dtype: torch.dtype) -> Iterator[None]:
    """New tensors and modules lie on this device, floating ones in this type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)


@cache
def configuration(model: str) -> dict[str, Any]:
    """The sourced configuration file of a model of the catalogue (`models/configs/NAME.json`)."""
    text = resources.files("frameroof.models").joinpath("configs", f"{model}.json").read_text("utf-8")
    data: dict[str, Any] = json.loads(text)
    return data


def component(model: str, role: str) -> tuple[str, dict[str, Any]]:
    """Class name and keyword configuration of one component, e.g. ``component("sdxl-base", "unet")``."""
    entry = configuration(model)["components"][role]
    return entry["cls"], dict(entry["config"])


def catalogued(model: str, **roles: str) -> Components:
    """Components of the catalogue under a pipeline's names, e.g. ``catalogued("sdxl-base", unet="unet")``."""
    return {name: component(model, role) for name, role in roles.items()}


def provenance(model: str) -> tuple[str, ...]:
    """Where the catalogue's configuration of a model comes from."""
    return tuple(configuration(model)["source"])


def levels(count: int, scale: int = 8) -> dict[str, str]:
    """The rows and columns of each level of a UNet over latents of `scale` pixels; downsampling rounds up.

    ``levels(3)`` has the rows ``{"h": "height//8", "h2": "ceil(h, 2)", "h4": "ceil(h2, 2)"}``, then the columns.
    """
    found = {}
    for axis, pixels in (("h", "height"), ("w", "width")):
        names = [axis, *(f"{axis}{2**level}" for level in range(1, count))]
        found[axis] = f"{pixels}//{scale}"
        found |= {below: f"ceil({above}, 2)" for above, below in pairwise(names)}
    return found


def fixed_positions(patch_embed: nn.Module, rows: int, columns: int) -> None:
    """Give diffusers' PatchEmbed a position table of this size, as it has at its native one.

    At any other size it computes the table again in every step, which nothing but the size decides.
    """
    width = patch_embed.pos_embed.shape[-1]
    patch_embed.height, patch_embed.width = rows, columns
    patch_embed.pos_embed = torch.zeros((1, rows * columns, width), dtype=patch_embed.pos_embed.dtype)


class Call(nn.Module):
    """One method of a module as a module: ``Call(vae=vae, method="decode")(z)`` runs ``vae.decode(z)``.

    The keyword's name becomes the first part of every recorded path.
    """

    def __init__(self, method: str, **named: nn.Module) -> None:
        super().__init__()
        ((self._name, module),) = named.items()
        self._method = method
        self.add_module(self._name, module)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(getattr(self, self._name), self._method)(*args, **kwargs)


def activations(*shape: int) -> torch.Tensor:
    """An activation tensor of the default dtype on the default device (meta while counting)."""
    return torch.empty(shape, dtype=torch.get_default_dtype())


def token_ids(batch: int, tokens: int) -> torch.Tensor:
    """Token ids, shape (batch, tokens), int64."""
    return torch.zeros((batch, tokens), dtype=torch.int64)


def diffusers_model(cls: str, config: Mapping[str, Any]) -> nn.Module:
    """A diffusers model from its configuration, with whatever weights the default device gives it."""
    import diffusers

    return getattr(diffusers, cls).from_config(_own(config)).eval()


def transformers_model(cls: str, config: Mapping[str, Any]) -> nn.Module:
    """A transformers model from its configuration, its attention through SDPA where the class has it."""
    import transformers

    model = getattr(transformers, cls)
    kept = {key: value for key, value in _own(config).items() if key not in _OF_THE_CHECKPOINT}
    attention = "sdpa" if model._supports_sdpa else "eager"  # Gemma 2 caps its scores: no SDPA for it
    return model(model.config_class(**kept, attn_implementation=attention)).eval()


# What a saved config.json says of its file rather than of the architecture.
_OF_THE_CHECKPOINT = ("architectures", "dtype", "torch_dtype", "transformers_version", "model_type")


def _own(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration without the library's own notes (``_class_name``, ``_diffusers_version`` …)."""
    return {key: value for key, value in config.items() if not key.startswith("_")}
