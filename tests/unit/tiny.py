"""A small latent-diffusion-like builder that several tests count."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from frameroof.workload.recipe import Part, Recipe, Size, sizes


class Block(nn.Module):
    """Convolution, self-attention over pixels, cross-attention to text; x_BCHW, text_BSD."""

    def __init__(self, width: int = 32, text: int = 24) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, width)
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.qkv = nn.Linear(width, 3 * width)
        self.kv = nn.Linear(text, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        x = x + self.conv(F.silu(self.norm(x)))
        b, c, h, w = x.shape
        q, k, v = self.qkv(x.flatten(2).mT).view(b, h * w, 3, 2, c // 2).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        tk, tv = self.kv(text).view(b, -1, 2, 2, c // 2).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(y, tk, tv)
        return x + self.out(y.transpose(1, 2).reshape(b, h * w, c)).mT.view(b, c, h, w)


class Tiny(nn.Module):
    """Three equal blocks at full size and one at half size."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.down = nn.Conv2d(32, 32, 3, stride=2, padding=1)
        self.low = Block()

    def forward(self, x: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x, text)
        low = self.low(self.down(x), text)
        return x + F.interpolate(low, size=x.shape[-2:], mode="nearest")


@sizes(
    let={
        "b": "batch",
        "h": "height//8",
        "h2": "ceil(h, 2)",
        "w": "width//8",
        "w2": "ceil(w, 2)",
        "s": "text_tokens",
    },
    batch=Size(1),
    height=Size(128, step=8, least=24),
    width=Size(128, step=8, least=24),
    text_tokens=Size(10, least=2),
)
def build(batch: int = 1, height: int = 128, width: int = 128, text_tokens: int = 10) -> tuple[object, ...]:
    """The declared builder."""
    return (
        Tiny().eval(),
        (torch.empty(batch, 32, height // 8, width // 8), torch.empty(batch, text_tokens, 24)),
        {},
    )


def undeclared(batch: int = 1, height: int = 128, text_tokens: int = 10) -> tuple[object, ...]:
    """The same without a declaration, as a user would write it; square."""
    return build(batch, height, height, text_tokens)


RECIPE = Recipe(
    name="tiny",
    title="Tiny",
    params={
        "batch": Size(1),
        "height": Size(128, step=8, least=24),
        "width": Size(128, step=8, least=24),
        "steps": Size(4),
        "guidance": Size(2, least=1, most=2),
    },
    parts=(Part("denoise", build, {"text_tokens": "12"}, repeat="steps*guidance"),),
    item="image",
    notes=("made for tests",),
    source=("tests/unit/tiny.py",),
)
