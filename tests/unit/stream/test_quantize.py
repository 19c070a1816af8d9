"""Linear layers in 8 bits against NumPy: codes, scales, products, errors, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from frameroof.stream import quantize
from frameroof.stream.kernels import FP8, INT8, quantize_rows
from frameroof.stream.quantize import SCHEMES, QuantizedLinear, error, layer_errors, quantize_linears

# Every finite value of e4m3, from its definition: 4 bits of exponent (bias 7), 3 of mantissa, no infinity.
E4M3 = np.array(
    sorted(
        sign * ((8 + m) * 2.0 ** (e - 10) if e else m * 2.0**-9)
        for e in range(16)
        for m in range(8)
        for sign in (-1, 1)
        if (e, m) != (15, 7)
    )
)


def layer(inputs: int = 32, outputs: int = 48, bias: bool = True) -> nn.Linear:
    torch.manual_seed(inputs)
    return nn.Linear(inputs, outputs, bias)


def codes(x: np.ndarray, scheme: str) -> tuple[np.ndarray, np.ndarray]:
    """The nearest codes of the format and their scales, found by looking through every code."""
    largest = 127.0 if scheme == "int8" else 448.0
    axis = None if scheme == "fp8-tensor" else -1
    scale = (np.abs(x).max(axis, keepdims=True) / largest).astype(np.float32).astype(np.float64)
    allowed = np.arange(-127.0, 128) if scheme == "int8" else E4M3
    nearest = np.abs((x / scale)[..., None] - allowed).argmin(-1)
    return allowed[nearest], scale


def test_e4m3_is_what_torch_calls_so() -> None:
    every = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float().numpy()
    np.testing.assert_array_equal(np.unique(every[np.isfinite(every)]), np.unique(E4M3))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_products(scheme: str, bias: bool) -> None:
    linear = layer(bias=bias)
    x = torch.randn(2, 3, 32)
    x_codes, x_scale = codes(x.double().numpy(), scheme)
    w_codes, w_scale = codes(linear.weight.detach().double().numpy(), scheme)
    want = (x_codes @ w_codes.T) * x_scale * w_scale.T
    want = want + (linear.bias.detach().double().numpy() if bias else 0)
    got = QuantizedLinear.of(linear, scheme)(x)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.double().numpy(), want, rtol=1e-6, atol=1e-6)


def test_int8_products_are_those_of_int_mm() -> None:
    """The fp64 product against the integer one, at the longest row of LongLive 1.3B and the largest codes."""
    linear = layer(8960, 16, bias=False)
    with torch.no_grad():
        linear.weight.sign_()
    x = torch.ones(32, 8960)
    quantized = QuantizedLinear.of(linear, "int8")
    rows = quantize_rows(x, INT8)
    sums = torch._int_mm(rows.codes, quantized.codes_NK.t())
    assert sums.abs().max() > 127 * 127  # of the order of 127^2 times the sum of signs
    want = sums.double() * rows.scale.double() * quantized.scale.double().t()
    torch.testing.assert_close(quantized(x).double(), want, rtol=1e-6, atol=0)


@pytest.mark.parametrize("scheme", ["fp8", "int8"])
def test_a_producer_may_quantize_the_input(scheme: str) -> None:
    quantized = QuantizedLinear.of(layer().bfloat16(), scheme)
    x = torch.randn(2, 3, 32).bfloat16()
    assert quantized.accepts is not None
    torch.testing.assert_close(quantized(quantize_rows(x, quantized.accepts)), quantized(x), rtol=0, atol=0)
    other = INT8 if scheme == "fp8" else FP8
    with pytest.raises(ValueError, match="takes rows in"):
        quantized(quantize_rows(x, other))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_quantized_layer_is_not_cast(scheme: str) -> None:
    with pytest.raises(ValueError, match="cast it before"):
        QuantizedLinear.of(layer(), scheme).bfloat16()(torch.ones(3, 32))


def test_layers_that_cannot_be_joined() -> None:
    for others in ([QuantizedLinear.of(layer(), "int8")], [QuantizedLinear.of(layer(64), "fp8")]):
        with pytest.raises(ValueError, match="must share a scheme by rows"):
            QuantizedLinear.joined([QuantizedLinear.of(layer(), "fp8"), *others])
    with pytest.raises(ValueError, match="must share a scheme by rows"):
        QuantizedLinear.joined([QuantizedLinear.of(layer(), "fp8-tensor")] * 2)


def test_a_layer_with_one_scale_takes_no_rows() -> None:
    quantized = QuantizedLinear.of(layer(), "fp8-tensor")
    assert quantized.accepts is None
    assert quantized.scale.shape == ()
    with pytest.raises(ValueError, match="fp8-tensor layer finds"):
        quantized(quantize_rows(torch.ones(3, 32), FP8))


@pytest.mark.parametrize(
    ("scheme", "least", "most"), [("fp8", 0.02, 0.05), ("fp8-tensor", 0.02, 0.05), ("int8", 0.005, 0.015)]
)
def test_errors_of_random_layers(scheme: str, least: float, most: float) -> None:
    """Rounding of e4m3: at most 1/16 of a value, about 1/40 in the mean square; twice over, weights and inputs."""
    torch.manual_seed(0)
    linear = nn.Linear(512, 256)
    x = torch.randn(64, 512)
    found = error(linear(x), QuantizedLinear.of(linear, scheme)(x))
    assert least < found.relative < most
    assert found.cosine == pytest.approx(1 - found.relative**2 / 2, abs=1e-4)


def test_error_is_the_definition() -> None:
    found = error(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 3.0]))
    assert found.relative == pytest.approx(1 / 5)
    assert found.cosine == pytest.approx(21 / (5 * 18**0.5))
    assert error(torch.ones(3), torch.ones(3)) == quantize.Error(0.0, 1.0)
    assert error(torch.zeros(3), torch.zeros(3)) == quantize.Error(0.0, 1.0)
    with pytest.raises(ValueError, match="zero everywhere"):
        error(torch.zeros(3), torch.ones(3))
    with pytest.raises(ValueError, match=r"\[2\] is held against one of \[3\]"):
        error(torch.ones(3), torch.ones(2))


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ffn = nn.Sequential(layer(32, 64), nn.GELU(), layer(64, 32))
        self.out = layer(32, 20)  # no multiple of 16

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.ffn(x))


def test_a_named_subset_is_replaced() -> None:
    model, x = Two(), torch.randn(5, 32)
    before = model(x)
    assert quantize_linears(model, "fp8", ["ffn.*"]) == ["ffn.0", "ffn.2"]
    assert isinstance(model.ffn[0], QuantizedLinear)
    assert isinstance(model.out, nn.Linear)
    assert 0.001 < error(before, model(x)).relative < 0.1
    assert {"ffn.0.codes_NK", "ffn.0.scale", "ffn.0.bias"} <= set(model.state_dict())


def test_nothing_is_replaced_when_one_does_not_fit() -> None:
    model = Two()
    with pytest.raises(ValueError, match="out has 32 inputs and 20 outputs; 8-bit products need multiples of 16"):
        quantize_linears(model, "int8")
    with pytest.raises(ValueError, match=r"no linear layer is named 'fnn.\*'; there are ffn.0, ffn.2, out"):
        quantize_linears(model, "int8", ["ffn.0", "fnn.*"])
    with pytest.raises(ValueError, match="'fp4' is no way to quantize; there are fp8, fp8-tensor, int8"):
        quantize_linears(model, "fp4", ["ffn.*"])
    assert all(isinstance(model.get_submodule(name), nn.Linear) for name in ("ffn.0", "ffn.2", "out"))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_each_layer_is_measured_alone_on_its_true_input(scheme: str) -> None:
    model = Two()
    batches = [torch.randn(5, 32), torch.randn(3, 32)]
    found = layer_errors(model, scheme, lambda: [model(x) for x in batches], ["ffn.*"])
    assert [(row.name, row.scheme, row.rows) for row in found] == [("ffn.0", scheme, 8), ("ffn.2", scheme, 8)]
    assert all(isinstance(model.get_submodule(name), nn.Linear) for name in ("ffn.0", "ffn.2"))
    with torch.no_grad():
        inner = [model.ffn[1](model.ffn[0](x)) for x in batches]
        quantized = QuantizedLinear.of(model.ffn[2], scheme)
        want = error(torch.cat([model.ffn[2](x) for x in inner]), torch.cat([quantized(x) for x in inner]))
    assert found[1].output.relative == pytest.approx(want.relative, rel=1e-6)
    assert 0 < found[0].weight.relative < 0.05
    assert not model.ffn[0]._forward_hooks


@pytest.mark.gpu
@pytest.mark.parametrize("rows", [3, 64])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_products_on_a_gpu(scheme: str, rows: int) -> None:
    """The device's product against the exact one; it rounds once to bf16."""
    quantized = QuantizedLinear.of(layer(64, 48).bfloat16(), scheme)
    x = torch.randn(rows, 64).bfloat16()
    want = quantized(x)
    got = quantized.cuda()(x.cuda()).cpu()
    torch.testing.assert_close(got, want, rtol=2.0**-7, atol=1e-2)
