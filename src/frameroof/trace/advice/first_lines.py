"""The three lines that a report begins with: where the time went, why, and what to change first.

Each is one sentence for somebody who reads no further, made of numbers that stand in the tables below it. Where a file
does not say why, neither does the line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...recorded import FirstLines
from ...run import HostFunctionRow, Run
from ..find.ranks import Overall
from .host_work import ONCE
from .words import IDLE_CAUSES, ms, short

TOLD = 0.15
"""Share of the run from which on something is a reason worth a first line."""
FILLED = 0.3
"""Share of a cause of idle time from which on the function that fills it is named."""
ONE_ROW = 0.9
"""Share of a host function's idle time from which on one row of the table stands for it."""
MOST_REASONS, MOST_CLASSES = 2, 3
LEAST = 0.05
"""Share of the work below which a class is not named."""
WIDTH = 60
"""Letters of an operator's or a kernel's name."""


def first_lines(run: Run) -> FirstLines:
    """The lines of a run whose advice has been made; empty ones where it holds no work."""
    if not run.classes:
        return FirstLines()
    return FirstLines(_where(run), _why(run), _change(run))


def _share(part: float, whole: float) -> str:
    return f"{part / max(1, whole):.1%}"


# ------------------------------------------------------------------------------------------- where


def _where(run: Run) -> str:
    s = run.summary
    largest = ", ".join(f"{c.name} {ms(c.time_ns)}" for c in run.classes[:MOST_CLASSES] if c.share >= LEAST)
    part = f"{ms(s.busy_ns)} of {ms(s.span_ns)} ({_share(s.busy_ns, s.span_ns)})"
    if s.host_only:
        return f"the host's operators took {part}: {largest}; of a device the file holds no work"
    stages = sorted((stage for stage in run.stages if stage.source), key=lambda stage: -stage.time_ns)
    stage = f"; {ms(stages[0].time_ns)} of it in {stages[0].name}" if len(run.stages) > 1 and stages else ""
    idle = f"; idle {ms(s.idle_ns)} ({_share(s.idle_ns, s.span_ns)})" if s.idle_ns else ""
    return f"busy {part}: {largest}{stage}{idle}"


# --------------------------------------------------------------------------------------------- why


def _why(run: Run) -> str:
    reasons = sorted(_reasons(run), key=lambda reason: -reason[0])
    large = [text for ns, text in reasons if ns >= TOLD * run.summary.span_ns] or [text for _, text in reasons[:1]]
    return "; ".join(large[:MOST_REASONS])


def _reasons(run: Run) -> Iterator[tuple[int, str]]:
    """(time in ns, what it is due to) of whatever could be said."""
    s = run.summary
    if run.idle and not s.on_cpu:
        cause, ns = max(run.idle.items(), key=lambda item: item[1])
        if ns:
            yield ns, _idle(run, cause, ns)
    exposed = run.communication.get("exposed_ns", 0)
    if exposed:
        yield exposed, f"{ms(exposed)} of communication ran while nothing else did"
    if run.operators:
        yield run.operators[0].time_ns, _work(run)


def _idle(run: Run, cause: str, ns: int) -> str:
    worst = max(run.stages, key=lambda stage: stage.idle_ns, default=None)
    before = f", most before work of {worst.name}" if worst and worst.source and len(run.stages) > 1 else ""
    return f"idle for {ms(ns)} because {IDLE_CAUSES.get(cause, cause)}{before}{_busiest(run, cause, ns)}"


def _busiest(run: Run, cause: str, ns: int) -> str:
    """The host function that fills the largest part of a cause, where that is a large one.

    Its time stands in the table where one row has nearly all of it; a sum of many rows is not said as a number.
    """
    within: dict[str, list[HostFunctionRow]] = {}
    for row in run.host_functions:
        if row.cause == cause and row.kind not in ("none", "device"):
            within.setdefault(row.function, []).append(row)
    rows = max(within.values(), key=lambda rows: sum(row.time_ns for row in rows), default=[])
    times = [row.time_ns for row in rows]
    if sum(times) < FILLED * ns:
        return ""
    much = "most" if sum(times) > ns / 2 else "much"
    part = ms(max(times)) if max(times) > ONE_ROW * sum(times) else much
    longest = max(rows, key=lambda row: row.time_ns)
    once = f", {longest.what}" if longest.what in ONCE else ""
    return f"; {part} of it in {short(longest.function)}{once}"


def _work(run: Run) -> str:
    """The longest operator, and how far from the peak it is."""
    longest = run.operators[0]
    total = sum(row.time_ns for row in run.classes)
    name = longest.name.removeprefix("(kernel) ")
    name = name if len(name) <= WIDTH else name[: WIDTH - 1] + "…"
    share = longest.share_of_peak or 2.0  # above the peak it is a problem, and said as one
    reached = f" at {share:.0%} of the peak" if share <= 1 else ""
    eager = [row for row in run.attention if row.query_len and not row.fused]
    text = f"{name} takes {ms(longest.time_ns)}, {_share(longest.time_ns, total)} of the work{reached}"
    if eager and longest.class_ == "attention":
        text += ", because attention writes out its similarity matrix"
    return text


# ------------------------------------------------------------------------------------------ change


def _change(run: Run) -> str:
    if run.summary.host_only:
        if any("cut off" in problem.what for problem in run.problems):
            return "record again: the file was cut off before the work of the device"
        return "record the device as well; from times of the host alone nothing follows for it"
    first = next((advice for advice in run.advice if advice.max_gain_s), None)
    if first is None:
        return "nothing was found that could bring 2 % of the run"
    whole = run.whole_ns
    gain = first.max_gain_s * 1e9
    return f"{first.title}: at most {ms(gain)} of {ms(whole)} ({gain / max(1, whole):.0%})"


# ------------------------------------------------------------------------------------------- ranks

UNEVEN = 0.05
"""How far above the mean one rank must compute before that is the reason."""


def of_ranks(runs: Sequence[Run], found: Overall) -> FirstLines:
    """The lines of several ranks: how far they are apart, and those of the rank that the others wait for."""

    def spread(name: str) -> str:
        values = [getattr(row, name) for row in found.ranks]
        return ms(values[0]) if min(values) == max(values) else f"{ms(min(values))} to {ms(max(values))}"

    numbers = [row.rank for row in found.ranks]
    at = max(range(len(runs)), key=lambda i: found.ranks[i].computation_ns)
    rank, lines = numbers[at], runs[at].first_lines
    exposed = f", communication with nothing else running {spread('exposed_ns')}" if found.exposed_ns else ""
    where = f"{len(runs)} ranks, each busy {spread('busy_ns')}, idle {spread('idle_ns')}{exposed}"
    if found.slowest_rank is not None and found.imbalance >= UNEVEN:
        why = f"rank {rank} computes longest, {found.imbalance:.1%} above the mean; the others wait for it"
        change = (
            f"give rank {rank} less work: it computes {ms(found.ranks[at].computation_ns)}; of its own, {lines.change}"
        )
        return FirstLines(where, why, change)
    return FirstLines(where, f"in rank {rank}: {lines.why}", f"in rank {rank}: {lines.change}")
