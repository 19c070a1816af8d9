"""Figure 5: arithmetic intensity, as the paper defines it and as bytes moved, on a device's roofline."""

from __future__ import annotations

from collections.abc import Sequence

from ...estimate.limits import Machine
from .claims import claim, measured_note, number, statement
from .shares import of_family
from .source import Claim, Experiment, Row, Source, columns, node_of
from .suite import model

BYTES_PER_PARAMETER = 2


FIGURE_5_COLUMNS = columns(
    "model: name in the suite",
    "title: the model",
    "family: family",
    "flops [FLOP]: one run, all steps",
    "weight_bytes [byte]: capacity: weights, 2 bytes each",
    "bytes [byte]: moved in one run, flash attention, elementwise not fused",
    "intensity_capacity [FLOP/byte]: FLOPs over model capacity: the paper's definition",
    "intensity_bytes [FLOP/byte]: FLOPs over bytes moved: the roofline's definition",
    "ridge [FLOP/byte]: where the machine's roofline bends; None where its peak is unknown",
    "bound: compute or memory, by bytes moved",
    "bound_by_capacity: compute or memory, by the paper's definition",
    "achieved [FLOP/s]: FLOPs over the time of a run",
)


def figure_5(source: Source) -> Experiment:
    """FLOPs over model capacity (the paper's intensity) and over bytes moved, on the roofline (figure 5)."""
    roof = _roof(source)
    rows = [_row(source, name, roof) for name in source.models()]
    return Experiment(
        id="figure-5",
        title="Arithmetic intensity and the roofline",
        how=source.how,
        machine=source.machine,
        columns=FIGURE_5_COLUMNS,
        rows=tuple(rows),
        claims=tuple(_claims(source, rows)),
        assumptions=(*source.assumptions, *measured_note(source), "A model's capacity is its weights at 2 bytes each."),
    )


def _claims(source: Source, rows: Sequence[Row]) -> list[Claim]:
    by = {row["model"]: row for row in rows}
    llm = [by[n] for n in of_family(source, "llm")]
    diffusion = [by[n] for n in of_family(source, "diffusion")]
    transformer = [by[n] for n in of_family(source, "transformer")]
    pictures = [r for r in diffusion if model(r["model"]).modality == "image"]
    over = [r["intensity_capacity"] / p["intensity_capacity"] for r in pictures for p in llm]
    moved = [r["intensity_bytes"] / p["intensity_bytes"] for r in pictures for p in llm]
    listed = ", ".join(f"{r['model']} {number(r['intensity_capacity'], '')}" for r in rows)
    apart = min((r["intensity_capacity"] for r in diffusion), default=0) > max(
        (r["intensity_capacity"] for r in transformer), default=0
    )
    known = all(row["bound"] for row in rows)
    return [
        claim(
            "Diffusion image models have up to 100 times the arithmetic intensity of LLMs",
            "I, II-C",
            (100.0,),
            [max(over)] if over else [],
            "x",
            f"FLOPs over capacity: {listed}. It rises with every denoising step. By bytes moved it is "
            f"{number(max(moved), 'x') if moved else 'unknown'}.",
        ),
        statement(
            "Diffusion models have the higher intensity than transformer models",
            "figure 5",
            "all",
            "all" if apart else "not all",
            apart if diffusion and transformer else None,
            f"{listed}.",
        ),
        statement(
            "Diffusion models are bound by compute",
            "figure 5",
            "all",
            ", ".join(f"{r['model']}: {r['bound']}" for r in diffusion),
            all(r["bound"] == "compute" for r in diffusion) if diffusion and known else None,
            "By bytes moved. The paper sets FLOPs over capacity beside a ridge of FLOPs over bytes moved: two "
            "different quantities; by its definition: "
            + ", ".join(f"{r['model']}: {r['bound_by_capacity']}" for r in diffusion)
            + ".",
        ),
        statement(
            "Transformer models are bound by memory at small batches",
            "figure 5",
            "all",
            ", ".join(f"{r['model']}: {r['bound']}" for r in transformer),
            all(r["bound"] == "memory" for r in transformer) if transformer and known else None,
            "By bytes moved. Models that decode in parallel (Muse, Phenaki) read their weights once for all "
            "tokens of a step.",
        ),
    ]


def _roof(source: Source) -> tuple[float, float] | None:
    """Peak FLOP/s in bf16 and bytes per second of the source's machine, None where it is not a known device."""
    node = node_of(source)
    return (Machine(node).peak("bf16"), node.bandwidth) if node and "bf16" in node.device.dense_flops else None


def _row(source: Source, name: str, roof: tuple[float, float] | None) -> Row:
    work, capacity = source.work(name, "flash", {}), source.parameters(name) * BYTES_PER_PARAMETER
    flops, moved, spent = (int(work[column].sum()) for column in ("flops", "bytes", "time_ns"))
    ridge = roof[0] / roof[1] if roof else None

    def side(intensity: float) -> str | None:
        return None if ridge is None else "compute" if intensity >= ridge else "memory"

    return {
        "model": name,
        "title": model(name).title,
        "family": model(name).family,
        "flops": flops,
        "weight_bytes": capacity,
        "bytes": moved,
        "intensity_capacity": flops / capacity,
        "intensity_bytes": flops / moved,
        "ridge": ridge,
        "bound": side(flops / moved),
        "bound_by_capacity": side(flops / capacity),
        "achieved": flops / (spent / 1e9),
    }
