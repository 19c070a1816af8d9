"""The Movie Gen post: its numbers from the counted transformer, and our estimate of the whole pipeline.

S tokens, D width. The post's accounting is in `counted.py`; its machines are the
seed devices of `hardware`, whose figures are those before the post takes off 50 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ... import catalogue
from ...estimate import Utilization
from ...hardware import device, devices, parse_node
from ...passes import set_precision
from ...workload.records import Stage, Workload
from ..predict import Prediction, predict
from .counted import GI, MI, Work, find, layer, moved, parameters, resident_bytes, stage_of, sum_flops
from .posts import Case, Change, read_post, rows_of
from .records import Correction, Reproduction

MODEL = "movie-gen-30b"
POST_STEPS = 50
GPUS = 8
HALF = Utilization(0.5, source="the post's 50 %")
PARTS = {
    "wq": r"blocks\.[^.]+\.attn\.wq",
    "wk": r"blocks\.[^.]+\.attn\.wk",
    "wv": r"blocks\.[^.]+\.attn\.wv",
    "attn": r"blocks\.[^.]+\.attn",
    "wo": r"blocks\.[^.]+\.attn\.wo",
    "ff1": r"blocks\.[^.]+\.ff\.w1",
    "ff3": r"blocks\.[^.]+\.ff\.w3",
    "ff2": r"blocks\.[^.]+\.ff\.w2",
}
# The last paragraph's "4k output, 60fps, minutes": the sizes whose tokens are 14.5 million.
FUTURE = {"width": 3840, "height": 2160, "frames": 60 * 60}
FUTURE_SECONDS = 60


@dataclass(frozen=True)
class Assumed:
    """What the post takes as given, as far as a difference may come from it."""

    steps: int = POST_STEPS
    llm_usd_per_million: float = 0.9
    llm_tokens_per_s: float = 107.0
    usd_per_gpu_hour: float = 2.0
    wh_bandwidth: float = 0.0  # bytes per second before the 50 %; 0 = the catalogue's


def reproduce_movie_gen(steps: int | None = None) -> Reproduction:
    """Every number of the post beside ours; `steps` other than 50 changes ours, never the post's."""
    workload = catalogue.load(MODEL)
    chosen = POST_STEPS if steps is None else workload.sizes({"steps": steps})["steps"]
    post = read_post("movie_gen")
    undo: tuple[Change, ...] = ()
    if chosen != POST_STEPS:
        undo = (({"steps": POST_STEPS}, f"steps={chosen} instead of {POST_STEPS}."),)
    full = {on: _full(workload, on, chosen) for on in ("8xH100", "WH Galaxy")}
    counted = _Counted.of(workload)
    compute = cache(lambda a: _ours(counted, a))
    case = Case(compute, Assumed(chosen), _corrected(counted, full, chosen), undo)
    return Reproduction(
        title=post.title,
        source=post.source,
        rows=rows_of(post, case),
        notes=(*post.notes, *_notes(full["8xH100"])),
        corrections=_ladder(counted, full["8xH100"], chosen),
        corrections_title="From the post's time per video to ours, on 8xH100 at 50 %",
    )


@dataclass(frozen=True)
class _Counted:
    """The denoiser at the post's sizes: its stage, bound names, and one layer's work by part."""

    workload: Workload
    stage: Stage
    env: Mapping[str, Any]
    parts: Mapping[str, Work]

    @staticmethod
    def of(workload: Workload, **sizes: int) -> _Counted:
        """Bound without a check of admissible sizes: the post projects far beyond them."""
        stage = stage_of(workload, "denoise")
        env = stage.bind({name: size.default for name, size in workload.params.items()} | sizes)
        return _Counted(workload, stage, env, layer(stage, env, PARTS))

    @property
    def flops(self) -> int:
        """FLOPs of one forward by the post's list."""
        return sum(part.flops * part.layers for part in self.parts.values())

    @property
    def bytes(self) -> int:
        """Bytes of one forward by the post's list, attention twice."""
        second = self.parts["attn"].bytes * self.layers
        return sum(part.bytes * part.layers for part in self.parts.values()) + second

    @property
    def layers(self) -> int:
        """Layers, which every part has once."""
        return self.parts["attn"].layers

    @property
    def tokens(self) -> int:
        """Rows of the query projection."""
        return int(find(self.stage, PARTS["wq"])[0].dims["m"](self.env))


