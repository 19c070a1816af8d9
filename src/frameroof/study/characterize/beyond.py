"""Beyond the paper: video transformers of today, whole pipelines with guidance, cost by device."""

from __future__ import annotations

import numpy as np
import polars as pl

from ...trace.resolve.classify import ATTENTION, CONVOLUTION, LINEAR
from .claims import by_model, number, statement
from .predicted import Predicted, passes_of, workload_of
from .sequence import OWN
from .shares import KINDS, seconds_by_class
from .sized import unfit
from .source import Experiment, Row, Source, about, columns
from .suite import model

VIDEO = ("wan2.1-t2v-1.3b", "wan2.1-t2v-14b", "hunyuanvideo", "cogvideox-5b", "mochi-1", "ltx-video-13b")
DEVICES = ("A100", "H100", "H200", "B200", "MI300X", "L40S", "RTX 4090")
FRAMES_PER_SECOND = 16
NOT_HELD = "Baseline times assume that the similarity matrix fits the memory, which it does not at these lengths."


BEYOND_VIDEO_COLUMNS = columns(
    "model: name",
    "title: the model",
    "sequence_len [token]: longest self-attention of a run",
    "baseline_s [s]: one video, baseline attention",
    "flash_s [s]: one video, flash attention",
    "speedup [x]: end to end",
    "attention_share: of the time, flash",
    "linear_share: of the time, flash",
    "convolution_share: of the time, flash",
)


def beyond_video(source: Source) -> Experiment:
    """The same questions of diffusion transformers for video: shares, sequence lengths, speed-up of flash attention."""
    names = [n for n in source.models() if model(n).modality == "video"]
    asked: Source = source
    if isinstance(source, Predicted):
        asked = source.other(models=(*names, *VIDEO))
        names = list(asked.models())
    rows: list[Row] = []
    for name in names:
        times = {kind: seconds_by_class(asked.work(name, kind, {})) for kind in KINDS}
        total = {kind: sum(t.values()) for kind, t in times.items()}
        rows.append(
            {
                "model": name,
                "title": model(name).title,
                "sequence_len": _longest(asked, name),
                "baseline_s": total["baseline"],
                "flash_s": total["flash"],
                "speedup": total["baseline"] / total["flash"],
                **{
                    f"{c.replace(' ', '_')}_share": times["flash"].get(c, 0.0) / total["flash"]
                    for c in (ATTENTION, LINEAR, CONVOLUTION)
                },
            }
        )
    new = [r for r in rows if model(r["model"]).workload in VIDEO]
    return Experiment(
        id="beyond-video",
        title="Video diffusion transformers",
        columns=BEYOND_VIDEO_COLUMNS,
        rows=tuple(rows),
        claims=(
            statement(
                "After flash attention convolution is the bottleneck of diffusion models (not asked of transformers)",
                "IV-A",
                "convolution",
                ", ".join(f"{r['model']}: attention {number(r['attention_share'], '%')}" for r in new),
                all(r["convolution_share"] > r["attention_share"] for r in new) if new else None,
                "Diffusion moved from U-Nets to transformers with attention over all tokens of all frames.",
                "None of these models is a video transformer.",
            ),
        ),
        missing="" if rows else "None of these models makes video.",
        **about(source, *((NOT_HELD,) if source.how == "predicted" else ())),
    )


def _longest(source: Source, name: str) -> int:
    if isinstance(source, Predicted):  # without the series of every call
        own = [
            int(np.max(work.dims["kv"]))
            for run in passes_of(name, "flash", None, source.expected)
            for work in run.work
            if work.fused_attention and work.op.attrs["role"] == "self"
        ]
        return max(own, default=0)
    keys = source.calls(name, "flash", {}).filter(pl.col("kind").is_in(OWN))["key_len"]
    return int(keys.max() or 0)  # type: ignore[arg-type]


BEYOND_PIPELINE_COLUMNS = columns(
    "model: name in the suite",
    "title: the model",
    "stage: stage",
    "time_s [s]: time of the stage in one run, flash attention",
    "share: of the run",
    "whole_s [s]: the run",
    "without_guidance_s [s]: the run without guidance; None: it has none",
)


