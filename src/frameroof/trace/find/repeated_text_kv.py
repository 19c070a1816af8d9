"""Keys and values of the text that every denoising step computes again.

In cross attention keys and values come from the text alone; where the text is the same in every step, one computation
serves all. Found are the projections whose rows are not those of the queries beside them:

    by name    attn2.to_k, cross_attn.v, …; add_k_proj where no add_q_proj stands beside it (joint attention has one:
               its text changes from step to step)
    by class   traces with classes instead of names (Attention_7/Linear_3): linears of the rows that the attention of
               the same module has keys, in a block that has another attention for the latents themselves

The rows decide because names do not: `attn2` is a second self-attention in SD3.5 medium and in motion modules.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...run import TextKV
from ..resolve.attention_call import AttentionCall
from ..resolve.classify import LINEAR
from ..resolve.operator_cost import matmul
from ..resolve.work_table import WorkTable

_CROSS = re.compile(r"attn2|cross|encoder_attn", re.I)
_KEYS = re.compile(r"^((to_)?(k|v|kv|key|value)|(k|v|kv)_(proj|linear)|w[kv])$")
_QUERIES = ("to_q", "q", "q_proj", "q_linear", "query", "wq")
_ADDED, _JOINT = ("add_k_proj", "add_v_proj"), ("add_q_proj", "to_added_qkv")
_CLASS = re.compile(r"Linear(_\d+)?$")


@dataclass
class _Leaf:
    """One projection in one stage: its work, its calls, and the sizes that it was called with."""

    rows: list[int] = field(default_factory=list)
    calls: set[int] = field(default_factory=set)
    sizes: set[tuple[int, int, int]] = field(default_factory=set)

    @property
    def length(self) -> int:
        """Rows of its input, where they are the same in every call; 0 otherwise."""
        return next(iter(self.sizes))[0] if len(self.sizes) == 1 else 0


Leaves = dict[str, _Leaf]
"""The projections of one module by the last part of their path."""


def find_text_kv(work_table: WorkTable, attention: Sequence[AttentionCall], stage: Sequence[str]) -> TextKV:
    """Sum over the projections of text that ran more than once with the same sizes; `stage` names that of each row."""
    found = TextKV()
    stages = []
    crossed = _crossed(attention)
    for (name, owner), leaves in _projections(work_table, stage, crossed).items():
        for part in _of_text(owner, leaves, crossed.get(owner, ())):
            leaf = leaves[part]
            if not leaf.length or len(leaf.calls) < 2:
                continue
            time = int(work_table.duration[leaf.rows].sum())
            found.count += 1
            found.calls += len(leaf.calls)
            found.time_ns += time
            found.repeated_ns += round(time * (1 - 1 / len(leaf.calls)))
            found.example = found.example or _joined(owner, part)
            stages.append(name)
    found.stage = ", ".join(dict.fromkeys(stages))
    return found


def _projections(
    work_table: WorkTable, stage: Sequence[str], crossed: Mapping[str, Sequence[int]]
) -> dict[tuple[str, str], Leaves]:
    """(stage, module) -> its linears: those that are named as one, or classed as one and its module is in `crossed`."""
    split = {path: _split(path) for path in set(work_table.module)}
    wanted = {
        path: (owner, part)
        for path, (owner, part) in split.items()
        if owner and (_is_projection(part) or (owner in crossed and _CLASS.match(part)))
    }
    if not wanted:
        return {}
    found: dict[tuple[str, str], Leaves] = defaultdict(lambda: defaultdict(_Leaf))
    sizes: dict[tuple[str, int], tuple[int, int, int] | None] = {}
    calls = np.where(work_table.graph, -1 - work_table.launch, work_table.module_row).tolist()  # a replay is one call
    for row, path in enumerate(work_table.module):
        if path not in wanted:
            continue
        owner, part = wanted[path]
        leaf = found[stage[row], owner][part]
        leaf.rows.append(row)
        if work_table.classes[row] != LINEAR:
            continue
        key = work_table.operator[row], work_table.arguments[row]
        if key not in sizes:
            sizes[key] = _sizes(work_table, row)
        size = sizes[key]
        if size:
            leaf.sizes.add(size)
            leaf.calls.add(calls[row])
    return found


def _sizes(work_table: WorkTable, row: int) -> tuple[int, int, int] | None:
    """(m, k, n) of a product that is no batch of several."""
    inputs = work_table.input(row)
    product = matmul(work_table.operator[row].removeprefix("aten::"), inputs) if inputs else None
    return product[1:] if product and product[0] == 1 else None


def _is_projection(part: str) -> bool:
    return bool(_KEYS.match(part)) or part in (*_QUERIES, *_ADDED, *_JOINT)


def _of_text(owner: str, leaves: Leaves, lengths: Sequence[int]) -> Iterator[str]:
    """The linears of a module that project the text into keys and values; `lengths` are the rows of its keys."""
    queries = [leaves[part].length for part in _QUERIES if part in leaves]
    if not queries:
        yield from (part for part, leaf in leaves.items() if leaf.length in lengths)
        return
    added = not any(part in leaves for part in _JOINT)
    named = bool(_CROSS.search(_split(owner)[1]))
    for part, leaf in leaves.items():
        if ((part in _ADDED and added) or (_KEYS.match(part) and named)) and leaf.length not in queries:
            yield part


def _crossed(attention: Sequence[AttentionCall]) -> dict[str, list[int]]:
    """Module -> rows of its keys (batch x length), of attention that is surely cross attention: it has other keys than
    queries, and another module of the same block attends from the same queries to themselves."""
    found: dict[str, set[tuple[int, int, int]]] = defaultdict(set)
    for call in attention:
        if call.query_len and call.module and not call.causal:
            found[call.module].add((call.batch, call.query_len, call.key_len))
    own = {(_split(module)[0], q) for module, sizes in found.items() for _, q, k in sizes if q == k}
    return {
        module: [batch * k for batch, q, k in sizes if q != k and (_split(module)[0], q) in own]
        for module, sizes in found.items()
        if any(q != k for _, q, k in sizes)
    }


def _split(path: str) -> tuple[str, str]:
    """ "a/b/c" -> ("a/b", "c"); "a.b" -> ("a", "b"); "a" -> ("", "a")."""
    owner, _, part = path.rpartition("/" if "/" in path else ".")
    return owner, part


def _joined(owner: str, part: str) -> str:
    return f"{owner}{'/' if '/' in owner or _CLASS.match(part) else '.'}{part}"
