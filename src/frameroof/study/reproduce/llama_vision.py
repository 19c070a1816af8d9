"""The Llama-3.2-Vision post: its numbers from the counted encoder, and what an image adds in full."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

from ... import catalogue
from ...estimate import DEFAULT_UTILIZATION, Utilization
from ...hardware import device, parse_node
from ...workload.records import Workload
from ..predict import Prediction, predict
from .counted import Work, find, layer, layers_of, moved, parameters, stage_of
from .posts import Case, read_post, rows_of
from .records import Correction, Reproduction

ENCODER = "llama3.2-11b-vision-448"  # what the post analyzes
SMALL, LARGE = "llama3.2-11b-vision", "llama3.2-90b-vision"  # 560 px
POST_MFU = 0.4
FULL = Utilization(1.0, source="the post's 100 %")
LAYER = r"(global_)?transformer\.layers\.[^.]+"
PARTS = {
    "wq": rf"{LAYER}\.self_attn\.q_proj",
    "wk": rf"{LAYER}\.self_attn\.k_proj",
    "wv": rf"{LAYER}\.self_attn\.v_proj",
    "attn": rf"{LAYER}\.self_attn",
    "wo": rf"{LAYER}\.self_attn\.o_proj",
    "c_fc": rf"{LAYER}\.mlp\.fc1",
    "c_proj": rf"{LAYER}\.mlp\.fc2",
}
CROSS_QUERY = r".*\.cross_attn\.q_proj"


@dataclass(frozen=True)
class Assumed:
    """What the post takes as given: nothing that a difference comes from."""


@dataclass(frozen=True)
class _Models:
    """The workloads that the post speaks of, and one encoder layer's work by part."""

    base: Workload
    small: Workload
    large: Workload
    parts: Mapping[str, Work]

    @property
    def flops(self) -> int:
        """FLOPs of all encoder layers by the post's list."""
        return sum(part.flops * part.layers for part in self.parts.values())

    @property
    def bytes(self) -> int:
        """Bytes of all encoder layers by the post's list."""
        return sum(part.bytes * part.layers for part in self.parts.values())

    @property
    def layers(self) -> int:
        """Local and global layers."""
        return self.parts["attn"].layers


def reproduce_llama_vision(steps: int | None = None) -> Reproduction:
    """Every number of the post beside ours; it has no denoising steps, so `steps` must be None.

    Raises `ValueError`, a sentence, where it is not.
    """
    if steps is not None:
        raise ValueError(f"llama-3.2-vision has no denoising steps; --steps {steps} is for movie-gen")
    base, small, large = (_until_first_token(name) for name in (ENCODER, SMALL, LARGE))
    models = _Models(base, small, large, _layer(base))
    full = _Full.of(models)
    post = read_post("llama_vision")
    case = Case(cache(lambda a: _ours(models)), Assumed(), _corrected(models, full))
    return Reproduction(
        title=post.title,
        source=post.source,
        rows=rows_of(post, case),
        notes=(*post.notes, *_notes(models, full)),
        corrections=_ladder(models, full),
        corrections_title="From the post's 21.4 ms to what an image adds, on one n300 at 100 %",
    )


def _until_first_token(name: str) -> Workload:
    workload = catalogue.load(name)
    return replace(workload, stages=tuple(s for s in workload.stages if s.name != "decode"))


def _layer(workload: Workload) -> dict[str, Work]:
    stage = stage_of(workload, "vision_encoder")
    return layer(stage, stage.bind(workload.sizes()), PARTS)


# ---- ours, under the post's assumptions; keys are those of llama_vision.toml ----


