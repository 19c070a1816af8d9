"""Table I and figure 4: what the models are, from counts, and quality against size, from published figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec
import numpy as np

from ...estimate.eager import Counted
from ...workload.fold import unfold
from .claims import claim, contradiction, measured_note, statement
from .predicted import passes_of, workload_of
from .source import Claim, Column, Experiment, Row, Source, columns
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
DEPTHS = {"muse": (48, 2048), "parti": (80, 4096)}  # layers and width
TRAINED_ENCODER = ("parti",)  # its text encoder is trained with it and counted by its paper
GENERATORS = ("denoise", "super_resolution", "interpolate", "base", "decode", "text_keys_values")


def table_1(source: Source) -> Experiment:
    """Taxonomy: parameters, layers, widths, where attention is; compute, memory and latency from counts (Table I)."""
    images = [name for name in source.models() if model(name).modality == "image"]
    rows = [_described(source, name) for name in images]
    compared = [row for row in rows if row["model"] in PRINTED]
    for column, key in (("compute", "flops"), ("memory", "weight_bytes"), ("latency", "time_s")):
        known = [row[key] for row in compared]
        for row in rows:
            row[column] = level(row[key], known) if known else None
            row[f"paper_{column}"] = _printed(row["model"], column)
    columns = [
        ("model", "", "name in the suite"),
        ("title", "", "the model"),
        ("architecture", "", "family and space"),
        ("parameters", "", "all parts"),
        ("generator_parameters", "", "without image decoder and frozen text encoder"),
        ("paper_parameters", "", "Table I"),
        ("layers", "", "attention layers of the generator, cross-attention apart"),
        ("base_layers", "", "the same in the first generator, with the text encoder where it is trained with it"),
        ("width", "", "heads x head dimension of the widest attention"),
        ("head_channels", "", "head dimensions that occur"),
        ("heads", "", "numbers of heads that occur"),
        ("attention_tokens", "", "query lengths of self-attention in one pass, falling"),
        ("flops", "FLOP", "one image, all steps"),
        ("weight_bytes", "byte", "all weights, 2 bytes each"),
        ("time_s", "s", "one image, flash attention"),
    ]
    columns += [
        (f"{p}{c}", "", f"class{' in Table I' if p else ''}")
        for c in ("compute", "memory", "latency")
        for p in ("", "paper_")
    ]
    return Experiment(
        id="table-1",
        title="Taxonomy of text-to-image models",
        how=source.how,
        machine=source.machine,
        columns=tuple(Column(*c) for c in columns),
        rows=tuple(rows),
        claims=tuple(_table_1_claims(rows)),
        assumptions=(
            *source.assumptions,
            *measured_note(source),
            "Layers, widths and lengths are read from the counted workload at its default sizes. A class is the third "
            "of the logarithmic range between the least and the most of Table I's four models.",
        ),
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
    calls = [
        work
        for run in passes_of(name, "flash")
        if run.stage.name.startswith(GENERATORS)
        for work in run.work
        if work.fused_attention
    ]
    own = [work for work in calls if work.op.attrs["role"] == "self"]

    def of(which: Sequence[Counted], dim: str) -> list[int]:
        return sorted({int(np.max(work.dims[dim])) for work in which})

    generator: dict[str, int] = {}
    for stage in workload_of(name, "flash").stages:
        if stage.name.startswith(GENERATORS) or (stage.name == "text_encoder" and name in TRAINED_ENCODER):
            generator[stage.weights_name or stage.name] = sum(stage.weights.values())
    widths = [int(work.dims["d"] * work.dims["heads"]) for work in calls]
    parameters = source.parameters(name)
    return {
        "model": name,
        "title": described.title,
        "architecture": f"{described.family} {described.space}".strip(),
        "parameters": parameters,
        "generator_parameters": sum(generator.values()),
        "paper_parameters": PRINTED[name][0] if name in PRINTED else None,
        "layers": sum(len(unfold(work.op.path)) for work in own),
        "base_layers": _base_layers(name),
        "width": max(widths),
        "head_channels": of(calls, "d"),
        "heads": of(calls, "heads"),
        "attention_tokens": of(own, "q")[::-1],
        "flops": int(work["flops"].sum()),
        "weight_bytes": parameters * 2,
        "time_s": int(work["time_ns"].sum()) / 1e9,
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
    return first + (layers.get("text_encoder", 0) if name in TRAINED_ENCODER else 0)


def _table_1_claims(rows: Sequence[Row]) -> list[Claim]:
    out = []
    for row in rows:
        if row["paper_parameters"]:
            out.append(
                claim(
                    f"{row['title']} has {row['paper_parameters'] / 1e9:g} billion parameters",
                    "Table I",
                    (row["paper_parameters"] / 1e9,),
                    (row["generator_parameters"] / 1e9,),
                    "billion",
                    f"Counted without image decoder and frozen text encoder; {row['parameters'] / 1e9:.3g} "
                    "billion with them. " + MODELS[row["model"]].note,
                )
            )
    listed = [row for row in rows if row["model"] in PRINTED]
    for column in ("compute", "memory", "latency"):
        paper = ", ".join(f"{r['title']} {r[f'paper_{column}']}" for r in listed)
        ours = ", ".join(f"{r['title']} {r[column]}" for r in listed)
        same = sum(r[column] == r[f"paper_{column}"] for r in listed)
        out.append(
            statement(
                f"Classes of {column}",
                "Table I",
                paper,
                ours,
                same == len(listed) if len(listed) == len(PRINTED) else None,
                f"{same} of {len(listed)} alike. The paper gives no thresholds; ours are thirds of the "
                "logarithmic range.",
            )
        )
    return [*out, *_shape_claims(listed)]


def _shape_claims(listed: Sequence[Row]) -> list[Claim]:
    out = []
    for row in listed:
        if row["model"] in DEPTHS:
            layers, width = DEPTHS[row["model"]]
            out.append(
                claim(
                    f"{row['title']} has {layers} layers",
                    "Table I",
                    (layers,),
                    (row["base_layers"],),
                    "",
                    f"Of the first generator, with an encoder trained with it; {row['layers']} in all generators.",
                )
            )
            out.append(claim(f"{row['title']} has width {width}", "Table I", (width,), (row["width"],)))
        if row["model"] in PER_HEAD_CHANNELS:
            said = PER_HEAD_CHANNELS[row["model"]]
            heads = said in row["heads"] and said not in row["head_channels"]
            why = f"It is the number of heads; a head has {row['head_channels']} channels." if heads else ""
            out.append(
                statement(
                    f"{row['title']} has {said} channels per head",
                    "Table I",
                    str(said),
                    ", ".join(map(str, row["head_channels"])),
                    said in row["head_channels"],
                    why,
                )
            )
    return out


# ------------------------------------------------------------------------------------------- figure 4


class Quality(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One published model: parameters and zero-shot FID on COCO, with where each was read."""

    name: str
    family: str
    parameters: float
    fid: float
    parameters_source: str
    fid_source: str
    suite: str = ""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    date: str
    model: tuple[Quality, ...]


