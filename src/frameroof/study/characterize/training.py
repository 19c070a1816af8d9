"""Figure 6: compute and communication of training Stable Diffusion under FSDP as devices are added.

Predicted: a step is a forward and a backward of the U-Net on each device; the backward has twice the forward's matrix
FLOPs (a product for the gradient of each of its two operands) and is given twice its time. FSDP with full sharding
gathers every unit's weights before its forward and again before its backward, and reduce-scatters its gradients.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from ...estimate.communication import DEVICES_PER_NODE
from ...estimate.expected.links import links_of
from .claims import contradiction, number, statement
from .predicted import Predicted, stage_of, workload_of
from .source import Experiment, Row, Source, about, columns
from .staggering import picture

MODEL, STAGE = "stable-diffusion", "denoise"
DEVICES = (1, 2, 8, 16, 32, 64, 128)
BATCH, BYTES = 8, 2
PAPER_DEVICES = (2, 8, 16)
COLLECTIVES = ("all_gather", "all_gather", "reduce_scatter")  # forward, backward, gradients


def forward_s(source: Predicted, batch: int = BATCH) -> tuple[float, int]:
    """Seconds and matrix FLOPs of one forward of the U-Net at a batch, flash attention."""
    sizes = {"batch": batch, "guidance": 1, "steps": 1, **picture(source)}
    run = stage_of(MODEL, "flash", STAGE, sizes, source.expected)
    seconds = sum(float(source.total_s(work)) for work in run.work)
    return seconds, sum(int(work.flops * work.count) for work in run.work)


def unit_bytes() -> list[int]:
    """Bytes of the weights of each FSDP unit: the blocks of the U-Net's top level, and all the rest as one."""
    stage = next(s for s in workload_of(MODEL, "flash").stages if s.name == STAGE)
    units: dict[tuple[str, ...], int] = {}
    for op in stage.ops:
        elements = sum(int(t.elements.terms.get((), 0)) for t in op.reads if t.weight) * int(op.count({}))
        parts = op.path.split(".")
        key = tuple(parts[:2]) if parts[0] in ("down_blocks", "up_blocks") else (parts[0] * (parts[0] == "mid_block"),)
        units[key] = units.get(key, 0) + elements * BYTES
    return [size for size in units.values() if size]


FIGURE_6_COLUMNS = columns(
    "devices: data-parallel devices",
    "batch: images on each device",
    "compute_s [s]: forward and backward of one step",
    "communication_s [s]: collectives of one step",
    "communication_share: communication over both, one after the other",
    "step_s [s]: compute and communication one after the other, or as measured",
    "overlapped_s [s]: the longer of the two: perfect overlap",
    "flops [FLOP]: of one step on each device; None where not counted",
    "backend: what carried the collectives",
)


def figure_6(source: Source) -> Experiment:
    """Compute and communication time of a training step against devices (figure 6)."""
    rows = [_measured(row) for row in source.extra("fsdp")]
    notes: tuple[str, ...] = ()
    if isinstance(source, Predicted):
        links = links_of(source.node.device)
        seconds, flops = forward_s(source)
        units = unit_bytes()
        for devices in DEVICES:
            communication = sum(links.seconds(c, size, devices) for size in units for c in COLLECTIVES)
            rows.append(
                _row(devices, BATCH, 3 * seconds, communication) | {"flops": 3 * flops, "backend": "link model"}
            )
        notes = (
            f"Batch {BATCH} on each device, {' x '.join(map(str, picture(source).values()))}, latents and text encoded "
            "beforehand, weights and gradients of 2 bytes. Backward: twice the forward's matrix FLOPs and time. No "
            "optimizer, no activation checkpointing.",
            f"FSDP, full sharding, {len(units)} units of {min(units) / 1e6:.0f} to {max(units) / 1e6:.0f} MB. Links: "
            f"{links.paces['all_gather'][str(links.per_node)].gb_s:.0f} GB/s of an all-gather in a node of "
            f"{links.per_node}, one adapter a device beyond ({links.source}; {links.across.source}).",
        )
    shares = [r["communication_share"] for r in rows]
    grows = all(a <= b + 1e-12 for a, b in pairwise(shares))
    listed = ", ".join(f"{r['devices']}: {number(r['communication_share'], '%')}" for r in rows)
    return Experiment(
        id="figure-6",
        title="Compute and communication of training under FSDP",
        columns=FIGURE_6_COLUMNS,
        rows=tuple(rows),
        claims=(
            statement(
                "Compute and communication change as training is spread over more devices",
                "III, figure 6",
                "they scale; the text gives neither direction nor number",
                f"share of communication by devices: {listed}",
                max(shares) > min(shares) if len(shares) > 1 else None,
                ("The share rises with every step. " if grows else "The share does not always rise. ")
                + "With a ring the bytes through a device near their limit at once, (n - 1) / n; beyond a node they "
                "cross slower adapters.",
                "It takes two numbers of devices.",
            ),
            contradiction(
                "What figure 6's axis counts",
                "III, figure 6",
                (
                    ("an increasing number of nodes of 8 GPUs each", float(DEVICES_PER_NODE), float(DEVICES_PER_NODE)),
                    (f"2, 8 and 16 A100 GPUs: {PAPER_DEVICES[0]} GPUs are no node of 8", 1.0, float(PAPER_DEVICES[0])),
                ),
                None,
            ),
        ),
        **about(source, *notes),
    )


def _row(devices: int, batch: int, compute: float, communication: float) -> Row:
    return {
        "devices": devices,
        "batch": batch,
        "compute_s": compute,
        "communication_s": communication,
        "communication_share": communication / (compute + communication) if compute + communication else 0.0,
        "step_s": compute + communication,
        "overlapped_s": max(compute, communication),
        "flops": None,
    }


def _measured(row: dict[str, Any]) -> Row:
    made = _row(row["devices"], row.get("batch", 1), row["compute_s"], row["communication_s"])
    return made | {"step_s": row.get("step_s", made["step_s"]), "backend": row.get("backend", "")}
