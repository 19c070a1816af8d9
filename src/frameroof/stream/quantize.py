"""Linear layers in 8 bits: fp8 (e4m3) and int8, for all layers or a named subset, and the error they make.

The weights are quantized once, each output's row with its own scale; the inputs at every call, each token's
row with its own scale (``fp8-tensor``: one scale for the weight and one for the input). Products:
``torch._scaled_mm`` for fp8 and ``torch._int_mm`` for int8 on CUDA. Elsewhere the same codes are multiplied
in fp64, in which these sums are exact: the result is rounded once, and does not depend on the machine.

Shapes: R rows (tokens), K inputs, N outputs.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from .kernels import FP8, INT8, Format, Quantized, dequantize, quantize_rows
from .kernels.check import check_format
from .kernels.reference import row_scale, with_scale

SCHEMES = ("fp8", "fp8-tensor", "int8")
MULTIPLE = 16  # of inputs and outputs, for the matrix units
_LEAST_ROWS = 17  # torch._int_mm takes no fewer rows on CUDA


class QuantizedLinear(nn.Module):
    """A linear layer with 8-bit weights and inputs.

    Attributes:
        codes_NK, scale: the weight's codes, and the scale of each row [N, 1], or of all [].
        accepts: the format that a producer may quantize the input to beforehand; None where the scale is
            one for the whole input, so that only this layer can find it.
    """

    codes_NK: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, weight: Quantized, bias: torch.Tensor | None, scheme: str, dtype: torch.dtype) -> None:
        """A layer of these codes; ``dtype`` is that of its outputs for inputs already quantized."""
        super().__init__()
        self.out_features, self.in_features = weight.codes.shape
        self.scheme, self.dtype, self.format = scheme, dtype, _format(scheme)
        self.accepts = None if scheme == "fp8-tensor" else self.format
        self.register_buffer("codes_NK", weight.codes)
        self.register_buffer("scale", weight.scale)
        self.register_buffer("bias", bias)

    @classmethod
    def of(cls, linear: nn.Linear, scheme: str) -> QuantizedLinear:
        """Quantize a linear layer's weight. Raises ValueError for an unknown scheme or sizes that do not fit."""
        _check(linear, scheme)
        bias = None if linear.bias is None else linear.bias.detach().clone()
        return cls(_quantized(linear.weight.detach(), scheme), bias, scheme, linear.weight.dtype)

    @classmethod
    def joined(cls, layers: Sequence[QuantizedLinear]) -> QuantizedLinear:
        """One layer whose outputs are those of ``layers``, one after the other; codes are copied.

        Raises:
            ValueError: the layers differ in scheme, inputs or bias, or have one scale for a whole weight.
        """
        kinds = {(m.scheme, m.dtype, m.in_features, m.bias is None) for m in layers}
        if len(kinds) != 1 or layers[0].accepts is None:
            raise ValueError("layers to join must share a scheme by rows, inputs and type, and all or none have a bias")
        weight = Quantized(torch.cat([m.codes_NK for m in layers]), torch.cat([m.scale for m in layers]))
        biases = [m.bias for m in layers if m.bias is not None]
        return cls(weight, torch.cat(biases) if biases else None, layers[0].scheme, layers[0].dtype)

    def forward(self, x: torch.Tensor | Quantized) -> torch.Tensor:
        """The product, in the type of x; for an input that is already quantized, in the original weight's.

        Raises `ValueError`, a sentence, for an input of another type, and where the model was cast after it was
        quantized.
        """
        if self.codes_NK.dtype != self.format.dtype or self.scale.dtype != torch.float32:
            raise ValueError("the model was cast to another type after it was quantized; cast it before")
        dtype = self.dtype if isinstance(x, Quantized) else x.dtype
        if not isinstance(x, Quantized):
            x = _quantized(x, self.scheme)
        elif self.accepts is None:
            raise ValueError(f"a {self.scheme} layer finds the one scale of its input itself, and takes it unquantized")
        elif x.codes.dtype != self.accepts.dtype or x.scale.shape != (*x.codes.shape[:-1], 1):
            raise ValueError(f"a {self.scheme} layer takes rows in {self.accepts.dtype}, each with its own scale")
        rows = Quantized(x.codes.flatten(0, -2), x.scale.flatten(0, -2) if x.scale.dim() else x.scale)
        product = _product_cuda if rows.codes.device.type == "cuda" else _product_exact
        return product(rows, self, dtype).unflatten(0, x.codes.shape[:-1])

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, {self.scheme}"


@dataclass(frozen=True)
class Error:
    """How far a result is from its reference: ||got - reference|| / ||reference||, and the cosine between them."""

    relative: float
    cosine: float


@dataclass(frozen=True)
class LayerError:
    """What quantizing one layer does to its weight, and to its output for the inputs that it saw."""

    name: str
    scheme: str
    weight: Error
    output: Error
    rows: int


def quantize_linears(model: nn.Module, scheme: str, only: Sequence[str] = ("*",)) -> list[str]:
    """Replace linear layers by quantized ones, in place.

    Args:
        model: holds the layers.
        scheme: one of ``SCHEMES``.
        only: patterns of the layers' names with ``*``, e.g. ``blocks.*.ffn.*``.

    Returns:
        The names of the layers replaced.

    Raises:
        ValueError: a pattern names no linear layer, or a layer's sizes do not fit. Nothing is replaced then.
    """
    chosen = chosen_linears(model, only)
    for name, linear in chosen.items():
        _check(linear, scheme, name)
    for name, linear in chosen.items():
        model.set_submodule(name, QuantizedLinear.of(linear, scheme))
    return list(chosen)


