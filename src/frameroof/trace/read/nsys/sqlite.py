"""An SQLite export of Nsight Systems as a file: opened without touching it, its tables as columns of integers."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ..columns import Array
from ..file import TraceError, is_sqlite, open_trace
from .schema import EVENTS, MARKS, OTHERS, STRINGS, VERSIONED

NONE = -(2**62)
"""Stands for NULL where -1 could be a value."""


MOST_TEXT = 1 << 22
"""Bytes of one text, blob or row of the database."""


class Database:
    """An open export. Raises `TraceError`, a sentence, for a file that is none.

    Every method may raise `sqlite3.Error`, which `read_nsys` turns into a sentence.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = open_trace(path).path
        if not is_sqlite(self.path):
            raise TraceError(f"{self.path} is no SQLite database")
        _refuse_unfinished(self.path)
        # immutable: no locks, no files beside it, no look at a journal
        self._connection = sqlite3.connect(f"{_uri(self.path)}&immutable=1", uri=True)
        self._connection.text_factory = _text
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_TEXT)
        self._connection.execute("PRAGMA trusted_schema = OFF")
        found = self._connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'"
        ).fetchall()
        self.tables: dict[str, set[str]] = {name: set() for (name,) in found if isinstance(name, str)}
        for name in self.tables:
            info = self._connection.execute(f"PRAGMA table_info({_quoted(name)})")
            self.tables[name] = {row[1] for row in info}
        self.named: dict[str, str] = {}
        """Tables that the database calls otherwise: some versions write the number of the record behind the name."""
        for name in sorted(self.tables):
            plain = VERSIONED.sub("", name)
            if plain in EVENTS and plain not in self.tables:
                self.named[plain], self.tables[plain] = name, self.tables[name]
        if not any(name in self.tables for name in (*MARKS, *EVENTS)):
            what = next(
                (what for mark, what in OTHERS.items() if any(name.startswith(mark) for name in self.tables)), ""
            )
            none = f"is {what}, no" if what else "is a database, but no"
            raise TraceError(f"{self.path} {none} Nsight Systems export (nsys export --type sqlite)")

    def close(self) -> None:
        """Give the file back."""
        self._connection.close()

    def has(self, table: str, *columns: str) -> bool:
        """Whether a table is there, with these columns."""
        return table in self.tables and self.tables[table].issuperset(columns)

    def integers(self, table: str, needed: Sequence[str], wanted: Sequence[str], where: str = "") -> dict[str, Array]:
        """Columns of a table as int64, in the order of its rows: NULL is -1 (`NONE` in `needed` ones), as is what is
        missing among `wanted`.

        Raises `TraceError`, a sentence, where a needed column is missing.
        """
        lacking = [name for name in needed if name not in self.tables[table]]
        if lacking:
            raise TraceError(
                f"{self.path}: table {table} has no column {lacking[0]}: no Nsight Systems export that frameroof knows"
            )
        fields = [f"ifnull(CAST({_quoted(name)} AS INTEGER), {NONE})" for name in needed] + [
            f"ifnull(CAST({_quoted(name)} AS INTEGER), -1)" if name in self.tables[table] else "-1" for name in wanted
        ]
        rows = self._connection.execute(f"SELECT {', '.join(fields)} FROM {self._quoted(table)} {where}")
        flat = np.fromiter(chain.from_iterable(rows), dtype=np.int64)
        names = [*needed, *wanted]
        return {name: flat[i :: len(names)] for i, name in enumerate(names)}

    def texts(self, table: str, column: str, where: str = "") -> list[str | None]:
        """One column of a table as text, in the order of its rows; all None if it is missing."""
        field = f"CAST({_quoted(column)} AS TEXT)" if column in self.tables[table] else "NULL"
        return [value for (value,) in self._connection.execute(f"SELECT {field} FROM {self._quoted(table)} {where}")]

    def count(self, table: str) -> int:
        """Rows of a table."""
        return int(self._connection.execute(f"SELECT count(*) FROM {self._quoted(table)}").fetchone()[0])

    def _quoted(self, table: str) -> str:
        return _quoted(self.named.get(table, table))

    def pairs(self, table: str, key: str, value: str) -> dict[Any, str]:
        """A table of keys and texts; {} if it is missing."""
        if not self.has(table, key, value):
            return {}
        fields = f"{_quoted(key)}, CAST({_quoted(value)} AS TEXT)"
        return {k: v for k, v in self._connection.execute(f"SELECT {fields} FROM {_quoted(table)}") if v is not None}

    def strings(self) -> dict[int, str]:
        """Every shared string by its number."""
        return self.pairs(STRINGS, "id", "value")


def _uri(path: Path) -> str:
    return f"{path.absolute().as_uri()}?mode=ro"


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _refuse_unfinished(path: Path) -> None:
    """A database that another program is writing would be read wrongly."""
    for suffix in ("-wal", "-journal"):
        beside = Path(f"{path}{suffix}")
        if beside.exists() and beside.stat().st_size:
            raise TraceError(f"{path} is not finished ({beside.name} stands beside it); wait for the export to end")
    probe = sqlite3.connect(_uri(path), uri=True, timeout=0)
    try:
        probe.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise TraceError(f"{path} is locked by another program; wait for the export to end") from error
    finally:
        probe.close()
