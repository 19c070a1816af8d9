"""From the TOML files to records, and from what a user types to a record.

The TOML files beside this one are written by hand in the units of data sheets (TFLOP/s, GB, MB, GB/s);
the two entry records here spell out that form, reject what does not belong and turn it into SI.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import chain
from pathlib import Path

import msgspec

from ..dtypes import PEAKS
from ..files import read_whole
from ..outside import MOST_QUOTED, clean, from_toml, quoted
from ..public import Listing
from .records import (
    Confidence,
    Device,
    Differing,
    Kind,
    Price,
    Reading,
)
from .spelled import Spelling, spellings

FAMILIES = ("nvidia", "amd", "google", "intel", "amazon", "tenstorrent", "apple", "huawei")
_BRANDS = {
    "NVIDIA": ("NVIDIA", "GeForce", "NVIDIA GeForce", "Tesla", "NVIDIA Tesla"),
    "AMD": ("AMD", "Instinct", "AMD Instinct", "Radeon", "AMD Radeon"),
    "Google": ("Google", "Cloud", "Google Cloud"),
    "Intel": ("Intel",),
    "AWS": ("AWS", "Amazon"),
    "Tenstorrent": ("Tenstorrent",),
    "Apple": ("Apple",),
    "Huawei": ("Huawei", "Ascend"),
}
MOST_BYTES = 1 << 20
"""Bytes of a hardware file; the largest that is shipped has 40 KB."""
MOST_DEVICES = 1_000
"""Devices of a hardware file."""
MIB = 1 << 20
"""Bytes of a megabyte of cache: a binary one, as drivers report it (the 50 MB of an H100 are 52,428,800)."""
LEAST_VALUE, MOST_VALUE = 1e-6, 1e12
"""What a value of a hardware file may be in its unit, such as TFLOP/s or GB."""
_ENTRY = "\n[[device]]\n"
LEAST_PART = 4
"""Letters and digits that a part of a name has, for the whole to be named as near it: 910b."""
_ASCII = {at: None for at in range(128) if not chr(at).isalnum()}
"""Of ASCII, what is no letter and no digit, to be taken away: quick where text is all ASCII."""


class _DeviceEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One ``[[device]]`` of a family file."""

    name: str
    kind: Kind
    dense_tflops: dict[str, float]
    memory_gb: float
    memory_gb_s: float
    source: tuple[str, ...]
    date: str
    confidence: Confidence
    aliases: tuple[str, ...] = ()
    sparse_tflops: dict[str, float] = {}
    vector_fp32_tflops: float | None = None
    l2_mb: float | None = None
    last_level_cache_mb: float | None = None
    chips: int = 1
    compute_units: str | None = None
    generation: str = ""
    clock_mhz: float | None = None
    link_gb_s_per_direction: float | None = None
    pcie_gb_s_per_direction: float | None = None
    tdp_w: float | None = None
    launch_price: str | None = None
    usd_per_hour: Price | None = None
    flags: tuple[str, ...] = ()
    readings: tuple[Reading, ...] = ()
    differing: tuple[Differing, ...] = ()
    label: str = ""
    stands_for: str = ""


class _Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    vendor: str
    device: tuple[_DeviceEntry, ...]


# -------------------------------------------------------------------------------- reading files


@cache
def devices() -> Listing[Device]:
    """Every machine that is known, family by family: dense peaks, memory, bandwidth, price, each with its source."""
    return Listing(device for family in FAMILIES for device in _of_file(family))


@cache
def seed_devices() -> tuple[Device, ...]:
    """The machines as the seed documents assumed them, labeled, to reproduce those documents.

    They are never among `devices()`: their figures are no dense peaks of the work they were used for.
    `device` finds them by name (``seed:n300``).
    """
    return _of_file("seeds")


@cache
def _of_file(family: str) -> tuple[Device, ...]:
    return read_family(_text(family), family)


def _text(family: str) -> str:
    return (Path(__file__).parent / f"{family}.toml").read_text("utf-8")


@cache
def _entries(family: str) -> tuple[str, list[str]]:
    """What a file says above its entries, and each of them, unread: whoever asks for one device waits for no other."""
    above, *entries = _text(family).split(_ENTRY)
    return above, entries


@cache
def _of_entry(family: str, at: int) -> Device:
    above, entries = _entries(family)
    (made,) = read_family(above + _ENTRY + entries[at], family)
    return made


