"""What is known of a machine: the records `Device`, `Price`, `Node`, and where each value comes from.

This file exists to keep dense peaks, with-sparsity peaks and prices apart by type, each with its
source and date, so that an estimate cannot take one for another. Values are SI: FLOP/s, bytes,
bytes per second, watts; prices are US dollars per hour. Reading the TOML files is `load.py`'s part.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from ..dtypes import PEAKS
from ..units import format_bandwidth, format_bytes, format_rate, leading_count

Kind: TypeAlias = Literal["gpu", "tpu", "accelerator", "server", "cpu"]
Confidence: TypeAlias = Literal["high", "medium", "low"]
ReadAt: TypeAlias = Literal["vendor", "vendor copy", "second hand", "device"]

READ_AT: tuple[ReadAt, ...] = ("vendor", "vendor copy", "device", "second hand")  # best first
MAX_COUNT = 100_000


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one hour of use costs, in US dollars, as a range; `low` equals `high` for a list price.

    `date` is when the price held or, for a recalled one, when it was written down.
    """

    low: float
    high: float
    date: str
    source: str
    median: float | None = None

    @property
    def mid(self) -> float:
        """The median where it is known, else the mean of `low` and `high`, in US dollars per hour."""
        return self.median if self.median is not None else (self.low + self.high) / 2

    def times(self, count: int) -> Price:
        """The price of `count` of the same thing."""
        median = None if self.median is None else self.median * count
        return Price(self.low * count, self.high * count, self.date, self.source, median)


