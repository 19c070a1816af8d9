"""What is known of a machine: the records `Device`, `Price`, `Node` and `SeedMachine`.

This file exists to keep dense peaks, with-sparsity peaks and prices apart by type, each with its
source and date, so that an estimate cannot take one for another. Values are SI: FLOP/s, bytes,
bytes per second, watts; prices are US dollars per hour. Reading the TOML files is `load.py`'s part.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Kind: TypeAlias = Literal["gpu", "tpu", "accelerator", "server"]
Confidence: TypeAlias = Literal["high", "medium", "low"]

DTYPES = ("fp32", "tf32", "bf16", "fp16", "fp8", "int8", "fp4")
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


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One accelerator as it is sold; where it is several chips, `chips` says so and values are sums.

    `dense_flops` holds dense peaks of matrix work by dtype, in FLOP/s (integer operations for int8);
    a dtype without hardware support or without a known figure is absent. `sparse_flops` holds the
    with-sparsity figures of vendor sheets: they are kept to recognise such a figure when it is met,
    and no estimate uses them. `link_bandwidth` and `pcie_bandwidth` are bytes per second in one
    direction; vendors usually quote the sum of both. `vector_peak` is the fp32 rate outside of
    matrix units, which bounds elementwise work, None when unknown. Every value comes from `source`
    as read on `date`; a source that says "recalled" or "estimate" was not confirmed. `confirmed` names
    the values that a person or a session re-read at the documents in `confirmed_by`, a dtype standing
    for its dense peak; every other value is unconfirmed.
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
    chips: int = 1
    compute_units: str | None = None
    link_bandwidth: float | None = None
    pcie_bandwidth: float | None = None
    tdp_w: float | None = None
    launch_price: str | None = None
    usd_per_hour: Price | None = None
    flags: tuple[str, ...] = ()
    confirmed: tuple[str, ...] = ()
    confirmed_by: tuple[str, ...] = ()

    def __hash__(self) -> int:
        return hash((self.name, self.date))

    def peak(self, dtype: str) -> float:
        """The dense matrix peak for `dtype`, in FLOP/s.

        Raises `ValueError`, with a sentence that lists what the device has, when there is none.
        """
        if dtype in self.dense_flops:
            return self.dense_flops[dtype]
        known = ", ".join(self.dense_flops)
        if dtype not in DTYPES:
            raise ValueError(f"{dtype!r} is not one of {', '.join(DTYPES)}; {self.name} has: {known}")
        raise ValueError(f"{self.name} has no {dtype} peak; it has: {known}")

    def ridge(self, dtype: str) -> float:
        """FLOPs per byte of memory from which work in `dtype` is bound by compute; errors as `peak`."""
        return self.peak(dtype) / self.bandwidth

    @property
    def values(self) -> tuple[str, ...]:
        """Names of all values that are known, as `confirmed` uses them."""
        optional = {
            "vector_fp32": self.vector_peak,
            "l2": self.l2_bytes,
            "link": self.link_bandwidth,
            "pcie": self.pcie_bandwidth,
            "tdp": self.tdp_w,
            "price": self.usd_per_hour,
        }
        known = tuple(name for name, value in optional.items() if value is not None)
        sparse = tuple(f"{dtype}_sparse" for dtype in self.sparse_flops)
        return (*self.dense_flops, *sparse, "memory", "mem_bandwidth", *known)

    @property
    def unconfirmed_values(self) -> tuple[str, ...]:
        """Names of the values that no one has re-read at a source."""
        return tuple(name for name in self.values if name not in self.confirmed)

    @property
    def unconfirmed(self) -> bool:
        """Whether every source is recalled or an estimate, so that no document stands behind the values."""
        return all("recalled" in source or "estimate" in source for source in self.source)


class Node(msgspec.Struct, frozen=True):
    """`count` devices of one type that work together, such as ``8xH100``.

    `price` replaces the device's own price per hour (of one device) where it is given.
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
    def usd_per_hour(self) -> Price | None:
        """The price of the whole node per hour, None when unknown."""
        price = self.price or self.device.usd_per_hour
        return None if price is None else price.times(self.count)

    @property
    def tdp_w(self) -> float | None:
        """Watts of all devices together (hosts not included), None when unknown."""
        return None if self.device.tdp_w is None else self.device.tdp_w * self.count

    @property
    def memory_bytes(self) -> int:
        """Bytes of device memory of all devices together."""
        return self.device.memory_bytes * self.count

    @property
    def bandwidth(self) -> float:
        """Memory bytes per second of all devices together."""
        return self.device.bandwidth * self.count

    def peak(self, dtype: str) -> float:
        """Dense matrix peak of all devices together, in FLOP/s; errors as `Device.peak`."""
        return self.device.peak(dtype) * self.count


class SeedMachine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as one of the seed blog posts assumed it, kept only to reproduce that post's numbers.

    It is no `Device` on purpose: `flops` (FLOP/s, in `flops_means` words what it really is) may be a
    with-sparsity figure, a figure for another dtype or one already halved. `utilisation` is the share
    of `flops` and `bandwidth` that the post reckoned with; `device` names the real one.
    """

    name: str
    device: str
    flops: float
    flops_means: str
    bandwidth: float
    utilisation: float
    flags: tuple[str, ...]
    source: tuple[str, ...]
    date: str
    usd_per_hour: Price | None = None

    @property
    def effective_flops(self) -> float:
        """FLOP/s by which the post divided."""
        return self.flops * self.utilisation

    @property
    def effective_bandwidth(self) -> float:
        """Bytes per second by which the post divided."""
        return self.bandwidth * self.utilisation
