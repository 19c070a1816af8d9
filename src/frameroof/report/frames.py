"""A measured run as Polars frames, by table; as one CSV or Parquet file a table.

Columns are the fields of the records in `run.py`: `_ns` nanoseconds, `_s` seconds, `bytes`, `flops`, shares of 1.
What a row holds as a list or by name is a table of its own (`stage_calls`, `stage_classes`, `device_idle`): every
table is flat.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin

import msgspec

from ..run import Run
from ..written import make_folder, together, write_whole

if TYPE_CHECKING:
    import polars


AS_JSON = ("dims", "concerns")
"""Fields that are one JSON text in a table: shapes, and what an advice is about."""


def frames(run: Run) -> dict[str, polars.DataFrame]:
    """Every table of `run` by name, each with all its columns even where it has no rows."""
    import polars

    tables = {name: _frame(getattr(run, name), record) for name, record in _records()}
    whole, text = polars.Int64, polars.String
    calls = [(s.name, number, ns) for s in run.stages for number, ns in enumerate(s.call_ns, 1)]
    classes = [(s.name, name, ns) for s in run.stages for name, ns in s.classes.items()]
    waits = [(d.device, cause, ns) for d in run.devices for cause, ns in d.idle.items()]
    return tables | {
        "idle": polars.DataFrame(list(run.idle.items()), {"cause": text, "time_ns": whole}, orient="row"),
        "outside": polars.DataFrame(list(run.outside.items()), {"where": text, "time_ns": whole}, orient="row"),
        "device_idle": polars.DataFrame(waits, {"device": whole, "cause": text, "time_ns": whole}, orient="row"),
        "stage_calls": polars.DataFrame(calls, {"stage": text, "call": whole, "time_ns": whole}, orient="row"),
        "stage_call_classes": polars.DataFrame(
            [
                (s.name, number, name, ns)
                for s in run.stages
                for name, times in s.call_classes.items()
                for number, ns in enumerate(times, 1)
                if ns
            ],
            {"stage": text, "call": whole, "class": text, "time_ns": whole},
            orient="row",
        ),
        "stage_classes": polars.DataFrame(classes, {"stage": text, "class": text, "time_ns": whole}, orient="row"),
    }


def write_csv(run: Run, folder: str | os.PathLike[str], force: bool = False) -> list[Path]:
    """One `<table>.csv` for each table into `folder` (made if missing); the files written."""
    return _write(run, folder, ".csv", lambda frame, out: frame.write_csv(out), force)


def write_parquet(run: Run, folder: str | os.PathLike[str], force: bool = False) -> list[Path]:
    """One `<table>.parquet` for each table into `folder` (made if missing); the files written."""
    return _write(run, folder, ".parquet", lambda frame, out: frame.write_parquet(out), force)


def _write(
    run: Run,
    folder: str | os.PathLike[str],
    suffix: str,
    encode: Callable[[polars.DataFrame, io.BytesIO], object],
    force: bool,
) -> list[Path]:
    """All tables are made before the first is written; all are written or none is."""
    content: dict[Path, bytes] = {}
    for name, frame in frames(run).items():
        out = io.BytesIO()
        encode(frame, out)
        content[Path(folder) / (name + suffix)] = out.getvalue()
    there = [path.name for path in content if path.exists()]
    if there and not force:
        raise ValueError(f"{folder} holds {', '.join(there)}; --force overwrites {'them' if there[1:] else 'it'}")
    with together():
        make_folder(folder)
        return [write_whole(path, data, force) for path, data in content.items()]


def _records() -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """(table, its record) of every field of a run that is a list of records."""
    for field in msgspec.structs.fields(Run):
        (record,) = get_args(field.type) if get_origin(field.type) is list else (None,)
        if isinstance(record, type) and issubclass(record, msgspec.Struct):
            yield field.name, record


def _frame(rows: Sequence[Any], record: type[msgspec.Struct]) -> polars.DataFrame:
    """Records as columns: flat fields as they are, those of `AS_JSON` as text; lists and maps have their own tables."""
    import polars

    schema: dict[str, Any] = {}
    cells: dict[str, list[Any]] = {}
    for field in msgspec.structs.fields(record):
        plain = _plain(field.type)
        kinds = {int: polars.Int64, float: polars.Float64, str: polars.String, bool: polars.Boolean}
        if plain in kinds:
            schema[field.encode_name] = kinds[plain]
            cells[field.encode_name] = [getattr(row, field.name) for row in rows]
        elif field.name in AS_JSON:
            schema[field.encode_name] = polars.String
            cells[field.encode_name] = [msgspec.json.encode(getattr(row, field.name)).decode() for row in rows]
    return polars.DataFrame(cells, schema)


def _plain(kind: Any) -> Any:
    """`float` of `float | None`."""
    if isinstance(kind, UnionType):
        return next(part for part in get_args(kind) if part is not type(None))
    return kind
