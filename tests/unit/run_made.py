"""A measured run made by hand, every number round, for tests of what reads runs."""

from __future__ import annotations

from typing import Any

from frameroof.recorded import Advice, Origin, concerns
from frameroof.run import (
    AttentionRow,
    Coverage,
    GroupRow,
    Launch,
    ModuleRow,
    OperatorRow,
    Run,
    ShapeRow,
    StageRow,
    Summary,
    SyncRow,
)

MS = 1_000_000


def attention(time_ns: int, fused: bool, **changes: Any) -> AttentionRow:
    """Two heads over 256 tokens."""
    geometry: dict[str, Any] = {"query_len": 256, "key_len": 256, "heads": 2, "head_dim": 64, "batch": 1} | changes
    return AttentionRow("self", time_ns=time_ns, count=4, fused=fused, causal=False, flops=4e9, bytes=2e6,
                        matrix_bytes=262144.0, saved_at_most_ns=0 if fused else time_ns // 2, **geometry)  # fmt: skip


def advised(name: str, about: concerns.Concern, gain_s: float, title: str = "") -> Advice:
    """An advice whose title is its id, unless it has one."""
    return Advice(title or name, "", gain_s, "", "host" if name.startswith("host") else "device", name, about)


def made(**changes: Any) -> Run:
    """60 ms of 100 busy: 40 attention (eager), 20 linear; 30 of the 40 idle wait for launches, 10 for an `.item()`."""
    fields: dict[str, Any] = {
        "source": Origin(path="made.json"),
        "summary": Summary(
            device="NVIDIA H100", hardware="H100-SXM5-80GB", busy_ns=60 * MS, span_ns=100 * MS, idle_ns=40 * MS,
            kernel_ns=60 * MS, memory_ns=0, kernels=100, copies=0, events=1000, streams=1, devices=1,
            short_kernels=50, flops=6e12, bytes=1e9,
        ),
        "classes": [GroupRow("attention", 40 * MS, 60, 2 / 3, 4e12, 5e8), GroupRow("linear", 20 * MS, 40, 1 / 3)],
        "operators": [
            OperatorRow("attention", "aten::bmm", 40 * MS, 30, 60, 4e12, dtype="fp32"),
            OperatorRow("linear", "aten::mm", 20 * MS, 40, 40, 2e12, 5e8, dtype="bf16"),
        ],
        "shapes": [ShapeRow("linear", "aten::mm", "denoise", "blocks.0", [[8, 64], [64, 64]], "bf16", 20 * MS, 40)],
        "kernels": [GroupRow("gemm<float>", 40 * MS, 60, 2 / 3), GroupRow("gemm<bf16>", 20 * MS, 40, 1 / 3)],
        "modules": [ModuleRow("blocks.0", 60 * MS, 100, 1.0, 40 * MS, 4e5)],
        "attention": [attention(40 * MS, fused=False)],
        "sequence": [],
        "stages": [
            StageRow("denoise", "DiT", 60 * MS, 60 * MS, 3, [10 * MS, 20 * MS, 30 * MS],
                     {"attention": 40 * MS, "linear": 20 * MS}, 1.0)
        ],
        "idle": {"host_launch": 30 * MS, "synchronization": 10 * MS},
        "outside": {"before_first": 5 * MS, "after_last": 0},
        "idle_reliable": True,
        "launch": Launch(5000, 9000, 12000, 20000, 1.5, 4, 0, 0, 90 * MS, []),
        "syncs": [SyncRow("cudaStreamSynchronize", "aten::item", "model.py(7): step", 3, 12 * MS, 10 * MS)],
        "communication": {},
        "coverage": Coverage(1.0, 1.0, 1.0, 1.0),
        "problems": [],
        "advice": [
            advised("host.launches", concerns.Idle("host_launch"), 0.030),
            advised("device.fused-attention", concerns.Classes(("attention",)), 0.020),
            advised("host.wait", concerns.Wait("aten::item", "model.py(7): step"), 0.010),
        ],
    }  # fmt: skip
    return Run(**fields | changes)


def improved() -> Run:
    """The same with fused attention (10 ms instead of 40) and without the `.item()`; launches wait 2 ms longer."""
    first = made()
    summary = Summary(**{name: getattr(first.summary, name) for name in Summary.__struct_fields__})
    summary.busy_ns, summary.idle_ns, summary.span_ns, summary.kernels = 30 * MS, 32 * MS, 62 * MS, 70
    return made(
        summary=summary,
        classes=[GroupRow("linear", 20 * MS, 40, 2 / 3), GroupRow("attention", 10 * MS, 30, 1 / 3)],
        operators=[
            OperatorRow("linear", "aten::mm", 20 * MS, 40, 40, 2e12, 5e8, dtype="bf16"),
            OperatorRow("attention", "aten::_flash_attention_forward", 10 * MS, 30, 30, 4e12, dtype="bf16"),
        ],
        kernels=[GroupRow("gemm<bf16>", 20 * MS, 40, 2 / 3), GroupRow("flash|fwd", 10 * MS, 30, 1 / 3)],
        attention=[attention(10 * MS, fused=True)],
        stages=[StageRow("denoise", "DiT", 30 * MS, 30 * MS, 3, [8 * MS, 10 * MS, 12 * MS], {}, 1.0)],
        idle={"host_launch": 32 * MS},
        syncs=[],
        advice=[advised("host.launches", concerns.Idle("host_launch"), 0.032)],
    )
