"""Figure 1: GPUs per parameter and memory utilization over the training jobs of a fleet.

A file of job records is CSV (lines that begin with # are comments) or Parquet, one job a row: ``job`` (a name),
``kind`` (llm, image or video), ``parameters``, ``gpus``, ``memory_used_bytes`` (mean over the job's GPUs, of one GPU)
and ``memory_bytes`` (of one GPU). Without a file a synthetic example, labeled so, shows the format.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from ...files import read_whole
from ...outside import MOST_NUMBER, clean, quoted
from .claims import claim, statement
from .source import Claim, Experiment, Row, Source, columns

EXAMPLE = "jobs_example.csv"
MOST_BYTES = 1 << 25
"""Bytes of a file of job records."""
MOST_JOBS = 1_000_000
"""Rows of a file of job records."""
JOB_COLUMNS = ("job", "kind", "parameters", "gpus", "memory_used_bytes", "memory_bytes")
JOB_KINDS = ("llm", "image", "video")


def read_jobs(path: str | os.PathLike[str]) -> pl.DataFrame:
    """Job records from CSV or Parquet; `ValueError` with a sentence for what does not fit the schema."""
    file = Path(path)
    data = io.BytesIO(read_whole(file, MOST_BYTES))
    try:
        frame = _parquet(data) if file.suffix == ".parquet" else pl.read_csv(data, comment_prefix="#")
    except (OSError, ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ValueError(f"{file} cannot be read as job records: {clean(str(error), 300)}") from None
    missing = [name for name in JOB_COLUMNS if name not in frame.columns]
    if missing:
        raise ValueError(f"{file} has no column {missing[0]!r}; job records have: {', '.join(JOB_COLUMNS)}")
    try:
        frame = frame.select(pl.col("job", "kind").cast(pl.String), pl.col(JOB_COLUMNS[2:]).cast(pl.Float64))
    except pl.exceptions.PolarsError:
        raise ValueError(f"{file}: {', '.join(JOB_COLUMNS[2:])} must be numbers") from None
    unfit = (
        ~pl.col("kind").is_in(JOB_KINDS)
        | pl.any_horizontal(
            pl.col(JOB_COLUMNS[2:]).is_null()
            | ~pl.col(JOB_COLUMNS[2:]).is_between(0, MOST_NUMBER, closed="right")
            | pl.col(JOB_COLUMNS[2:]).is_nan()
        )
        | (pl.col("memory_used_bytes") > pl.col("memory_bytes"))
    )
    bad = frame.filter(unfit.fill_null(True))
    if len(bad):
        raise ValueError(
            f"{file}: job {quoted(bad['job'][0])} does not fit: kind is {', '.join(JOB_KINDS)}, numbers are above 0, "
            "and a job uses "
            "no more memory than there is"
        )
    return frame


def _parquet(data: io.BytesIO) -> pl.DataFrame:
    """The columns that are used; a small file may hold any number of rows."""
    with _unheard():
        rows = pl.scan_parquet(data).select(pl.len()).collect().item()
        if rows > MOST_JOBS:
            raise ValueError(f"it has {rows:,} rows, and at most {MOST_JOBS:,} are read")
        data.seek(0)
        frame = pl.scan_parquet(data)
        known = frame.collect_schema().names()
        return frame.select([name for name in JOB_COLUMNS if name in known]).collect()


@contextmanager
def _unheard() -> Iterator[None]:
    """What polars' Rust writes on a broken file, before it raises, goes nowhere: a trace of its stack."""
    before, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


FIGURE_1_COLUMNS = columns(
    "kind: llm, image or video",
    "jobs: number of jobs",
    "gpus: of all jobs",
    "parameters: of all jobs",
    "gpus_per_billion: GPUs for each billion parameters, mean over jobs",
    "memory_utilization: share of device memory in use, mean over jobs",
    "gpus_per_billion_over_llm [x]: relative to the LLM jobs",
    "memory_utilization_over_llm [x]: relative to the LLM jobs",
)


def figure_1(_: Source, jobs: str | os.PathLike[str] | None = None) -> Experiment:
    """GPUs per parameter and memory utilization by kind of job (figure 1). `jobs`: a file of job records."""
    frame = read_jobs(jobs if jobs is not None else Path(__file__).with_name(EXAMPLE))
    means = frame.group_by("kind", maintain_order=True).agg(
        pl.len().alias("jobs"),
        pl.col("gpus").sum(),
        pl.col("parameters").sum(),
        (pl.col("gpus") / pl.col("parameters") * 1e9).mean().alias("gpus_per_billion"),
        (pl.col("memory_used_bytes") / pl.col("memory_bytes")).mean().alias("memory_utilization"),
    )
    rows: list[Row] = means.to_dicts()
    text = next((row for row in rows if row["kind"] == "llm"), None)
    for row in rows:
        for name in ("gpus_per_billion", "memory_utilization"):
            row[f"{name}_over_llm"] = row[name] / text[name] if text else None
    return Experiment(
        id="figure-1",
        title="GPUs per parameter and memory utilization of training jobs",
        how="synthetic" if jobs is None else "measured",
        machine="an example that shows the form" if jobs is None else f"the jobs of {os.fspath(jobs)}",
        columns=FIGURE_1_COLUMNS,
        rows=tuple(rows),
        claims=tuple(_claims(rows, made_up=jobs is None)),
        assumptions=(
            "SYNTHETIC example records that show the format; they say nothing about any fleet. --jobs FILE reads "
            "real ones."
            if jobs is None
            else f"Job records of {os.fspath(jobs)}.",
        ),
    )


def _claims(rows: list[Row], made_up: bool) -> list[Claim]:
    named = (
        ("Image models use 14 times the GPUs per parameter of LLMs in training", 14.0, "gpus_per_billion_over_llm"),
        (
            "Memory utilization of image and video models is 1.35 times that of LLMs",
            1.35,
            "memory_utilization_over_llm",
        ),
    )
    out = []
    for text, paper, column in named:
        ours = [row[column] for row in rows if row["kind"] in ("image", "video") and row[column] is not None]
        if made_up:
            why = "A fleet's job records are needed; the example is synthetic."
            out.append(statement(text, "I, figure 1", f"{paper:g}x", "", None, untested=why))
        else:
            mean = [sum(ours) / len(ours)] if ours else []
            kinds = [row["kind"] for row in rows if row["kind"] != "llm"]
            why = f"Mean over {' and '.join(kinds)} jobs."
            out.append(claim(text, "I, figure 1", (paper,), mean, "x", why, "The records need LLM jobs and others."))
    return out
