"""Table II: what flash attention brings end to end, and why: attention's share and its own speed-up."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from ...trace.resolve.classify import ATTENTION
from .claims import by_model, claim, contradiction, number, statement
from .shares import AFTER, KINDS, partly, seconds_by_class
from .source import Attention, Claim, Experiment, Row, Source, about, columns
from .suite import GOLDEN, MODELS, model


def amdahl(share: float, speedup: float) -> float:
    """End-to-end speed-up when a part of `share` of the time becomes `speedup` times as fast (Amdahl's law).

    Raises `ValueError`, a sentence, for a share outside 0 to 1 and a speed-up that is not above 0.
    """
    if not 0 <= share <= 1 or speedup <= 0:
        raise ValueError(f"a share lies between 0 and 1 and a speed-up above 0, not {share:g} and {speedup:g}")
    return 1 / (1 - share + share / speedup)


def implied_module_speedup(end_to_end: float, share_after: float) -> float:
    """Speed-up of attention alone that an end-to-end speed-up and attention's share after it imply.

    Of a whole of 1 before, 1/S is left, `share_after` of it attention; the rest did not change.
    """
    rest = (1 - share_after) / end_to_end
    return (1 - rest) / (share_after / end_to_end)


TABLE_2_COLUMNS = columns(
    "model: name in the suite",
    "title: the model",
    "family: llm, diffusion or transformer",
    "baseline_s [s]: time of one run with baseline attention",
    "flash_s [s]: time of one run with flash attention",
    "speedup [x]: end to end",
    "paper [x]: Table II",
    "attention_share: share of attention in the baseline",
    "attention_speedup [x]: attention alone",
    "amdahl [x]: what share and speed-up of attention give by Amdahl's law",
    "by_stage: speed-up of each stage that is at least 1 % of the baseline",
    "lean_speedup [x]: end to end, against a baseline that passes over the matrix 4 times, not 10",
)


def table_2(source: Source) -> Experiment:
    """End-to-end speed-up of flash attention, and why: attention's share and its own speed-up (Table II)."""
    other = {name: {row["model"]: row["time_ns"] / 1e9 for row in source.extra(name)} for name in ("lean",)}
    rows = [_speedup(source, name, {k: times.get(name) for k, times in other.items()}) for name in source.models()]
    return Experiment(
        id="table-2",
        title="Speed-up of flash attention, end to end and of attention alone",
        columns=TABLE_2_COLUMNS,
        rows=tuple(rows),
        claims=tuple(_table_2_claims(rows)),
        **about(
            source,
            *partly(source),
            *(f"{m.title}: {m.note}" for m in map(model, source.models()) if m.note),
            "Baseline attention is no one thing: kernels that fold the scale into the product and keep the softmax in "
            "half precision pass over the similarity matrix 4 times instead of 10 (lean_speedup); published times of "
            "Stable Diffusion on A100 with diffusers' own baseline give 1.40x at batch 16 "
            "(github.com/huggingface/diffusers/pull/2764).",
        ),
    )


def _speedup(source: Source, name: str, other: Mapping[str, float | None]) -> Row:
    work = {kind: source.work(name, kind, {}) for kind in KINDS}
    total = {kind: int(frame["time_ns"].sum()) / 1e9 for kind, frame in work.items()}
    mine = {kind: seconds_by_class(frame).get(ATTENTION, 0.0) for kind, frame in work.items()}
    share = mine["baseline"] / total["baseline"]
    own = mine["baseline"] / mine["flash"] if mine["flash"] else None
    return {
        "model": name,
        "title": model(name).title,
        "family": model(name).family,
        "baseline_s": total["baseline"],
        "flash_s": total["flash"],
        "speedup": total["baseline"] / total["flash"],
        "paper": model(name).speedup,
        "attention_share": share,
        "attention_speedup": own,
        "amdahl": amdahl(share, own) if own else None,
        "by_stage": _by_stage(work),
        "lean_speedup": other["lean"] / total["flash"] if other["lean"] else None,
    }


def _by_stage(work: Mapping[Attention, pl.DataFrame]) -> str:
    """``prefill 1.4x, decode 0.9x``."""
    spent = {
        k: dict(f.group_by("stage", maintain_order=True).agg(pl.col("time_ns").sum()).iter_rows())
        for k, f in work.items()
    }
    whole = sum(spent["baseline"].values())
    large = [stage for stage, time in spent["baseline"].items() if time >= whole / 100 and spent["flash"].get(stage)]
    return ", ".join(f"{stage} {number(spent['baseline'][stage] / spent['flash'][stage], 'x')}" for stage in large)


def _table_2_claims(rows: list[Row]) -> list[Claim]:
    listed = [row for row in rows if row["paper"] is not None]
    out = [
        claim(
            f"Flash attention makes {row['title']} {row['paper']:g}x as fast end to end",
            "Table II",
            (row["paper"],),
            (row["speedup"],),
            "x",
            _reason(row),
        )
        for row in listed
    ]
    gains = {row["model"]: row["speedup"] - 1 for row in listed}
    text = "End-to-end speed-ups lie between 4 and 67 %"
    out.append(claim(text, "IV-B", (0.04, 0.67), list(gains.values()), "%", f"By model: {by_model(gains)}."))
    return [*out, _against_llm(rows), _module_claim(rows), _consistency()]


def _reason(row: Row) -> str:
    """Why a model's speed-up is what it is: Amdahl's two factors, the stages, and what other kernels would give."""
    own, share, paper = row["attention_speedup"], row["attention_share"], row["paper"]
    parts = [
        f"Attention is {number(share, '%')} of our baseline and becomes {number(own or 1, 'x')} as fast.",
        f"By stage: {row['by_stage']}.",
    ]
    if paper > 1 and row["speedup"] > 1:
        needed = (1 - 1 / paper) / (1 - 1 / own) if own and own > 1 else None
        if needed is not None and needed <= 1:
            parts.append(f"The paper's number follows from a share of {number(needed, '%')} at this speed-up.")
    if (own or 1) < 1:
        parts.append(
            "For few queries a fused kernel computes a whole block of query rows, and takes no less than its launch: "
            "slower than the baseline's products."
        )
    if row["lean_speedup"]:
        parts.append(f"Against a leaner baseline: {number(row['lean_speedup'], 'x')}.")
    return " ".join([*parts, model(row["model"]).note]).strip()


def _of(rows: list[Row], family: str, column: str) -> dict[str, float]:
    """A column of the paper's image models (and LLMs) of a family."""
    rows = [row for row in rows if row["model"] in GOLDEN and model(row["model"]).modality in ("image", "text")]
    mine = [row for row in rows if row["family"] == family]
    return {row["model"]: row[column] for row in mine if row[column]}


def _against_llm(rows: list[Row]) -> Claim:
    llm, image = (_of(rows, family, "speedup") for family in ("llm", "transformer"))
    return statement(
        "Transformer image models gain less from flash attention than LLMs",
        "IV-B",
        "less",
        by_model({**llm, **image}, "x"),
        max(image.values()) < min(llm.values()) if llm and image else None,
        "The paper's reason is shorter sequences. "
        + ("Muse attends to 256 tokens in its base, but to 4,096 in its super-resolution. " if "muse" in image else "")
        + "How much of an LLM's time is prefill depends on the lengths of prompt and answer.",
    )


def _module_claim(rows: list[Row]) -> Claim:
    own = {family: _of(rows, family, "attention_speedup") for family in ("diffusion", "transformer")}
    known = all(own.values())
    mean = sum(own["transformer"].values()) / len(own["transformer"]) if known else 1.0
    ratios = [value / mean for value in own["diffusion"].values()] if known else []
    pairs = [a / b for a in own["diffusion"].values() for b in own["transformer"].values()]
    spread = f" Model against model: {number(min(pairs), 'x')} to {number(max(pairs), 'x')}." if pairs else ""
    return claim(
        "Attention alone speeds up 1.1 to 2.5 times more in diffusion than in transformer image models",
        "abstract, IV-B",
        (1.1, 2.5),
        ratios,
        "x",
        "Each diffusion model over the mean of the transformer models: the paper does not say which is over which. "
        f"Attention alone: {by_model({**own['diffusion'], **own['transformer']}, 'x')}.{spread}",
    )


def _consistency() -> Claim:
    """Whether Table II and the shares after flash allow the claimed 1.1 at all (for the least favored model)."""

    def ends(family: str, speedup: float) -> tuple[float, float]:
        values = [implied_module_speedup(speedup, share) for share in AFTER[family]]
        return min(values), max(values)

    listed = {m.name: ends(m.family, m.speedup) for m in MODELS.values() if m.speedup is not None}
    diffusion = {n: v for n, v in listed.items() if MODELS[n].family == "diffusion"}
    transformer = [v for n, v in listed.items() if MODELS[n].family == "transformer"]
    worst = min(diffusion, key=lambda n: diffusion[n][1])
    name = "its production model" if worst == "prod-image" else MODELS[worst].title
    best_ratio = diffusion[worst][1] / min(low for low, _ in transformer)
    return contradiction(
        f"The least speed-up of attention alone, {name} over a transformer model, from the paper's own numbers",
        "Table II with IV-A and IV-B",
        (
            ("at least 1.1x (IV-B)", 1.1, 2.5),
            (f"at most {best_ratio:.3g}x (Table II and shares after flash, by Amdahl's law)", 0.0, best_ratio),
        ),
        None,
        "x",
    )
