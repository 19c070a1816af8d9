"""Stable Video Diffusion XT: CLIP's view of a picture and its latents, a UNet over frames, and a decoder over time.

Guidance grows from the first frame to the last in the published pipeline; here it is the same for all: it changes no
operation.

Shape letters: B batch, T frames, C channels, R rows, S columns, D width of the picture's embedding.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ...models.common import Components, catalogued, diffusers_model, transformers_model
from ...profiler import stage
from .common import Pipeline, denoise, like, loops, narrow, noise

NAME = "svd-xt"
MLP = 5120  # of CLIP's ViT-H, which the catalogue's file leaves out
MOTION = (6.0, 127.0, 0.02)  # frames per second less one, strength of motion, noise on the picture: diffusers' defaults
Given = tuple[Tensor, Tensor, Tensor]  # the picture's embedding, its latents for every frame, what is asked of motion


class StableVideo(nn.Module):
    """A picture to a video; the answer is (B, T, 3, R, S)."""

    def __init__(self, components: Components) -> None:
        super().__init__()
        self.image_encoder = transformers_model(*components["image_encoder"])
        # blending factors are made on the processor whatever the default device is
        self.unet = diffusers_model(*components["unet"]).to(torch.get_default_device())
        self.vae = diffusers_model(*components["vae"]).to(torch.get_default_device())

    def forward(self, sizes: Mapping[str, int]) -> Tensor:
        batch, frames, pixels = sizes["batch"], sizes["frames"], (sizes["height"], sizes["width"])
        given = self.encode(batch, frames, pixels, sizes["guidance"])
        rows, columns = given[1].shape[-2:]
        z_BTCRS = noise(self, batch, frames, self.unet.config.out_channels, rows, columns)
        z_BTCRS = denoise("denoise", self.predict, z_BTCRS, given, sizes["steps"], sizes["guidance"])
        found = []
        for z_TCRS in z_BTCRS:
            with stage("vae_decode"):
                found.append(self.vae.decode(z_TCRS, num_frames=frames, return_dict=False)[0])
        return torch.stack(found)

    def encode(self, batch: int, frames: int, pixels: tuple[int, int], guidance: int) -> Given:
        """A random picture as the UNet takes it; without it, embedding and latents are zeros."""
        side = self.image_encoder.config.image_size
        seen_B3RS, picture_B3RS = noise(self, batch, 3, side, side), noise(self, batch, 3, *pixels)
        with stage("image_encoder"):
            known_BD = self.image_encoder(seen_B3RS, output_hidden_states=True).image_embeds
        with stage("vae_encoder"):
            z_BCRS = self.vae.encode(picture_B3RS, return_dict=False)[0].mode()
        if guidance == 2:
            known_BD, z_BCRS = (torch.cat([x, torch.zeros_like(x)]) for x in (known_BD, z_BCRS))
        with like(self):
            motion_B3 = torch.tensor([MOTION]).to(torch.get_default_dtype()).expand(len(known_BD), -1)
        return known_BD.unsqueeze(1), z_BCRS.unsqueeze(1).expand(-1, frames, -1, -1, -1), motion_B3

    def predict(self, z_BTCRS: Tensor, timestep: Tensor, given: Given) -> Tensor:
        """The noise that the UNet sees in the latents of all frames."""
        known_B1D, picture_BTCRS, motion_B3 = given
        x_BTCRS = torch.cat([z_BTCRS, picture_BTCRS], dim=2)
        found: Tensor = self.unet(x_BTCRS, timestep, known_B1D, motion_B3, return_dict=False)[0]
        return found


def build(reduced: bool) -> StableVideo:
    full = catalogued(NAME, image_encoder="image_encoder", unet="unet", vae="vae")
    (clip, vision), (unet, denoiser), (vae, decoder) = full["image_encoder"], full["unet"], full["vae"]
    vision = {**vision, "intermediate_size": MLP}
    if not reduced:
        return StableVideo({**full, "image_encoder": (clip, vision)})
    return StableVideo({
        "image_encoder": (clip, narrow(vision, num_attention_heads=2, num_hidden_layers=2)),
        "unet": (unet, {**denoiser, "block_out_channels": [64, 128, 256, 256], "num_attention_heads": [1, 2, 4, 4],
                        "cross_attention_dim": 128}),
        "vae": (vae, {**decoder, "block_out_channels": [32, 64, 128, 128]}),
    })  # fmt: skip


PIPELINE = Pipeline(
    workload=NAME,
    build=build,
    reduced={"frames": 6, "height": 128, "width": 128},
    steps={"steps": 1},
    stages=loops(denoise="steps"),
    notes=(
        "Reduced: UNet 64 to 256 channels wide with 1 to 4 heads of 64, VAE 32 to 128 (diffusers fixes 32 norm groups "
        "for both), CLIP's ViT-H 160 wide with 2 of 32 layers; 6 frames of 128 pixels.",
        "Sampler: DDIM.",
    ),
)
