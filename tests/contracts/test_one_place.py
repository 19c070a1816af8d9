"""What stands in one file: types of number in `dtypes`, names of ranges in `annotations`, limits in `roofline`.

Another list or rule would drift from it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import frameroof.annotations as ranges
from frameroof import dtypes

ROOT = Path(__file__).parents[2]
FILES = sorted(path for folder in ("src", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
OWN = {name for d in dtypes.TABLE for name in (d.name, *d.torch, *d.trace, d.triton) if name} | {"half", "tf32"}
WORDS = OWN - {"int", "float", "bool", "double"}  # also words of Python and of its libraries


def named(node: ast.expr | None) -> bool:
    """Whether an expression is the name of a type of number, or torch's or NumPy's type itself."""
    if isinstance(node, ast.Attribute):
        return isinstance(node.value, ast.Name) and node.value.id in ("torch", "np") and node.attr in OWN
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in WORDS


def lists(tree: ast.AST) -> Iterator[int]:
    """Lines with a mapping from or to types, or a list of them: two or more, and nothing else but None."""
    for node in ast.walk(tree):
        groups: list[list[ast.expr | None]] = []
        if isinstance(node, ast.Dict):
            groups = [[*node.keys], [*node.values]]
        elif isinstance(node, ast.Tuple | ast.List | ast.Set):
            groups = [[e for e in node.elts if not (isinstance(e, ast.Constant) and e.value is None)]]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "split":
            text = node.func.value.value if isinstance(node.func.value, ast.Constant) else ""
            groups = [[ast.Constant(word) for word in text.split()]] if isinstance(text, str) else []
        if any(len(group) > 1 and all(map(named, group)) for group in groups):
            yield node.lineno


@pytest.mark.parametrize(
    "text",
    [
        'A = {"fp32": 4, "bf16": 2}',
        "A = {torch.float32: 4, torch.bfloat16: 2}",
        'A = {1: "fp8", 2: "bf16", 4: "fp32"}',
        'if dtype not in (None, "bf16", "fp16"): pass',
        'A = "fp32 bf16".split()',
        'A = {"c10::Half": 2, "c10::BFloat16": 2}',
    ],
)
def test_a_list_of_types_is_seen(text: str) -> None:
    assert list(lists(ast.parse(text)))


def test_types_of_number_are_listed_in_one_file() -> None:
    assert len(FILES) > 300
    found = {f"{path.relative_to(ROOT)}:{line}" for path in FILES for line in lists(ast.parse(path.read_text()))}
    assert {place.partition(":")[0] for place in found} == {"src/frameroof/dtypes.py"}


def test_names_of_ranges_are_spelled_in_one_file() -> None:
    formats = (ranges.STAGE, ranges.MODULE, ranges.FRAME, ranges.STEP[:-1], ranges.COLLECTIVE)
    found = {
        path.relative_to(ROOT).as_posix()
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(formats)
    }
    assert found == {"src/frameroof/annotations.py"}


# A share of a peak or of a bandwidth is no limit; the ridge is a value of a device.
SHARES = {"hardware/records.py", "trace/tables.py", "trace/advice/precision.py", "characterize/sequence.py"}
RATE = re.compile(r"(^|_)(peaks?|bandwidth|dense_flops)$")


def limits(tree: ast.AST) -> Iterator[int]:
    """Lines that divide by a peak or a bandwidth, or that say of two times which one bounds."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div | ast.FloorDiv):
            inner = node.right.func if isinstance(node.right, ast.Call) else node.right
            inner = inner.value if isinstance(inner, ast.Subscript) else inner
            name = getattr(inner, "attr", getattr(inner, "id", ""))
            if RATE.search(name):
                yield node.lineno
        elif isinstance(node, ast.IfExp):
            ends = {getattr(end, "value", None) for end in (node.body, node.orelse)}
            if ends == {"compute", "memory"}:
                yield node.lineno


@pytest.mark.parametrize(
    "text", ["a / self.peaks[x]", "a / d.peak(x)", "a / m.bandwidth", "b = 'memory' if x < y else 'compute'"]
)
def test_a_limit_is_seen(text: str) -> None:
    assert list(limits(ast.parse(text)))


def test_limits_are_computed_in_one_file() -> None:
    """The documents that `reproduce` follows have an arithmetic of their own."""
    found = {str(path) for path in FILES if "reproduce" not in path.parts and list(limits(ast.parse(path.read_text())))}
    allowed = {path for path in found if path.endswith(("/roofline.py", *SHARES))}
    assert found == allowed
    assert len(allowed) == 1 + len(SHARES)