def _effective(name: str) -> tuple[float, float]:
    """FLOP/s and bytes per second by which the post divides: its device's, less the 50 % that it takes off."""
    seed = device(name)
    return seed.peak("bf16") * HALF.default, seed.bandwidth * HALF.default


# ---- ours, under the post's assumptions; keys are those of movie_gen.toml ----


def _ours(counted: _Counted, a: Assumed) -> dict[str, float]:
    return {
        **_model(counted),
        **_operations(counted),
        **_totals(counted, a),
        **_fp8(counted),
        **_machines(a),
        **_times(counted, a),
        **_future(counted, a),
    }


def _model(c: _Counted) -> dict[str, float]:
    return {
        "params": parameters(c.workload, "denoise") / 1e9,
        "latent_frames": c.env["t"],
        "latent_side": c.env["h"] * 2,
        "tokens": c.tokens / 1024,
    }


def _operations(c: _Counted) -> dict[str, float]:
    """Scores and attn_out are the two halves of the attention's FLOPs; the post gives each all its bytes."""
    halves = {"scores": c.parts["attn"], "attn_out": c.parts["attn"]}
    found: dict[str, float] = {}
    for name, part in {**c.parts, **halves}.items():
        found[f"{name}.gflops"] = part.flops / 1e9 / (2 if name in halves else 1)
        found[f"{name}.mib"] = part.bytes / MI
    return found


def _totals(c: _Counted, a: Assumed) -> dict[str, float]:
    return {
        "layer.tflops": c.flops / c.layers / 1e12,
        "layer.gib": c.bytes / c.layers / GI,
        "model.tflops": c.flops / 1e12,
        "model.gib": c.bytes / GI,
        "steps.tflops": c.flops * a.steps / 1e12,
        "steps.gib": c.bytes * a.steps / GI,
        "intensity": c.flops / c.bytes,
        "llm_8b_gb": resident_bytes(catalogue.load("llama3.1-8b"), "prefill") / 1e9,
        "llm_70b_gb": resident_bytes(catalogue.load("llama3.1-70b"), "prefill") / 1e9,
    }


def _fp8(c: _Counted) -> dict[str, float]:
    narrow = _quantized(c.workload)
    h100 = device("H100")
    flops = narrow.flops / c.flops
    return {
        "fp8.flops": flops,
        "fp8.bytes": narrow.bytes / c.bytes,
        "fp8.seconds": flops * h100.peak("bf16") / h100.peak("fp8"),
    }


def _quantized(workload: Workload) -> _Counted:
    """The same work with every operand in eight bits."""
    return _Counted.of(set_precision(workload, "fp8"))


def _machines(a: Assumed) -> dict[str, float]:
    """Peaks: those that the post quotes, as our hardware files have them."""
    h100, galaxy = device("H100"), device("WH Galaxy")
    (flops, rate), (wh_flops, wh_rate) = _effective("seed:h100"), _effective("seed:wh-galaxy")
    below = [d for d in devices() if "bf16" in d.dense_flops]
    return {
        "h100.tflops": h100.sparse_flops["bf16"] / 1e12,
        "h100.tbs": h100.bandwidth / 1e12,
        "h100.half_tflops": flops / 1e12,
        "h100.half_tbs": rate / 1e12,
        "h100.node_pflops": GPUS * flops / 1e15,
        "h100.node_tbs": GPUS * rate / 1e12,
        "h100.ratio": flops / rate / 1e3,
        "wh.pflops": wh_flops / 1e15,
        "wh.tbs": (a.wh_bandwidth or galaxy.bandwidth) / 2 / 1e12,
        "wh.ratio": wh_flops / wh_rate / 1e3,
        "memory_heavy": 100 * sum(d.ridge("bf16") < 1000 for d in below) / len(below),
    }


