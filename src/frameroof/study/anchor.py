"""``--measured "H100 batch=1 4.2s"``: expected times anchored by one time that was seen.

The same model is predicted on that machine at those sizes; what was measured over what was expected there is a factor
that other sizes and machines share: of the host, the versions of libraries, and what the record leaves out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..estimate.expected import Expected
from ..estimate.expected.kernels import Anchor, Kernels
from ..outside import quoted
from ..units import format_seconds, parse_seconds

if TYPE_CHECKING:
    from .predict import Prediction

FORM = 'a machine, sizes and a time, such as "H100 batch=1 4.2s"'
FARTHEST = 5.0
"""Times as long (or as short) as expected: beyond that something else was measured."""


def parse_measured(text: str) -> tuple[str, dict[str, int], float]:
    """The machine, the sizes and the seconds of a text; `ValueError`, a sentence, for one that is not of the form."""
    *words, last = text.split() or [""]
    sizes = {name: int(value) for name, value in (_size(word) for word in words if "=" in word)}
    on = " ".join(word for word in words if "=" not in word)
    try:
        seconds = parse_seconds(last)
    except ValueError:
        raise ValueError(f"--measured is {FORM}, not {quoted(text)}") from None
    if not on or not seconds > 0:
        raise ValueError(f"--measured is {FORM}, not {quoted(text)}")
    return on, sizes, seconds


def _size(word: str) -> tuple[str, str]:
    found = re.fullmatch(r"([a-z]\w*)=(\d{1,9})", word)
    if not found:
        raise ValueError(f"--measured: {quoted(word)} is no size; write batch=1")
    return found[1], found[2]


def anchored(
    expected: Expected, text: str, sizes: Mapping[str, int] | None, run: Callable[..., Prediction]
) -> Expected:
    """The model of expected time with what was measured as its anchor; `run` predicts on a machine at sizes.

    Raises `ValueError`, a sentence, for a text that is none, a model that is a plain share, a time below the limit, and
    one that is farther from what is expected than can be of the same work.
    """
    if not isinstance(expected, Kernels):
        raise ValueError("--measured anchors times of measured kernels; a utilization is an anchor of its own")
    on, own, seconds = parse_measured(text)
    seen = run(on, {**(sizes or {}), **own}, expected)
    if seconds < seen.limit_s:
        raise ValueError(
            f"--measured: {format_seconds(seconds)} is below the limit of {format_seconds(seen.limit_s)} on "
            f"{seen.estimate.node.name}: other sizes, steps or precision were measured"
        )
    factor = seconds / seen.expected_s
    if not 1 / FARTHEST <= factor <= FARTHEST:
        raise ValueError(
            f"--measured: {format_seconds(seconds)} is {factor:.2g} times what is expected on "
            f"{seen.estimate.node.name}, {format_seconds(seen.expected_s)}: other sizes or software were measured"
        )
    return replace(expected, anchor=Anchor(factor, seen.estimate.node.device.name, " ".join(text.split())))


def words_of(anchor: Any) -> str:
    """What an anchor did, in words."""
    return f"anchored by {anchor.text}: {anchor.factor:.2f} times what kernels say"
