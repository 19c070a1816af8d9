"""A measured run as Polars frames, by table; as one CSV or Parquet file a table.

Columns are the fields of the records in `run.py`: `_ns` nanoseconds, `_s` seconds, `bytes`, `flops`, shares of 1.
What a row holds as a list or by name is a table of its own (`stage_calls`, `step_classes`, `device_idle`): every
table is flat.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin

import msgspec

from ..outside import clean
from ..run import Run
from ..written import encoded, make_folder, together, write_whole

if TYPE_CHECKING:
    import polars


AS_JSON = ("dims", "concerns")
"""Fields that are one JSON text in a table: shapes, and what an advice is about."""


def frames(run: Run) -> dict[str, polars.DataFrame]:
    """Every table of `run` by name, each with all its columns even where it has no rows."""
    import polars

    tables = {name: frame_of(getattr(run, name), record) for name, record in _records()}
    whole, text = polars.Int64, polars.String
    calls = [(s.name, number, ns) for s in run.stages for number, ns in enumerate(s.call_ns, 1)]
    classes = [(s.name, name, ns) for s in run.stages for name, ns in s.classes.items()]
    waits = [(d.device, cause, ns) for d in run.devices for cause, ns in d.idle.items()]
    by_call = [
        (s.name, number, name, ns)
        for s in run.stages
        for name, times in s.call_classes.items()
        for number, ns in enumerate(times, 1)
        if ns
    ]
    flat: dict[str, tuple[Iterable[tuple[Any, ...]], dict[str, Any]]] = {
        "idle": (run.idle.items(), {"cause": text, "time_ns": whole}),
        "outside": (run.outside.items(), {"where": text, "time_ns": whole}),
        "device_idle": (waits, {"device": whole, "cause": text, "time_ns": whole}),
        "step_classes": (_by_step(run, "classes"), {"step": whole, "class": text, "time_ns": whole}),
        "step_idle": (_by_step(run, "idle"), {"step": whole, "cause": text, "time_ns": whole}),
        "collective_calls": (_collective_calls(run), {"row": whole, "start_ns": whole, "time_ns": whole}),
        "stage_calls": (calls, {"stage": text, "call": whole, "time_ns": whole}),
        "stage_call_classes": (by_call, {"stage": text, "call": whole, "class": text, "time_ns": whole}),
        "stage_classes": (classes, {"stage": text, "class": text, "time_ns": whole}),
    }
    flat["attention_packed"] = (_packed(run), dict.fromkeys(("row", *_LENGTHS), whole))
    return tables | {
        name: polars.DataFrame([tuple(map(_fit, row)) for row in rows], schema, orient="row")
        for name, (rows, schema) in flat.items()
    }


_LENGTHS = ("sequences", "queries", "keys", "pairs", "least_pairs")


def _packed(run: Run) -> list[tuple[int | None, ...]]:
    """(row of `attention`, from 1, and its lengths) of what is packed; None is unknown."""
    rows = ((at, row.packed) for at, row in enumerate(run.attention, 1) if row.packed)
    return [(at, *(getattr(packed, name) for name in _LENGTHS)) for at, packed in rows]


def _collective_calls(run: Run) -> list[tuple[int, int, int]]:
    """(row of `collectives`, from 1, start, ns) of every call."""
    rows = enumerate(run.collectives, 1)
    return [(at, start, ns) for at, row in rows for start, ns in zip(row.starts_ns, row.calls_ns, strict=True)]


def _by_step(run: Run, what: str) -> list[tuple[int, str, int]]:
    """(number of a step, name, ns) of what each step holds by name."""
    return [(step.number, name, ns) for step in run.steps for name, ns in getattr(step, what).items()]


def write_csv(run: Run, folder: str | os.PathLike[str], force: bool = False) -> list[Path]:
    """One `<table>.csv` for each table into `folder` (made if missing); the files written.

    Text that a spreadsheet would take for a formula begins with an apostrophe, which makes it text.
    """
    return write_tables(frames(run), folder, ".csv", lambda frame, out: as_text(frame).write_csv(out), force)


FORMULA = re.compile(r"[\s'\u200b\u2060]*[=+\-@\uff1d\uff0b\uff0d\uff20]")
"""How a formula begins: also behind spaces or an apostrophe, and with the signs of a Chinese or Japanese keyboard."""


def as_text(frame: polars.DataFrame) -> polars.DataFrame:
    """`frame` for spreadsheets: an apostrophe before text that would be a formula; numbers stay."""
    import polars

    text = [name for name, kind in frame.schema.items() if kind == polars.String]
    return frame.with_columns(polars.Series(name, map(_literal, frame[name]), polars.String) for name in text)


def _literal(text: str | None) -> str | None:
    return "'" + text if text is not None and FORMULA.match(text) else text


def write_parquet(run: Run, folder: str | os.PathLike[str], force: bool = False) -> list[Path]:
    """One `<table>.parquet` for each table into `folder` (made if missing); the files written."""
    return write_tables(frames(run), folder, ".parquet", lambda frame, out: frame.write_parquet(out), force)


def write_tables(
    tables: Mapping[str, polars.DataFrame],
    folder: str | os.PathLike[str],
    suffix: str,
    encode: Callable[[polars.DataFrame, io.BytesIO], object],
    force: bool,
) -> list[Path]:
    """Write each table into `folder` (made if missing); all are encoded before the first is written.

    All are written or none is. Raises `ValueError`, a sentence, where one is there already (`force` overwrites it).
    """
    content: dict[Path, bytes] = {}
    for name, frame in tables.items():
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


def frame_of(rows: Sequence[Any], record: type[msgspec.Struct]) -> polars.DataFrame:
    """Records as columns: flat fields as they are, those of `AS_JSON` as text; lists and maps have their own tables."""
    import polars

    schema: dict[str, Any] = {}
    cells: dict[str, list[Any]] = {}
    for field in msgspec.structs.fields(record):
        plain = _plain(field.type)
        kinds = {int: polars.Int64, float: polars.Float64, str: polars.String, bool: polars.Boolean}
        if plain in kinds:
            schema[field.encode_name] = kinds[plain]
            cells[field.encode_name] = [_fit(getattr(row, field.name)) for row in rows]
        elif field.name in AS_JSON:
            schema[field.encode_name] = polars.String
            cells[field.encode_name] = [encoded(getattr(row, field.name)).decode() for row in rows]
    return polars.DataFrame(cells, schema)


def _fit(value: Any) -> Any:
    return clean(value) if isinstance(value, str) else value


def _plain(kind: Any) -> Any:
    """`float` of `float | None`."""
    if isinstance(kind, UnionType):
        return next(part for part in get_args(kind) if part is not type(None))
    return kind
