"""The collectives of a run: a row a kind, beside the link between the devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..recorded.communication import CollectiveRow
from ..run import Run
from ..units import format_bandwidth, format_bytes, format_seconds
from .console import percent, table

if TYPE_CHECKING:
    from ..trace.find.start_skew import Skew


def collectives_table(run: Run, most: int) -> Any:
    """The rows that take longest; what is not in the file is empty, a size of which nothing tells is said."""
    head = (
        "collective",
        "group",
        "ranks",
        "size",
        "type",
        "calls",
        "time",
        "exposed",
        "algorithm",
        "bus",
        "of the link",
    )
    return table(head, [_row(row) for row in run.collectives[:most]], left=2, text=("type",))


def _row(row: CollectiveRow) -> tuple[str, ...]:
    rates = (format_bandwidth(rate) if rate else "" for rate in (row.algorithm_bytes_per_s, row.bus_bytes_per_s))
    share = percent(row.share_of_link) if row.share_of_link else ""
    if share and row.link_bytes_per_s:
        share += f" of {format_bandwidth(row.link_bytes_per_s)}" + (" (PCIe)" if row.link == "pcie" else "")
    return (
        row.name + (", uneven" if row.uneven else ""), row.group, f"{row.ranks}" if row.ranks else "",
        "not recorded" if row.bytes is None and row.name != "barrier" else format_bytes(row.bytes) if row.bytes else "",
        row.dtype, f"{row.count:,}", _ms(row.time_ns), _ms(row.exposed_ns), *rates, share,
    )  # fmt: skip


def skew_table(skews: Sequence[Skew], most: int) -> Any:
    """How far apart the ranks start each kind of collective: those first in which they wait longest."""
    rows = [
        (
            s.name, s.group, f"{len(s.ranks)}", format_bytes(s.bytes) if s.bytes else "", f"{s.count:,}",
            _ms(s.waiting_ns), _ms(s.median_skew_ns), _ms(s.max_skew_ns), _ms(s.median_latency_ns),
            format_bandwidth(s.bus_bytes_per_s) if s.bus_bytes_per_s else "",
            percent(s.share_of_link) if s.share_of_link else "", f"{s.last_rank} in {s.last_share:.0%}",
        )
        for s in skews[:most]
    ]  # fmt: skip
    head = (
        "collective", "group", "ranks", "size", "calls", "waiting", "start skew", "at most", "latency", "bus",
        "of the link", "last rank",
    )  # fmt: skip
    return table(head, rows, left=2)


def _ms(ns: int) -> str:
    return format_seconds(ns / 1e9, 4)
