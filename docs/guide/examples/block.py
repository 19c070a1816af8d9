"""A transformer block to count: `frameroof count block.py:build`."""

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """Attention and a feed-forward layer over a sequence of tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_q, self.to_k, self.to_v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x_BNC: torch.Tensor) -> torch.Tensor:
        """B = batch, N = tokens, C = channels, H = heads, D = channels of one head."""
        y_BNC = self.norm1(x_BNC)
        q_BHND, k_BHND, v_BHND = (self.split(to(y_BNC)) for to in (self.to_q, self.to_k, self.to_v))
        attended_BNC = F.scaled_dot_product_attention(q_BHND, k_BHND, v_BHND).transpose(1, 2).flatten(2)
        x_BNC = x_BNC + self.out(attended_BNC)
        return x_BNC + self.down(F.gelu(self.up(self.norm2(x_BNC))))

    def split(self, x_BNC: torch.Tensor) -> torch.Tensor:
        """Cut the channels into heads."""
        return x_BNC.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def build(batch: int = 1, tokens: int = 1024):
    """Keyword arguments are sizes with defaults; returns (module, args, kwargs)."""
    return Block(width=1024, heads=16), (torch.empty(batch, tokens, 1024),), {}
