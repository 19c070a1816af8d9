"""The table of types beside torch's own answers, and the tuples that messages and files show in this order."""

from __future__ import annotations

import pytest
import torch

from frameroof import dtypes


@pytest.mark.parametrize("name", [name for name, d in dtypes.DTYPES.items() if d.torch])
def test_torch_agrees(name: str) -> None:
    for own in dtypes.DTYPES[name].torch:
        kind = getattr(torch, own)
        assert dtypes.name_of(kind) == name
        assert kind.itemsize * 8 == dtypes.BITS[name]
    assert dtypes.torch_name(name) == dtypes.DTYPES[name].torch[0]


def test_every_type_of_a_trace_has_torch_s_width() -> None:
    """Kineto writes C++'s names: those of `caffe2::TypeMeta`, once without their namespace; integers as GCC, Clang and
    MSVC name them."""
    sizes = {"float": 4, "double": 8, "int": 4, "long int": 8, "short int": 2, "signed char": 1, "unsigned char": 1}
    sizes |= {"bool": 1, "c10::BFloat16": 2, "c10::Half": 2, "BFloat16": 2, "Half": 2, "Float": 4}
    sizes |= {f"c10::Float8_{kind}": 1 for kind in ("e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz")}
    sizes |= {"c10::complex<float>": 8, "c10::complex<double>": 16}
    sizes |= {"long": 8, "long long": 8, "__int64": 8, "short": 2}
    sizes |= {"Double": 8, "Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1, "Bool": 1}  # of collectives
    sizes |= {f"Float8_{kind}": 1 for kind in ("e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz")}
    assert sizes == dtypes.TRACE_BYTES
    assert {dtypes.TRACE_NAMES.get(n) for n in ("int", "long int", "bool", "c10::complex<float>")} == {None}
    assert dtypes.TRACE_NAMES["unsigned char"] == "uint8"  # holds packed weights


def test_what_each_type_serves_for() -> None:
    assert dtypes.PEAKS == ("fp32", "tf32", "bf16", "fp16", "fp16_acc", "fp8", "int8", "fp4")
    assert dtypes.CHOICES == dtypes.PEAKS
    assert dtypes.BUILT == ("bf16", "fp16", "fp16_acc", "fp32", "tf32")
    assert dtypes.STREAMED == ("fp32", "bf16")
    assert (dtypes.HALF, dtypes.EIGHT_BIT) == (("bf16", "fp16"), ("fp8", "int8"))
    assert [dtypes.of_bytes(size) for size in (1, 2, 4, 8, 3)] == ["fp8", "bf16", "fp32", "bf16", "bf16"]
    assert [dtypes.item_bytes(name) for name in ("fp4", "fp8", "bf16", "fp64")] == [1, 1, 2, 8]


def test_unknown_types_are_sentences() -> None:
    with pytest.raises(ValueError, match=r"torch\.quint8 is a type that has no rule here; there are float64, "):
        dtypes.name_of(torch.quint8)
    with pytest.raises(ValueError, match="'fp4' is no type of torch's; there are fp64, fp32"):
        dtypes.torch_name("fp4")
    with pytest.raises(
        ValueError, match=r"^a model is built in bf16, fp16, fp16_acc, fp32 or tf32, not 'fp8'; try this$"
    ):
        dtypes.check("fp8", dtypes.BUILT, "a model is built in", "try this")
    dtypes.check(None, dtypes.BUILT, "a model is built in")
