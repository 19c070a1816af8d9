"""Linear layers with less around them: GELU in the product's epilogue, several projections as one product."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F


def gelu_linear(x: torch.Tensor, linear: nn.Linear) -> torch.Tensor:
    """GELU (tanh form) of a linear layer.

    On CUDA it is one call, whose epilogue (cuBLASLt) adds the bias and applies GELU before the result is
    rounded. Elsewhere it is two: on a CPU, ``torch._addmm_activation`` computes GELU's other form, with erf.
    """
    if x.device.type != "cuda" or linear.bias is None:
        return F.gelu(linear(x), approximate="tanh")
    out_RC = torch._addmm_activation(linear.bias, x.flatten(0, -2), linear.weight.t(), use_gelu=True)
    return out_RC.unflatten(0, x.shape[:-1])


def joined(linears: Sequence[nn.Linear]) -> nn.Linear:
    """One linear layer whose outputs are those of ``linears``, one after the other; weights are copied.

    Raises:
        ValueError: the layers differ in inputs, type or device, or only some have a bias.
    """
    if not linears:
        raise ValueError("there is no linear layer to join")
    first = linears[0]
    for other in linears[1:]:
        if other.in_features != first.in_features:
            raise ValueError(f"cannot join linear layers of {first.in_features} and {other.in_features} inputs")
        if (other.bias is None) != (first.bias is None):
            raise ValueError("cannot join linear layers with and without a bias")
        if (other.weight.dtype, other.weight.device) != (first.weight.dtype, first.weight.device):
            raise ValueError(
                f"cannot join a linear layer of {first.weight.dtype} on {first.weight.device} "
                f"with one of {other.weight.dtype} on {other.weight.device}"
            )
    out = nn.Linear(
        first.in_features, sum(linear.out_features for linear in linears), bias=first.bias is not None, device="meta"
    )
    grad = first.weight.requires_grad
    out.weight = nn.Parameter(torch.cat([linear.weight.detach() for linear in linears]), grad)
    if first.bias is not None:
        out.bias = nn.Parameter(torch.cat([linear.bias.detach() for linear in linears]), grad)
    return out
