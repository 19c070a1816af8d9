"""Compile every program for a GPU that need not be here, and read what the compiler says of it.

``python -m frameroof.stream.kernels.aot [PATTERN]`` prints JSON: registers a thread, bytes spilled, shared memory.
The arguments are the ones that ``launch`` makes at the full size of LongLive 1.3B, on meta tensors.
"""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Hashable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ...dtypes import DTYPES, STREAMED, name_of, torch_name
from .records import ATTEND_ROWS, FORMATS, Affine, Format, Ring, Rotary

FRAMES, PER_FRAME, SLOTS, HEADS, WIDTH, FFN = 3, 1560, 12, 12, 128, 8960
TOKENS, CHANNELS, TEXT = FRAMES * PER_FRAME, HEADS * WIDTH, 512


@dataclass(frozen=True)
class Compiled:
    """What the compiler made of one program at one set of types.

    Attributes:
        name: the program and its variant.
        target: the architecture, e.g. ``sm_90a``.
        registers: 32-bit registers of a thread.
        spill_stores, spill_loads: bytes of registers that a thread moves to and from local memory.
        shared: bytes of shared memory of a program, static and dynamic.
        threads: threads of a program.
        cubin: bytes of machine code.
    """

    name: str
    target: str
    registers: int
    spill_stores: int
    spill_loads: int
    shared: int
    threads: int
    cubin: int


def why_not() -> str | None:
    """Why nothing can be compiled here, as a sentence; None where it can."""
    try:
        import triton  # noqa: F401
    except ImportError:
        return "Triton is not installed: pip install 'frameroof[kernels]'"
    from triton import knobs

    if knobs.runtime.interpret:
        return "TRITON_INTERPRET=1 interprets the programs, so they cannot be compiled in this process"
    try:
        path = Path(knobs.nvidia.ptxas.path)
    except RuntimeError as error:
        return f"Triton finds no ptxas: {error}"
    return None if path.is_file() else f"Triton's ptxas is not at {path}"


def compile_all(capability: int = 90, only: str = "*") -> list[Compiled]:
    """Compile the variants whose name matches the pattern ``only``. Raises ValueError where nothing can be compiled."""
    if reason := why_not():
        raise ValueError(reason)
    chosen = {name: launch for name, launch in launches().items() if fnmatch.fnmatchcase(name, only)}
    if not chosen:
        raise ValueError(f"no variant is named {only!r}; there are {', '.join(launches())}")
    return [_compiled(name, launch, capability) for name, launch in chosen.items()]


def launches() -> dict[str, Any]:
    """Every program of a stream at full size in bf16, and a step's plain ones in fp32 too; nothing is allocated.

    A step has all of them: longer forwards differ in counts only, for which Triton does not compile again.
    """
    from . import launch

    found: dict[str, Any] = {}
    for short, dtype in ((DTYPES[name].triton, getattr(torch, torch_name(name))) for name in reversed(STREAMED)):
        found[f"qk_norm_rope_write-{short}"] = launch.qk_launch(*_qk_arguments(dtype), 1e-6)[1]
        found |= _norms(dtype, None, short)
    for to in FORMATS.values():
        found |= _norms(torch.bfloat16, to, to.name)
        for width in (CHANNELS, FFN):
            rows = _meta((TOKENS, width), torch.bfloat16)
            found[f"quantize_rows-{to.name}-{width}"] = launch.quantize_launch(rows, to, gelu=False)[1]
        found[f"gelu_quantize_rows-{to.name}"] = launch.quantize_launch(rows, to, gelu=True)[1]
    for outputs in (CHANNELS, 3 * CHANNELS, FFN):
        scales = _meta((TOKENS, 1), torch.float32), _meta((outputs, 1), torch.float32)
        sums, bias = _meta((TOKENS, outputs), torch.int32), _meta((outputs,), torch.bfloat16)
        found[f"dequantize-{outputs}"] = launch.dequantize_launch(sums, scales, bias, torch.bfloat16)[1]
    for keys in (SLOTS * PER_FRAME, TEXT):  # with a last tile that is short, and without
        q, k, v = (_meta((1, tokens, HEADS, WIDTH), torch.bfloat16) for tokens in (TOKENS, keys, keys))
        packed, pack = launch.pack_launch(k, v)
        found.setdefault("pack_fp8", pack)
        for queries in ATTEND_ROWS:
            found[f"attend_fp8-{queries}-{keys}"] = launch.attend_launch(q, packed, keys, queries)[1]
    return found


def kind(launch: Any) -> Hashable:
    """What Triton compiles a launch by: two of one kind run the same machine code."""
    signature, constants, attributes = _signature(launch)
    return launch.program.__name__, *map(tuple, (signature.items(), constants.items(), attributes)), launch.warps


