"""Table I and figure 4: what the models are, from counts, and quality against size, from published figures."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from ...estimate.expected import Work
from ...estimate.stages import Pass
from ...workload.fold import unfold
from .claims import claim, counted, number, statement
from .predicted import parameters_of, passes_of, workload_of
from .source import Claim, Experiment, Row, Source, about, columns
from .suite import MODELS, model

LEVELS = ("Low", "Medium", "High")
# Table I as printed: parameters, and the classes of compute, memory and latency.
PRINTED: dict[str, tuple[float, str, str, str]] = {
    "imagen": (3e9, "High", "Medium", "High"),
    "stable-diffusion": (1.45e9, "Medium", "Low", "Medium"),
    "muse": (3e9, "Low", "Low", "Low"),
    "parti": (20e9, "Low", "High", "Medium"),
}
PER_HEAD_CHANNELS = {"imagen": 64, "stable-diffusion": 8}
SHAPES: dict[str, dict[str, object]] = {
    "imagen": {"channel_multipliers": [1, 2, 4, 4], "res_blocks": 3, "text_width": 512},
    "stable-diffusion": {"channel_multipliers": [1, 2, 4, 4], "res_blocks": 2, "text_width": 768},
}
ATTENTION_SIDES = {"imagen": ("sides", [32, 16, 8]), "stable-diffusion": ("factors of the latent's side", [4, 2, 1])}
WHY_PARAMETERS = {
    "stable-diffusion": "1.45 billion is what figure 4 gives the latent diffusion model that came before Stable "
    "Diffusion; version 1.5 has a smaller text encoder, frozen.",
    "muse": "Table I counts the base alone.",
}
FITS = 80e9  # bytes of the paper's A100
DEPTHS = {"muse": (48, 2048), "parti": (80, 4096)}  # layers and width
TEXT = "text_encoder"
TRAINED_ENCODER = ("parti",)  # its text encoder is trained with it and counted by its paper
GENERATORS = ("denoise", "super_resolution", "interpolate", "base", "decode", "text_keys_values")


TABLE_1_COLUMNS = columns(
    "model: name in the suite",
    "title: the model",
    "architecture: family and space",
    "parameters: all parts",
    "generator_parameters: without image decoder and frozen text encoder",
    "base_parameters: of the first generator, with a text encoder that is trained with it",
    "paper_parameters: Table I",
    "layers: self-attention layers of all generators",
    "base_layers: the same in the first generator, with the text encoder where it is trained with it",
    "width: heads x head dimension of the widest attention",
    "channel_multipliers: channels of each level of the first U-Net over those of its first; None: no U-Net",
    "res_blocks: residual blocks of a level, down; None: no U-Net",
    "attention_sides: height of the picture or latent where self-attention is, in the first generator, falling",
    "text_width: channels of the text that cross-attention reads in the first generator",
    "head_channels: head dimensions that occur",
    "heads: numbers of heads that occur",
    "attention_tokens: query lengths of self-attention in one pass, falling",
    "flops [FLOP]: one image, all steps",
    "weight_bytes [byte]: all weights of the full model, 2 bytes each",
    "time_s [s]: one image, flash attention",
    *(f"{p}{c}: class{' in Table I' if p else ''}" for c in ("compute", "memory", "latency") for p in ("", "paper_")),
)


def table_1(source: Source) -> Experiment:
    """Taxonomy: parameters, layers, widths, where attention is; compute, memory and latency from counts (Table I)."""
    images = [name for name in source.models() if model(name).modality == "image"]
    rows = [_described(source, name) for name in images if _generates(name)]
    compared = [row for row in rows if row["model"] in PRINTED]
    for column, key in (("compute", "flops"), ("memory", "weight_bytes"), ("latency", "time_s")):
        known = [row[key] for row in compared]
        for row in rows:
            row[column] = level(row[key], known) if known else None
            row[f"paper_{column}"] = _printed(row["model"], column)
    return Experiment(
        id="table-1",
        title="Taxonomy of text-to-image models",
        columns=TABLE_1_COLUMNS,
        rows=tuple(rows),
        claims=(*counted(_size_claims(rows)), *_class_claims(rows), *counted(_shape_claims(rows))),
        **about(
            source,
            "Parameters, layers, widths and lengths are counted from the full model at its published sizes; compute "
            "and latency are those of the run. A class is the third of the logarithmic range between the least and "
            "the most of Table I's four models.",
        ),
    )


def _generates(name: str) -> bool:
    """Whether a model has a stage that generates, with attention: a workload file may hold anything."""
    runs = [run for run in passes_of(name, "flash") if run.stage.name.startswith(GENERATORS)]
    return any(each.fused_attention for run in runs for each in run.work) and any(
        part != TEXT for part in _generator_parameters(name)
    )


def level(value: float, known: Sequence[float]) -> str:
    """Low, Medium or High: the third of the logarithmic range of `known` in which `value` lies."""
    low, high = math.log(min(known)), math.log(max(known))
    if high == low:
        return LEVELS[0]
    place = (math.log(value) - low) / (high - low)
    return LEVELS[min(max(int(place * 3), 0), 2)]


def _printed(name: str, column: str) -> str | None:
    if name not in PRINTED:
        return None
    _, compute, memory, latency = PRINTED[name]
    return {"compute": compute, "memory": memory, "latency": latency}[column]


def _described(source: Source, name: str) -> Row:
    described, work = model(name), source.work(name, "flash", {})
    generators = [run for run in passes_of(name, "flash") if run.stage.name.startswith(GENERATORS)]
    calls = [each for run in generators for each in run.work if each.fused_attention]
    own = [each for each in calls if each.op.attrs["role"] == "self"]

    def of(which: Sequence[Work], dim: str) -> list[int]:
        return sorted({int(np.max(each.dims[dim])) for each in which})

    parameters = sum(parameters_of(name).values())
    generator = _generator_parameters(name)
    return {
        "model": name,
        "title": described.title,
        "architecture": f"{described.family} {described.space}".strip(),
        "parameters": parameters,
        "generator_parameters": sum(generator.values()),
        "base_parameters": next(n for part, n in generator.items() if part != TEXT) + generator.get(TEXT, 0),
        "paper_parameters": PRINTED[name][0] if name in PRINTED else None,
        "layers": sum(len(unfold(each.op.path)) for each in own),
        "base_layers": _base_layers(name),
        "width": max(int(each.dims["d"] * each.dims["heads"]) for each in calls),
        **_unet_shape(generators),
        "head_channels": of(calls, "d"),
        "heads": of(calls, "heads"),
        "attention_tokens": of(own, "q")[::-1],
        "flops": int(work["flops"].sum()),
        "weight_bytes": parameters * 2,
        "time_s": int(work["time_ns"].sum()) / 1e9,
    }


def _generator_parameters(name: str) -> dict[str, int]:
    """Parameters of what generates, by its weights' name, in the order of the run."""
    found: dict[str, int] = {}
    for stage in workload_of(name, "flash").stages:
        if stage.name.startswith(GENERATORS) or (stage.name == TEXT and name in TRAINED_ENCODER):
            found[stage.weights_name or stage.name] = sum(stage.weights.values())
    return found


