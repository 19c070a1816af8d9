"""The fused operations against NumPy: in PyTorch, in Triton's interpreter, and on a GPU where there is one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import kernels_cases as cases
import numpy as np
import pytest
import torch

from frameroof.stream import kernels
from frameroof.stream.kernels import FORMATS, FP8, INT8, Affine, Quantized, Ring, Rotary, reference
from frameroof.stream.kernels.check import check_format

EXACT = {"fp32": 1e-5, "bf16": 2.0**-8}  # one rounding to the type, beside fp32 arithmetic


@pytest.fixture(scope="module", params=["torch", "triton", pytest.param("cuda", marks=pytest.mark.gpu)])
def outputs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """What one implementation gives for every case."""
    if request.param == "torch":
        return cases.run(reference)
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed")
    if request.param == "cuda":
        return cases.run(kernels, "cuda")
    path = tmp_path_factory.mktemp("interpreted") / "out.pt"
    done = subprocess.run(
        [sys.executable, str(Path(cases.__file__)), str(path)],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return torch.load(path)


def close(got: torch.Tensor, want: np.ndarray, dtype: str) -> None:
    assert got.dtype == cases.DTYPES[dtype]
    np.testing.assert_allclose(got.double().numpy(), want, rtol=EXACT[dtype], atol=1e-5)


def close_codes(outputs: dict[str, torch.Tensor], name: str, want: np.ndarray) -> None:
    """Every value within half a step of its format, and each row's largest on the format's largest code."""
    to = FP8 if name.endswith("fp8") else INT8
    codes, scale = outputs[f"{name}.codes"], outputs[f"{name}.scale"]
    assert (codes.dtype, scale.dtype, scale.shape) == (to.dtype, torch.float32, (*codes.shape[:-1], 1))
    largest = np.abs(want).max(-1, keepdims=True)
    np.testing.assert_allclose(scale.numpy(), largest / to.largest, rtol=1e-5)
    np.testing.assert_array_equal(codes.float().abs().amax(-1).numpy(), to.largest)
    off = np.abs(Quantized(codes, scale).dequantized().double().numpy() - want)
    # e4m3: 3 bits of mantissa, and steps of 2^-9 below 2^-6; int8: steps of 1
    half_step = np.maximum(np.abs(want) / 16, scale.numpy() / 1024) if to is FP8 else scale.numpy() / 2
    assert (off <= half_step * (1 + 1e-3)).all()


@pytest.mark.parametrize(("size", "dtype"), cases.RUN)
def test_queries_keys_and_values(outputs: dict[str, torch.Tensor], size: str, dtype: str) -> None:
    want = cases.qk_oracle(cases.qk_case(size, dtype))
    for name, values in want.items():
        close(outputs[f"qk-{size}-{dtype}/{name}"], values, dtype)


@pytest.mark.parametrize(("gate", "affine"), [("gate", "modulate"), ("sum", "own")])
@pytest.mark.parametrize(("size", "dtype"), cases.RUN)
def test_norms(outputs: dict[str, torch.Tensor], size: str, dtype: str, gate: str, affine: str) -> None:
    case = cases.norm_case(size, dtype, gate, affine)
    name = f"norm-{size}-{dtype}-{gate}-{affine}"
    x, y, opened = case["residual"]
    branch = y.double().numpy()
    if opened is not None:
        branch = branch * np.repeat(opened.double().numpy(), x.shape[1] // opened.shape[1], 1)
    close(outputs[f"{name}/sum"], x.double().numpy() + branch, dtype)
    assert torch.equal(outputs[f"{name}/only"], outputs[f"{name}/sum"])
    close(outputs[f"{name}/out"], cases.norm_oracle(outputs[f"{name}/sum"], case["affine"]), dtype)
    if affine == "own":
        close(outputs[f"{name}/alone"], cases.norm_oracle(x, case["affine"]), dtype)


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize(("size", "dtype"), cases.EIGHT_BIT)
def test_eight_bits(outputs: dict[str, torch.Tensor], size: str, dtype: str, to: str) -> None:
    case = cases.norm_case(size, dtype, "sum", "own")
    name = f"norm-{size}-{dtype}-sum-own"
    x, y, _ = case["residual"]
    close_codes(outputs, f"{name}/{to}", cases.norm_oracle(outputs[f"{name}/sum"], case["affine"]))
    close_codes(outputs, f"{name}/alone-{to}", cases.norm_oracle(x, case["affine"]))
    y = y.double().numpy()
    close_codes(outputs, f"{name}/rows-{to}", y)
    gelu = 0.5 * y * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)))
    close_codes(outputs, f"{name}/gelu-{to}", gelu)


@pytest.mark.parametrize("to", FORMATS)
def test_a_row_of_zeros_stays_zero(outputs: dict[str, torch.Tensor], to: str) -> None:
    assert not outputs[f"zeros/{to}.codes"].float().any()
    assert (outputs[f"zeros/{to}.scale"] > 0).all()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_sums_as_values(outputs: dict[str, torch.Tensor], dtype: str, bias: bool) -> None:
    sums, (rows, columns), added, _ = cases.sums_case(dtype, bias)
    want = sums.double().numpy() * rows.double().numpy() * columns.double().numpy().T
    close(outputs[f"sums-{dtype}-{bias}"], want + (added.double().numpy() if bias else 0), dtype)


@pytest.mark.parametrize(
    ("name", "changed", "says"),
    [
        ("qkv", lambda c: (c["qkv"][0], c["qkv"][1][:, :1], c["qkv"][2]), "differ in shape"),
        ("qkv", lambda c: tuple(x.transpose(1, 2).contiguous().transpose(1, 2) for x in c["qkv"]), "last stride"),
        ("weights", lambda c: (c["weights"][0][:4], c["weights"][1]), "one weight for each of 30 channels"),
        ("rotary", lambda c: Rotary(c["rotary"].cos_NJ[1:], c["rotary"].sin_NJ[1:]), r"must be \[6, 5\]"),
        ("ring", lambda c: c["ring"]._replace(slot_T=torch.tensor([0, 4])), "different ones of 0 to 3"),
        ("ring", lambda c: c["ring"]._replace(slot_T=torch.tensor([1, 1])), "different ones of 0 to 3"),
        ("ring", lambda c: c["ring"]._replace(slot_T=torch.tensor([0, 1, 2, 3])), "do not divide into 4 frames"),
        ("ring", lambda c: c["ring"]._replace(slot_T=torch.tensor([0.0, 1.0])), "int64"),
        ("ring", lambda c: Ring(c["ring"][0][:, :-1], c["ring"][1][:, :-1], c["ring"][2]), "slots of 3"),
        ("ring", lambda c: Ring(c["ring"][0][:1], c["ring"][1][:1], c["ring"][2]), "does not hold"),
    ],
)
def test_queries_that_do_not_fit(name, changed, says) -> None:
    case = cases.qk_case("odd", "fp32")
    with pytest.raises(ValueError, match=says):
        kernels.qk_norm_rope_write(**case | {name: changed(case)})


def test_norms_that_do_not_fit() -> None:
    x, row = torch.ones(2, 6, 4), torch.ones(1, 1, 4)
    for scale, says in ((torch.ones(3, 1, 4), "1 or 2"), (torch.ones(1, 4, 4), "do not divide into the 4 frames")):
        with pytest.raises(ValueError, match=says):
            kernels.norm_modulate(x, Affine(scale, row))
    with pytest.raises(ValueError, match="different numbers of frames"):
        kernels.norm_modulate(x, Affine(torch.ones(1, 2, 4), torch.ones(1, 3, 4)))
    with pytest.raises(ValueError, match=r"y has the shape \[2, 5, 4\]"):
        kernels.gate_residual_norm((x, x[:, 1:], None), Affine(row, row))
    with pytest.raises(ValueError, match="no rows"):
        kernels.quantize_rows(torch.ones(0, 4), FP8)
    sums = torch.ones(2, 3, dtype=torch.int32)
    with pytest.raises(ValueError, match=r"take scales \[2, 1\] and \[3, 1\]"):
        kernels.dequantize(sums, (torch.ones(2, 1), torch.ones(1, 3)), None, torch.float32)


def test_compiled_callers_see_one_graph() -> None:
    """torch.compile traces through the wrappers and their checks without a break."""
    case = cases.norm_case("odd", "fp32")

    def norm(residual: tuple[torch.Tensor, ...], affine: Affine) -> torch.Tensor:
        return kernels.gate_residual_norm(residual, affine, FP8)[1].dequantized()

    traced = torch.compile(norm, fullgraph=True, backend="eager")
    args = (case["residual"], case["affine"])
    assert torch.equal(traced(*args), norm(*args))


def test_fp8_needs_a_gpu_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for capability in ((8, 0), (8, 9), (9, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        check_format(torch.device("cuda"), INT8)
        if capability != (8, 0):
            check_format(torch.device("cuda"), FP8)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    with pytest.raises(ValueError, match=r"8.9 or more; this one has 8.0"):
        check_format(torch.device("cuda"), FP8)


def test_a_cpu_runs_pytorch_and_says_so() -> None:
    assert kernels.backend(torch.device("cpu")) == "torch"


def test_importing_the_kernels_does_not_import_triton() -> None:
    code = "import sys, frameroof.stream.kernels; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.gpu
def test_a_captured_graph_writes_where_the_slots_say() -> None:
    case = cases.moved(cases.qk_case("odd", "bf16"), "cuda")
    ring = case["ring"]
    kernels.qk_norm_rope_write(**case)  # compiled before capture
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kernels.qk_norm_rope_write(**case)
    ring.slot_T.copy_(torch.tensor([3, 1]))
    for cache in (ring.k_BLHD, ring.v_BLHD):
        cache.zero_()
    graph.replay()
    per_frame = case["qkv"][0].shape[1] // 2
    filled = ring.v_BLHD.unflatten(1, (-1, per_frame)).abs().amax((0, 2, 3, 4)) > 0
    assert filled.tolist() == [False, True, False, True]


@pytest.mark.parametrize("rows", kernels.ATTEND_ROWS)
def test_fp8_attention(outputs: dict[str, torch.Tensor], rows: int) -> None:
    """Against fp64: rounding to e4m3 is at most 1/16 of a value, and a few percent in the mean square."""
    for name in cases.ATTENTION:
        want = cases.attention_oracle(*cases.attention_case(name))
        got = outputs[f"attend-{name}/{rows}"].double().numpy()
        assert got.shape == want.shape
        assert np.linalg.norm(got - want) < 0.08 * np.linalg.norm(want)
    exact = cases.attention_oracle(*cases.attention_case("short", "bf16"))
    got = outputs[f"attend-bf16/{rows}"]
    assert got.dtype == torch.bfloat16
    assert np.linalg.norm(got.double().numpy() - exact) < 0.08 * np.linalg.norm(exact)


@pytest.mark.parametrize("rows", kernels.ATTEND_ROWS)
def test_fp8_attention_is_exact_where_all_codes_are(outputs: dict[str, torch.Tensor], rows: int) -> None:
    """Equal weights over values that e4m3 holds: the mean, over two tiles of different scales and a short one."""
    _, _, v = cases.even_attention_case()
    mean = v.double().numpy().mean(1, keepdims=True).repeat(3, 1)
    np.testing.assert_allclose(outputs[f"attend-even/{rows}"].double().numpy(), mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", kernels.ATTEND_ROWS)
def test_fp8_attention_keeps_what_lies_beside_a_sink(outputs: dict[str, torch.Tensor], rows: int) -> None:
    """Beside the sink a weight of 2**-18 is zero in e4m3; only the 127 keys of the sink's own tile may be lost."""
    want = cases.attention_oracle(*cases.sink_attention_case())
    np.testing.assert_allclose(want, 511 / (2**18 + 511), rtol=1e-5)
    got = outputs[f"attend-sink/{rows}"].double().numpy()
    assert (got > 0.99 * 384 / 511 * want).all()
    assert (got < 1.01 * want).all()


def test_fp8_attention_everywhere_is_the_references(outputs: dict[str, torch.Tensor]) -> None:
    """Whatever runs gives what PyTorch's arithmetic gives, but for codes on the other side of a tie."""
    ours = cases.run(reference)
    for name in (name for name in outputs if name.startswith("attend-")):
        a, b = ours[name].double().numpy(), outputs[name].double().numpy()
        assert np.linalg.norm(a - b) <= 2e-3 * np.linalg.norm(a), name


def test_attention_that_does_not_fit_is_refused() -> None:
    q, k, v = (x.clone() for x in cases.attention_case("whole"))
    for wrong, sentence in (
        ((q, k, v[:, 1:]), "keys and values two tensors"),
        ((q[..., :16], k, v), "do not go with keys"),
        ((q, k.transpose(1, 3).contiguous().transpose(1, 3), v), "keys: each row must be contiguous"),
    ):
        with pytest.raises(ValueError, match=sentence):
            kernels.attend_fp8(*wrong)
    with pytest.raises(ValueError, match="128 or 64 queries, not 32"):
        kernels.attend_fp8(q, k, v, 32)
