"""Figure 4: quality against size of published models, nothing counted or measured; sources in `quality.toml`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec

from .claims import contradiction, statement
from .source import Claim, Experiment, Row, Source, columns


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


def figure_4(_: Source) -> Experiment:
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
    return Experiment(
        id="figure-4",
        title="Published quality against size",
        how="published",
        machine="",
        columns=FIGURE_4_COLUMNS,
        rows=tuple(rows),
        claims=tuple(_claims(rows)),
        assumptions=(
            "Published figures, nothing measured or counted here: study/characterize/quality.toml, with sources. The "
            "paper plots 15 models; these are those whose numbers could be read.",
        ),
    )


def _claims(rows: Sequence[Row]) -> list[Claim]:
    by = {row["title"]: row for row in rows}
    size = {title: row["parameters"] for title, row in by.items()}
    on_front = [title for title, row in by.items() if row["pareto"]]
    parti = [size["Parti"] / size[title] for title in ("Imagen", "Stable Diffusion (LDM)")]
    best, which = min((row["fid"], title) for title, row in by.items() if row["family"] == "diffusion")
    alike = [(d, t) for d in rows for t in rows if d["family"] == "diffusion" and t["family"] == "transformer"
             and 0.5 < d["parameters"] / t["parameters"] < 2]  # fmt: skip
    better = [d["fid"] < t["fid"] for d, t in alike]
    return [
        statement(
            "Imagen, Stable Diffusion and Parti are on the Pareto front",
            "II-C",
            "all three",
            ", ".join(on_front),
            {"Imagen", "Stable Diffusion (LDM)", "Parti"} <= set(on_front),
            f"Among the {len(rows)} models listed here none is both smaller and better than these.",
        ),
        contradiction(
            "Parti's parameters over those of the diffusion models on the front that it betters",
            "II-C and Table I",
            (
                ("4x the parameter count (II-C)", 4.0, 4.0),
                (
                    f"{parti[0]:.3g}x of Imagen's and {parti[1]:.3g}x of Stable Diffusion's (Table I)",
                    min(parti),
                    max(parti),
                ),
            ),
            parti[0],
            "x",
        ),
        statement(
            "Parti has the better FID than the diffusion models",
            "II-C",
            "better",
            f"{by['Parti']['fid']:g} against {best:g} at best ({which})",
            by["Parti"]["fid"] < best,
            f"By {best - by['Parti']['fid']:.2g} of FID, the lower the better.",
        ),
        statement(
            "Diffusion models tend to have the better quality at the same number of parameters",
            "II-C",
            "tend to",
            f"better in {sum(better)} of {len(better)} pairs",
            sum(better) > len(better) / 2,
            "Pairs of a diffusion and a transformer model whose parameters are within a factor of 2: "
            + ", ".join(f"{d['title']} {d['fid']:g} and {t['title']} {t['fid']:g}" for d, t in alike)
            + ".",
        ),
    ]
