"""The same idea with declared sizes: pixels outside, latent rows and columns inside."""

import torch
from torch import nn

from frameroof.workload.recipe import Size, sizes


@sizes(
    let={"b": "batch", "h": "height//8", "w": "width//8"},
    batch=Size(1),
    height=Size(512, step=8, least=64),
    width=Size(512, step=8, least=64),
)
def build(batch: int = 1, height: int = 512, width: int = 512):
    """One convolution over a latent image, an eighth of the picture's sides."""
    latent_BCHW = torch.empty(batch, 4, height // 8, width // 8)
    return nn.Conv2d(4, 320, 3, padding=1), (latent_BCHW,), {}
