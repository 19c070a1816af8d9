"""Figures 8 and 9: sequence lengths over a run, their period and distribution.

The sequence length of a call of attention is the number of tokens it attends to: its key length. Cross-attention
attends to the prompt and is left out, as in the paper's figure 8.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from .claims import claim, contradiction, statement
from .source import Claim, Experiment, Row, Source, about, columns
from .suite import model
from .traffic import dram_of

OWN = ("self", "spatial", "temporal", "full")
MOST_ROWS = 600
DISTRIBUTION_MODEL = "stable-diffusion"
PICTURES = ("diffusion", "image")


def own_calls(source: Source, name: str, attention: str = "flash") -> pl.DataFrame:
    """Calls of self-attention in the generator, in the order of the run."""
    calls = source.calls(name, "baseline" if attention == "baseline" else "flash", {})
    return calls.filter(pl.col("kind").is_in(OWN))


def main_stage(calls: pl.DataFrame) -> str:
    """The stage in which self-attention is called most often: the loop that makes the picture."""
    found = calls.group_by("stage", maintain_order=True).len().sort("len", descending=True, maintain_order=True)
    return str(found["stage"][0])


def fundamental_period(series: Sequence[int]) -> int | None:
    """The shortest p with series[i] == series[i + p] throughout that fits at least twice; None if there is none.

    From the border of the series (the prefix function of Knuth, Morris and Pratt): linear in its length.
    """
    border = [0] * len(series)
    for i in range(1, len(series)):
        k = border[i - 1]
        while k and series[i] != series[k]:
            k = border[k - 1]
        border[i] = k + (series[i] == series[k])
    if not series:
        return None
    period = len(series) - border[-1]
    return period if period * 2 <= len(series) else None


FIGURE_8_COLUMNS = columns(
    "model: name in the suite",
    "title: the model",
    "stage: stage shown",
    "period [call]: fundamental period in calls of self-attention; None: it never repeats",
    "call: number of the call in the period",
    "start_s [s]: since the period began",
    "kind: kind of attention",
    "query_len [token]: queries",
    "sequence_len [token]: keys: what a token attends to",
    "time_s [s]: time of the call",
    "bytes [byte]: moved by the call",
    "bandwidth_share: bytes over time, as a share of the machine's bandwidth; None: unknown",
    "dram_bytes [byte]: moved between chip and memory, by a hardware counter; None: not read",
    "dram_share: those bytes over the kernel's own time, as a share of the machine's bandwidth; None: not read",
)


def figure_8(source: Source, exports: Mapping[str, str | os.PathLike[str]] | None = None) -> Experiment:
    """Sequence length over one fundamental period, with the use of memory bandwidth beside it (figure 8).

    `exports`: model -> an Nsight Compute export of its main stage on the source's machine (`traffic.dram_of`).
    """
    bandwidth = _bandwidth(source)
    rows: list[Row] = []
    read: dict[str, list[tuple[int, float]]] = {}
    found: dict[str, dict[str, Any]] = {}
    for name in source.models():
        calls = own_calls(source, name)
        if calls.is_empty():  # a workload file may hold no attention
            continue
        stage = main_stage(calls)
        part = calls.filter(pl.col("stage") == stage)
        lengths = part["key_len"].to_list()
        period = fundamental_period(lengths)
        shown = part.head(period) if period else part
        found[name] = {"lengths": lengths[: period or len(lengths)], "period": period, "all": calls["key_len"]}
        series = _series(name, stage, period, shown, bandwidth)
        if exports and name in exports:
            every = source.calls(name, "flash", {}).filter(pl.col("stage") == stage)
            dram = dram_of(every, exports[name])
            _add_dram(series, dram, bandwidth, part["start_ns"][0])
            own = part.filter(pl.col("start_ns").is_in(list(dram)))
            rates = (dram[at]["dram_bytes"] / dram[at]["time_s"] for at in own["start_ns"].to_list())
            read[name] = list(zip(own["key_len"].to_list(), rates, strict=True))
        rows += series
    return Experiment(
        id="figure-8",
        title="Sequence length over the inference, one fundamental period",
        columns=FIGURE_8_COLUMNS,
        rows=tuple(rows),
        claims=(*_figure_8_claims(source, found), *_counter_claims(read)),
        **about(
            source,
            "Flash attention. Bandwidth is counted bytes over time, not a hardware counter; caches are not seen.",
            *(f"{COUNTERS} {name}: {os.fspath(path)}." for name, path in (exports or {}).items()),
            f"Of a series that never repeats at most {MOST_ROWS} calls are listed, evenly spaced.",
        ),
    )


def _series(name: str, stage: str, period: int | None, part: pl.DataFrame, bandwidth: float | None) -> list[Row]:
    step = max(1, math.ceil(len(part) / MOST_ROWS))
    begin = part["start_ns"][0]
    return [
        {
            "model": name,
            "title": model(name).title,
            "stage": stage,
            "period": period,
            "call": at * step,
            "start_s": (r["start_ns"] - begin) / 1e9,
            "kind": r["kind"],
            "query_len": r["query_len"],
            "sequence_len": r["key_len"],
            "time_s": r["time_ns"] / 1e9,
            "bytes": r["bytes"],
            "bandwidth_share": r["bytes"] / (r["time_ns"] / 1e9) / bandwidth if bandwidth and r["time_ns"] else None,
            "dram_bytes": None,
            "dram_share": None,
        }
        for at, r in enumerate(part.gather_every(step).iter_rows(named=True))
    ]


COUNTERS = (
    "Hardware counters stand beside it: kernels of attention of the export, in order, as the stage's first calls; the "
    "export does not name its GPU."
)


def _add_dram(series: list[Row], dram: Mapping[int, Row], bandwidth: float | None, begin: int) -> None:
    """Put what the counters say into the rows of a series."""
    for row in series:
        found = dram.get(begin + round(row["start_s"] * 1e9))
        if found is not None:
            row["dram_bytes"] = found["dram_bytes"]
            row["dram_share"] = found["dram_bytes"] / found["time_s"] / bandwidth if bandwidth else None


def _counter_claims(read: Mapping[str, Sequence[tuple[int, float]]]) -> list[Claim]:
    out = []
    for name, pairs in read.items():
        value = correlation([length for length, _ in pairs], [rate for _, rate in pairs]) if pairs else None
        out.append(
            statement(
                f"Memory bandwidth utilization of {model(name).title} follows its sequence length (hardware counters)",
                "V-A, figure 8",
                "same pattern (no number; here: correlation above 0.5)",
                "" if value is None else f"correlation {value:.2f}",
                None if value is None else value > 0.5,
                f"Bytes between chip and memory over the time of the kernel, of {len(pairs)} calls.",
                "All calls have one length or one rate here: nothing varies.",
            )
        )
    return out


def _bandwidth(source: Source) -> float | None:
    return source.node.device.bandwidth if source.node else None


def correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Pearson's correlation; None where one of the two does not vary."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    over = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    under = math.sqrt(sum((a - mean_x) ** 2 for a in x) * sum((b - mean_y) ** 2 for b in y))
    return over / under if under else None


def _series_claims(lengths: Sequence[int]) -> list[Claim]:
    out = []
    series = " ".join(map(str, lengths))
    out.append(
        contradiction(
            "Sequence length of Stable Diffusion varies over the inference by",
            "abstract, figure 8",
            (
                ("up to 4x (abstract, introduction)", 1.0, 4.0),
                (
                    "4096 tokens at most and three levels that halve both sides (V-A, figure 8's caption): 64x",
                    64.0,
                    64.0,
                ),
            ),
            max(lengths) / min(lengths),
            "x",
        )
    )
    out.append(
        statement(
            "The series of Stable Diffusion is symmetric, down and up again",
            "figure 8",
            "U-shaped",
            series,
            _falls_and_rises(lengths),
            "4x is one level of the U-Net, not all of them.",
        )
    )
    return out


def _figure_8_claims(source: Source, found: dict[str, dict[str, Any]]) -> list[Claim]:
    out = _series_claims(found[DISTRIBUTION_MODEL]["lengths"]) if DISTRIBUTION_MODEL in found else []
    small = {n: int(min(v["lengths"])) for n, v in found.items() if (model(n).family, model(n).modality) == PICTURES}
    text = [int(max(v["all"])) for n, v in found.items() if model(n).family == "llm"]
    if small and text:
        out.append(
            statement(
                "Sequences of diffusion models can be an order of magnitude shorter than an LLM's",
                "V-A",
                "10x shorter",
                f"{min(small.values())} against {max(text)}",
                min(small.values()) * 10 <= max(text),
                "The shortest of "
                + ", ".join(f"{name} {least}" for name, least in small.items())
                + " against all tokens of the LLM, whose number is a choice.",
            )
        )
    if "muse" in found:
        constant = set(found["muse"]["lengths"])
        out.append(
            statement(
                "Muse's sequence length is constant",
                "V-A",
                "constant",
                ", ".join(map(str, sorted(constant))),
                len(constant) == 1,
                "All tokens are decoded at once, so that every step attends to the whole grid. All its stages: "
                f"{_counts(found['muse']['all'])}.",
            )
        )
    if "parti" in found:
        lengths = sorted(set(found["parti"]["lengths"]))
        linear = lengths == list(range(lengths[0], lengths[-1] + 1))
        out.append(
            statement(
                "Parti's sequence length rises linearly",
                "V-A",
                "linear",
                f"{lengths[0]} to {lengths[-1]}, {'every length once' if linear else 'with gaps'} for each layer",
                linear,
                "Each token joins the keys of the next one.",
            )
        )
    return [*out, *_bandwidth_claims(source)]


def _falls_and_rises(lengths: Sequence[int]) -> bool:
    low = lengths.index(min(lengths))
    down, up = list(lengths[: low + 1]), list(lengths[low:])
    return down == sorted(down, reverse=True) and up == sorted(up) and set(down) == set(up)


def _bandwidth_claims(source: Source) -> list[Claim]:
    out = []
    for name in ("imagen", "parti"):
        for attention in ("baseline", "flash") if name in source.models() else ():
            calls = own_calls(source, name, attention)
            part = calls.filter((pl.col("stage") == main_stage(calls)) & (pl.col("time_ns") > 0))
            rate = (part["bytes"] / part["time_ns"]).to_list()
            value = correlation(part["key_len"].to_list(), rate)
            out.append(
                statement(
                    f"Memory bandwidth utilization of {model(name).title} follows its sequence length "
                    f"({attention} attention)",
                    "V-A, figure 8",
                    "same pattern (no number, and not said with which attention; here: correlation above 0.5)",
                    "" if value is None else f"correlation {value:.2f}",
                    None if value is None else value > 0.5,
                    "Counted bytes of each call over its time. Fused, FLOPs grow with the square of the length "
                    "and bytes with "
                    "the length: long calls are bound by compute and use less of the bandwidth. Baseline moves "
                    "the matrix.",
                    "All calls have one length or one rate here: nothing varies.",
                )
            )
    return out


def _counts(values: Any) -> str:
    return ", ".join(f"{length} ({count} calls)" for length, count in sorted(Counter(values).items()))


FIGURE_9_COLUMNS = columns(
    "model: name in the suite",
    "side_px [px]: height and width of the image",
    "sequence_len [token]: length of a call of self-attention",
    "count: calls in one fundamental period",
    "share: share of the calls",
)


def _size_claim(longest: dict[int, int]) -> Claim:
    """How the longest sequence grows with the image's side."""
    sides = sorted(longest)
    slopes = []
    if len(sides) > 1:
        slopes = [math.log(longest[sides[-1]] / longest[sides[0]]) / math.log(sides[-1] / sides[0])]
    return claim(
        "Sequence length grows with the square of the image's side",
        "I, V",
        (2.0,),
        slopes,
        "",
        f"Exponent of the longest sequence from {sides[0]} to {sides[-1]} px: a token a latent pixel." if sides else "",
    )


