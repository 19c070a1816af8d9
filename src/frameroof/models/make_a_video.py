"""Make-A-Video: an image diffusion model stretched over time, with temporal layers behind spatial ones.

The paper gives the construction, not its sizes, and Golden et al. use the model for their comparison of
temporal with spatial attention. Its layers are a 2D convolution followed by a 1D one, and attention over an
image's positions followed by attention over frames. Rearrangements say `contiguous` where they copy, so that
a batch of one is counted by the same rule as a batch of two.

Shape letters: B batch, C channels, T frames, R rows, S columns, M text tokens, D text width.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from ..workload.recipe import Builder, Part, Recipe, Size, sizes
from .common import Built, activations
from .imagen import AttentionBlock, EfficientUNet, Layers, UNetConfig, at, denoiser
from .layers import PseudoConv3d, TemporalAttention
from .text_encoders import clip_text


class SpaceTimeAttention(nn.Module):
    """An image model's attention on each frame, then attention over frames where it attends to itself."""

    def __init__(self, config: UNetConfig, channels: int, to_itself: bool, to_text: bool) -> None:
        super().__init__()
        self.attends = to_itself or to_text
        self.spatial = AttentionBlock(config, channels, to_itself, to_text)
        self.temporal = TemporalAttention(channels, channels // config.head_channels) if to_itself else None

    def forward(self, x_BCTRS: Tensor, text_BMD: Tensor) -> Tensor:
        if not self.attends:
            return x_BCTRS
        batch, _, frames, *_ = x_BCTRS.shape
        x = x_BCTRS.transpose(1, 2).contiguous().flatten(0, 1)
        x = self.spatial(x, text_BMD.repeat_interleave(frames, dim=0))
        x_BCTRS = x.unflatten(0, (batch, frames)).transpose(1, 2)
        return x_BCTRS if self.temporal is None else self.temporal(x_BCTRS)


VIDEO_LAYERS = Layers(
    conv=PseudoConv3d,
    pointwise=lambda a, b: nn.Conv3d(a, b, 1),
    attention=SpaceTimeAttention,
    double=(1.0, 2.0, 2.0),
)
INNER, LOWEST = (False, True, True, True), (False, False, False, True)
DECODER = UNetConfig(
    dim=512,
    mults=(1, 2, 4, 4),
    res_blocks=(3, 3, 3, 4),
    self_attention=INNER,
    cross_attention=INNER,
    text_dim=768,
)
INTERPOLATION = replace(DECODER, in_channels=7)  # the noise, the known frames and their mask
SR_256 = UNetConfig(
    dim=192,
    mults=(1, 2, 4, 6),
    res_blocks=(2, 4, 8, 10),
    self_attention=LOWEST,
    cross_attention=LOWEST,
    in_channels=6,
    stem_stride=2,
    text_dim=768,
)
SR_768 = replace(SR_256, self_attention=(False,) * 4, res_blocks=(2, 4, 8, 8))


def video_denoiser(config: UNetConfig, side: int, frames_default: int) -> Builder:
    """The builder of one stage that sees all frames at once."""
    unit = config.granularity
    pixels = Size(side, step=unit, least=2 * unit, doc="pixels at this stage")

    @sizes(
        let={"b": "batch", "t": "frames", "h": f"height//{unit}", "w": f"width//{unit}", "s": "text_tokens"},
        batch=Size(1),
        frames=Size(frames_default, least=2, doc="frames at this stage"),
        height=pixels,
        width=pixels,
        text_tokens=Size(77, least=8),
    )
    def build(
        batch: int = 1,
        frames: int = frames_default,
        height: int = side,
        width: int = side,
        text_tokens: int = 77,
    ) -> Built:
        video = activations(batch, config.in_channels, frames, height, width)
        text = activations(batch, text_tokens, config.text_dim)
        return EfficientUNet(config, VIDEO_LAYERS).eval(), (video, activations(batch), text), {}

    return build


CLIP_L = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "vocab_size": 49408,
    "hidden_act": "quick_gelu",
}
FINAL = Size(768, step=96, least=192, doc="pixels of the final video")
FRAMES_OUT = "(5*frames - 4)"  # four new frames between each two
NOTES = (
    "The paper gives the construction and the parameters of the parts, as recalled here (prior 1.3, "
    "decoder 3.1, interpolation 3.1, super-resolution 1.4 and 0.7 billion; 9.7 in all), but no widths: "
    "these are chosen to come near, on Imagen's U-Net.",
    "Decoder and interpolation: width 512, multipliers 1, 2, 4, 4, residual blocks 3, 3, 3, 4, pseudo-3D "
    "convolutions, spatial then temporal attention at 32, 16 and 8: 3.0 billion each.",
    "Super-resolution to 256 over all frames (width 192, multipliers 1, 2, 4, 6, residual blocks 2, 4, 8, "
    "10, attention at the lowest resolution): 1.4 billion. To 768 frame by frame, without temporal layers "
    "or self-attention: 0.74 billion.",
    "Interpolation turns 16 frames into 76 in one pass over all 76, at 64 px.",
    "Left out: the prior from text to image embedding (1.3 billion, one vector per video). Text enters as "
    "CLIP ViT-L/14's 77 states.",
    "Steps (50, 50, 25, 25) and guidance at every stage are assumptions. The text encoder runs once: the "
    "empty prompt's states are constants.",
)


def recipes() -> tuple[Recipe, ...]:
    """Text to 76 frames of 768 x 768."""
    steps = {"steps": 50, "interpolation_steps": 50, "sr256_steps": 25, "sr768_steps": 25}
    every_frame = {"frames": FRAMES_OUT}
    return (
        Recipe(
            name="make-a-video",
            title="Make-A-Video",
            params={
                "batch": Size(1, doc="videos made together"),
                "frames": Size(16, least=2, doc="frames before interpolation; 16 become 76"),
                "height": FINAL,
                "width": FINAL,
                **{name: Size(count, doc="denoising steps of this stage") for name, count in steps.items()},
                "guidance": Size(2, least=1, most=2, doc="forwards per step"),
                "text_tokens": Size(77, least=8, most=77, doc="text tokens, padding included"),
            },
            parts=(
                Part("text_encoder", clip_text("CLIPTextModel", CLIP_L)),
                Part("denoise", video_denoiser(DECODER, 64, 16), at(12), repeat="steps*guidance"),
                Part(
                    "interpolate",
                    video_denoiser(INTERPOLATION, 64, 76),
                    {**every_frame, **at(12)},
                    repeat="interpolation_steps*guidance",
                ),
                Part(
                    "super_resolution_256",
                    video_denoiser(SR_256, 256, 76),
                    {**every_frame, **at(3)},
                    repeat="sr256_steps*guidance",
                ),
                Part(
                    "super_resolution_768",
                    denoiser(SR_768, 768),
                    {"batch": f"batch*{FRAMES_OUT}"},
                    repeat="sr768_steps*guidance",
                ),
            ),
            item="video",
            notes=NOTES,
            source=("arXiv:2209.14792", "Golden et al., arXiv:2312.14385"),
        ),
    )
