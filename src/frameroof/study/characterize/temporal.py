"""Figures 11 and 12: the tensors of spatial and temporal attention, and the time and FLOPs of each."""

from __future__ import annotations

from typing import Any

import polars as pl

from .claims import claim, contradiction, number, statement
from .shares import KINDS
from .source import Attention, Claim, Experiment, Row, Source, about, columns
from .suite import model

MODEL = "make-a-video"
AXES = ("spatial", "temporal")


def video_models(source: Source) -> list[str]:
    """The source's models with attention over time and over space, Make-A-Video first."""
    named = [n for n in source.models() if model(n).modality == "video"]
    both = [n for n in named if set(AXES) <= set(source.calls(n, "flash", {})["kind"].unique())]
    return sorted(both, key=lambda n: n != MODEL)


FIGURE_11_COLUMNS = columns(
    "model: name in the suite",
    "kind: spatial or temporal",
    "tensor: q, k or v of the first such call",
    "shape: batch, heads, tokens, head dimension",
    "stride [element]: of each dimension",
    "batch: sequences attended to at once",
    "tokens [token]: tokens in one of them",
    "tokens_in_batch [token]: tokens in all of them",
    "stride_source: measured, or derived from how the module makes them",
)


def figure_11(source: Source) -> Experiment:
    """Shapes and strides of the tensors of spatial and temporal attention (figure 11)."""
    measured = {(row["model"], row["kind"], row["tensor"]): row for row in source.extra("layout")}
    rows: list[Row] = []
    for name in video_models(source):
        calls = source.calls(name, "flash", {})
        for axis in AXES:
            call = calls.filter(pl.col("kind") == axis).row(0, named=True)
            for tensor, tokens in (("q", call["query_len"]), ("k", call["key_len"]), ("v", call["key_len"])):
                rows.append(_tensor(name, axis, tensor, call, tokens, measured.get((name, axis, tensor))))
    mine = {r["kind"]: r for r in rows if r["model"] == MODEL and r["tensor"] == "q"}
    swapped = None
    if len(mine) == len(AXES):
        space, time = mine["spatial"], mine["temporal"]
        swapped = space["tokens"] * space["batch"] == time["tokens"] * time["batch"]
    return Experiment(
        id="figure-11",
        title="Tensors of spatial and temporal attention",
        columns=FIGURE_11_COLUMNS,
        rows=tuple(rows),
        claims=(
            statement(
                "Temporal attention moves height x width into the batch and frames into the sequence",
                "VI-A, figure 11",
                "[B*HW, heads, F, D] from [B*F, heads, HW, D]",
                "; ".join(f"{k}: {r['shape']}" for k, r in mine.items()),
                swapped,
                "The same number of tokens, cut into many short sequences.",
            ),
        ),
        **about(
            source,
            "Derived strides: a contiguous projection of batch x tokens x (heads x head dimension), seen by heads.",
        ),
    )


def _tensor(  # six arguments: the columns of a row
    name: str, axis: str, tensor: str, call: Row, tokens: int, measured: Row | None
) -> Row:
    batch, heads, head = call["batch"], call["heads"], call["head_dim"]
    stride = [tokens * heads * head, head, heads * head, 1]
    if measured:
        batch, _, tokens, _ = measured["shape"]
    return {
        "model": name,
        "kind": axis,
        "tensor": tensor,
        "shape": list(measured["shape"]) if measured else [batch, heads, tokens, head],
        "stride": list(measured["stride"]) if measured else stride,
        "batch": batch,
        "tokens": tokens,
        "tokens_in_batch": batch * tokens,
        "stride_source": "measured" if measured else "derived",
    }


FIGURE_12_COLUMNS = columns(
    "model: name in the suite",
    "attention: baseline or flash",
    "kind: spatial, temporal, and cross-attention to the prompt",
    "time_s [s]: time in one run",
    "flops [FLOP]: of both products",
    "bytes [byte]: moved",
    "share: share of all attention time",
    "flops_per_s [FLOP/s]: rate",
)


