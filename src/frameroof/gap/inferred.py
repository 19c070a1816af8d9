"""The sizes of a workload that a run had: those at which most of its time has operations of exactly the same sizes.

Nobody remembers the sizes of a trace, but its shapes hold them: a convolution the picture, attention the tokens. Sizes
are tried one after the other, each at the numbers that the run itself shows; a size that changes nothing (the steps)
is not told by a trace, and stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..run import Run
from ..workload.records import Workload
from .matching import Index, index_of, keys_of

MOST_MERGED, LIKELY = 8, 2
"""Calls that one forward may merge, and up to which that is as likely as none (guidance)."""
LEAST_GAIN = 0.01
"""Share of the matrix time by which another size must fit better to be believed."""
PICTURE = ("height", "width")
SIZES = ("text_tokens", "prompt_tokens", "frames", "batch")
USUAL = (256, 512, 768, 1024, 1280, 1536, 2048)
USUAL_PAIRS = ((480, 832), (720, 1280), (1280, 720), (832, 480), (544, 960), (512, 768), (768, 512))
MOST_TRIED = 48
"""Numbers of one size that are tried."""


class _Seen(NamedTuple):
    """A row of the run: what identifies it in a workload, how much of that it is, and how to name it."""

    exact: tuple[Any, ...] | None
    loose: tuple[Any, ...] | None
    amount: int
    time_ns: int
    text: str


@dataclass(frozen=True)
class Inferred:
    """What a trace tells of the sizes of a workload."""

    sizes: dict[str, int]
    """Those asked for, and those that were found."""
    told: dict[str, str]
    """Size -> the operation that tells it, of those that were found."""

    @property
    def sentence(self) -> str:
        """What was found, and from what; empty where nothing was."""
        parts = [f"{name} {self.sizes[name]} (from {text})" for name, text in self.told.items()]
        return f"sizes inferred from the trace: {', '.join(parts)}; --size gives others" if parts else ""


def infer(run: Run, workload: Workload, given: Mapping[str, int] | None) -> Inferred:
    """The sizes of `workload` that fit a run best; those of `given` stay.

    Raises `ValueError`, a sentence, for a given size that is not admissible.
    """
    asked = dict(given or {})
    workload.sizes(asked)
    rows = list(_rows(run))
    whole = max(1, sum(row.time_ns for row in rows))
    free = [names for names in (PICTURE, *((name,) for name in SIZES)) if _is_free(names, workload, asked)]
    values, best = dict(asked), _fit(rows, workload, asked)
    for _ in range(2 if rows else 0):
        for names in free:
            for tried in _candidates(names, run, rows)[:MOST_TRIED]:
                fit = _fit(rows, workload, values | dict(zip(names, tried, strict=True)))
                if fit[0] > best[0] + LEAST_GAIN * whole:
                    values, best = values | dict(zip(names, tried, strict=True)), fit
    return Inferred(values, dict(_told(free, values, rows, workload, best)))


def _is_free(names: Sequence[str], workload: Workload, asked: Mapping[str, int]) -> bool:
    return all(name in workload.params for name in names) and not any(name in asked for name in names)


def _rows(run: Run) -> Iterator[_Seen]:
    for row in run.shapes:
        if row.flops and row.class_ in ("linear", "convolution"):
            dims = next((each for each in row.dims if each and isinstance(each[0], int)), [])
            yield _Seen(*keys_of(row), row.time_ns, f"{row.name} on {'x'.join(map(str, dims))}")
    for each in run.attention:
        if each.query_len:
            exact = "attn", each.heads, each.query_len, each.key_len, each.head_dim
            size = f"{each.kind} attention over {each.query_len:,} x {each.key_len:,}"
            yield _Seen(exact, None, each.batch, each.time_ns, size)


Fit = tuple[float, frozenset[int]]
"""(time that has exactly the sizes of the workload, the numbers of its rows)."""


def _fit(rows: Sequence[_Seen], workload: Workload, values: Mapping[str, int]) -> Fit:
    """How well a run fits a workload at some sizes; -1 where these are not admissible."""
    try:
        index = index_of(workload, values)
    except ValueError:
        return -1.0, frozenset()
    weights = {at: weight for at, row in enumerate(rows) if (weight := _weight(row, index))}
    return sum(rows[at].time_ns * weight for at, weight in weights.items()), frozenset(weights)


def _weight(row: _Seen, index: Index) -> float:
    """Whether a row is an operation of the workload at its sizes, or a few of its calls in one."""
    known = index.exact.get(row.exact, ()) if row.exact else index.loose.get(row.loose, ()) if row.loose else ()
    merged = [row.amount // k.scale for k in known if k.scale and row.amount and row.amount % k.scale == 0]
    fewest = min(merged, default=MOST_MERGED + 1)
    return 1.0 if fewest <= LIKELY else 0.9 if fewest <= MOST_MERGED else 0.0


def _candidates(names: Sequence[str], run: Run, rows: Sequence[_Seen]) -> list[tuple[int, ...]]:
    """Numbers that a size, or the two of a picture, may have: what the run shows first."""
    inputs = [row.dims[0] for row in run.shapes if row.class_ == "convolution" and row.dims and len(row.dims[0]) > 3]
    lengths = [n for each in run.attention for n in (each.query_len, each.key_len) if n]
    if names == PICTURE:
        seen = [(int(d[-2]), int(d[-1])) for d in inputs if isinstance(d[-1], int) and isinstance(d[-2], int)]
        largest = sorted(dict.fromkeys(seen), reverse=True)
        pairs = [(h * by, w * by) for by in (1, 8, 16) for h, w in largest]
        return list(dict.fromkeys([*pairs, *((n, n) for n in USUAL), *USUAL_PAIRS]))
    if names == ("batch",):
        batches = [each.batch for each in run.attention]
        return [(n,) for n in sorted({n for b in batches for n in (b, b // 2) if n})]
    if names == ("frames",):
        latent = sorted({int(d[-3]) for d in inputs if len(d) == 5 and isinstance(d[-3], int)}, reverse=True)
        return [(n,) for n in dict.fromkeys(m for t in latent for m in (t, 4 * (t - 1) + 1, 8 * (t - 1) + 1))]
    products = [row.amount for row in rows if row.loose and row.loose[0] == "mm"]
    return [(n,) for n in dict.fromkeys([*lengths, *products]) if 1 < n <= 1 << 20]


def _told(
    free: Sequence[Sequence[str]], values: dict[str, int], rows: Sequence[_Seen], workload: Workload, best: Fit
) -> Iterator[tuple[str, str]]:
    """The sizes that the run tells: with another number, something that fits would not; and what that is."""
    now = workload.sizes(values)
    for names in free:
        for name in names:
            size = workload.params[name]
            other = _fit(rows, workload, values | {name: now[name] + 2 * max(1, size.step)})
            lost = best[1] - other[1]
            if other[0] >= 0 and lost:
                values[name] = now[name]
                yield name, max((rows[at] for at in lost), key=lambda row: row.time_ns).text
