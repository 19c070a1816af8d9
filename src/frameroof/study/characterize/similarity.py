"""Section V-A: memory of the similarity matrix by the paper's formula, counted, and allocated where it was measured."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from ...estimate import similarity_matrix_bytes
from .claims import claim, contradiction, counted, statement
from .predicted import stage_of, workload_of
from .source import Claim, Experiment, Row, Source, columns

MODEL = "stable-diffusion"
FACTOR, DEPTH, SCALE, BYTES = 2, 3, 8, 2  # of its U-Net and VAE


def counted_bytes(side: int) -> dict[str, float]:
    """Bytes of the similarity matrices of one pass of Stable Diffusion's U-Net at an image side, batch 1.

    ``of_formula``: one head, one self- and one cross-attention a level, down and up and once at the bottom, as the
    formula has it. ``all``: every head of every call. ``largest``: the largest single call, all heads.
    """
    run = stage_of(MODEL, "flash", "denoise", {"height": side, "width": side, "guidance": 1})
    once: dict[tuple[Any, ...], int] = {}
    total = largest = 0
    for work in run.work:
        if not work.fused_attention:
            continue
        block = tuple(work.op.path.split(".")[:2])  # down_blocks.0, mid_block.attentions …
        scores = int(work.scores)
        once.setdefault((block, work.op.attrs["role"]), scores // int(work.dims["heads"]))
        total += scores * int(work.count)
        largest = max(largest, scores)
    return {"of_formula": sum(once.values()) * BYTES, "all": total * BYTES, "largest": largest * BYTES}


SECTION_5A_COLUMNS = columns(
    "side_px [px]: height and width of the image",
    "latent: height and width of the latent",
    "formula_bytes [byte]: the paper's closed form: 2 bytes, one head, one call a level",
    "counted_bytes [byte]: the same, from the counted workload; None: the model takes no such image",
    "counted_all_bytes [byte]: every head of every call of one pass",
    "largest_bytes [byte]: the largest single call, all heads: what must be in memory at once",
    "allocated_bytes [byte]: peak allocation of one baseline call, where it was measured",
    "matrix_bytes [byte]: one similarity matrix of that call, where it was measured",
)


def section_5a(source: Source) -> Experiment:
    """Memory of the similarity matrix against image size: formula, counted, allocated (section V-A)."""
    allocated = {row["side_px"]: row for row in source.extra("similarity")}
    sides = sorted({*(side for side in (128, 256, 512, 768, 1024, 1536, 2048)), *allocated})
    tokens = int(workload_of(MODEL, "flash").stages[0].bind(workload_of(MODEL, "flash").sizes())["text_tokens"])
    rows = [_row(side, tokens, allocated.get(side)) for side in sides]
    return Experiment(
        id="section-5a",
        title="Memory of the similarity matrix",
        how="measured" if allocated else "counted",
        machine=source.machine if allocated else "any machine",
        columns=SECTION_5A_COLUMNS,
        rows=tuple(rows),
        claims=(*counted(_claims(rows, tokens)), *_allocated_claims(rows)),
        assumptions=(
            f"Stable Diffusion 1.5, batch 1, {tokens} text tokens, 2 bytes an element. The paper "
            "speaks of the course of training; the formula is that of one forward pass.",
            *(
                ("Allocated: one call of baseline attention of the reduced or full model, run here.",)
                if allocated
                else ()
            ),
        ),
    )


def _claims(rows: Sequence[Row], tokens: int) -> list[Claim]:
    slopes = [_slope(a, b) for a, b in pairwise(rows)]
    whole = [r for r in rows if r["counted_bytes"] and r["latent"] % FACTOR**DEPTH == 0]
    exact = all(math.isclose(r["formula_bytes"], r["counted_bytes"]) for r in whole)
    return [
        statement(
            "The closed form gives what the model computes",
            "V-A",
            "verified by profiling",
            "equal at every size" if exact else "not equal",
            exact,
            "One head, one call a level and direction. The model has 8 heads, and 2 calls a level down and 3 up; the "
            "column counted_all_bytes has them all.",
        ),
        claim(
            "Memory of the similarity matrix grows as the fourth power of the latent's side",
            "V-A",
            (4.0,),
            [slopes[-1]],
            "",
            "Exponent between the two largest sizes; "
            f"{slopes[0]:.2f} between the two smallest, where the prompt's {tokens} tokens weigh.",
        ),
        contradiction(
            "How memory of the similarity matrix grows with sequence length",
            "V-A",
            (
                ("exponentially (V-A, text): no power of the length", math.inf, math.inf),
                ("with its square (V-A, formula; O(L^4) in the side)", 2.0, 2.0),
            ),
            slopes[-1] / 2,
            "",
        ),
    ]


def _allocated_claims(rows: Sequence[Row]) -> list[Claim]:
    ratio = [r["allocated_bytes"] / r["matrix_bytes"] for r in rows if r["allocated_bytes"]]
    if not ratio:
        return []
    return [
        statement(
            "The allocation of baseline attention grows as its similarity matrix",
            "V-A",
            "proportional",
            ", ".join(f"{v:.3g}x" for v in ratio),
            max(ratio) < 1.5 * min(ratio),
            "Allocated bytes over the bytes of one matrix: the copies alive at once.",
        )
    ]


def _row(side: int, tokens: int, allocated: Row | None) -> Row:
    latent = side // SCALE
    counted: dict[str, float | None] = {"of_formula": None, "all": None, "largest": None}
    with contextlib.suppress(ValueError):  # smaller than the model can take: the formula alone
        counted.update(counted_bytes(side))
    matrix = None
    if allocated:
        matrix = allocated["batch"] * allocated["heads"] * allocated["query_len"] * allocated["key_len"]
        matrix *= allocated.get("element_bytes", 4)
    return {
        "side_px": side,
        "latent": latent,
        "formula_bytes": similarity_matrix_bytes(latent, latent, tokens, DEPTH, FACTOR, BYTES),
        "counted_bytes": counted["of_formula"],
        "counted_all_bytes": counted["all"],
        "largest_bytes": counted["largest"],
        "allocated_bytes": allocated["allocated_bytes"] if allocated else None,
        "matrix_bytes": matrix,
    }


def _slope(a: Row, b: Row) -> float:
    return math.log(b["formula_bytes"] / a["formula_bytes"]) / math.log(b["side_px"] / a["side_px"])