def _ours(m: _Models) -> dict[str, float]:
    seed = device("seed:n300")
    n300 = device("n300")
    compute, memory = m.flops / seed.peak("bf16") * 1e3, m.bytes / seed.bandwidth * 1e3
    return {
        **_model(m),
        **_operations(m.parts),
        "layer.flops": m.flops // m.layers,
        "layer.bytes": m.bytes // m.layers,
        "layer.gflops": m.flops / m.layers / 1e9,
        "layer.mb": m.bytes / m.layers / 1e6,
        "all.gflops": m.flops / 1e9,
        "all.mb": m.bytes / 1e6,
        "all.tflops": m.flops / 1e12,
        "all.gb": m.bytes / 1e9,
        "intensity": m.flops / 1e12 / (m.bytes / 1e9),
        "n300.tflops": n300.peak("fp8") / 1e12,
        "n300.gbs": n300.bandwidth / 1e9,
        "n300.compute_ms": compute,
        "n300.memory_ms": memory,
        "n300.total_ms": max(compute, memory),
        "ttft_ms": max(compute, memory),
        "mfu": 100 * DEFAULT_UTILIZATION.default,
    }


def _model(m: _Models) -> dict[str, float]:
    stage = stage_of(m.base, "vision_encoder")
    env = stage.bind(m.base.sizes())
    (local,) = find(stage, r"transformer\.layers\.[^.]+\.self_attn")
    (beyond,) = find(stage, r"global_transformer\.layers\.[^.]+\.self_attn")
    (projection,) = find(stage_of(m.base, "projector"), r"multi_modal_projector")
    return {
        "local": layers_of(local),
        "global": layers_of(beyond),
        "head_dim": local.dims["d"](env),
        "tokens": local.dims["q"](env),
        "projection": projection.dims["k"](env),
        "cross_11b": _cross_layers(m.base),
        "cross_90b": _cross_layers(m.large),
        "more_11b": _beyond(m.base, "llama3.1-8b") / 1e9,
        "more_90b": _beyond(m.large, "llama3.1-70b") / 1e9,
        "cross_ratio": _cross_parameters(m.large) / _cross_parameters(m.base),
        "vision_same": parameters(m.large, "vision_encoder") / parameters(m.small, "vision_encoder"),
    }


