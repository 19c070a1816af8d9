"""The name of a kernel without what surrounds it: its return type, its template arguments, its parameters.

What a kernel is stands in its own name; its template arguments name types, layouts and options of all sorts
(`BlockAttentionQuantScaleEnum` is no quantization). Only of a kernel that launches whatever it is given (`kentry`,
`cutlass::Kernel`, `elementwise_kernel`) the arguments say what it does, the outermost first.
Demangled C++ names, mangled ones (Itanium ABI) and plain ones (Triton) are read; names may be cut off anywhere.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_UNNAMED = re.compile(r"\(anonymous namespace\)|\(anonymous\)|\{anonymous\}|<unnamed>|\(unnamed\)")
_OPERATOR = re.compile(r"operator\s*(\(\)|<<?|>>?|[^\w\s(<]+)")
_OPEN, _CLOSE = "<({[", ">)}]"
_WORD = re.compile(r"[A-Za-z_][\w.$~]*(?:::[\w.$~]+)*")
_LENGTH = re.compile(r"\d+")
_NO_NAME = re.compile(r"L[a-z]n?\d*E|[ST][0-9A-Z]*_")
"""In a mangled name: a number, a name that stood before, a template's parameter."""
LONGEST = 10_000


class KernelName(NamedTuple):
    """A kernel's own name with its namespaces, and the names in its template arguments and parameters, in order."""

    own: str
    inner: tuple[str, ...]


@lru_cache(maxsize=16384)
def kernel_name(text: str) -> KernelName:
    """Take a kernel's name apart: "void a::b<c::d<1>, e>(f)" -> ("a::b", ("c::d", "e", "f"))."""
    text = text[:LONGEST].removesuffix(".kd").removesuffix(" [clone .kd]")
    if text.startswith("_Z"):
        names = _mangled(text)
        if names:
            return names
    text = _OPERATOR.sub("operator", _UNNAMED.sub("", text))
    own, inner = _split(text)
    return KernelName(own.replace("::::", "::").strip(": "), tuple(_WORD.findall(inner)))


def _split(text: str) -> tuple[str, str]:
    """(own name, all that follows its first bracket); a return type with brackets of its own is left out."""
    own: list[str] = []
    inside: list[str] = []
    depth = 0
    for at, sign in enumerate(text):
        if depth == 0 and sign == "(" and own:
            return "".join(own), "".join(inside) + " " + text[at:]
        if sign in _OPEN:
            depth += 1
        elif sign in _CLOSE and not (sign == ">" and text[at - 1 : at] == "-"):
            depth = max(0, depth - 1)
        elif depth == 0 and sign == " ":
            if own and not text[at + 1 :].startswith(("[", "(")):  # what stood before is the return type
                own, inside = [], []
        elif depth == 0:
            own.append(sign)
        if depth:
            inside.append(sign)
    return "".join(own), "".join(inside)


def _mangled(text: str) -> KernelName | None:
    """The names in a mangled one: those before the first template argument are its own."""
    at, nested = 2, text.startswith("_ZN")
    at += 1 if nested else 0
    own: list[str] = []
    inner: list[str] = []
    found = own
    while at < len(text):
        if own and (skipped := _NO_NAME.match(text, at)):
            at = skipped.end()
            continue
        length = _LENGTH.match(text, at)
        if length:
            begin = length.end()
            word = text[begin : begin + int(length[0][:6])]
            if word and not word.startswith("_GLOBAL__N"):
                found.append(word)
            at = begin + max(len(word), 1)
            if not nested and found is own:
                found = inner
            continue
        if text[at] in "IE" and own:
            found = inner
        at += 1
    return KernelName("::".join(own), tuple(inner)) if own else None
