"""Reads the measured tables of aiconfigurator-core 0.12.0 for the fits beside it; nothing of them is committed.

The wheel (`pip download --no-deps aiconfigurator-core==0.12.0`, 82 MB, Apache-2.0) is a zip of Parquet files,
``systems/data/SYSTEM/OPERATION/FRAMEWORK/VERSION/TABLE.parquet``, with latencies in milliseconds.
"""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import polars as pl

from gemm_tables import SYSTEMS

__all__ = ["NAME", "SYSTEMS", "source_of", "table_of"]

NAME = "aiconfigurator-core 0.12.0 (PyPI, Apache-2.0)"


def source_of(folder: str) -> str:
    """The words of a source: NVIDIA's tables, and where in them."""
    return f"NVIDIA's tables of {NAME}: systems/data/{folder}"


def table_of(wheel: Path, system: str, name: str) -> pl.DataFrame:
    """All rows of a table of one system, of all software and versions, which are its columns `software` and `version`.

    Without a row where the system has no such table.
    """
    found = []
    with zipfile.ZipFile(wheel) as archive:
        for path in sorted(archive.namelist()):
            if f"systems/data/{system}/" in path and path.endswith(f"/{name}.parquet"):
                *_, software, version, _ = path.split("/")
                table = pl.read_parquet(BytesIO(archive.read(path)))
                found.append(table.with_columns(software=pl.lit(software), version=pl.lit(version)))
    return pl.concat(found, how="diagonal_relaxed") if found else pl.DataFrame()