def read_family(text: str, family: str) -> tuple[Device, ...]:
    """Devices from the text of a family file.

    Raises `ValueError`, with a sentence that names the file and the entry, for a missing or unknown
    key, a value of the wrong type, an entry or price without source or date, an unknown dtype, or a
    value that is not above zero.
    """
    content = from_toml(text.encode(errors="replace"), _Family, f"{family}.toml")
    if len(content.device) > MOST_DEVICES:
        raise ValueError(f"{family}.toml: it has {len(content.device):,} devices, and {MOST_DEVICES:,} are the most")
    for entry in content.device:
        if problem := _problem(entry) or _problem_of_readings(entry):
            raise ValueError(f"{family}.toml: {entry.name or 'a device without a name'} {problem}")
    made = tuple(_to_device(entry, family, content.vendor) for entry in content.device)
    for one in made:
        named = [name for reading in one.readings for name in reading.values]
        named += [other.value for other in one.differing]
        if unknown := [name for name in named if name not in one.values]:
            raise ValueError(
                f"{family}.toml: {one.name} gives a source for {unknown[0]!r}; it has: {', '.join(one.values)}"
            )
    return made


def load_devices(path: str | os.PathLike[str]) -> tuple[Device, ...]:
    """Devices from a user's own TOML file, written as the family files beside this one are.

    Price and link may be missing; a source and a date may not. Raises `ValueError`, with a sentence
    that names the file, when it cannot be read, an entry is wrong or a name is taken already.
    """
    try:
        text = read_whole(path, MOST_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"the hardware file {os.fspath(path)} cannot be read: {error}") from error
    except ValueError as error:
        raise ValueError(f"the hardware file {error}") from error
    family = clean(Path(path).name.removesuffix(".toml"), MOST_QUOTED)
    found = read_family(text, family)
    taken = {key: known.name for key, known in _index().items()}
    for one in found:
        for key in dict.fromkeys(_key(name) for name in (one.name, *one.aliases)):
            if key in taken:
                raise ValueError(f"{family}.toml: the name of {one.name} already means {taken[key]}; give it another")
            taken[key] = one.name
    return found


def _problem(entry: _DeviceEntry) -> str | None:
    """What is wrong with `entry` as the end of a sentence, None when nothing is."""
    if not entry.source or not all(source.strip() for source in entry.source):
        return "has no source; every entry needs at least one"
    if not entry.name.strip():
        return "has an empty name"
    if not _is_date(entry.date):
        return f"has the date {entry.date!r}; it must be YYYY-MM-DD or YYYY-MM"
    price = entry.usd_per_hour
    if price is not None and not price.source.strip():
        return "has a price without a source"
    if price is not None and not _is_date(price.date):
        return f"has a price with the date {price.date!r}; it must be YYYY-MM-DD or YYYY-MM"
    if price is not None and not 0 < price.low <= (price.median or price.low) <= price.high:
        return f"has a price from {price.low} to {price.high}; it must be above zero and rise"
    for dtype in (*entry.dense_tflops, *entry.sparse_tflops):
        if dtype not in PEAKS:
            return f"has a peak for {dtype!r}; allowed are {', '.join(PEAKS)}"
    values = (*entry.dense_tflops.values(), *entry.sparse_tflops.values(), entry.memory_gb, entry.memory_gb_s)
    optional = (
        entry.l2_mb,
        entry.last_level_cache_mb,
        entry.link_gb_s_per_direction,
        entry.pcie_gb_s_per_direction,
        entry.tdp_w,
        entry.clock_mhz,
    )
    for value in (*values, *optional, entry.vector_fp32_tflops, entry.chips):
        if value is not None and not value > 0:
            return "has a value that is not above zero; leave out what is unknown"
        if value is not None and not LEAST_VALUE <= value <= MOST_VALUE:
            return f"has the value {value:g}; it must be from {LEAST_VALUE:g} to {MOST_VALUE:g}"
    return None


def _problem_of_readings(entry: _DeviceEntry) -> str | None:
    """What is wrong with the readings of `entry` and what differs from them, as `_problem`."""
    if not all(reading.document.strip() and reading.values for reading in entry.readings):
        return "has a reading without a document or without values"
    if not all(other.says.strip() and other.source.strip() for other in entry.differing):
        return "has a differing value without its source"
    if bad := [reading.date for reading in entry.readings if not _is_date(reading.date)]:
        return f"has a reading with the date {bad[0]!r}; it must be YYYY-MM-DD or YYYY-MM"
    return None


def _is_date(text: str) -> bool:
    return re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?", text) is not None


def _to_device(entry: _DeviceEntry, family: str, vendor: str) -> Device:
    last = entry.l2_mb if entry.last_level_cache_mb is None else entry.last_level_cache_mb
    return Device(
        name=entry.name,
        vendor=vendor,
        family=family,
        kind=entry.kind,
        aliases=entry.aliases,
        dense_flops=_scale(entry.dense_tflops),
        sparse_flops=_scale(entry.sparse_tflops),
        vector_peak=_times(entry.vector_fp32_tflops, 1e12),
        memory_bytes=round(entry.memory_gb * 1e9),
        bandwidth=float(round(entry.memory_gb_s * 1e9)),
        l2_bytes=None if entry.l2_mb is None else round(entry.l2_mb * MIB),
        cache_bytes=None if last is None else round(last * MIB),
        chips=entry.chips,
        compute_units=entry.compute_units,
        generation=entry.generation,
        clock_hz=None if entry.clock_mhz is None else entry.clock_mhz * 1e6,
        link_bandwidth=_times(entry.link_gb_s_per_direction, 1e9),
        pcie_bandwidth=_times(entry.pcie_gb_s_per_direction, 1e9),
        tdp_w=entry.tdp_w,
        launch_price=entry.launch_price,
        usd_per_hour=entry.usd_per_hour,
        flags=entry.flags,
        readings=tuple(_of_last_level(entry, reading) for reading in entry.readings),
        differing=entry.differing,
        label=entry.label,
        stands_for=entry.stands_for,
        source=entry.source,
        date=entry.date,
        confidence=entry.confidence,
    )