RES_BLOCK = re.compile(r"^(?:down_blocks|down)\.(\d+)\.(?:resnets|res_blocks)\..*conv2(?:\.spatial)?$")
TEXT_KEYS = re.compile(r"(?:attn2\.to_k|cross\w*\.wk)$")


def _unet_shape(generators: Sequence[Pass]) -> Row:
    """Levels of the first generator that has attention, from the shapes of its residual blocks' second convolutions."""
    channels: dict[int, int] = {}
    blocks: dict[int, int] = {}
    text: set[int] = set()
    own: set[int] = set()
    for run in [run for run in generators if any(each.fused_attention for each in run.work)][:1]:
        for each in run.work:
            if each.fused_attention and each.op.attrs["role"] == "self" and each.op.attrs.get("axis") != "temporal":
                own.add(int(np.max(each.dims["q"])))
            for path in unfold(each.op.path):
                if found := RES_BLOCK.match(path):
                    level = int(found[1])
                    channels[level] = int(each.op.writes[0].shape[1](run.env))
                    blocks[level] = blocks.get(level, 0) + 1
                if TEXT_KEYS.search(path) and each.op.kind == "linear":
                    text.add(int(each.dims["k"]))
    least = channels[min(channels)] if channels else 1
    return {
        "channel_multipliers": [channels[level] // least for level in sorted(channels)] if channels else None,
        "res_blocks": max(blocks.values()) if blocks else None,
        "attention_sides": [math.isqrt(tokens) for tokens in sorted(own, reverse=True)] if channels else None,
        "text_width": max(text) if text else None,
    }


def _base_layers(name: str) -> int:
    """Self-attention layers of the first generator that has any, and of a text encoder that is trained with it."""
    layers = {
        run.stage.name: sum(
            len(unfold(work.op.path)) for work in run.work if work.fused_attention and work.op.attrs["role"] == "self"
        )
        for run in passes_of(name, "flash")
    }
    first = next((count for stage, count in layers.items() if stage.startswith(GENERATORS) and count), 0)
    return first + (layers.get(TEXT, 0) if name in TRAINED_ENCODER else 0)


def _size_claims(rows: Sequence[Row]) -> list[Claim]:
    out = []
    for row in rows:
        if row["paper_parameters"]:
            own = row["generator_parameters"] / 1e9
            why = (
                "Counted without image decoder and frozen text encoder; "
                f"{number(row['base_parameters'] / 1e9, 'billion')} in the first generator alone, "
                f"{number(row['parameters'] / 1e9, 'billion')} with every part. "
                f"{WHY_PARAMETERS.get(row['model'], '')} {MODELS[row['model']].note}"
            )
            text = f"{row['title']} has {row['paper_parameters'] / 1e9:g} billion parameters"
            out.append(
                claim(text, "Table I", (row["paper_parameters"] / 1e9,), (own,), "billion", " ".join(why.split()))
            )
    if rows:
        largest = max(rows, key=lambda row: row["weight_bytes"])
        out.append(
            statement(
                "The parameters of every model fit the 80 GB of one A100",
                "III",
                "they fit",
                f"{largest['weight_bytes'] / 1e9:.3g} GB at most ({largest['title']})",
                largest["weight_bytes"] < FITS,
                "All weights at 2 bytes each, of the image models.",
            )
        )
    return out


def _class_claims(rows: Sequence[Row]) -> list[Claim]:
    listed = [row for row in rows if row["model"] in PRINTED]
    whole = len(listed) == len(PRINTED)
    missing = "It takes all four models of Table I."
    out = []
    for column, key, unit in (
        ("compute", "flops", "FLOP"),
        ("memory", "weight_bytes", "B"),
        ("latency", "time_s", "s"),
    ):
        same = sum(r[column] == r[f"paper_{column}"] for r in listed)
        values = ", ".join(f"{r['title']} {r[key]:.2g} {unit}" for r in listed)
        extra = ""
        if column == "memory" and whole:
            known = [r["generator_parameters"] for r in listed]
            extra = " Without frozen text encoders: " + ", ".join(
                f"{r['title']} {level(r['generator_parameters'], known)}" for r in listed
            ) + "."  # fmt: skip
        out.append(
            statement(
                f"Classes of {column}",
                "Table I",
                ", ".join(f"{r['title']} {r[f'paper_{column}']}" for r in listed),
                ", ".join(f"{r['title']} {r[column]}" for r in listed),
                same == len(listed) if whole else None,
                f"{same} of {len(listed)} alike. The paper gives no thresholds; ours are thirds of the logarithmic "
                f"range between the least and the most: {values}.{extra}",
                missing,
            )
        )
    return [*out, *_family_claims(listed, None if whole else missing)]


def _family_claims(listed: Sequence[Row], missing: str | None) -> list[Claim]:
    """What section II-C says of transformer against diffusion models, in words."""
    kinds = {f: [r for r in listed if r["architecture"].startswith(f)] for f in ("transformer", "diffusion")}
    named = (
        ("Transformer image models need less compute than diffusion models", "flops", "FLOP",
         "A token of Parti is computed once. Muse computes all its tokens again in every step, as a U-Net does its "
            "pixels."),
        ("Transformer image models are faster than diffusion models", "time_s", "s",
         "Parti reads all its weights for every token, one after the other; Muse decodes all tokens at once in a few "
            "steps; a U-Net runs once a step."),
    )  # fmt: skip
    out = []
    for text, key, unit, why in named:
        ours = ", ".join(f"{r['title']} {r[key]:.2g} {unit}" for f in kinds.values() for r in f)
        holds = None
        if missing is None:
            holds = max(r[key] for r in kinds["transformer"]) < min(r[key] for r in kinds["diffusion"])
        out.append(statement(text, "II-C", "in general", ours, holds, why, missing or ""))
    return out


def _shape_claims(rows: Sequence[Row]) -> list[Claim]:
    out = []
    for row in rows:
        name, title = row["model"], row["title"]
        if name in DEPTHS:
            layers, width = DEPTHS[name]
            why = f"Of the first generator, with an encoder trained with it; {row['layers']} in all generators."
            out.append(claim(f"{title} has {layers} layers", "Table I", (layers,), (row["base_layers"],), "", why))
            why = "Heads times head dimension of its widest attention."
            out.append(claim(f"{title} has width {width}", "Table I", (width,), (row["width"],), "", why))
        for column, said in SHAPES.get(name, {}).items():
            words, ours = column.replace("_", " "), row[column]
            why = "Read from the convolutions and cross-attention of the first U-Net, as counted."
            out.append(statement(f"{title}: {words} {said}", "Table I", str(said), str(ours), ours == said, why))
        if name in ATTENTION_SIDES:
            out.append(_resolutions(row))
        if name in PER_HEAD_CHANNELS:
            out.append(_head_claim(row, PER_HEAD_CHANNELS[name]))
    return out


def _resolutions(row: Row) -> Claim:
    kind, said = ATTENTION_SIDES[row["model"]]
    sides, ours = row["attention_sides"], row["attention_sides"]
    why = "Sides of the picture at which the base U-Net attends to itself; to the text at the same ones."
    if kind != "sides":
        ours = [sides[0] // side for side in sides][::-1]
        why = (
            f"Ours attends at sides of {', '.join(map(str, sides))} of the latent. Table I lists factors here and "
            "sides for Imagen; the block in the middle, at the lowest resolution, is not in its list."
        )
    holds = set(said) <= set(ours)
    return statement(f"{row['title']} attends at {kind} {said}", "Table I", str(said), str(ours), holds, why)


def _head_claim(row: Row, said: int) -> Claim:
    swapped = said in row["heads"] and said not in row["head_channels"]
    why = (
        f"{said} is the number of heads; a head has {', '.join(map(str, row['head_channels']))} channels."
        if swapped
        else "Head dimensions that occur in the three networks."
    )
    ours = ", ".join(map(str, row["head_channels"]))
    text = f"{row['title']} has {said} channels per head"
    return statement(text, "Table I", str(said), ours, said in row["head_channels"], why)
