"""Beyond the paper: video transformers of today, whole pipelines with guidance, cost by device, published times."""

from __future__ import annotations

import numpy as np
import polars as pl

from ...estimate import cost_of
from ...trace.classify import ATTENTION, CONVOLUTION, LINEAR
from .claims import claim, number, statement
from .predicted import Predicted, passes_of
from .sequence import OWN
from .shares import KINDS, seconds_by_class
from .source import Claim, Experiment, Row, Source, columns
from .suite import model

VIDEO = ("wan2.1-t2v-1.3b", "wan2.1-t2v-14b", "hunyuanvideo", "cogvideox-5b", "mochi-1", "ltx-video-13b")
DEVICES = ("A100", "H100", "H200", "B200", "MI300X", "L40S", "RTX 4090")
FRAMES_PER_SECOND = 16
ONLY = "Needs a predicted source: nothing was measured for it."


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
        asked = Predicted(source.node, (*names, *VIDEO), source.table, source.clock)
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
        how=source.how,
        machine=source.machine,
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
            ),
        ),
        assumptions=(
            *source.assumptions,
            *(() if rows else (ONLY,)),
            "Baseline times assume that the similarity matrix fits the memory, which it does not at these lengths.",
        ),
    )


def _longest(source: Source, name: str) -> int:
    if isinstance(source, Predicted):  # without the series of every call
        own = [
            int(np.max(work.dims["kv"]))
            for run in passes_of(name, "flash")
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
        how=source.how,
        machine=source.machine,
        columns=BEYOND_PIPELINE_COLUMNS,
        rows=tuple(rows),
        claims=(
            statement(
                "The text encoder does not weigh in the whole",
                "not in the paper",
                "not asked",
                ", ".join(f"{n} {number(v, '%')}" for n, v in text.items()),
                max(text.values()) < 0.05 if text else None,
                "Below 5 % of the run in every model.",
            ),
        ),
        assumptions=source.assumptions,
    )


BEYOND_COST_COLUMNS = columns(
    "machine: device",
    "model: name in the suite",
    "title: the model",
    "unit: what time and cost are for",
    "seconds [s]: time of one unit, flash attention",
    "usd [USD]: cost of one unit when the device is never idle; None: no price is known",
    "usd_per_hour [USD/h]: of the device",
    "price_source: where the price is from",
)


def beyond_cost(source: Source) -> Experiment:
    """Time and cost of an image or a second of video over devices."""
    rows: list[Row] = []
    if isinstance(source, Predicted):
        for device in DEVICES:
            asked = Predicted(device, source.models(), source.table, source.clock)
            rows += [_cost(asked, name) for name in source.models()]
    return Experiment(
        id="beyond-cost",
        title="Time and cost of an image or a second of video by device",
        how=source.how,
        machine=", ".join(DEVICES),
        columns=BEYOND_COST_COLUMNS,
        rows=tuple(rows),
        claims=(),
        assumptions=(
            *source.assumptions,
            "The shares of peaks and bandwidth were stated for A100-class GPUs and are used for every "
            f"device. A second of video is {FRAMES_PER_SECOND} frames, whatever the model was trained for.",
            *(() if rows else (ONLY,)),
        ),
    )


def _cost(source: Predicted, name: str) -> Row:
    sizes, known = source.sizes(name), model(name)
    whole = int(source.work(name, "flash", {})["time_ns"].sum()) / 1e9
    parts, unit = 1.0, {"text": "answer", "image": "image", "video": "second of video"}[known.modality]
    if known.modality == "video":
        parts = _frames(name, sizes) / FRAMES_PER_SECOND
    cost = cost_of(source.node, whole, sizes.get("batch", 1))
    return {
        "machine": source.machine,
        "model": name,
        "title": known.title,
        "unit": unit,
        "seconds": whole / parts,
        "usd": None if cost.usd_per_item is None else cost.usd_per_item / parts,
        "usd_per_hour": cost.usd_per_hour,
        "price_source": cost.price_source,
    }


def _frames(name: str, sizes: dict[str, int]) -> int:
    """Frames that come out: after interpolation, where a stage has more than went in."""
    found = [int(run.env["frames"]) for run in passes_of(name, "flash") if "frames" in run.env]
    return max([sizes.get("frames", 1), *found])