def figure_12(source: Source) -> Experiment:
    """Time and FLOPs of temporal and spatial attention (figure 12)."""
    rows: list[Row] = []
    for name in video_models(source):
        for kind in KINDS:
            work = source.work(name, kind, {}).filter(pl.col("class") == "attention")
            whole = int(work["time_ns"].sum())
            for (axis,), part in work.group_by("kind", maintain_order=True):
                time, flops, moved = (int(part[c].sum()) for c in ("time_ns", "flops", "bytes"))
                rows.append(
                    {
                        "model": name,
                        "attention": kind,
                        "kind": axis,
                        "time_s": time / 1e9,
                        "flops": flops,
                        "bytes": moved,
                        "share": time / whole,
                        "flops_per_s": flops / (time / 1e9) if time else None,
                    }
                )
    return Experiment(
        id="figure-12",
        title="Time and FLOPs of temporal and spatial attention",
        columns=FIGURE_12_COLUMNS,
        rows=tuple(rows),
        claims=tuple(_claims(source, rows)),
        **about(
            source,
            "Self-attention over time and over space, in every part of "
            "the pipeline; what rearranges tensors between the two is not attention here.",
        ),
    )


def module_ratio(source: Source, kind: Attention) -> float | None:
    """Time of Make-A-Video's temporal over that of its spatial attention modules, projections and copies included."""
    axis = pl.col("name").str.extract(r"(?:^|\.)(temporal|spatial)(?:\.|$)")
    work = source.work(MODEL, kind, {}).filter(pl.col("name").str.contains(r"attentions?\."))
    spent = dict(work.group_by(axis).agg(pl.col("time_ns").sum()).iter_rows())
    return spent["temporal"] / spent["spatial"] if spent.get("temporal") and spent.get("spatial") else None


def _why(source: Source, kind: Attention, space: Row, time: Row) -> str:
    """Why temporal attention takes as long as it does beside spatial attention."""
    parts = [f"With {kind} attention."]
    if space["flops_per_s"] and time["flops_per_s"]:
        rate = time["flops_per_s"] / space["flops_per_s"]
        parts.append(f"Temporal attention runs at {rate:.2g} of spatial's FLOP rate; the paper's numbers need 1/18.")
    whole = module_ratio(source, kind)
    if whole is not None:
        parts.append(f"As whole modules, with projections and rearranged tensors: {number(whole, 'x')}.")
    if source.how == "predicted":
        parts.append("Predicted kernels know bytes and padded tiles, not caches, where the paper looks for a reason.")
    return " ".join(parts)


def _claims(source: Source, rows: list[Row]) -> list[Claim]:
    by: dict[tuple[str, str], dict[str, Any]] = {
        (r["attention"], r["kind"]): r for r in rows if r["model"] == MODEL and r["kind"] in AXES
    }
    out: list[Claim] = []
    for kind in KINDS:
        space, time = by.get((kind, "spatial")), by.get((kind, "temporal"))
        if not space or not time:
            out += _pair(kind, [], [], "")
            continue
        both = time["time_s"] + space["time_s"]
        of_all = f" Of the two kinds of self-attention; of all attention, {number(time['share'], '%')}."
        ratio, share = time["time_s"] / space["time_s"], time["time_s"] / both
        out += _pair(kind, [ratio], [share], _why(source, kind, space, time), of_all)
        if kind == "flash":
            out.append(
                contradiction(
                    "FLOPs of spatial over those of temporal attention",
                    "I, VI-A",
                    (
                        ("it consumes 9x the FLOP count (introduction, twice): 1/9", 1 / 9, 1 / 9),
                        ("it requires 9x fewer FLOPs (VI-A, figure 12b): 9", 9.0, 9.0),
                    ),
                    space["flops"] / time["flops"],
                    "x",
                    "In closed form it is the tokens of a frame over the frames, level by level (figure 14).",
                )
            )
    return out


def _pair(  # five arguments and a default: two claims of one attention
    kind: Attention, ratio: list[float], share: list[float], why: str, of_all: str = ""
) -> list[Claim]:
    return [
        claim(
            f"Temporal attention takes 2x the time of spatial attention ({kind})",
            "VI-A, figure 12a",
            (2.0,),
            ratio,
            "x",
            why,
        ),
        claim(
            f"Temporal attention is over 60 % of attention time ({kind})",
            "abstract",
            (0.6, 1.0),
            share,
            "%",
            why + of_all,
        ),
    ]
