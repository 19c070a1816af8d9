"""The transformer's small operations by fused kernels, under the same names as ``causal_wan.Ops``.

Shapes: B batch, T groups of frames that share a timestep, N new tokens, L cached tokens, H heads, D head width,
C = H*D channels.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ..models.causal_wan import KV, QKV, Attend, Attention, CausalWan, Ops, Residual, Rotary, sdpa
from . import kernels
from .kernels import Affine, Format, Quantized, Ring
from .kernels.linear import gelu_linear, joined
from .quantize import QuantizedLinear


class FusedOps(Ops):
    """Fused kernels for one model, on the device on which it lies when this is made.

    q, k and v of each self-attention become one product; their weights stay the model's own, as views into
    the joined one. Where all layers that read a norm are quantized, the norm gives 8 bits itself. Make it
    after ``quantize_linears`` and after moving the model.
    """

    def __init__(self, model: CausalWan, attend: Attend = sdpa) -> None:
        super().__init__(attend)
        self._qkv = {block.self_attn: _join(block.self_attn) for block in model.blocks}
        readers: dict[nn.Module, list[nn.Module]] = {model.norm: [model.head]}
        for block in model.blocks:
            attn = block.self_attn
            readers |= {block.norm1: [attn.q, attn.k, attn.v], block.norm3: [block.cross_attn.q]}
            readers[block.norm2] = [block.ffn[0]]
        self._to = {norm: _accepted(layers) for norm, layers in readers.items()}
        self._slot = torch.zeros(1, dtype=torch.int64, device=model.modulation.device)

    def qkv(self, attn: Attention, x_BNC: torch.Tensor, rotary: Rotary) -> QKV:
        """Queries, keys and values as the products give them; ``write`` norms and rotates."""
        one = self._qkv[attn]
        q, k, v = (attn.q(x_BNC), attn.k(x_BNC), attn.v(x_BNC)) if one is None else one(x_BNC).chunk(3, dim=-1)
        return attn.by_head(q), attn.by_head(k), attn.by_head(v)

    def write(self, attn: Attention, qkv: QKV, rotary: Rotary, into: KV) -> torch.Tensor:
        """Norm and rotate queries and keys, keys and values into the cache's views: one kernel."""
        q, k, v = (x_BNHD.flatten(2) for x_BNHD in qkv)
        cos, sin = (table.flatten(0, 1) for table in rotary)
        weights = attn.norm_q.weight, attn.norm_k.weight
        ring = Ring(into[0], into[1], self._slot)  # the views are one slot
        return kernels.qk_norm_rope_write((q, k, v), weights, kernels.Rotary(cos, sin), ring)

    def norm_modulate(
        self, norm: nn.LayerNorm, x_BNC: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor
    ) -> torch.Tensor | Quantized:
        """LayerNorm and modulation, in 8 bits where its reader takes them: one kernel."""
        return kernels.norm_modulate(_rows(x_BNC), Affine(scale, shift), self._to[norm])

    def residual_norm(
        self, summed: Residual, norm: nn.LayerNorm, modulate: tuple[torch.Tensor, torch.Tensor] | None
    ) -> tuple[torch.Tensor, torch.Tensor | Quantized]:
        """The sum and its norm, modulated or with the norm's own weight and bias: one kernel."""
        if modulate is None:
            affine = Affine(norm.weight[None, None], norm.bias[None, None], 0.0)
        else:
            affine = Affine(modulate[1], modulate[0])
        return kernels.gate_residual_norm((_rows(summed[0]), *summed[1:]), affine, self._to[norm])

    def residual(self, summed: Residual) -> torch.Tensor:
        """x + gate*y: one kernel."""
        return kernels.gate_residual((_rows(summed[0]), *summed[1:]))

    def ffn(self, ffn: nn.Sequential, x_BNC: torch.Tensor | Quantized) -> torch.Tensor:
        """Linear, GELU, linear: GELU in the first product's epilogue, or before the second one's quantization."""
        first, _, last = ffn
        if isinstance(first, nn.Linear):
            return last(gelu_linear(x_BNC, first))
        y_BNC = first(x_BNC)
        if isinstance(last, QuantizedLinear) and last.accepts is not None:
            return last(kernels.quantize_rows(y_BNC, last.accepts, gelu=True))
        return last(F.gelu(y_BNC, approximate="tanh"))


def _join(attn: Attention) -> nn.Module | None:
    """q, k and v as one layer, or None where they differ in kind or have one scale for a whole weight."""
    parts = [attn.q, attn.k, attn.v]
    if all(_plain(part) for part in parts):
        one: nn.Module = joined(parts)
        shared = ["weight", "bias"]
    elif len({getattr(part, "scheme", None) for part in parts}) == 1 and attn.q.accepts is not None:
        one = QuantizedLinear.joined(parts)
        shared = ["codes_NK", "scale", "bias"]
    else:
        return None
    rows = 0
    for part in parts:
        here = slice(rows, rows := rows + part.out_features)
        for name in shared:
            if getattr(part, name) is not None:
                getattr(part, name).data = getattr(one, name).data[here]
    return one


def _accepted(layers: list[nn.Module]) -> Format | None:
    """The 8-bit format that all these layers take, if there is one."""
    formats = {layer.accepts if isinstance(layer, QuantizedLinear) else None for layer in layers}
    return formats.pop() if len(formats) == 1 else None


def _plain(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear)


def _rows(x_BNC: torch.Tensor) -> torch.Tensor:
    """x with contiguous rows; the patch embedding's output, which the first layer reads, has others."""
    return x_BNC if x_BNC.stride(-1) == 1 else x_BNC.contiguous()
