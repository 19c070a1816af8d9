"""Figure 7: where the time goes with baseline and flash attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from ...trace.resolve.classify import ATTENTION, CLASSES, CONVOLUTION, GROUP_NORM, LINEAR
from .claims import by_model, claim, number, statement
from .source import Attention, Claim, Experiment, Row, Source, about, columns
from .suite import GOLDEN, model

KINDS: tuple[Attention, Attention] = ("baseline", "flash")
# The paper's shares of attention after flash (section IV-A), by family.
AFTER = {"llm": (0.37, 0.45), "transformer": (0.37, 0.45), "diffusion": (0.13, 0.25)}


def seconds_by_class(work: pl.DataFrame) -> dict[str, float]:
    """Seconds of each class, in the order of `CLASSES`; classes without work are left out."""
    found = dict(work.group_by("class").agg(pl.col("time_ns").sum()).iter_rows())
    return {name: found[name] / 1e9 for name in CLASSES if found.get(name)}


def of_family(source: Source, *families: str, space: str | None = None) -> list[str]:
    """The source's models of these families among the paper's eight: its claims are about those alone."""
    named = ((name, model(name)) for name in source.models() if name in GOLDEN)
    return [name for name, m in named if m.family in families and (space is None or m.space == space)]


def partly(source: Source) -> tuple[str, ...]:
    """What a claim over several models is judged by, where not all eight are studied."""
    here = [model(name).title for name in GOLDEN if name in source.models()]
    if len(here) in (0, len(GOLDEN)):
        return ()
    return (f"Claims over several models are judged by those of the paper's eight that are here: {', '.join(here)}.",)


FIGURE_7_COLUMNS = columns(
    "model: name in the suite",
    "title: the model",
    "family: llm, diffusion or transformer, as the paper groups them",
    "attention: baseline (similarity matrix in memory) or flash",
    "class: class of operation",
    "time_s [s]: time of the class in one run",
    "of_baseline: time over the whole time with baseline attention: the height in the figure",
    "share: share of the run with this attention",
)


def figure_7(source: Source) -> Experiment:
    """Operator breakdown, baseline and flash, normalized to each model's baseline (figure 7)."""
    run, base = class_shares(source), class_shares(source, base=True)
    rows: list[Row] = []
    for name in source.models():
        times = {kind: seconds_by_class(source.work(name, kind, {})) for kind in KINDS}
        baseline = sum(times["baseline"].values())
        for kind in KINDS:
            rows += [
                {
                    "model": name,
                    "title": model(name).title,
                    "family": model(name).family,
                    "attention": kind,
                    "class": c,
                    "time_s": t,
                    "of_baseline": t / baseline,
                    "share": run[name][kind][c],
                }
                for c, t in times[kind].items()
            ]
    return Experiment(
        id="figure-7",
        title="Operator breakdown with baseline and flash attention",
        columns=FIGURE_7_COLUMNS,
        rows=tuple(rows),
        claims=(*_before(source, run, base), *_after(source, run, base)),
        **about(source, *partly(source)),
    )


Shares = Mapping[str, Mapping[str, Mapping[str, float]]]
BASES = ("denoise", "base", "decode", "prefill")


def class_shares(source: Source, base: bool = False) -> dict[str, dict[str, dict[str, float]]]:
    """Share of each class by model and attention, of the whole run or of the base stage alone.

    The base stage is the first that generates: without text encoder, super-resolution, interpolation and decoder.
    """
    out: dict[str, dict[str, dict[str, float]]] = {}
    for name in source.models():
        for kind in KINDS:
            work = source.work(name, kind, {})
            if base:
                stages = work["stage"].unique(maintain_order=True).to_list()
                first = next((stage for stage in stages if stage.startswith(BASES)), stages[0])
                work = work.filter(pl.col("stage") == first)
            times = seconds_by_class(work)
            whole = sum(times.values())
            out.setdefault(name, {})[kind] = {c: t / whole for c, t in times.items()}
    return out


@dataclass(frozen=True)
class Ask:
    """Which share: of a class in these models with one attention; `run` of the whole run, `base` of the base stage."""

    run: Shares
    base: Shares
    names: Sequence[str]
    attention: Attention
    wanted: str

    def of(self, shares: Shares) -> dict[str, float]:
        """The share of each model."""
        return {name: shares[name][self.attention].get(self.wanted, 0.0) for name in self.names}

    @property
    def values(self) -> list[float]:
        """The shares of the whole run."""
        return list(self.of(self.run).values())

    @property
    def most(self) -> list[float]:
        """The largest of them."""
        return [max(self.values)] if self.values else []

    @property
    def mean(self) -> list[float]:
        """Their mean."""
        return [sum(self.values) / len(self.values)] if self.values else []

    def why(self, note: str = "") -> str:
        """The share of each model, and what it is when the base stage alone is looked at."""
        if not self.names:
            return ""
        text = (
            f"By model: {by_model(self.of(self.run))}. In the base stage alone: {by_model(self.of(self.base))}. {note}"
        )
        return text.strip()