# Published times of whole pipelines on A100 with PyTorch's eager execution: the prediction beside them.
PUBLISHED: tuple[tuple[str, str, str, dict[str, int], float, str], ...] = (
    ("stable-diffusion", "A100 40GB", "flash", {"batch": 16}, 13.55, "github.com/huggingface/diffusers/pull/2764"),
    ("stable-diffusion", "A100 40GB", "lean", {"batch": 16}, 18.95, "github.com/huggingface/diffusers/pull/2764"),
    ("stable-diffusion", "A100 40GB", "flash", {"batch": 8}, 7.04, "github.com/huggingface/diffusers/pull/2764"),
    ("stable-diffusion", "A100 40GB", "lean", {"batch": 8}, 9.74, "github.com/huggingface/diffusers/pull/2764"),
    ("stable-diffusion", "A100", "flash", {"batch": 1}, 1.604, "github.com/fal-ai/stable-diffusion-benchmarks"),
    (
        "pixart-alpha-1024",
        "A100",
        "flash",
        {"steps": 20},
        1.97,
        "github.com/xdit-project/xdit_assets pixart/A100-1k.png",
    ),
    ("sd3-medium", "A100", "flash", {"steps": 20}, 3.09, "github.com/xdit-project/xdit_assets sd3/A100-SD3.png"),
    ("wan2.1-t2v-14b", "A100", "flash", {}, 3342.6, "github.com/Wan-Video/Wan2.1 assets/comp_effic.png"),
    ("sdxl-base", "A100", "flash", {"steps": 20}, 2.7, "github.com/huggingface/amused assets (batch-size plots)"),
)


BEYOND_PUBLISHED_COLUMNS = columns(
    "model: name",
    "machine: device",
    "attention: flash, or lean: diffusers' own baseline",
    "sizes: where not the defaults",
    "published_s [s]: one run, published",
    "device_s [s]: predicted, smallest kernel as launch",
    "wall_s [s]: predicted, a dispatch of the host for each operation",
    "ratio: predicted wall over published",
    "source: where it was read",
)


def beyond_published(source: Source) -> Experiment:
    """Predicted times, of device and host, beside published ones on A100: how far the stated efficiencies hold."""
    rows: list[Row] = []
    if isinstance(source, Predicted):
        for name, device, attention, sizes, published, where in PUBLISHED:
            both = {clock: Predicted(device, (name,), source.table, clock) for clock in ("kernel", "wall")}
            seconds = {c: int(s.work(name, attention, sizes)["time_ns"].sum()) / 1e9 for c, s in both.items()}
            ours = seconds["wall"]
            rows.append(
                {
                    "model": name,
                    "machine": both["wall"].machine,
                    "attention": attention,
                    "sizes": dict(sizes),
                    "published_s": published,
                    "device_s": seconds["kernel"],
                    "wall_s": ours,
                    "ratio": ours / published,
                    "source": where,
                }
            )
    return Experiment(
        id="beyond-published",
        title="Predicted and published times on A100",
        how=source.how,
        machine="A100",
        columns=BEYOND_PUBLISHED_COLUMNS,
        rows=tuple(rows),
        claims=tuple(_published_claims(rows)),
        assumptions=(
            *source.assumptions,
            "The host's dispatch time was derived from the batch-1 row of Stable Diffusion, "
            "which is therefore no check of it.",
            *(() if rows else (ONLY,)),
        ),
    )


def _published_claims(rows: list[Row]) -> list[Claim]:
    at = {(r["attention"], r["sizes"].get("batch")): r for r in rows if r["model"] == "stable-diffusion"}
    if not at:
        return []
    flash, lean = at["flash", 16], at["lean", 16]
    return [
        claim(
            "Speed-up of flash attention in Stable Diffusion at batch 16 on A100, published by diffusers (not in "
            "the paper)",
            "diffusers pull request 2764",
            (lean["published_s"] / flash["published_s"],),
            [lean["wall_s"] / flash["wall_s"]],
            "x",
            "Against diffusers' baseline of 2023, which folds the scale into the product and keeps the softmax "
            "in fp16.",
        )
    ]
