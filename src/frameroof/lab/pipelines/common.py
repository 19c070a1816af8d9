"""What the pipelines share: their description, inputs on the right device, denoising with guidance, reduced sizes.

Shape letters: B batch, N tokens, M text tokens, D text width, G forwards of guidance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ... import catalogue
from ...models.common import Components, diffusers_model, made_on, transformers_model
from ...models.text_encoders import clip_length
from ...profiler import stage
from ..decoding import guided

NARROW = 8
"""Reduced models are an eighth as wide, or a little less narrow where heads or groups would not divide."""
NARROWED = (
    "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "vocab_size", "projection_dim",
    "d_model", "d_ff", "num_heads", "block_out_channels", "attention_head_dim", "norm_num_groups",
    "cross_attention_dim", "latent_channels", "num_vq_embeddings",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A model that runs whole. `build(reduced)` makes a module whose forward takes the sizes and returns what it made.

    Sizes are the parameters of the catalogue's workload. `reduced` are those a reduced model runs at by default,
    `full` those of a full one where a run of the published ones would make too long a trace, `least` the smallest that
    it takes where the workload was not recorded as small. `steps` maps a size that counts identical forwards to how
    many of them are run at most: they stand for all. `stages` maps a stage to the size that repeats it. `sides` are the
    pictures that a sweep may ask for.
    """

    workload: str
    build: Callable[[bool], nn.Module]
    reduced: Mapping[str, int] = field(default_factory=dict)
    full: Mapping[str, int] = field(default_factory=dict)
    least: Mapping[str, int] = field(default_factory=dict)
    steps: Mapping[str, int] = field(default_factory=dict)
    stages: Mapping[str, str] = field(default_factory=dict)
    sides: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def sizes(self, asked: Mapping[str, int], reduced: bool) -> dict[str, int]:
        """All sizes: those asked for, else reduced or published ones; `ValueError` if the model cannot take one."""
        params = catalogue.load(self.workload).params
        unknown = sorted(set(asked) - set(params))
        if unknown:
            raise ValueError(f"{self.workload} has no size {unknown[0]!r}; it has: {', '.join(params)}")
        usual = {name: size.default for name, size in params.items()} | dict(self.reduced if reduced else self.full)
        found = {**usual, **asked}
        for name, size in params.items():
            replace(size, least=self.least.get(name, size.least)).check(name, found[name])
        return found

    def run(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """The sizes of the run itself: of identical steps only a few, a divisor of their number."""
        return {name: _divisor(count, self.steps.get(name, count)) for name, count in sizes.items()}

    def repeats(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Stage -> how many times what was run stands for the whole."""
        ran = self.run(sizes)
        return {name: sizes[size] // ran[size] for name, size in self.stages.items()}


def _divisor(count: int, most: int) -> int:
    return next(n for n in range(min(count, most), 0, -1) if count % n == 0)


def like(module: nn.Module) -> AbstractContextManager[None]:
    """New tensors are made on the module's device, and floating ones in its type."""
    weight = next(module.parameters())
    return made_on(weight.device, weight.dtype)


def prompt(module: nn.Module, batch: int, tokens: int, vocabulary: int) -> Tensor:
    """Random token ids (B, N) where the module is."""
    with like(module):
        return torch.randint(0, vocabulary, (batch, tokens))


def clip_prompt(module: nn.Module, batch: int, clip: nn.Module) -> Tensor:
    """Random token ids (B, N) of the one length that a CLIP encoder takes."""
    return prompt(module, batch, clip_length(clip.config.to_dict()), clip.config.vocab_size)


def video_grid(sizes: Mapping[str, int]) -> tuple[int, int, int]:
    """Latent frames, rows and columns of a causal video VAE: a fourth of the frames but the first, an eighth a side."""
    return (sizes["frames"] - 1) // 4 + 1, sizes["height"] // 8, sizes["width"] // 8


def noise(module: nn.Module, *shape: int) -> Tensor:
    """Normal noise where the module is, in its type."""
    with like(module):
        return torch.randn(shape)


class Parts(nn.Module):
    """The parts of a pipeline by their names: text encoders are of transformers, all others of diffusers."""

    def __init__(self, components: Components) -> None:
        super().__init__()
        for name, component in components.items():
            make = transformers_model if name.startswith("text_encoder") else diffusers_model
            self.add_module(name, make(*component))

    def decode(self, z: Tensor) -> Tensor:
        """Pictures or a video of latents, by the VAE at once."""
        with stage("vae_decode"):
            found: Tensor = self.vae.decode(z, return_dict=False)[0]
        return found


class TextToVideo(Parts):
    """What pipelines of one text encoder, a transformer and a video VAE begin with."""

    def encode(self, sizes: Mapping[str, int]) -> Tensor:
        """States (G*B, M, D) of random prompts, with guidance of as many empty ones."""
        prompts = sizes["batch"] * sizes["guidance"]
        ids_BM = prompt(self, prompts, sizes["text_tokens"], self.text_encoder.config.vocab_size)
        with stage("text_encoder"):
            text_BMD: Tensor = self.text_encoder(ids_BM).last_hidden_state
        return text_BMD


def with_and_without(text_BMD: Tensor, nothing_11D: Tensor, guidance: int) -> Tensor:
    """The prompt's states (B, M, D), and behind them, with guidance, those of no prompt: (G*B, M, D)."""
    return text_BMD if guidance == 1 else torch.cat([text_BMD, nothing_11D.expand_as(text_BMD)])


def denoise(  # seven: what a loop needs
    name: str,
    forward: Callable[[Tensor, Tensor, Any], Tensor],
    x: Tensor,
    text: Any,
    steps: int,
    guidance: int,
    flow: bool = False,
) -> Tensor:
    """DDIM (`flow`: Euler's method on a flow) from noise `x`; a step is one `forward(x, timestep, text)`, stage `name`.

    With guidance the batch is twice that of `x`: with the prompt, then without it. What the sampler itself computes is
    the stage `name`_sampler.
    """
    from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

    sampler: Any = FlowMatchEulerDiscreteScheduler() if flow else DDIMScheduler(clip_sample=False)
    sampler.set_timesteps(steps)
    for timestep in sampler.timesteps:
        with stage(name):
            found = forward(torch.cat([x] * guidance), timestep, text)
        with stage(f"{name}_sampler"):
            x = sampler.step(guided(found, guidance), timestep, x).prev_sample
    return x


def loops(**sizes: str) -> dict[str, str]:
    """Stage -> the size that repeats it, for the loops of `denoise` and `parallel_decode`: each has two stages."""
    return {name + end: size for name, size in sizes.items() for end in ("", "_sampler")}


def narrow(config: Mapping[str, Any], **changed: Any) -> dict[str, Any]:
    """A configuration of transformers or diffusers with widths, heads, groups and codes an eighth; then `changed`."""
    return {key: _eighth(value) if key in NARROWED else value for key, value in config.items()} | changed


def _eighth(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_eighth(v) for v in value]
    return max(1, value // NARROW) if isinstance(value, int) else value