@cache
def published() -> tuple[Quality, ...]:
    """The models of `quality.toml`."""
    return msgspec.toml.decode(Path(__file__).with_name("quality.toml").read_bytes(), type=_File).model


def pareto(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which points no other point beats: none is at most as large in both and smaller in one."""
    return [not any(o != p and o[0] <= p[0] and o[1] <= p[1] for o in points) for p in points]


FIGURE_4_COLUMNS = columns(
    "model: name in the suite, where it is in it",
    "title: the model",
    "family: diffusion or transformer",
    "parameters: trainable parameters, published",
    "fid: FID on COCO without training on it, published; lower is better",
    "pareto: no listed model is both smaller and better",
    "parameters_source: where the parameters were read",
    "fid_source: where the FID was read",
)


def figure_4(source: Source) -> Experiment:
    """Quality against size of published models, and which are on the Pareto front (figure 4)."""
    models = published()
    front = pareto([(m.parameters, m.fid) for m in models])
    rows: list[Row] = [
        {
            "model": m.suite,
            "title": m.name,
            "family": m.family,
            "parameters": m.parameters,
            "fid": m.fid,
            "pareto": on,
            "parameters_source": m.parameters_source,
            "fid_source": m.fid_source,
        }
        for m, on in zip(models, front, strict=True)
    ]
    on_front = [r["title"] for r in rows if r["pareto"]]
    parti = next(m for m in models if m.name == "Parti").parameters
    imagen = next(m for m in models if m.name == "Imagen").parameters
    fids = {f: min(m.fid for m in models if m.family == f) for f in ("diffusion", "transformer")}
    return Experiment(
        id="figure-4",
        title="Published quality against size",
        how=source.how,
        machine=source.machine,
        columns=FIGURE_4_COLUMNS,
        rows=tuple(rows),
        claims=(
            statement(
                "Imagen, Stable Diffusion and Parti are on the Pareto front",
                "II-C",
                "all three",
                ", ".join(on_front),
                {"Imagen", "Stable Diffusion (LDM)", "Parti"} <= set(on_front),
                f"Among the {len(rows)} models listed here.",
            ),
            contradiction(
                "Parti's parameters over those of the diffusion models it betters",
                "II-C and Table I",
                (
                    ("4x the parameter count (II-C)", 4.0, 4.0),
                    (f"{parti / imagen:.3g}x: 20 over 3 billion (Table I)", parti / imagen, parti / imagen),
                ),
                parti / imagen,
                "x",
            ),
            statement(
                "Parti has the better FID than the diffusion models",
                "II-C",
                "better",
                f"best transformer {fids['transformer']:g}, best diffusion {fids['diffusion']:g}",
                fids["transformer"] < fids["diffusion"],
            ),
        ),
        assumptions=(
            "Published figures, nothing measured or counted here: study/characterize/quality.toml, with sources.",
        ),
    )
