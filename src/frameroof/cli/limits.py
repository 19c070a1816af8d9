"""Every limit that a verb's messages speak of, at the end of its `--help`; the numbers are those of the code itself.

The rooms that hold them are loaded when help is asked for, and not before.
"""

from __future__ import annotations

from collections.abc import Callable


def limits(verb: str) -> tuple[str, ...]:
    """The limits of a verb such as "predict" or "stream serve", a sentence each."""
    return tuple(text for part in _VERBS.get(verb, ()) for text in part())


def _sizes() -> tuple[str, ...]:
    return ("Sizes: `frameroof models NAME` lists the smallest and the largest value of each",)


def _workload() -> tuple[str, ...]:
    from ..estimate.stages import MOST_ROWS, MOST_TURNS
    from ..outside import MOST_LEVELS
    from ..workload import expr, file, fold
    from ..workload.tensors import MOST_RANK

    return (
        f"A workload file: at most {file.MOST_BYTES:,} bytes, also unpacked, {MOST_LEVELS} levels of nesting, "
        f"{file.MOST_OPERATIONS:,} operations, as many tensors, of at most {MOST_RANK} dimensions, "
        f"{file.MOST_OPERANDS:,} operands, {file.MOST_NAMES:,} sizes, stages or names, "
        f"{file.MOST_SAID:,} characters of notes and sources; for at most {file.MOST_DEVICES:,} devices",
        f"Its expressions: at most {expr.MOST_TEXT:,} characters, {expr.MOST_TERMS:,} terms of {expr.MOST_FACTORS} "
        f"factors; their numbers go to {expr.MOST_SIZE:.0e}, their values to {expr.MOST_VALUE:.0e}; a path stands for "
        f"at most {fold.MOST_PATHS:,} modules",
        f"A stage's loop: at most {MOST_TURNS:,} turns, and {MOST_ROWS:,} operations in all turns",
    )


def _machine() -> tuple[str, ...]:
    from ..hardware import load

    return (
        f"A hardware file: at most {load.MOST_BYTES:,} bytes and {load.MOST_DEVICES:,} devices; its values are "
        f"above 0, from {load.LEAST_VALUE:g} to {load.MOST_VALUE:g} in their unit",
    )


def _efficiency() -> tuple[str, ...]:
    from ..estimate.expected import file, uniform

    return (
        f"An efficiency file: at most {file.MOST_BYTES:,} bytes; its shares are from {uniform.LEAST:g} to 1, its times "
        f"to {file.MOST_US:g} microseconds, its counts from 1 to {file.MOST_COUNT:g}",
    )


def _what_if() -> tuple[str, ...]:
    from ..hardware.whatif import LEAST_VALUE, MOST_VALUE

    return (f"--set: values from {LEAST_VALUE:g} to {MOST_VALUE:g} in SI; memory has at least 1 byte",)


def _asked() -> tuple[str, ...]:
    from ..study.target import MOST_DEVICES

    return (f"--price is above 0; --target is a rate above 0 that at most {MOST_DEVICES:,} devices reach",)


def _utilization() -> tuple[str, ...]:
    from ..estimate.expected.uniform import LEAST

    return (f"--utilization is above 0 (at least {LEAST:g}) and at most 1",)


def _trace() -> tuple[str, ...]:
    from ..trace.read.file import LIMIT_BYTES, LONGEST_EVENT, MOST_RATIO

    return (
        f"A trace: at most {LIMIT_BYTES / 2**30:.3g} GiB of text, and, if packed, {MOST_RATIO} times its size; an "
        f"event of more than {LONGEST_EVENT:,} bytes is left out",
    )


def _run() -> tuple[str, ...]:
    from ..run import MOST_BYTES

    return (f"A run.json: at most {MOST_BYTES:,} bytes",)


def _values() -> tuple[str, ...]:
    from ..outside import MOST_NUMBER, MOST_WHOLE

    return (
        f"Numbers in files that frameroof wrote: whole ones up to 2^{MOST_WHOLE.bit_length() - 1}, others finite and "
        f"up to {MOST_NUMBER:g}",
    )


def _files() -> tuple[str, ...]:
    from ..files import MOST_BYTES

    return (f"Files that are read: at most {MOST_BYTES:,} bytes each",)


def _python() -> tuple[str, ...]:
    from ..files import MOST_PYTHON

    return (f"A Python file: at most {MOST_PYTHON:,} bytes",)


def _repetitions() -> tuple[str, ...]:
    return ("--warmup and --repeat are 0 or more",)


def _stream() -> tuple[str, ...]:
    from ..study.stream import BLOCK

    return (
        "--height and --width are multiples of 16 pixels, at least 16",
        f"--window and --sink are multiples of the block of {BLOCK} latent frames; the window holds the sink and a "
        "block at least",
    )


def _stream_predicted() -> tuple[str, ...]:
    from ..study.stream import STEADY

    return (f"--blocks is at least {STEADY}, --steps and --batch at least 1",)


def _stream_run() -> tuple[str, ...]:
    from ..serve.limits import LONGEST_PROMPT

    return (f"--blocks is at least 1; a prompt has 1 to {LONGEST_PROMPT:,} characters",)


def _bench() -> tuple[str, ...]:
    return (
        "--batch is at least 1; --blocks is at least 4 more than fill the window: for a steady block, a switch and "
        "what follows it",
    )


def _tune() -> tuple[str, ...]:
    return ("--most-error is 0 or more",)


def _serve() -> tuple[str, ...]:
    from ..serve.limits import LONGEST_PROMPT, SHORTEST_TOKEN, least_message

    return (
        f"--sessions, --longest-prompt and --queue are at least 1; --longest-prompt is at most {LONGEST_PROMPT:,}",
        f"--largest-message is at least {least_message(1) - least_message(0)} bytes for each character of a prompt, "
        f"and {least_message(0)}; --queue holds two blocks",
        f"--grace is 0 or more; --port is 0 to 65535; a token has at least {SHORTEST_TOKEN} characters",
    )


_VERBS: dict[str, tuple[Callable[[], tuple[str, ...]], ...]] = {
    "predict": (_sizes, _asked, _utilization, _efficiency, _what_if, _machine, _workload),
    "models": (_workload,),
    "analyze": (_trace, _workload),
    "gap": (_trace, _run, _values, _workload),
    "compare": (_trace, _run, _values),
    "count": (_sizes, _python),
    "profile": (_sizes, _python, _repetitions),
    "characterize": (_sizes, _files, _efficiency),
    "validate": (_sizes, _files),
    "stream predict": (_stream, _stream_predicted, _utilization, _efficiency),
    "stream run": (_stream, _stream_run),
    "stream bench": (_stream, _bench),
    "stream tune": (_stream, _tune),
    "stream log": (_files, _values),
    "stream serve": (_stream, _serve),
}
