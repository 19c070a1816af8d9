"""Reading a model of expected time: the stated table of eager execution, or an efficiency file of the user's.

An efficiency file is JSON or TOML with ``schema = "frameroof.efficiency/2"`` and a ``kind``: ``kernels`` (the parts of
`curves.Curves`) or ``uniform`` (``default``, ``by_kind``); version 1 has ``uniform`` and ``table`` (the keys of
`eager.toml`). It says its ``name``, ``source`` and ``date``, and the
``device`` whose shares it has; without one it is used for any. What it keeps of its making (``made_with``) is not read.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import msgspec

from ...files import read_whole
from ...outside import clean, from_json, from_toml, quoted, record
from ...workload.records import KINDS
from .curves import FAMILY, KIND, SCHEMA, VERSION, is_date, read_curves
from .efficiency import Curve, Efficiency, LinkShare, Number, Table, stated
from .protocol import About, Expected
from .uniform import LEAST, Utilization

VERSIONS = (1, VERSION)
MOST_BYTES = 16 << 20  # a calibration with all its samples has less than 1 MB
SHARES = ("convolution", "unfused")
"""Numbers of a table that are shares of a peak."""
AT_LEAST_ONE = ("tile", "flash_rows", "flash_columns", "group_norm_passes", "group_norm_groups")
LINKS = ("nvlink", "pcie", "infiniband")
MOST_US = 1e6
"""Microseconds of a launch or a latency."""
MOST_COUNT = 1e6
"""Rows, columns, passes and groups."""
MOST_TEXT = 1000
"""Characters of a name, a source or a path that are shown."""


class _Head(msgspec.Struct, frozen=True):
    """What every efficiency file says of itself."""

    schema: str
    kind: str
    name: str
    source: str
    date: str
    device: str | None = None


class _Shares(msgspec.Struct, frozen=True):
    """The numbers of a uniform file."""

    default: float
    by_kind: dict[str, float] = {}


FORMS: Mapping[str, Any] = {"table": Table, "uniform": _Shares}
"""What a file of each kind holds beside its head."""
HEAD = (*_Head.__struct_fields__, "made_with")
"""Keys of every efficiency file."""


def load_efficiency(path: str | os.PathLike[str] | None = None) -> Expected:
    """The model of expected time of an efficiency file; the stated table of eager execution for None.

    Shares are in (0, 1], times in microseconds. Raises `ValueError`, one sentence, for a file that is no efficiency
    file, of another version, without source or date, or with numbers that cannot be.
    """
    if path is None:
        return stated()
    where = clean(os.fspath(path), MOST_TEXT)
    data = _decoded(Path(path), where)
    _check_schema(data, where)
    if data["schema"] == SCHEMA and data.get("kind") == KIND:
        from .kernels import Kernels

        return Kernels(own=read_curves({key: value for key, value in data.items() if key != "made_with"}, where))
    head = record(data, _Head, f"{where} is no efficiency file that can be read")
    if head.kind not in FORMS:
        raise ValueError(f"{where}: its kind is {quoted(head.kind)}; known are {', '.join(FORMS)} and {KIND}")
    own = {key: value for key, value in data.items() if key not in HEAD}
    made: Table | _Shares = record(own, FORMS[head.kind], f"{where} is no efficiency file that can be read")
    for key in _unknown(own, type(made)):
        raise ValueError(f"{where} has {quoted(key)}, which is no key of an efficiency file")
    texts = {name: clean(getattr(head, name).strip(), MOST_TEXT) for name in ("name", "source", "date")}
    if not all(texts.values()) or not is_date(head.date):
        raise ValueError(f"{where} has no name, no source or no date (YYYY-MM-DD)")
    device = clean(head.device, 200) if head.device else None
    if isinstance(made, _Shares):
        return _uniform(where, made, {**texts, "file": where, "device": device})
    _check(where, made)
    about = About("efficiency", texts["name"], texts["source"], texts["date"], where, device)
    return Efficiency(made, about)


def _decoded(path: Path, where: str) -> dict[str, Any]:
    """The file as plain tables, its text clean and its numbers finite."""
    raw = read_whole(path, MOST_BYTES)
    read = from_json if raw.lstrip()[:1] == b"{" else from_toml
    return read(raw, dict[str, Any], f"{where} is no efficiency file that can be read")


def _check_schema(data: Mapping[str, Any], where: str) -> None:
    schema = data.get("schema")
    if not isinstance(schema, str):
        raise ValueError(f"{where} is no efficiency file: it has no schema {SCHEMA!r}")
    family, _, version = schema.rpartition("/")
    if version not in map(str, VERSIONS) or family != FAMILY:
        if family == FAMILY:
            known = " and ".join(map(str, VERSIONS))
            raise ValueError(f"{where} is an efficiency file of version {clean(version, 40)}; {known} can be read")
        raise ValueError(f"{where} is no efficiency file but {quoted(schema)}; {SCHEMA!r} is one")


def _unknown(data: Any, of: Any) -> Iterator[str]:
    """Keys of `data` that the record `of` does not have; in a table also those of its entries."""
    names = of.__struct_fields__ if issubclass(of, msgspec.Struct) else [each.name for each in fields(of)]
    for key, value in data.items():
        if key not in names:
            yield key
        elif is_dataclass(of) and key == "links":
            for link in value.values():
                yield from (f"links.{name}" for name in _unknown(link, LinkShare))
        elif is_dataclass(of) and isinstance(value, dict):
            yield from (f"{key}.{name}" for name in _unknown(value, Curve if "points" in value else Number))


def _uniform(where: str, made: _Shares, said: Mapping[str, Any]) -> Utilization:
    for kind in made.by_kind:
        if kind not in KINDS:
            raise ValueError(f"{where}: unknown kind {quoted(kind)}; kinds are {', '.join(KINDS)}")
    source = f"{said['name']}: {said['source']}"
    try:
        return Utilization(made.default, made.by_kind, source, said["date"], said["file"], said["device"])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _check(where: str, table: Table) -> None:
    """`ValueError` for an entry without source or date, a share outside of (0, 1], a number that cannot be."""
    for needed in LINKS:
        if needed not in table.links:
            raise ValueError(f"{where} has no links.{needed}")
    if table.links["infiniband"].gb_s_per_device is None:
        raise ValueError(f"{where}: links.infiniband has no gb_s_per_device, what one adapter carries")
    for name, entry in table.entries():
        if not entry.source.strip() or not is_date(entry.date):
            raise ValueError(f"{where}: {clean(name, 80)} has no source or no date (YYYY-MM-DD)")
        if isinstance(entry, Curve):
            _check_curve(where, name, entry)
        elif isinstance(entry, Number):
            least, most = _range(name)
            if not least <= entry.value <= most:
                raise ValueError(f"{where}: {name} is {entry.value:g}; it is from {least:g} to {most:g}")
        elif isinstance(entry, LinkShare):
            _check_link(where, clean(name, 80), entry)


def _range(name: str) -> tuple[float, float]:
    if name in SHARES:
        return LEAST, 1.0
    if name in AT_LEAST_ONE:
        return 1.0, MOST_COUNT
    return 0.0, 1.0 if name == "flash_splits_keys" else MOST_US


def _check_curve(where: str, name: str, curve: Curve) -> None:
    points = curve.points
    if not points or any(not 0 < size < math.inf or not LEAST <= share <= 1 for size, share in points):
        raise ValueError(
            f"{where}: {name} needs points [size, share] with sizes above 0 and shares above 0 (at least {LEAST:g}) "
            "and at most 1: nothing runs above its limit"
        )
    if [size for size, _ in points] != sorted({size for size, _ in points}):
        raise ValueError(f"{where}: the sizes of {name} must rise")


def _check_link(where: str, name: str, link: LinkShare) -> None:
    rate = link.gb_s_per_device
    if not LEAST <= link.share <= 1 or not 0 <= link.latency_us <= MOST_US:
        raise ValueError(f"{where}: {name} needs a share in (0, 1] and a latency from 0 to {MOST_US:g} us")
    if rate is not None and not 0 < rate < math.inf:
        raise ValueError(f"{where}: {name} has {rate:g} GB/s for each device; it is above 0")