SPREAD = (
    "The mean hides a spread: super-resolution without attention lowers it in pixel models, a super-resolution "
    "transformer over thousands of tokens raises it in Muse."
)
UPSCALED = "Super-resolution at full resolution, without self-attention, makes the pixel models' share."
TOKEN_BY_TOKEN = (
    "At batch 1 a linear layer of Parti reads its weights for every token; that is most of its time, and more than the "
    "paper has."
)
DEEP = (
    "A U-Net whose lower levels are deep transformers spends more on linear layers: SDXL, which stands in for the "
    "production model, has up to 10 transformer layers in a block."
)


def _before(source: Source, run: Shares, base: Shares) -> list[Claim]:
    made, diffusion = of_family(source, "diffusion", "transformer"), of_family(source, "diffusion")
    attention = Ask(run, base, made, "baseline", ATTENTION)
    convolution = Ask(run, base, diffusion, "baseline", CONVOLUTION)
    norm = Ask(run, base, diffusion, "baseline", GROUP_NORM)
    spaces = [replace(convolution, names=of_family(source, "diffusion", space=s)) for s in ("pixel", "latent")]
    more = [spaces[0].mean[0] - spaces[1].mean[0]] if all(space.mean for space in spaces) else []
    times = f"As a ratio of the means: {number(spaces[0].mean[0] / spaces[1].mean[0], 'x')}. " if more else ""
    with_flash = by_model(replace(norm, attention="flash").of(run))
    tokens = of_family(source, "llm", "transformer")
    both = {name: sum(run[name]["baseline"].get(each, 0.0) for each in (ATTENTION, LINEAR)) for name in tokens}
    return [
        statement(
            "LLMs and transformer models consist mainly of attention and linear layers",
            "IV-A",
            "mainly",
            by_model(both),
            min(both.values()) > 0.5 if both else None,
            "Attention and linear layers together, of baseline time; mainly: more than half.",
        ),
        claim(
            "Attention takes 41.3 % of baseline time, averaged over the image and video models",
            "IV-A",
            (0.413,),
            attention.mean,
            "%",
            attention.why(SPREAD if {"imagen", "muse"} <= set(made) else ""),
        ),
        claim(
            "Convolution takes up to 36 % of time in baseline diffusion models",
            "IV-A",
            (0.36,),
            convolution.most,
            "%",
            convolution.why(UPSCALED if spaces[0].names else ""),
        ),
        claim(
            "GroupNorm takes 4 to 11 % of time in diffusion models",
            "IV-A",
            (0.04, 0.11),
            norm.values,
            "%",
            norm.why(
                f"With flash attention: {with_flash}. It moves bytes and computes little: where baseline attention "
                "takes most of the time its share is small."
            ),
        ),
        claim(
            "Pixel models spend 15 % more time on convolution than latent models",
            "IV-A",
            (0.15,),
            more,
            "%",
            f"Difference of the mean shares, in points. {times}"
            + convolution.why("Pixel models: " + ", ".join(spaces[0].names) + "."),
        ),
    ]


def _after(source: Source, run: Shares, base: Shares) -> list[Claim]:
    diffusion = of_family(source, "diffusion")
    images = [name for name in diffusion if model(name).modality == "image"]
    by_token = Ask(run, base, of_family(source, "llm", "transformer"), "flash", ATTENTION)
    by_pixel = Ask(run, base, diffusion, "flash", ATTENTION)
    convolution = Ask(run, base, images, "flash", CONVOLUTION)
    linear = Ask(run, base, of_family(source, "transformer"), "flash", LINEAR)
    largest = {name: max(run[name]["flash"], key=run[name]["flash"].__getitem__) for name in diffusion}
    return [
        claim(
            "After flash attention, attention still takes 37 to 45 % in LLaMA and transformer models",
            "IV-A",
            AFTER["transformer"],
            by_token.values,
            "%",
            by_token.why("Reading the weights for each token is most of a decode step at batch 1, and is linear work."),
        ),
        claim(
            "After flash attention, attention takes 13 to 25 % in diffusion models",
            "IV-A",
            AFTER["diffusion"],
            by_pixel.values,
            "%",
            by_pixel.why("Where attention is at low resolutions only, its share is smaller."),
        ),
        claim(
            "After flash attention, convolution takes up to 44 % in diffusion image models",
            "abstract, IV-A",
            (0.44,),
            convolution.most,
            "%",
            convolution.why(UPSCALED if any(model(name).space == "pixel" for name in images) else ""),
        ),
        claim(
            "After flash attention, linear layers take up to 49 % in transformer models",
            "abstract",
            (0.49,),
            linear.most,
            "%",
            linear.why(TOKEN_BY_TOKEN if "parti" in linear.names else ""),
        ),
        statement(
            "After flash attention, convolution is the largest single block of diffusion models",
            "IV-A",
            "convolution in all",
            ", ".join(f"{n}: {c}" for n, c in largest.items()),
            all(c == CONVOLUTION for c in largest.values()) if largest else None,
            f"Convolution: {by_model(replace(convolution, names=diffusion).of(run))}."
            + (f" {DEEP}" if largest.get("prod-image", CONVOLUTION) != CONVOLUTION else ""),
        ),
    ]
