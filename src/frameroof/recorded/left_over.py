"""What stands in a saved record without a field of its own: kept as text, so that no writer's keys are lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import msgspec


def left_over(kind: type[msgspec.Struct], data: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Path of each key in `data` that `kind`, or a record in it, has no field for -> its value as text or JSON."""
    records = {field.encode_name: _record(field.type) for field in msgspec.structs.fields(kind)}
    found: dict[str, str] = {}
    for key, value in data.items():
        inside = records.get(key)
        if key not in records:
            found[above + key] = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        elif inside is not None and isinstance(value, Mapping):
            found |= left_over(inside, value, f"{above}{key}.")
    return found


def _record(kind: Any) -> type[msgspec.Struct] | None:
    """The record among the parts of a field's type, if it is one or may be one."""
    parts = get_args(kind) or (kind,)
    return next((part for part in parts if isinstance(part, type) and issubclass(part, msgspec.Struct)), None)