class Reading(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Values that were re-read at one document, to the digits given there.

    `at` ranks the document: the ``vendor``'s own page, file or repository; a ``vendor copy``, the vendor's
    table as someone else keeps it; ``second hand``, a page that quotes the vendor; or a ``device``'s read-out.
    `values` are names as `Device.values` has them; a dense peak may be half of a row that the document marks
    as with sparsity. `date` is the day of reading.
    """

    values: tuple[str, ...]
    at: ReadAt
    document: str
    date: str

    @property
    def line(self) -> str:
        """The document with its rank and day, in one line."""
        return f"{self.at}: {self.document}, read {self.date}"


class Differing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What another document says of `value`, in its own words and units, and why it was not taken."""

    value: str
    says: str
    source: str


class Provenance(msgspec.Struct, frozen=True):
    """Where one value of a device comes from.

    `value` is SI (FLOP/s, bytes, bytes per second, watts; US dollars per hour for the price's middle).
    `confidence` is that of the reading (``high``, ``medium`` when second hand); unconfirmed, it is the device's,
    for a price ``medium`` at most.
    """

    name: str
    value: float
    source: str
    date: str
    confidence: Confidence
    confirmed: bool
    differs: tuple[str, ...] = ()


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One accelerator as it is sold; where it is several chips, `chips` says so and values are sums.

    `dense_flops` holds dense peaks of matrix work by dtype, in FLOP/s (integer operations for int8);
    a dtype without hardware support or without a known figure is absent. `sparse_flops` holds the
    with-sparsity figures of vendor sheets: they are kept to recognize such a figure when it is met,
    and no estimate uses them. `link_bandwidth` and `pcie_bandwidth` are bytes per second in one
    direction; vendors usually quote the sum of both. `vector_peak` is the fp32 rate outside of
    matrix units, which bounds elementwise work, None when unknown. `cache_bytes` is what the last level of
    storage on the chip can hold from one kernel to the next: the L2, AMD's Infinity Cache, Apple's system
    level cache or, where software manages it (Tenstorrent, Gaudi, Trainium), the SRAM, for a tensor that is
    kept there need not travel either; None when unknown. `generation` is the family of its multiprocessors
    (``hopper``, ``cdna3`` …; "" where none is known), and `clock_hz` the boost clock that its vendor states (the
    highest where it states none, as `readings` say). Every value comes from `source`
    as read on `date`, unless one of `readings` names it: then it was re-read there and counts as confirmed.
    `differing` keeps what other documents say. `label` is empty for a real device; for one as a seed
    document assumed it, it says what its figures are, and `stands_for` names the real one.
    """

    name: str
    vendor: str
    family: str
    kind: Kind
    dense_flops: dict[str, float]
    memory_bytes: int
    bandwidth: float
    source: tuple[str, ...]
    date: str
    confidence: Confidence
    aliases: tuple[str, ...] = ()
    sparse_flops: dict[str, float] = {}
    vector_peak: float | None = None
    l2_bytes: int | None = None
    cache_bytes: int | None = None
    chips: int = 1
    compute_units: str | None = None
    generation: str = ""
    clock_hz: float | None = None
    link_bandwidth: float | None = None
    pcie_bandwidth: float | None = None
    tdp_w: float | None = None
    launch_price: str | None = None
    usd_per_hour: Price | None = None
    flags: tuple[str, ...] = ()
    readings: tuple[Reading, ...] = ()
    differing: tuple[Differing, ...] = ()
    label: str = ""
    stands_for: str = ""

    def __hash__(self) -> int:
        return hash((self.name, self.date))

    def __repr__(self) -> str:
        known = [dtype for dtype in ("bf16", *self.dense_flops) if dtype in self.dense_flops][:1]
        peak = [f"{dtype} {format_rate(self.dense_flops[dtype])}" for dtype in known]
        memory = f"{format_bytes(self.memory_bytes)} at {format_bandwidth(self.bandwidth)}"
        return f"<{self.name}: {', '.join((self.vendor, *peak, memory))}>"

    @property
    def units(self) -> int | None:
        """Multiprocessors, or compute units, by the record's words ("108 SM" -> 108); None where it does not say."""
        return leading_count(self.compute_units)

    def peak(self, dtype: str) -> float:
        """The dense matrix peak for `dtype`, in FLOP/s.

        Raises `ValueError`, with a sentence that lists what the device has, when there is none.
        """
        if dtype in self.dense_flops:
            return self.dense_flops[dtype]
        known = ", ".join(self.dense_flops)
        if dtype not in PEAKS:
            raise ValueError(f"{dtype!r} is not one of {', '.join(PEAKS)}; {self.name} has: {known}")
        raise ValueError(f"{self.name} has no {dtype} peak; it has: {known}")

    def ridge(self, dtype: str) -> float:
        """FLOPs per byte of memory from which work in `dtype` is bound by compute; errors as `peak`."""
        return self.peak(dtype) / self.bandwidth

    @property
    def amounts(self) -> dict[str, float]:
        """Every known value by name, in SI; a dtype stands for its dense peak, the price for its middle."""
        price = None if self.usd_per_hour is None else self.usd_per_hour.mid
        optional = {
            "vector_fp32": self.vector_peak,
            "l2": self.l2_bytes,
            "cache": self.cache_bytes,
            "link": self.link_bandwidth,
            "pcie": self.pcie_bandwidth,
            "tdp": self.tdp_w,
            "clock": self.clock_hz,
            "price": price,
        }
        sparse = {f"{dtype}_sparse": peak for dtype, peak in self.sparse_flops.items()}
        known = {name: float(value) for name, value in optional.items() if value is not None}
        memory = {"memory": float(self.memory_bytes), "mem_bandwidth": self.bandwidth}
        return {**self.dense_flops, **sparse, **memory, **known}

    @property
    def values(self) -> tuple[str, ...]:
        """Names of all values that are known, as `readings` use them."""
        return tuple(self.amounts)

    @property
    def confirmed(self) -> tuple[str, ...]:
        """Names of the values that were re-read at a document."""
        read = {name for reading in self.readings for name in reading.values}
        return tuple(name for name in self.values if name in read)

    @property
    def unconfirmed_values(self) -> tuple[str, ...]:
        """Names of the values that no one has re-read at a source."""
        return tuple(name for name in self.values if name not in self.confirmed)

    def provenance(self, name: str) -> Provenance:
        """Where the value called `name` comes from: the best-ranked reading of it, else the device's sources.

        Raises `ValueError`, with a sentence that lists the names, for a value that is not known.
        """
        amounts = self.amounts
        if name not in amounts:
            raise ValueError(f"{self.name} has no value {name!r}; it has: {', '.join(amounts)}")
        differs = tuple(f"{other.says} ({other.source})" for other in self.differing if other.value == name)
        read = sorted((r for r in self.readings if name in r.values), key=lambda r: READ_AT.index(r.at))
        sure: Confidence = self.confidence
        if read:
            best = read[0]
            sure = "medium" if best.at == "second hand" else "high"
            return Provenance(name, amounts[name], f"{best.at}: {best.document}", best.date, sure, True, differs)
        if name == "price" and self.usd_per_hour is not None:
            price = self.usd_per_hour
            sure = "low" if "recalled" in price.source else "medium"
            return Provenance(name, amounts[name], price.source, price.date, sure, False, differs)
        sources = "; ".join(self.source)
        return Provenance(name, amounts[name], sources, self.date, sure, False, differs)

    @property
    def unconfirmed(self) -> bool:
        """Whether every source is recalled or an estimate, so that no document stands behind the values."""
        return all("recalled" in source or "estimate" in source for source in self.source)


class Link(msgspec.Struct, frozen=True):
    """What joins the devices of a node: bytes per second in one direction."""

    kind: Literal["nvlink", "pcie"]
    """Their own link, as vendors give one between accelerators (NVLink, Infinity Fabric …), or the host's PCIe."""
    bandwidth: float


def link_of(device: Device) -> Link:
    """What joins several of a device: their own link, else PCIe; `ValueError`, a sentence, where none is known."""
    if device.link_bandwidth is not None:
        return Link("nvlink", device.link_bandwidth)
    if device.pcie_bandwidth is not None:
        return Link("pcie", device.pcie_bandwidth)
    raise ValueError(f"{device.name} states no link between devices, so that nothing can be said of communication")


class Node(msgspec.Struct, frozen=True):
    """`count` devices of one type that work together, such as ``8xH100``.

    What they reach together depends on how they share the work, which is a plan's to say (`passes.parallel`); nothing
    here is multiplied but what a buyer pays. `price` replaces the device's own price per hour (of one device).
    Raises `ValueError`, a sentence, for a count below 1 or absurdly large.
    """

    device: Device
    count: int = 1
    price: Price | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_COUNT:
            raise ValueError(
                f"{self.count} x {self.device.name} is not possible; the number of devices must be 1 to {MAX_COUNT}"
            )

    @property
    def name(self) -> str:
        """``"8 x H100-SXM5-80GB"``, or the device's own name when there is one of it."""
        return self.device.name if self.count == 1 else f"{self.count} x {self.device.name}"

    @property
    def link(self) -> Link:
        """What joins its devices; `ValueError`, a sentence, where none is known."""
        return link_of(self.device)

    @property
    def usd_per_hour(self) -> Price | None:
        """The price of the whole node per hour, None when unknown."""
        price = self.price or self.device.usd_per_hour
        return None if price is None else price.times(self.count)