def _of_last_level(entry: _DeviceEntry, reading: Reading) -> Reading:
    """`reading`, which confirms the last-level cache too where it names the L2 and that is the last level."""
    if entry.last_level_cache_mb is not None or "l2" not in reading.values:
        return reading
    return msgspec.structs.replace(reading, values=(*reading.values, "cache"))


def _scale(tflops: dict[str, float]) -> dict[str, float]:
    """Peaks in FLOP/s, in the order of `PEAKS`."""
    return {dtype: float(round(tflops[dtype] * 1e12)) for dtype in PEAKS if dtype in tflops}


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else float(round(value * factor))


# -------------------------------------------------------------------------------- finding by name


def device(name: str, own: Sequence[Device] = ()) -> Device:
    """The device called `name`: its own name or an alias, whatever the case and punctuation.

    Its vendor's brand may stand in front, so names as drivers give them ("NVIDIA H100 80GB HBM3") are
    found too. Devices in `own` (see `load_devices`) come before those of the catalogue. Raises
    `ValueError` with close matches when there is none.
    """
    found = known(name, own)
    if found is None:
        also = f" The file has: {', '.join(one.name for one in own)}." if own else ""
        raise ValueError(_unknown(name) + also)
    return found


def known(name: str, own: Sequence[Device] = ()) -> Device | None:
    """The device that `device` finds, None where there is none."""
    for one in own:
        if _key(name) in {_key(known) for known in (one.name, *one.aliases)}:
            return one
    return _find(_key(name)) or next(filter(None, map(_otherwise, spellings(name))), None)


def _otherwise(spelling: Spelling) -> Device | None:
    """The device of another spelling of a name, if it has the memory that was named."""
    found = _find(_key(spelling.name))
    return found if found and spelling.fits(found.memory_bytes) else None


@lru_cache(maxsize=1024)
def _find(key: str) -> Device | None:
    """The device of a name reduced by `_key`. A file is opened when its turn comes: its maker's first where the name
    starts with it, as drivers write it, and none after the one that has it (no two files have one name). Of it the
    entries are read in which the name stands, alone or behind a brand."""
    brands = (_key(brand) for brand in ("", *chain.from_iterable(_BRANDS.values())))
    names = [name for brand in brands if key.startswith(brand) and (name := key.removeprefix(brand))]
    for family in sorted((*FAMILIES, "seeds"), key=lambda family: not key.startswith(family)):
        for at, entry in enumerate(_entries(family)[1]):
            reduced = _key(entry)
            if any(name in reduced for name in names) and key in _keys(one := _of_entry(family, at)):
                return one
    return None


def _keys(one: Device) -> list[str]:
    """Every name and alias of a device, alone and behind its brand, reduced by `_key`."""
    return [_key(brand + name) for name in (one.name, *one.aliases) for brand in ("", *_BRANDS.get(one.vendor, ()))]


def _index() -> dict[str, Device]:
    """The names of all devices, the seed devices' too."""
    return _names(*FAMILIES, "seeds")


@cache
def _names(*families: str) -> dict[str, Device]:
    """Every name of some families, as `_keys` has them.

    Raises `ValueError` where two devices claim the same.
    """
    index: dict[str, Device] = {}
    for one in (device for family in families for device in _of_file(family)):
        for key in _keys(one):
            if index.setdefault(key, one) is not one:
                raise ValueError(f"the name {key!r} means both {index[key].name} and {one.name}")
    return index


def _key(name: str) -> str:
    """`name` reduced to its letters and digits."""
    reduced = name.casefold().translate(_ASCII)
    return reduced if reduced.isascii() else "".join(filter(str.isalnum, reduced))


def _unknown(name: str) -> str:
    """The sentence for a device that is not known."""
    import difflib  # only here: it costs as much to import as the whole catalogue to read

    index, wanted = _index(), _key(name[:MOST_QUOTED])
    within = [key for key in index if len(wanted) >= LEAST_PART and wanted in key]
    close = [*difflib.get_close_matches(wanted, index, n=6, cutoff=0.6), *within]
    names = list(dict.fromkeys(index[key].name for key in close if not index[key].label))[:3]
    guess = f"; did you mean {' or '.join(names)}?" if names else "."
    return f"no device is called {quoted(name.strip())}{guess} `frameroof hardware` lists all."