def beyond_pipeline(source: Source) -> Experiment:
    """Where the time goes when text encoder, image decoder and guidance are counted in."""
    rows: list[Row] = []
    for name in source.models():
        work = source.work(name, "flash", {})
        whole = int(work["time_ns"].sum())
        plain = None
        if isinstance(source, Predicted) and source.sizes(name).get("guidance", 1) > 1:
            plain = int(source.work(name, "flash", {"guidance": 1})["time_ns"].sum())
        for (stage,), part in work.group_by("stage", maintain_order=True):
            time = int(part["time_ns"].sum())
            rows.append(
                {
                    "model": name,
                    "title": model(name).title,
                    "stage": stage,
                    "time_s": time / 1e9,
                    "share": time / whole,
                    "whole_s": whole / 1e9,
                    "without_guidance_s": plain / 1e9 if plain else None,
                }
            )
    text = {r["model"]: r["share"] for r in rows if r["stage"].startswith("text")}
    return Experiment(
        id="beyond-pipeline",
        title="Stages of the pipeline, and what guidance costs",
        columns=BEYOND_PIPELINE_COLUMNS,
        rows=tuple(rows),
        claims=(
            statement(
                "The text encoder does not weigh in the whole",
                "not in the paper",
                "not asked",
                by_model(text),
                max(text.values()) < 0.05 if text else None,
                "Not to weigh: below 5 % of the run in every model. It runs once, the generator many times.",
                "None of these models has a text encoder of its own.",
            ),
        ),
        **about(source),
    )


BEYOND_COST_COLUMNS = columns(
    "machine: device",
    "model: name in the suite",
    "title: the model",
    "unit: what time and cost are for",
    "seconds [s]: time of one unit, flash attention; None: the device's memory does not hold the model",
    "usd [USD]: cost of one unit when the device is never idle; None: no price is known",
    "usd_per_hour [USD/h]: of the device",
    "price_source: where the price is from",
    "refused: why there is no time: what it needs, and what the device has; None: it fits",
)


def beyond_cost(source: Source) -> Experiment:
    """Time and cost of an image or a second of video: over devices where it is predicted, else on this machine."""
    asked: list[Source] = [source]
    notes = [f"A second of video is {FRAMES_PER_SECOND} frames, whatever the model was trained for."]
    if isinstance(source, Predicted):
        asked = [source.other(device) for device in DEVICES if source.holds(device)] or [source]
        if len(asked) == len(DEVICES):
            notes.append(f"The expected times of every device rest on one model: {source.expected.about.name}.")
        else:
            notes.append(f"Expected times are known for {source.expected.about.device} alone.")
    return Experiment(
        id="beyond-cost",
        title="Time and cost of an image or a second of video by device",
        how=source.how,
        machine=", ".join(each.machine for each in asked),
        columns=BEYOND_COST_COLUMNS,
        rows=tuple(_cost(each, name) for each in asked for name in source.models()),
        assumptions=(*source.assumptions, *notes),
    )


def _cost(source: Source, name: str) -> Row:
    sizes, known = source.sizes(name), model(name)
    items, unit = float(sizes.get("batch", 1)), {"text": "answer", "image": "image"}.get(known.modality)
    if unit is None:
        items, unit = items * _frames(name, sizes) / FRAMES_PER_SECOND, "second of video"
    refused = unfit(source, name) if isinstance(source, Predicted) else None
    seconds = None if refused else int(source.work(name, "flash", {})["time_ns"].sum()) / 1e9 / items
    price = source.node.usd_per_hour if source.node else None
    return {
        "machine": source.machine,
        "model": name,
        "title": known.title,
        "unit": unit,
        "seconds": seconds,
        "usd": price.mid * seconds / 3600 if price and seconds is not None else None,
        "usd_per_hour": price.mid if price else None,
        "price_source": f"{price.source}, {price.date}" if price else "no price is known",
        "refused": refused,
    }


def _frames(name: str, sizes: dict[str, int]) -> int:
    """Frames that come out: after interpolation, where a stage has more than went in."""
    asked = {size: value for size, value in sizes.items() if size in workload_of(name, "flash").params}
    found = [int(run.env["frames"]) for run in passes_of(name, "flash", asked) if "frames" in run.env]
    return max([sizes.get("frames", 1), *found])