def _operations(parts: Mapping[str, Work]) -> dict[str, float]:
    found: dict[str, float] = {f"{name}.bytes": part.bytes for name, part in parts.items()}
    found |= {f"{name}.flops": part.flops for name, part in parts.items() if name != "attn"}
    return found | dict.fromkeys(("scores.flops", "attn_out.flops"), parts["attn"].flops // 2)


def _cross_layers(workload: Workload) -> int:
    return sum(layers_of(op) for op in find(stage_of(workload, "prefill"), CROSS_QUERY))


def _cross_parameters(workload: Workload) -> int:
    """Parameters that the cross-attention layers add: the text side beyond the plain language model."""
    return parameters(workload, "prefill") - parameters(_plain(workload), "prefill")


def _plain(workload: Workload) -> Workload:
    return catalogue.load("llama3.1-70b" if workload.name == LARGE else "llama3.1-8b")


def _beyond(workload: Workload, plain: str) -> int:
    return parameters(workload) - parameters(catalogue.load(plain))


# ---- corrected: the full estimate ----


@dataclass(frozen=True)
class _Full:
    """Predictions on one n300 at 100 %: the base model, the instruct model, and the plain Llama."""

    base: Prediction
    small: Prediction
    plain: Prediction

    @staticmethod
    def of(models: _Models) -> _Full:
        workloads = (models.base, models.small, _until_first_token("llama3.1-8b"))
        base, small, plain = (predict(w, parse_node("n300"), utilization=FULL, cold=True) for w in workloads)
        return _Full(base, small, plain)


def _corrected(m: _Models, full: _Full) -> dict[str, float]:
    encoder = next(s for s in full.base.estimate.stages if s.name == "vision_encoder")
    blocks = [op for op in encoder.ops if "transformer.layers." in op.op.path]
    flops = sum(op.flops for op in blocks) // m.layers
    layer_bytes = sum(op.bytes for op in blocks) // m.layers
    n300 = device("n300")
    (large_tokens,) = (
        op.dims["q"](m.small.sizes())
        for op in find(stage_of(m.small, "vision_encoder"), r"transformer\.layers\.[^.]+\.self_attn")
    )
    return {
        **{name: value for name, value in _operations(m.parts).items() if name.endswith(".flops")},
        **_moved(m.base),
        "tokens": large_tokens,
        "layer.flops": flops,
        "layer.bytes": layer_bytes,
        "layer.gflops": flops / 1e9,
        "layer.mb": layer_bytes / 1e6,
        "all.gflops": encoder.flops / 1e9,
        "all.mb": encoder.bytes / 1e6,
        "all.tflops": encoder.flops / 1e12,
        "all.gb": encoder.bytes / 1e9,
        "intensity": encoder.intensity / 1e3,
        "n300.tflops": n300.peak("bf16") / 1e12,
        "n300.gbs": n300.bandwidth / 1e9,
        "n300.compute_ms": encoder.compute_s * 1e3,
        "n300.memory_ms": encoder.memory_s * 1e3,
        "n300.total_ms": encoder.limit_s * 1e3,
        "ttft_ms": (full.small.limit_s - full.plain.limit_s) * 1e3,
    }


def _moved(workload: Workload) -> dict[str, float]:
    """Bytes of one call of each part with mask and bias."""
    stage = stage_of(workload, "vision_encoder")
    env = stage.bind(workload.sizes())
    return {f"{name}.bytes": moved(find(stage, pattern)[0], env) for name, pattern in PARTS.items()}


def _ladder(m: _Models, full: _Full) -> tuple[Correction, ...]:
    seed = device("seed:n300")
    n300 = device("n300")
    compute, memory = m.flops / seed.peak("bf16"), m.bytes / seed.bandwidth
    rows = [Correction("the post", compute, memory, max(compute, memory))]
    compute = m.flops / n300.peak("bf16")
    rows.append(Correction("dense bf16 peak", compute, memory, max(compute, memory)))
    base, small = (_sums(p, "vision_encoder") for p in (full.base, full.small))
    rows.append(Correction("mask, norms, elementwise; each operation at its own limit", *base))
    rows.append(Correction("560-px tiles", *small))
    total = _plus(small, _sums(full.small, "projector"))
    rows.append(Correction("projection of the vision tokens", *total))
    beyond = _plus(_sums(full.small, "prefill"), _sums(full.plain, "prefill"), -1)
    what = "cross-attention layers of the text model (2048-token prompt)"
    rows.append(Correction(what, *_plus(total, beyond)))
    return tuple(rows)


Times = tuple[float, float, float]


def _sums(prediction: Prediction, name: str) -> Times:
    stage = next(s for s in prediction.estimate.stages if s.name == name)
    return stage.compute_s, stage.memory_s, stage.limit_s


def _plus(a: Times, b: Times, sign: int = 1) -> Times:
    return a[0] + sign * b[0], a[1] + sign * b[1], a[2] + sign * b[2]


def _notes(m: _Models, full: _Full) -> tuple[str, ...]:
    seed = device("seed:n300")
    at_mfu = m.flops / seed.peak("bf16") / POST_MFU * 1e3
    ttft = (full.small.limit_s - full.plain.limit_s) / POST_MFU * 1e3
    share = _cross_parameters(m.large) / _beyond(m.large, "llama3.1-70b")
    encoder, projector = (_flops(full.base, name) for name in ("vision_encoder", "projector"))
    return (
        f"At the post's 40 % MFU its encoder takes {at_mfu:.1f} ms and the corrected addition {ttft:,.0f}.",
        f"Cross-attention layers hold {share:.0%} of what 90B has beyond 70B; the rest is vision.",
        f"The projection from 7680 is {projector / encoder:.1%} of the encoder's FLOPs.",
        "corrected: the 448-px encoder in full, at the limit on dense bf16 peaks; TTFT is that of the 560-px "
        "instruct model.",
    )


def _flops(prediction: Prediction, name: str) -> int:
    return next(s.flops for s in prediction.estimate.stages if s.name == name)
