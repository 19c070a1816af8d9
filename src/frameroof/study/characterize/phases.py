"""Table III: prefill or decode, from the lengths of queries and keys."""

from __future__ import annotations

import polars as pl

from .claims import statement
from .sequence import OWN
from .source import Experiment, Source, about, columns
from .suite import GOLDEN, model

GENERATORS = ("denoise", "base", "decode", "prefill", "super_resolution", "interpolate")


TABLE_3_COLUMNS = columns(
    "model: name in the suite",
    "title: the model",
    "family: family",
    "stage: stage of the pipeline",
    "calls: calls of self-attention in one run",
    "query_min [token]: least query length",
    "query_max [token]: most",
    "key_min [token]: least key length",
    "key_max [token]: most",
    "time_s [s]: time of these calls, flash attention",
    "phase: decode: one query at a time; prefill: many at once",
)


def table_3(source: Source) -> Experiment:
    """Prefill or decode, from the query and key lengths of each stage's attention (Table III)."""
    rows = []
    for name in source.models():
        calls = source.calls(name, "flash", {}).filter(pl.col("kind").is_in(OWN))
        for (stage,), part in calls.group_by("stage", maintain_order=True):
            spans = {
                f"{side}_{which}": int(getattr(part[f"{side}_len"], which)())
                for side in ("query", "key")
                for which in ("min", "max")
            }
            grows = spans["key_max"] > spans["key_min"] and spans["query_max"] == 1
            rows.append(
                {
                    "model": name,
                    "title": model(name).title,
                    "family": model(name).family,
                    "stage": stage,
                    "calls": len(part),
                    **spans,
                    "time_s": int(part["time_ns"].sum()) / 1e9,
                    "phase": "decode" if grows or spans["query_max"] == 1 else "prefill",
                }
            )
    generators = [r for r in rows if r["stage"].startswith(GENERATORS)]

    def phases(family: str) -> dict[str, str]:
        mine = [r for r in generators if r["family"] == family and r["model"] in GOLDEN]
        return {f"{r['model']} {r['stage']}": r["phase"] for r in mine}

    diffusion, transformer = phases("diffusion"), phases("transformer")
    one_by_one = [k for k, v in transformer.items() if v == "decode"]
    return Experiment(
        id="table-3",
        title="Prefill and decode in text, image and video models",
        columns=TABLE_3_COLUMNS,
        rows=tuple(rows),
        claims=(
            statement(
                "Diffusion models resemble the prefill of an LLM: all pixels at once",
                "IV-B, Table III",
                "prefill",
                ", ".join(f"{k}: {v}" for k, v in diffusion.items()),
                all(v == "prefill" for v in diffusion.values()) if diffusion else None,
                "Every call of attention has as many queries as pixels or frames, never one.",
            ),
            statement(
                "Transformer image and video models resemble decode: one token after the other",
                "IV-B, Table III",
                "decode",
                ", ".join(f"{k}: {v}" for k, v in transformer.items()),
                len(one_by_one) == len(transformer) if transformer else None,
                "Only models that generate token by token do. Muse and Phenaki decode in parallel: every step "
                "attends from all tokens to all tokens, which is prefill; the paper's figure 8 says so of Muse.",
            ),
        ),
        **about(source),
    )
