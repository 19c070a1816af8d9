"""Two predictions side by side as a table: by class of work, what bound it, what binds it, what it gained."""

from __future__ import annotations

from ..outside import clean
from ..study.versus import Class, Versus
from ..units import format_seconds
from .console import console, table


def print_versus(found: Versus) -> None:
    """Print it for a person."""
    out = console()
    after = found.after
    words = [after.estimate.node.name, after.choices["dtype"], str(after.running.software) if after.running else ""]
    sizes = {n: v for n, v in after.estimate.sizes.items() if found.before.estimate.sizes.get(n) != v}
    words += [f"{name} {value}" for name, value in sizes.items()]
    out.print(f"Why isn't it faster: versus {', '.join(clean(word, 80) for word in words if word)}", style="bold")
    columns = ("class of work", "bound by", "expected", "then bound by", "then", "gain")
    out.print(table(columns, [_row(c) for c in found.classes], text=("bound by", "then bound by")))
    gain = found.gain
    total = f"{format_seconds(found.before.expected_s)} to {format_seconds(after.expected_s)}"
    stuck = ", ".join(c.name for c in found.stuck[:3])
    text = f"{found.stuck_share:.0%} of the time could not gain: {stuck}" if stuck else "every class gains"
    out.print(f"{gain:.2f}x as fast ({total}); {text}.")


def _row(c: Class) -> tuple[str, ...]:
    gain = "" if c.gain is None else f"{c.gain:.2f}x"
    return (c.name, c.before, format_seconds(c.before_s), c.after, format_seconds(c.after_s), gain)