def _times(c: _Counted, a: Assumed) -> dict[str, float]:
    """Seconds and dollars. The post reads GiB as GB here, so its memory times are 7 % short."""
    (peak, rate), (wh_peak, wh_rate) = _effective("seed:h100"), _effective("seed:wh-galaxy")
    flops, gigabytes = c.flops * a.steps, c.bytes * a.steps / GI * 1e9
    compute, memory = flops / (GPUS * peak), gigabytes / (GPUS * rate)
    video = max(compute, memory)
    usd_per_s = GPUS * a.usd_per_gpu_hour / 3600
    llm_usd_per_s = a.llm_usd_per_million / 1e6 * a.llm_tokens_per_s
    wh_compute, wh_memory = flops / wh_peak, gigabytes / wh_rate
    return {
        "h100.compute_s": compute,
        "h100.memory_s": memory,
        "h100.video_s": video,
        "h100.videos_h": 3600 / video,
        "h100.usd": video * usd_per_s,
        "wh.compute_s": wh_compute,
        "wh.memory_s": wh_memory,
        "wh.video_s": max(wh_compute, wh_memory),
        "llm.hours": 1e6 / a.llm_tokens_per_s / 3600,
        "llm.usd_s": llm_usd_per_s,
        "video.usd_s": usd_per_s,
        "llm.users": usd_per_s / llm_usd_per_s,
        "llm.roughly": usd_per_s / llm_usd_per_s,
    }


def _future(c: _Counted, a: Assumed) -> dict[str, float]:
    peak, rate = _effective("seed:h100")
    future, eight = _Counted.of(c.workload, **FUTURE), _Counted.of(c.workload, batch=8)
    on_one = future.flops * a.steps / peak / FUTURE_SECONDS

    def seconds(work: _Counted) -> float:
        return max(work.flops / peak, work.bytes / rate)

    return {
        "batching": seconds(eight) / 8 / seconds(c),
        "future.tokens": future.tokens / 1e6,
        "future.growth": math.log10(future.flops / c.flops),
        "future.gpu": math.log10(on_one),
        "future.node": math.log10(on_one / GPUS),
    }


# ---- corrected: the full estimate ----


def _full(workload: Workload, on: str, steps: int, batch: int = 1) -> Prediction:
    """The whole pipeline at dense peaks and the post's 50 % and $2 per device and hour."""
    return predict(
        workload,
        parse_node(on),
        sizes={"steps": steps, "batch": batch},
        utilization=HALF,
        cold=True,
        usd_per_device_hour=Assumed.usd_per_gpu_hour,
    )


def _corrected(c: _Counted, full: Mapping[str, Prediction], steps: int) -> dict[str, float]:
    h100, galaxy = full["8xH100"], full["WH Galaxy"]
    denoise = next(s for s in h100.estimate.stages if s.name == "denoise")
    blocks = [op for op in denoise.ops if op.op.path.startswith("blocks.")]
    forwards = c.layers * denoise.repeat
    ours = _operations(c)
    values = {name: value for name, value in ours.items() if name.endswith(".gflops")}
    values |= {f"{name}.mib": moved(find(c.stage, p)[0], c.env) / MI for name, p in PARTS.items()}
    values |= dict.fromkeys(("scores.mib", "attn_out.mib"), values.pop("attn.mib") / 2)
    return {
        **values,
        "layer.tflops": sum(op.flops for op in blocks) / forwards / 1e12,
        "layer.gib": sum(op.bytes for op in blocks) / forwards / GI,
        "model.tflops": denoise.flops / denoise.repeat / 1e12,
        "model.gib": denoise.bytes / denoise.repeat / GI,
        "steps.tflops": denoise.flops / 1e12,
        "steps.gib": denoise.bytes / GI,
        "intensity": denoise.intensity,
        **_corrected_machines(),
        **_corrected_times("h100", h100),
        **_corrected_times("wh", galaxy),
        "batching": _full(c.workload, "8xH100", steps, batch=8).expected_s / 8 / h100.expected_s,
        **_corrected_future(c, denoise.flops),
    }


def _corrected_machines() -> dict[str, float]:
    h100, galaxy = device("H100"), device("WH Galaxy")
    return {
        "h100.tflops": h100.peak("bf16") / 1e12,
        "h100.tbs": h100.bandwidth / 1e12,
        "h100.half_tflops": h100.peak("bf16") / 2 / 1e12,
        "h100.half_tbs": h100.bandwidth / 2 / 1e12,
        "h100.node_pflops": GPUS * h100.peak("bf16") / 2 / 1e15,
        "h100.node_tbs": GPUS * h100.bandwidth / 2 / 1e12,
        "h100.ratio": h100.ridge("bf16") / 1e3,
        "wh.pflops": galaxy.peak("bf16") / 2 / 1e15,
        "wh.tbs": galaxy.bandwidth / 2 / 1e12,
        "wh.ratio": galaxy.ridge("bf16") / 1e3,
    }


