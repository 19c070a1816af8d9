"""Curves of one device, shipped or a user's: read, checked, and never those of another device.

A file has the schema ``frameroof.efficiency/2`` and the kind ``kernels``; it says its name, source, date and device,
and holds curves by class of work. Any part may be missing. `measured/` has what was measured elsewhere, one file a
device. Every curve of a part has `faults()`, the ends of sentences that say what of it cannot be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from ...outside import clean, quoted, record
from .attention import Attention
from .gemm import Gemm
from .host import Host
from .traffic import Convolution, Traffic

FAMILY, VERSION = "frameroof.efficiency", 2
SCHEMA = f"{FAMILY}/{VERSION}"
KIND = "kernels"
MEASURED = Path(__file__).with_name("measured")
MOST_TEXT = 1000
"""Characters of a name, a source or a path that are shown."""
PARTS = ("gemm", "attention")
"""Fields of `Curves` that hold curves by name."""


class Curves(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The curves of one device, of a `generation` as devices say it, by class of work, then by name.

    `gemm` is by type: ``bf16``, ``fp8``, ``fp8_block``, ``fp4``, ``int8``, ``int8_weight`` …; with a colon behind it
    the software whose kernel it is (``fp8:trtllm``), without one the median over software. `attention` is by kernel.
    """

    schema: str
    kind: str
    name: str
    source: str
    date: str
    device: str
    generation: str = ""
    gemm: dict[str, Gemm] = {}
    attention: dict[str, Attention] = {}
    traffic: Traffic | None = None
    convolution: Convolution | None = None
    host: Host | None = None
    derived_from: str = ""

    def faults(self) -> Iterator[str]:
        """What of them cannot be, each a sentence without its first words."""
        for field in ("name", "source", "device"):
            if not getattr(self, field).strip():
                yield f"has no {field}"
        if not is_date(self.date):
            yield "has no date (YYYY-MM-DD)"
        for part in PARTS:
            for name, curve in getattr(self, part).items():
                where = f"{part}.{clean(name, 80)}"
                if not curve.source.strip() or not is_date(curve.date):
                    yield f"has no source or no date (YYYY-MM-DD) in {where}"
                yield from (f"cannot be: {where} {fault}" for fault in curve.faults())


def read_curves(data: Mapping[str, Any], where: str) -> Curves:
    """The curves of a decoded file called `where`.

    Raises `ValueError`, one sentence, for another schema, version or kind, for keys that it does not know, and for
    numbers that cannot be: shares above 1, none that is finite, no source.
    """
    schema = data.get("schema")
    if schema != SCHEMA:
        family, _, version = str(schema).rpartition("/")
        if family == FAMILY:
            raise ValueError(f"{where} is an efficiency file of version {clean(version, 40)}; {VERSION} can be read")
        raise ValueError(f"{where} is no efficiency file: it has no schema {SCHEMA!r}")
    if data.get("kind") != KIND:
        raise ValueError(f"{where}: its kind is {quoted(data.get('kind'))}, not {KIND!r}")
    curves = record(dict(data), Curves, f"{where} is no efficiency file that can be read")
    for fault in curves.faults():
        raise ValueError(f"{where} {fault}")
    return curves


@lru_cache(maxsize=64)
def shipped(device: str) -> Curves | None:
    """What was measured on a device, by its name in the catalogue; None where nothing was.

    A device with values changed (``L40S with memory=96 GB``) is still that device: curves are shares of what it has.
    """
    path = MEASURED / file_of(device)
    return msgspec.json.decode(path.read_bytes(), type=Curves) if path.is_file() else None


@lru_cache(maxsize=1)
def every_shipped() -> tuple[Curves, ...]:
    """What is shipped of all devices, by the name of the file."""
    return tuple(msgspec.json.decode(path.read_bytes(), type=Curves) for path in sorted(MEASURED.glob("*.json")))


def file_of(device: str) -> str:
    """The name of the file in `MEASURED` of a device."""
    own = device.partition(" with ")[0]
    return re.sub(r"[^a-z0-9]+", "-", own.lower()).strip("-") + ".json"


def is_date(text: str) -> bool:
    """Whether a text is a day, YYYY-MM-DD, or a month of this century."""
    return re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?", text) is not None