def _lengths_by_side(source: Source) -> tuple[dict[int, pl.Series], list[str]]:
    """(Image side -> lengths of self-attention in the order of the run, sentences of the sides left out)."""
    found: dict[int, pl.Series] = {}
    refused: list[str] = []
    for side in source.sides(DISTRIBUTION_MODEL) if DISTRIBUTION_MODEL in source.models() else ():
        try:
            calls = source.calls(DISTRIBUTION_MODEL, "flash", {"height": side, "width": side})
        except ValueError as error:  # too large for the memory of this machine
            refused.append(f"{side} px is left out: {error}.")
            continue
        own = calls.filter(pl.col("kind").is_in(OWN))
        found[side] = own.filter(pl.col("stage") == main_stage(own))["key_len"]
    return found, refused


def figure_9(source: Source) -> Experiment:
    """How often each sequence length occurs, at several image sizes (figure 9)."""
    lengths, refused = _lengths_by_side(source)
    counts: dict[int, dict[int, int]] = {}
    for side, of_side in lengths.items():
        period = fundamental_period(of_side.to_list()) or len(of_side)
        counts[side] = dict(sorted(Counter(of_side.head(period)).items()))
    rows = (
        {
            "model": DISTRIBUTION_MODEL,
            "side_px": side,
            "sequence_len": length,
            "count": count,
            "share": count / sum(of_side.values()),
        }
        for side, of_side in counts.items()
        for length, count in of_side.items()
    )
    at_512 = counts.get(512, {})
    listed = ", ".join(f"{length}: {count}" for length, count in at_512.items())
    medians = [float(of_side.median() or 0) for of_side in lengths.values()]  # type: ignore[arg-type]
    return Experiment(
        id="figure-9",
        title="Distribution of sequence lengths by image size",
        columns=FIGURE_9_COLUMNS,
        rows=tuple(rows),
        claims=(
            claim(
                "At 512 x 512 the lengths are about equally frequent: the most over the least frequent",
                "V-B, figure 9",
                (1.0,),
                [max(at_512.values()) / min(at_512.values())] if at_512 else [],
                "x",
                f"Calls by length: {listed}. All levels are alike but the lowest, the middle block, with one "
                "call, which the paper's “relatively equal” passes over.",
                "The source has no image of 512 px.",
            ),
            _size_claim({side: max(of_side) for side, of_side in counts.items()}),
            statement(
                "The distribution shifts to longer sequences as the image grows",
                "V-B, figure 9",
                "shifts right",
                " < ".join(f"{m:g}" for m in medians),
                medians == sorted(set(medians)) if len(medians) > 1 else None,
                "Median length by image size.",
                "It takes two image sizes.",
            ),
        ),
        **about(source, *refused),
    )
