"""The optimization log's rows: a latency before and after a change, what was predicted, whether to keep it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from ...study import stream_records as records
from .bench import WATCHED, Measured
from .needed import Needed, predicted
from .variants import Setup
from .verdict import Saved, saved
from .watch import DECODE
from .where import parity_of, quality_of


def row(m: Measured, by_name: Mapping[str, Measured], setup: Setup, needed: Needed) -> records.Row:
    """A row of the log: the latency that the change is meant for, beside that of the variant that it changes."""
    v, full = setup.variant(m.name), needed.c.window_blocks
    before = by_name.get(v.base) or by_name["baseline"]
    samples = [_latencies(x, v.of, full) for x in (before, m, by_name["baseline"])]
    gain = saved(samples[0], samples[1])
    keep, why = _verdict(m, before, gain, setup)
    return records.Row(
        change=v.change,
        variant=m.name,
        before=before.name,
        of=v.of,
        parity=parity_of(m.parity),
        quality=quality_of(m.quality),
        before_s=median(samples[0]),
        after_s=median(samples[1]),
        baseline_s=median(samples[2]),
        saved_s=list(gain.quartiles),
        predicted=_predicted(m, before, setup, needed),
        keep=keep,
        why=why,
    )


def _predicted(m: Measured, before: Measured, setup: Setup, needed: Needed) -> records.Predicted:
    """Limits before and after; for graphs the launch gaps of the variant before them, which is all they can save."""
    v, base = setup.variant(m.name), setup.variant(before.name)
    if v.of == "decode":
        what = "the same work, in another order or layout"
        return records.Predicted(before_s=None, after_s=None, saved_s=None, what=what)
    if v.graphs and not base.graphs:
        gaps = before.taken_apart.gaps_ns(WATCHED) / 1e9
        what = "at most the launch gaps in the trace"
        return records.Predicted(before_s=None, after_s=None, saved_s=gaps, what=what)
    first, second = (predicted(needed, setup.config(x.name), setup.variant(x.name))[v.of] for x in (before, m))
    less = first - second if first is not None and second is not None else None
    what = "limit against limit" if less is not None else "no peak is known here for such products"
    return records.Predicted(before_s=first, after_s=second, saved_s=less, what=what)


def _latencies(m: Measured, of: str, full: int) -> list[float]:
    if of == "decode":
        return [block.decode_ns / 1e9 for block in m.blocks if block.number >= full]
    return list(m.report.switch_s) if of == "switch" else seconds(m.steady_ns(full))


def _verdict(m: Measured, before: Measured, gain: Saved, setup: Setup) -> tuple[bool, str]:
    v = setup.variant(m.name)
    if m.parity is not None and not m.parity.equal:
        return False, f"its numbers are not the baseline's: relative error {m.parity.relative:.2g}"
    if v.of == "switch" and median(m.report.switch_s) <= 0:
        return m.parity is not None, "not told: blocks differ by more than a switch costs, for its latency is below 0"
    error = "" if m.parity is not None else f", at a {m.quality.text()}"
    if gain.faster:
        return True, f"faster{error}"
    if gain.slower:
        because = v.why_cpu if v.why_cpu and setup.device == "cpu" else ""
        grown = f"{len(m.report.switch_s)} switches were timed" if v.of == "switch" else _grown(m, before, v.of)
        return False, "; ".join(text for text in ("slower", because, grown) if text)
    if m.parity is not None:
        return True, f"no difference of the {v.of} beyond the spread, and equal numbers"
    return False, f"no gain beyond the spread{error}"


def _grown(m: Measured, before: Measured, of: str) -> str:
    """The part of a block, or of decoding it, that grew most."""
    ours, theirs = (_parts(x, of) for x in (m, before))
    growth = {name: ns - theirs.get(name, 0) for name, ns in ours.items()}
    name, ns = max(growth.items(), key=lambda pair: pair[1], default=("", 0))
    return f"most in {name}, {ns / 1e6:+.2f} ms a block in the trace" if ns > 0 else "no part grew in the trace"


def _parts(m: Measured, of: str) -> Mapping[str, int]:
    """Nanoseconds of each part in the trace."""
    if of == "decode":
        return m.taken_apart.forwards[DECODE].parts_ns
    return m.taken_apart.per_block(WATCHED)


def seconds(times_ns: Sequence[int]) -> list[float]:
    return [ns / 1e9 for ns in times_ns]
