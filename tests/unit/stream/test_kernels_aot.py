"""Every Triton program is compiled for sm_90 here, without a GPU."""

from __future__ import annotations

import json
import subprocess

import pytest

from frameroof.stream.kernels import aot

needs_ptxas = pytest.mark.skipif(aot.why_not() is not None, reason=str(aot.why_not()))
# One variant of each program; all of them take a quarter of a minute.
SOME = (
    "qk_norm_rope_write-bf16",
    "gate_residual_norm-fp8",
    "gelu_quantize_rows-int8",
    "dequantize-1536",
    "attend_fp8-128-18720",
)
# Programs that fit on a multiprocessor of 65,536 registers and 227 KiB, the pipeline of tiles of attention included.
FIT = {"attend_fp8-128": 1, "attend_fp8-64": 2, "pack_fp8": 2}


def holds(row: aot.Compiled) -> None:
    """Nothing spilled, and four programs fit on a multiprocessor, or as many as `FIT` says."""
    fit = next((programs for begins, programs in FIT.items() if row.name.startswith(begins)), None)
    programs = fit or 4
    assert row.target == "sm_90a"
    assert (row.spill_stores, row.spill_loads) == (0, 0), row
    assert 16 <= row.registers <= 255, row
    room = 65536 if fit else 65536 * (row.threads // 128)
    assert programs * row.registers * row.threads <= room, row
    assert programs * row.shared <= 227 * 1024, row
    assert row.cubin > 1000, row


@needs_ptxas
@pytest.mark.parametrize("name", SOME)
def test_compiles_without_spills(name: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    rows = aot.compile_all(only=name)
    assert [row.name for row in rows] == [name]
    holds(rows[0])


@needs_ptxas
@pytest.mark.full
def test_all_compile_without_spills(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    rows = aot.compile_all()
    assert {row.name for row in rows} == set(aot.launches())
    for row in rows:
        holds(row)


@needs_ptxas
def test_the_programs_registers_are_those_in_the_machine_code(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ptxas's report against cuobjdump's reading of the cubin that would be loaded."""
    import triton

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    row = aot.compile_all(only="quantize_rows-fp8-1536")[0]
    cubin = next(tmp_path.rglob("quantize.cubin"))
    tool = triton.knobs.nvidia.cuobjdump.path
    usage = subprocess.run([tool, "--dump-resource-usage", cubin], check=True, capture_output=True, text=True).stdout
    assert f"REG:{row.registers} STACK:0 " in usage


@needs_ptxas
def test_what_is_compiled_is_what_a_launch_would_compile() -> None:
    """Types, constants and divisibility of every argument, against Triton's own reading of the call."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler.compiler import make_backend
    from triton.runtime.jit import create_function_from_signature

    backend = make_backend(GPUTarget("cuda", 90, 32))
    for name, launch in aot.launches().items():
        program = launch.program
        read = create_function_from_signature(program.signature, program.params, backend)
        bound, theirs, _ = read(*launch.arguments, num_warps=launch.warps, **launch.constants)
        signature, _, divisible = aot._signature(launch)
        ours = [(signature[argument], (i,) in divisible) for i, argument in enumerate(bound)]
        assert [(kind, key == "D") for kind, key in theirs] == ours, name


def test_prints_json(tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["aot", "deq*1536"])
    code, reason = aot.main(), aot.why_not()
    printed = capsys.readouterr()
    if reason is None:
        assert code == 0
        assert [row["name"] for row in json.loads(printed.out)["kernels"]] == ["dequantize-1536"]
    else:
        assert (code, printed.err.strip()) == (2, reason)


@needs_ptxas
def test_other_machines_have_their_own_compiler(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    for capability, target in ((89, "sm_89"), (100, "sm_100a")):
        (row,) = aot.compile_all(capability, "dequantize-1536")
        assert (row.target, row.spill_stores) == (target, 0)


@needs_ptxas
def test_an_unknown_name_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["aot", "softmax"])
    assert aot.main() == 2
    assert "no variant is named 'softmax'" in capsys.readouterr().err


@needs_ptxas
def test_fp8_attention_runs_on_the_matrix_units_for_8_bits(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both products are the warpgroup's e4m3 ones; as bf16 or as fp32 they would be at most half as fast."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    aot.compile_all(only="attend_fp8-64-18720")
    ptx = next(tmp_path.rglob("attend_fp8.ptx")).read_text("utf-8")
    products = [line.split()[0] for line in ptx.splitlines() if line.strip().startswith("wgmma.mma_async")]
    assert len(products) >= 2
    assert all(product.endswith("f32.e4m3.e4m3") for product in products)
