"""Figure 5: arithmetic intensity, as the paper defines it and as bytes moved, on a device's roofline."""

from __future__ import annotations

from collections.abc import Sequence

from ...roofline import Roofline
from .claims import ABSENT, by_model, claim, number, statement
from .shares import of_family, partly
from .source import Claim, Experiment, Row, Source, about, columns
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
    "peak [FLOP/s]: dense peak of the machine in the models' type of number; None: unknown",
    "bandwidth [byte/s]: of the machine's memory; None: unknown",
    "ridge [FLOP/byte]: where the machine's roofline bends: peak over bandwidth",
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
        columns=FIGURE_5_COLUMNS,
        rows=tuple(rows),
        claims=(*_height_claims(source, rows), *_bound_claims(source, rows)),
        **about(source, *partly(source), "A model's capacity is its weights at 2 bytes each."),
    )


def _height_claims(source: Source, rows: Sequence[Row]) -> list[Claim]:
    by = {row["model"]: row for row in rows}
    llm, diffusion, transformer = (of_family(source, family) for family in ("llm", "diffusion", "transformer"))
    pictures = [name for name in diffusion if model(name).modality == "image"]
    capacity = {name: row["intensity_capacity"] for name, row in by.items()}
    over = [capacity[picture] / capacity[text] for picture in pictures for text in llm]
    moved = [by[picture]["intensity_bytes"] / by[text]["intensity_bytes"] for picture in pictures for text in llm]
    apart = min((capacity[n] for n in diffusion), default=0) > max((capacity[n] for n in transformer), default=0)
    why = f"FLOPs over capacity: {by_model(capacity, '')}."
    more = ""
    if over:
        more = (
            " An LLM's is about its number of tokens, prompt and answer; a diffusion model's grows with every step. So "
            f"the ratio is a choice of lengths: with {number(max(over) / 100, 'x')} the tokens of our LLM it would be "
            f"100. By bytes moved it is {number(max(moved), 'x')}."
        )
    return [
        claim(
            "Diffusion image models have up to 100 times the arithmetic intensity of LLMs",
            "I, II-C",
            (100.0,),
            [max(over)] if over else [],
            "x",
            why + more,
        ),
        statement(
            "Diffusion models have the higher intensity than transformer models",
            "II-C, figure 5",
            "all",
            "all" if apart else "not all",
            apart if diffusion and transformer else None,
            f"{why} Every denoising step uses the same weights again.",
        ),
    ]


def _bound_claims(source: Source, rows: Sequence[Row]) -> list[Claim]:
    by = {row["model"]: row for row in rows}
    known = all(row["bound"] for row in rows)
    untested = ABSENT if known else f"Peak and bandwidth of {source.machine} are not known."

    def bounds(names: Sequence[str], column: str = "bound") -> str:
        return ", ".join(f"{name}: {by[name][column]}" for name in names)

    diffusion, transformer = (of_family(source, family) for family in ("diffusion", "transformer"))
    return [
        statement(
            "Diffusion models are bound by compute",
            "figure 5",
            "all",
            bounds(diffusion),
            all(by[n]["bound"] == "compute" for n in diffusion) if diffusion and known else None,
            "By bytes moved against the ridge of the machine. The paper sets FLOPs over capacity beside a ridge of "
            f"FLOPs over bytes moved, two different quantities; by its definition: "
            f"{bounds(diffusion, 'bound_by_capacity')}.",
            untested,
        ),
        statement(
            "Transformer models are bound by memory at small batches",
            "II-C, figure 5",
            "all",
            bounds(transformer),
            all(by[n]["bound"] == "memory" for n in transformer) if transformer and known else None,
            "By bytes moved. Models that decode in parallel (Muse, Phenaki) read their weights once for all "
            "tokens of a step; Parti reads them for every token.",
            untested,
        ),
    ]


def _roof(source: Source) -> Roofline | None:
    """That of the source's machine, None where its peak is not known."""
    node = source.node
    return Roofline(node.device) if node and source.dtype in node.device.dense_flops else None


def _row(source: Source, name: str, roof: Roofline | None) -> Row:
    work, capacity = source.work(name, "flash", {}), source.parameters(name) * BYTES_PER_PARAMETER
    flops, moved, spent = (int(work[column].sum()) for column in ("flops", "bytes", "time_ns"))

    def side(bytes: int) -> str | None:
        return roof.limit(flops=flops, unit=source.dtype, bytes=bytes).bound if roof else None

    return {
        "model": name,
        "title": model(name).title,
        "family": model(name).family,
        "flops": flops,
        "weight_bytes": capacity,
        "bytes": moved,
        "intensity_capacity": flops / capacity,
        "intensity_bytes": flops / moved,
        "peak": roof.peak(source.dtype) if roof else None,
        "bandwidth": roof.bandwidth if roof else None,
        "ridge": roof.device.ridge(source.dtype) if roof else None,
        "bound": side(moved),
        "bound_by_capacity": side(capacity),
        "achieved": flops / (spent / 1e9),
    }
