"""GELU in the epilogue, and joined projections."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from frameroof.stream.kernels.linear import gelu_linear, joined


def linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    torch.manual_seed(inputs + outputs)
    return nn.Linear(inputs, outputs, bias)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_gelu_is_the_tanh_form(device: str, bias: bool) -> None:
    layer = linear(16, 24, bias).to(device)
    x = 3 * torch.randn(2, 5, 16, device=device)
    got = gelu_linear(x, layer).detach().cpu().double().numpy()
    y = x.cpu().double().numpy() @ layer.weight.detach().cpu().double().numpy().T
    y = y + (layer.bias.detach().cpu().double().numpy() if bias else 0)
    want = 0.5 * y * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_on_a_cpu_the_fused_call_computes_another_gelu() -> None:
    """Why ``gelu_linear`` makes two calls there: the fused one is 3e-4 off, which is the erf form's distance."""
    layer, x = linear(16, 512), 3 * torch.randn(64, 16)
    fused = torch._addmm_activation(layer.bias, x, layer.weight.t(), use_gelu=True)
    torch.testing.assert_close(fused, nn.functional.gelu(layer(x)), rtol=1e-5, atol=1e-5)
    assert 1e-4 < (fused - gelu_linear(x, layer)).abs().max() < 1e-3


@pytest.mark.parametrize("bias", [True, False])
def test_joined_projections_give_what_they_gave_apart(bias: bool) -> None:
    layers = [linear(16, outputs, bias) for outputs in (16, 16, 40)]
    x = torch.randn(3, 5, 16)
    together = joined(layers)
    assert (together.in_features, together.out_features, together.bias is not None) == (16, 72, bias)
    for got, layer in zip(together(x).split((16, 16, 40), -1), layers, strict=True):
        torch.testing.assert_close(got, layer(x), rtol=1e-6, atol=1e-6)


def test_projections_that_cannot_be_joined() -> None:
    with pytest.raises(ValueError, match="16 and 8 inputs"):
        joined([linear(16, 4), linear(8, 4)])
    with pytest.raises(ValueError, match="with and without a bias"):
        joined([linear(16, 4), linear(16, 4, bias=False)])
    with pytest.raises(ValueError, match=r"torch.float32 on cpu with one of torch.bfloat16"):
        joined([linear(16, 4), linear(16, 4).bfloat16()])
    with pytest.raises(ValueError, match="no linear layer to join"):
        joined([])
