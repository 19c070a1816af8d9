"""The lengths that a serving engine writes into the annotation of a step: sums over the sequences that it serves.

    vLLM     execute_8192_context_9(sq8155sk8430sqsq7475785sqsk7671310)_generation_37(sq37sk34489sqsq37sqsk34489)
    SGLang   step[MIXED bs=2 c=1 g=1 c_sq=5 c_sk=8 c_sqsq=25 c_sqsk=40 g_sq=1 g_sk=12 g_sqsq=1 g_sqsk=12]
    ATOM     prefill[bs=2 tok=14721 ctx=[7803, 6918] sqsq=108745533 sqsk=108745533 sk=14721]

q are the tokens of a step, k all keys that they see. A step has a part that reads prompts (context, prefill, extend)
and one that generates (decode), or one of them. Annotations that name tokens without their keys
(`execute_context_2(6144)_generation_3(3)`, `step[DECODE bs=64]`) do not tell the size of attention.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from ....run import Packed
from ...read.events import Kind
from ...resolve.work_table import WorkTable

LONGEST = 2**27
"""The most keys of one sequence that are believed."""
_SUMS = r"\(sq(\d{1,18})sk(\d{1,18})sqsq(\d{1,18})sqsk(\d{1,18})\)"
_VLLM = re.compile(rf"execute_(?:\d+_)?context_(\d{{1,9}}){_SUMS}_generation_(\d{{1,9}}){_SUMS}")
_SGLANG = re.compile(r"step\[(EXTEND|DECODE|MIXED)\b([^\]]*)\]")
_ATOM = re.compile(r"(prefill|decode)\[(.*)\]")
_VALUE = re.compile(r"\b(\w+)=(\d{1,18})")


@dataclass(frozen=True)
class Sums:
    """Sums over the sequences of one part of a step: queries, keys, squares of the queries, queries times keys."""

    sequences: int
    q: int
    k: int
    qq: int
    qk: int

    @property
    def possible(self) -> bool:
        """Whether there can be such sequences: each sees at least its own tokens, and no sum is beyond its bounds."""
        n, q, k, qq, qk = self.sequences, self.q, self.k, self.qq, self.qk
        return 0 < n <= q <= k <= n * LONGEST and q * q <= qq * n and qq <= min(q * q, qk) and qk <= q * k

    def packed(self) -> Packed:
        """As lengths of attention; a causal mask hides from every query the later ones of its own sequence."""
        return Packed(self.q, self.sequences, self.k, self.qk, self.qk - (self.qq - self.q) // 2)

    @property
    def uniform(self) -> tuple[int, int]:
        """(queries, keys) of every sequence where they must all be alike, otherwise zeros."""
        alike = self.qq * self.sequences == self.q * self.q  # equal exactly where all queries are as many
        if alike and (self.sequences == 1 or self.k == self.q):
            return self.q // self.sequences, self.k // self.sequences
        return 0, 0


@dataclass(frozen=True)
class Step:
    """The parts of a step of a serving engine; None: it has none of them."""

    context: Sums | None
    generation: Sums | None

    @property
    def whole(self) -> Sums | None:
        """Both parts."""
        if self.context is None or self.generation is None:
            return self.context or self.generation
        a, b = self.context, self.generation
        return Sums(a.sequences + b.sequences, a.q + b.q, a.k + b.k, a.qq + b.qq, a.qk + b.qk)


@lru_cache(maxsize=4096)
def lengths_in(name: str) -> Step | None:
    """What an annotation tells; None where it is none of these, or cannot be."""
    vllm = _VLLM.match(name)
    if vllm:
        numbers = [int(n) for n in vllm.groups()]
        return _step(numbers[:5], numbers[5:])
    sglang = _SGLANG.match(name)
    if sglang:
        mode, values = sglang[1], _values(sglang[2])
        count = values.get("bs", 0)
        context = values.get("c", count if mode == "EXTEND" else 0)
        generation = values.get("g", count if mode == "DECODE" else 0)
        return _step(_numbers(values, context, "c_"), _numbers(values, generation, "g_"))
    atom = _ATOM.match(name)
    if atom:
        values = _values(atom[2])
        part = [values.get(n, 0) for n in ("bs", "tok", "sk", "sqsq", "sqsk")]
        return _step(part, [0] * 5) if atom[1] == "prefill" else _step([0] * 5, part)
    return None


def _values(text: str) -> dict[str, int]:
    return {name: int(value) for name, value in _VALUE.findall(text)}


def _numbers(values: Mapping[str, int], count: int, prefix: str) -> list[int]:
    return [count, *(values.get(prefix + name, 0) for name in ("sq", "sk", "sqsq", "sqsk"))]


def _step(context: list[int], generation: list[int]) -> Step | None:
    parts = [Sums(*numbers) if any(numbers) else None for numbers in (context, generation)]
    if not any(parts) or not all(part.possible for part in parts if part):
        return None
    return Step(*parts)


@dataclass
class Steps:
    """The step around each piece of work: of the annotations that enclose its launch, the innermost that tells."""

    work_table: WorkTable
    _known: dict[int, Step | None] = field(default_factory=dict)

    def around(self, row: int) -> Step | None:
        """The lengths of the step that launched a row of work."""
        at = int(self.work_table.mark_row[row])
        if at not in self._known:
            self._known[at] = self._innermost(at)
        return self._known[at]

    def _innermost(self, at: int) -> Step | None:
        host, names = self.work_table.trace.host, self.work_table.trace.names
        while at >= 0:
            found = lengths_in(names[host.name[at]]) if int(host.kind[at]) == Kind.ANNOTATION else None
            if found:
                return found
            at = int(self.work_table.links.parent[at])
        return None