def _norms(dtype: torch.dtype, to: Format | None, name: str) -> dict[str, Any]:
    """Every way in which a layer norms and sums; the norms in 8 bits where `to` says so."""
    from . import launch

    x, y = (_meta((1, TOKENS, CHANNELS), dtype) for _ in range(2))
    table = _meta((1, 1, 6, CHANNELS), dtype)  # all frames of a step share a timestep
    gate, modulate = table[:, :, 2], Affine(table[:, :, 1], table[:, :, 0])
    found = {
        f"norm_modulate-{name}": launch.norm_launch((x, None, None), modulate, to, 1e-6)[1],
        f"gate_residual_norm-{name}": launch.norm_launch((x, y, gate), modulate, to, 1e-6)[1],
        f"residual_norm_modulate-{name}": launch.norm_launch((x, y, None), modulate, to, 1e-6)[1],
    }
    if to is None:
        found[f"gate_residual-{name}"] = launch.norm_launch((x, y, gate), None, None, 0.0)[1]
    return found


def _qk_arguments(dtype: torch.dtype) -> tuple[Any, Any, Rotary, Ring]:
    """The place of a block in the ring is one slot."""
    qkv = _meta((1, TOKENS, 3 * CHANNELS), dtype).chunk(3, -1)
    weights = tuple(_meta((CHANNELS,), dtype) for _ in range(2))
    angles = _meta((TOKENS, WIDTH // 2), torch.float32)
    cache = _meta((1, SLOTS * PER_FRAME, HEADS, WIDTH), dtype)[:, :TOKENS]
    return qkv, weights, Rotary(angles, angles), Ring(cache, cache, _meta((1,), torch.int64))


def _meta(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _compiled(name: str, launch: Any, capability: int) -> Compiled:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature, constants, attributes = _signature(launch)
    source = ASTSource(fn=launch.program, signature=signature, constexprs=constants, attrs=attributes)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": launch.warps})
    target = _target(made.asm["ptx"])
    registers, stores, loads, static = _ptxas(made.asm["ptx"], target)
    return Compiled(
        name=name,
        target=target,
        registers=registers,
        spill_stores=stores,
        spill_loads=loads,
        shared=static + made.metadata.shared,
        threads=32 * launch.warps,
        cubin=len(made.asm["cubin"]),
    )


def _signature(launch: Any) -> tuple[dict[str, str], dict[str, Any], dict[tuple[int], list[list[Any]]]]:
    """Types, constants and divisibility, specialized as Triton does at a launch: 1 becomes a constant, but for counts.

    Pointers are taken to be divisible by 16, as PyTorch's allocator makes them.
    """
    names = launch.program.arg_names
    signature: dict[str, str] = {}
    constants: dict[str, Any] = dict(launch.constants)
    attributes: dict[tuple[int], list[list[Any]]] = {}
    for i, (name, value) in enumerate(zip(names, launch.arguments, strict=False)):
        if launch.program.params[i].do_not_specialize:
            signature[name] = "i32"
            continue
        if isinstance(value, torch.Tensor):
            signature[name] = f"*{DTYPES[name_of(value.dtype)].triton}"
        elif isinstance(value, float):
            signature[name] = "fp32"
            continue
        elif value == 1:
            signature[name] = "constexpr"
            constants[name] = value
            continue
        else:
            signature[name] = "i32" if value < 2**31 else "i64"
        if isinstance(value, torch.Tensor) or value % 16 == 0:
            attributes[(i,)] = [["tt.divisibility", 16]]
    signature |= dict.fromkeys(launch.constants, "constexpr")
    return {name: signature[name] for name in names}, constants, attributes


def _target(ptx: str) -> str:
    found = re.search(r"^\.target (\S+?)(,|$)", ptx, re.MULTILINE)
    if found is None:
        raise RuntimeError("the PTX names no target")
    return found[1]


def _ptxas(ptx: str, target: str) -> tuple[int, int, int, int]:
    """Registers, bytes of spill stores and loads, bytes of static shared memory, as ptxas reports them."""
    from triton import knobs

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "program.ptx")
        source.write_text(ptx, "utf-8")
        blackwell = int(re.sub(r"\D", "", target)) >= 100  # Triton brings a ptxas of its own for it
        tool = knobs.nvidia.ptxas_blackwell if blackwell else knobs.nvidia.ptxas
        command = [tool.path, "-v", f"--gpu-name={target}", str(source), "-o", str(Path(folder, "out"))]
        log = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    registers = re.search(r"Used (\d+) registers", log)
    spills = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", log)
    if registers is None or spills is None:
        raise RuntimeError(f"ptxas's report was not understood: {log}")
    shared = re.search(r"(\d+) bytes smem", log)
    return int(registers[1]), int(spills[1]), int(spills[2]), int(shared[1]) if shared else 0


def main() -> int:
    """Print what was compiled as JSON; exit code 2 where nothing can be compiled."""
    try:
        rows = compile_all(only=sys.argv[1] if len(sys.argv) > 1 else "*")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    import triton

    print(json.dumps({"triton": triton.__version__, "kernels": [asdict(row) for row in rows]}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