def _corrected_times(key: str, full: Prediction) -> dict[str, float]:
    total, share = full.estimate.total, HALF.default
    found = {
        f"{key}.compute_s": total.compute_s / share,
        f"{key}.memory_s": total.memory_s / share,
        f"{key}.video_s": full.expected_s,
    }
    cost = full.cost
    if key == "h100" and cost.usd_per_item and cost.usd_per_s and cost.llm_users:
        users = {"llm.users": cost.llm_users, "llm.roughly": cost.llm_users, "video.usd_s": cost.usd_per_s}
        found |= {"h100.videos_h": cost.items_per_hour, "h100.usd": cost.usd_per_item, **users}
    return found


def _corrected_future(c: _Counted, denoise_flops: int) -> dict[str, float]:
    """All matrix work of the transformer, guidance included, at 50 % of dense peaks."""
    future = _Counted.of(c.workload, **FUTURE)
    growth = sum_flops(future.stage.ops, future.env) / sum_flops(c.stage.ops, c.env)
    on_one = denoise_flops * growth / (device("H100").peak("bf16") * HALF.default) / FUTURE_SECONDS
    return {
        "future.tokens": future.tokens / 1e6,
        "future.growth": math.log10(growth),
        "future.gpu": math.log10(on_one),
        "future.node": math.log10(on_one / GPUS),
    }


# ---- from the post's time to ours ----


def _ladder(c: _Counted, full: Prediction, steps: int) -> tuple[Correction, ...]:
    ours = _times(c, Assumed(steps))
    dense = GPUS * device("H100").peak("bf16") * HALF.default
    rate = GPUS * device("H100").bandwidth * HALF.default
    once = c.bytes - c.parts["attn"].bytes * c.layers
    cross = [op for op in c.stage.ops if ".cross_attn" in op.path and op.dims]
    crossing = sum_flops(cross, c.env)
    crossing_bytes = sum(int((op.bits() * op.times)(c.env)) for op in cross) // 8
    guidance = int(full.estimate.sizes["guidance"])
    rows = [_step("the post", ours["h100.compute_s"], ours["h100.memory_s"])]

    def add(what: str, flops: int, moved: int, forwards: int, rate_flops: float = dense) -> None:
        rows.append(_step(what, flops * forwards / rate_flops, moved * forwards / rate))

    sparse = GPUS * _effective("seed:h100")[0]
    add("GiB are 1.07 GB", c.flops, c.bytes, steps, sparse)
    add("attention's bytes once", c.flops, once, steps, sparse)
    add("dense peak", c.flops, once, steps)
    add(f"guidance: {guidance} forwards a step", c.flops, once, steps * guidance)
    add("cross-attention to the text", c.flops + crossing, once + crossing_bytes, steps * guidance)
    return (*rows, *_stages(full))


def _step(what: str, compute_s: float, memory_s: float) -> Correction:
    return Correction(what, compute_s, memory_s, max(compute_s, memory_s))


def _stages(full: Prediction) -> list[Correction]:
    """From the whole transformer on, the time is each operation's larger limit, summed."""
    groups = (
        ("norms, elementwise, embeddings; each operation at its own limit", ("denoise",)),
        ("text encoders", ("text_encoder_ul2", "text_encoder_byt5", "text_encoder_metaclip")),
        ("temporal autoencoder", ("tae_decode",)),
        ("upsampler to 1080 p", ("upsampler_encode", "upsampler", "upsampler_decode")),
    )
    rows, compute, memory, expected = [], 0.0, 0.0, 0.0
    for what, names in groups:
        for stage in full.estimate.stages:
            if stage.name in names:
                compute += stage.compute_s / HALF.default
                memory += stage.memory_s / HALF.default
                expected += stage.expected_s
        rows.append(Correction(what, compute, memory, expected))
    return rows


def _notes(full: Prediction) -> tuple[str, ...]:
    return (
        f"corrected: the whole pipeline, {full.limit_s:,.1f} s on 8xH100 at the limit and "
        f"{full.expected_s:,.1f} s at the post's 50 % (of dense peaks); devices share the work perfectly. "
        "Layer, model and timestep rows are those of the transformer alone.",
        "The upsampler's sizes are ours, not published; `frameroof predict movie-gen` lists what is assumed.",
    )