def chosen_linears(model: nn.Module, only: Sequence[str]) -> dict[str, nn.Linear]:
    """The linear layers whose names match a pattern. Raises ValueError for a pattern that matches none."""
    linears = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear) and name}
    for pattern in only:
        if not fnmatch.filter(linears, pattern):
            raise ValueError(f"no linear layer is named {pattern!r}; there are {_some(list(linears))}")
    return {name: m for name, m in linears.items() if any(fnmatch.fnmatchcase(name, p) for p in only)}


def layer_errors(
    model: nn.Module, scheme: str, run: Callable[[], object], only: Sequence[str] = ("*",)
) -> list[LayerError]:
    """What quantizing would do to each layer alone: the model runs unchanged, each layer sees its true input.

    Args:
        model: holds the layers; it is not changed.
        scheme: one of ``SCHEMES``.
        run: runs the model, once or several times; all calls are added up.
        only: patterns of the layers' names, as for ``quantize_linears``.

    Returns:
        One row for each layer that ran, in the model's order.
    """
    chosen = chosen_linears(model, only)
    sums = {name: _Sums() for name in chosen}
    hooks = []
    for name, linear in chosen.items():
        _check(linear, scheme, name)

        def measure(module: nn.Module, args: tuple[torch.Tensor], out: torch.Tensor, name: str = name) -> None:
            assert isinstance(module, nn.Linear)
            sums[name].add(out, QuantizedLinear.of(module, scheme)(args[0]))

        hooks.append(linear.register_forward_hook(measure))
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return [
        LayerError(name, scheme, _weight_error(linear, scheme), sums[name].error(), sums[name].rows)
        for name, linear in chosen.items()
        if sums[name].rows
    ]


def error(reference: torch.Tensor, got: torch.Tensor) -> Error:
    """The error of one result. Raises ValueError where the shapes differ or one of the two is zero everywhere."""
    sums = _Sums()
    sums.add(reference, got)
    return sums.error()


class _Sums:
    """Sums of squares and products over one or more results, in fp64."""

    def __init__(self) -> None:
        self.reference = self.got = self.product = self.difference = 0.0
        self.rows = 0

    def add(self, reference: torch.Tensor, got: torch.Tensor) -> None:
        if reference.shape != got.shape:
            raise ValueError(f"a result of shape {list(got.shape)} is held against one of {list(reference.shape)}")
        a, b = reference.detach().double(), got.detach().double()
        self.reference += a.square().sum().item()
        self.got += b.square().sum().item()
        self.product += (a * b).sum().item()
        self.difference += (a - b).square().sum().item()
        self.rows += a.numel() // a.shape[-1] if a.dim() else 1

    def error(self) -> Error:
        if self.difference == 0:
            return Error(0.0, 1.0)
        if self.reference == 0 or self.got == 0:
            raise ValueError("the error is not defined: the reference or the result is zero everywhere")
        norms = math.sqrt(self.reference) * math.sqrt(self.got)
        return Error(math.sqrt(self.difference / self.reference), self.product / norms)


def _weight_error(linear: nn.Linear, scheme: str) -> Error:
    quantized = QuantizedLinear.of(linear, scheme)
    return error(linear.weight, Quantized(quantized.codes_NK, quantized.scale).dequantized())


def _format(scheme: str) -> Format:
    return INT8 if scheme == "int8" else FP8


def _quantized(x: torch.Tensor, scheme: str) -> Quantized:
    if scheme == "fp8-tensor":
        return with_scale(x, row_scale(x.flatten(), FP8).squeeze(), FP8)
    return quantize_rows(x, _format(scheme))


def _product_exact(rows: Quantized, layer: QuantizedLinear, dtype: torch.dtype) -> torch.Tensor:
    sums_RN = rows.codes.double() @ layer.codes_NK.double().t()
    scale = layer.scale.t() if layer.scale.dim() else layer.scale
    out_RN = sums_RN * rows.scale.double() * scale.double()
    return (out_RN if layer.bias is None else out_RN + layer.bias.double()).to(dtype)


def _product_cuda(rows: Quantized, layer: QuantizedLinear, dtype: torch.dtype) -> torch.Tensor:
    if layer.format == INT8:
        missing = max(_LEAST_ROWS - len(rows.codes), 0)
        codes = nn.functional.pad(rows.codes, (0, 0, 0, missing)) if missing else rows.codes
        sums_RN = torch._int_mm(codes, layer.codes_NK.t())[: len(rows.codes)]
        return dequantize(sums_RN, (rows.scale, layer.scale), layer.bias, dtype)
    check_format(rows.codes.device, layer.format)
    # Scaled by row, the product is offered in bf16 only.
    out_RN = torch._scaled_mm(
        rows.codes,
        layer.codes_NK.t(),
        scale_a=rows.scale,
        scale_b=layer.scale.t() if layer.scale.dim() else layer.scale,
        bias=None if layer.bias is None else layer.bias.to(torch.bfloat16),
        out_dtype=torch.bfloat16,
        use_fast_accum=True,
    )
    return out_RN.to(dtype)


def _check(linear: nn.Linear, scheme: str, name: str = "the layer") -> None:
    if scheme not in SCHEMES:
        raise ValueError(f"{scheme!r} is no way to quantize; there are {', '.join(SCHEMES)}")
    if linear.in_features % MULTIPLE or linear.out_features % MULTIPLE:
        raise ValueError(
            f"{name} has {linear.in_features} inputs and {linear.out_features} outputs; "
            f"8-bit products need multiples of {MULTIPLE}"
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "none"
