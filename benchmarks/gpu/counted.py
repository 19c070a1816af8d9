"""What a block of the stream must compute and move, counted by hand: the prediction of every variant.

frameroof's own counter reads workloads through msgspec, which a bare machine does not have.
tests/unit/test_gpu_script.py holds both equal: FLOPs against the recorded engine, copies against `stream predict`.
Symbols: n new tokens, l attended tokens, d width, f MLP width, s text tokens; a multiply-add is 2 FLOPs.
"""

from __future__ import annotations

from typing import Any

from frameroof.dtypes import item_bytes
from frameroof.estimate.expected import Bounds, Work
from frameroof.lab.stream.variants import Variant
from frameroof.roofline import Limit, Roofline
from frameroof.stream import StreamConfig

from .limits import UTILIZATION, Machine
from .works import program

# FLOPs and bytes of a steady block at 480 x 832 through each decoder, as frameroof counts them from the engine's own.
DECODED = {"wan": (40_650_001_367_040, 60_267_244_070), "tiny": (1_632_455_884_800, 7_305_812_742)}


def forward_flops(c: StreamConfig, n: int, l: int) -> tuple[float, float, float, float]:  # noqa: E741
    """Of one forward: its layers' MLPs, their other linears, their attention; patches in and out."""
    m = c.model
    mlp = 4.0 * n * m.dim * m.ffn * m.layers
    others = 12.0 * n * m.dim**2 * m.layers
    attention = 4.0 * n * (l + c.text_tokens) * m.dim * m.layers
    return mlp, others, attention, 2.0 * n * 2 * (4 * m.latent_channels) * m.dim


def forward_bytes(c: StreamConfig, n: int, l: int, item: int) -> float:  # noqa: E741
    """The least: the layers' weights and the keys and values attended read, the new ones written."""
    m = c.model
    weights = m.layers * (8 * m.dim**2 + 2 * m.dim * m.ffn)
    return item * (weights + 2.0 * m.layers * m.dim * (l + n))


def copied_bytes(c: StreamConfig, item: int) -> float:
    """What the baseline's cache copies in a block, each byte read and written.

    Each forward clones, joins and inserts in every layer and inserts once more after the last one; the first of a block
    also rolls, in the clones and in the caches, each through a copy.
    """
    frame = 2.0 * c.frame_tokens * c.model.dim * item  # keys and values of a frame
    each = 4 * c.window * frame + 2 * 2 * c.block * frame
    rolls = 2 * 4 * (c.window - c.sink - c.block) * frame
    return c.model.layers * ((len(c.steps) + 1) * each + rolls)


def block(machine: Machine, c: StreamConfig, dtype: str, v: Variant) -> dict[str, Any]:
    """A steady block of one variant: its steps and the pass at t = 0, whether folded or not."""
    n, l, item = c.block_tokens, c.window * c.frame_tokens, item_bytes(dtype)  # noqa: E741
    mlp, others, attention, rest = (x * (len(c.steps) + 1) for x in forward_flops(c, n, l))
    moved = (len(c.steps) + 1) * forward_bytes(c, n, l, item)
    copies = copied_bytes(c, item) if c.cache == "baseline" else 0.0
    eight = v.scheme.split("-")[0]
    in_eight = 0.0 if not eight else mlp if v.only == ("blocks.*.ffn.*",) else mlp + others
    if "fp8" in v.attention:
        in_eight, eight = in_eight + attention, eight or "fp8"
    found: dict[str, Any] = {
        "flops": mlp + others + attention + rest,
        "flops_8bit": in_eight,
        "bytes": moved + copies,
        "copied_bytes": copies,
        "limit_s": None,
        "expected_s": None,
        "utilization": UTILIZATION,
    }
    if machine.bandwidth is None or dtype not in machine.peaks or (eight and eight not in machine.peaks):
        return found
    roofline = Roofline(machine)
    compute = roofline.limit(flops=found["flops"] - in_eight, unit=dtype).compute_s
    compute += roofline.limit(flops=in_eight, unit=eight).compute_s
    done, copied = Limit(compute, roofline.limit(bytes=moved).memory_s), roofline.limit(bytes=copies)
    parts = (Bounds(done, compute, 0.0), Bounds(copied, 0.0, 0.0))
    work = Work(program(found["flops"], found["bytes"], dtype))
    found["limit_s"] = sum(part.limit_s for part in parts)
    found["expected_s"] = sum(machine.program.call_s(work, part) for part in parts)
    return found
