"""Workload files: ``NAME.workload.json``, versioned, readable, with tensors and paths written once."""

from __future__ import annotations

import keyword
import os
import re
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import msgspec

from ..dtypes import BITS, MATHS
from ..files import read_unpacked
from ..outside import from_json, quoted
from ..rules import ALIGNMENTS, UPPER_LEFT, VECTOR_PER_SCORE
from ..written import write_whole
from .channels import CHANNELS_SINCE, check_channels, with_channels
from .expr import GRAMMAR_VERSION, Poly, expr
from .records import DIMS_OF, KINDS, Held, Op, Stage, Tensor, Workload
from .size import Size
from .tensors import tensor_of, tensor_text

FORMAT = "frameroof.workload"
VERSION = 3
"""1: without regions, so that every operation is a region of its own, but for operands marked ``~``. 2: convolutions
without their channels among the dims, and with their groups among the attributes (`channels`)."""
MOST_BYTES = 1 << 24
"""Bytes of a workload file, unpacked; the largest of the catalogue has 200 KB."""
MOST_OPERATIONS = 10_000
"""Operations and tensors of a file, each; the catalogue's largest has 1,304."""
MOST_OPERANDS = 100_000
"""Tensors read and written by all operations of a file."""
MOST_NAMES = 1_000
"""Sizes, stages, and names that one stage binds."""
MOST_SAID = 100_000
"""Characters of all notes and sources of a file; the catalogue's longest have 1,890."""
MOST_DEVICES = 100_000
"""Devices of a plan."""
_TAKEN = ("min", "max", "ceil")


class _Op(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    path: str
    kind: str
    name: str
    reads: list[int] = []
    writes: list[int] = []
    dims: dict[str, str | int] = {}
    attrs: dict[str, str | int | bool] = {}
    count: str | int = 1
    region: Annotated[int, msgspec.Meta(ge=0)] = 0


class _Size(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    default: int
    step: int = 1
    offset: int = 0
    least: int | None = None
    most: int | None = None
    doc: str = ""
    verified: tuple[int, int] | None = None


class _Stage(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    name: str
    tensors: list[str]
    ops: list[_Op]
    let: dict[str, str] = {}
    limits: dict[str, _Size] = {}
    repeat: str = "1"
    loop: list[str] = []
    weights: dict[str, int] = {}
    weights_name: str = ""
    dtype: str = ""
    held: list[tuple[int, str | int, str | int]] = []
    held_exact: bool = True
    cache: str | int = 0
    cache_dtype: str = ""
    uncounted: dict[str, int] = {}
    share: str = ""


class _File(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    format: str
    version: int
    grammar: int
    name: str
    title: str = ""
    item: str = "run"
    dtype: str = "bf16"
    params: dict[str, _Size] = {}
    notes: list[str] = []
    source: list[str] = []
    made_by: dict[str, str] = {}
    passes: list[str] = []
    devices: int = 1
    plan: str = ""
    stages: list[_Stage] = []


class _Head(msgspec.Struct):
    format: str = ""
    version: int = 0
    grammar: int = 0


def _number(value: Poly) -> str | int:
    text = str(value)
    return int(text) if set(value.terms) <= {()} else text


def _pack_stage(stage: Stage) -> _Stage:
    table: dict[Tensor, int] = {}
    ops = []
    for op in stage.ops:
        reads, writes = ([table.setdefault(t, len(table)) for t in group] for group in (op.reads, op.writes))
        dims = {name: _number(value) for name, value in op.dims.items()}
        ops.append(_Op(op.path, op.kind, op.name, reads, writes, dims, dict(op.attrs), _number(op.count), op.region))
    return _Stage(
        name=stage.name,
        tensors=[tensor_text(t) for t in table],
        ops=ops,
        let=dict(stage.let),
        limits={name: _pack_size(size) for name, size in stage.limits.items()},
        repeat=stage.repeat,
        loop=list(stage.loop or ()),
        weights=dict(stage.weights),
        weights_name=stage.weights_name,
        dtype=stage.dtype,
        held=[(h.row, _number(h.elements), _number(h.fixed_bytes)) for h in stage.held],
        held_exact=stage.held_exact,
        cache=_number(stage.cache),
        cache_dtype=stage.cache_dtype,
        uncounted=dict(stage.uncounted),
        share="" if stage.share == 1 else str(stage.share),
    )


def _pack_size(size: Size) -> _Size:
    return _Size(size.default, size.step, size.offset, size.least, size.most, size.doc, size.verified)


def _size(packed: _Size) -> Size:
    if packed.step < 1:
        raise ValueError(f"a size's step is at least 1, not {packed.step}")
    if packed.least is not None and packed.most is not None and packed.least > packed.most:
        raise ValueError(f"a size's least, {packed.least}, is above its most, {packed.most}")
    if packed.verified is not None and packed.verified[0] > packed.verified[1]:
        raise ValueError(f"a size is verified from {packed.verified[0]} to {packed.verified[1]}, which is no range")
    return Size(packed.default, packed.step, packed.offset, packed.least, packed.most, packed.doc, packed.verified)


def _param(name: str, packed: _Size) -> Size:
    """A size that the user may choose: what it is by default must be what may be chosen."""
    size = _size(packed)
    if name == "batch" and size.lowest < 1:
        raise ValueError(f"the batch is the items of a run, at least 1, not {size.lowest}")
    try:
        size.check(name, size.default)
    except ValueError as error:
        raise ValueError(f"the default of a size is none that may be chosen: {error}") from None
    return size


def _check_attrs(op: _Op) -> None:
    if op.attrs.get("piece", "") not in VECTOR_PER_SCORE:
        raise ValueError(f"operation {quoted(op.path)}: unknown piece {quoted(op.attrs['piece'])}")
    if (align := op.attrs.get("align", UPPER_LEFT)) not in ALIGNMENTS:
        raise ValueError(f"operation {quoted(op.path)}: align is {' or '.join(ALIGNMENTS)}, not {quoted(align)}")
    if (maths := op.attrs.get("maths", MATHS[0])) not in MATHS:
        raise ValueError(f"operation {quoted(op.path)}: maths is {' or '.join(MATHS)}, not {quoted(maths)}")
    if not isinstance(unused := op.attrs.get("unused", True), bool):
        raise ValueError(f"operation {quoted(op.path)}: unused is true or false, not {quoted(unused)}")


def _stage(packed: _Stage, version: int) -> Stage:
    tensors = [tensor_of(text) for text in packed.tensors]
    if any(dtype not in BITS or n < 0 for dtype, n in packed.weights.items()):
        raise ValueError(f"stage {packed.name}: weights are counts by dtype, not {quoted(packed.weights)}")
    if any(dtype not in ("", *BITS) for dtype in (packed.dtype, packed.cache_dtype)):
        raise ValueError(f"stage {packed.name}: unknown dtype {quoted(packed.dtype or packed.cache_dtype)}")
    for text in (packed.repeat, *packed.let.values(), *packed.loop[1:]):
        expr(text)
    if packed.loop and len(packed.loop) != 2:
        raise ValueError(f"stage {packed.name}: a loop is a variable and a count")
    ops = []
    for op in packed.ops:
        if op.kind not in KINDS:
            raise ValueError(f"operation {quoted(op.path)}: unknown kind {quoted(op.kind)}")
        _check_attrs(op)
        missing = [name for name in DIMS_OF.get(op.kind, ()) if name not in op.dims]
        if missing or (op.kind == "attention" and "piece" not in op.attrs and len(op.reads) < 3):
            raise ValueError(f"operation {quoted(op.path)}: a {op.kind} needs {missing or 'three operands'}")
        dims = {name: Poly.of(value) for name, value in op.dims.items()}
        if not all(0 <= i < len(tensors) for group in (op.reads, op.writes) for i in group):
            raise ValueError(f"operation {quoted(op.path)}: it names a tensor that is not in the stage's list")
        reads, writes = (tuple(tensors[i] for i in group) for group in (op.reads, op.writes))
        made = Op(op.path, op.kind, op.name, reads, writes, dims, op.attrs, Poly.of(op.count), op.region)
        ops.append(with_channels(made) if version < CHANNELS_SINCE else made)
    return Stage(
        name=packed.name,
        ops=tuple(ops),
        let=packed.let,
        limits={name: _size(size) for name, size in packed.limits.items()},
        repeat=packed.repeat,
        loop=(packed.loop[0], packed.loop[1]) if packed.loop else None,
        weights=packed.weights,
        weights_name=packed.weights_name,
        dtype=packed.dtype,
        held=tuple(Held(row, Poly.of(elements), Poly.of(fixed)) for row, elements, fixed in packed.held),
        held_exact=packed.held_exact,
        cache=Poly.of(packed.cache),
        cache_dtype=packed.cache_dtype,
        uncounted=packed.uncounted,
        share=_share(packed.share or "1", packed.name),
    )


def _share(text: str, stage: str) -> Fraction:
    """``1/8``: what of a stage each device does."""
    if not re.fullmatch(r"[1-9]\d{0,5}(/[1-9]\d{0,5})?", text) or not 0 < (share := Fraction(text)) <= 1:
        raise ValueError(f"stage {stage}: a device's share is above 0 and at most 1, such as 1/8, not {quoted(text)}")
    return share


def dumps(workload: Workload) -> bytes:
    """The workload as the bytes of its file."""
    file = _File(
        format=FORMAT,
        version=VERSION,
        grammar=GRAMMAR_VERSION,
        name=workload.name,
        title=workload.title,
        item=workload.item,
        dtype=workload.dtype,
        params={name: _pack_size(size) for name, size in workload.params.items()},
        notes=list(workload.notes),
        source=list(workload.source),
        made_by=dict(workload.made_by),
        passes=list(workload.passes),
        devices=workload.devices,
        plan=workload.plan,
        stages=[_pack_stage(stage) for stage in workload.stages],
    )
    return _readable(msgspec.to_builtins(file))


def _readable(tree: dict[str, Any]) -> bytes:
    """JSON with one operation, tensor table or note a line: small, and fit for a diff."""
    encode = msgspec.json.encode
    stages = []
    for stage in tree.pop("stages", []):
        ops = b",\n   ".join(encode(op) for op in stage.pop("ops"))
        head = encode(stage)[:-1]
        stages.append(b"  " + head + b',"ops":[\n   ' + ops + b"]}")
    head = b",\n ".join(encode(key) + b":" + encode(value) for key, value in tree.items())
    return b"{" + head + b',\n "stages":[\n' + b",\n".join(stages) + b"]}\n"


def loads(data: bytes, where: str = "this file") -> Workload:
    """Read a workload; `ValueError` with a sentence for a broken, foreign or future file."""
    head = from_json(data, _Head, f"{where} is not a workload file")
    if head.format != FORMAT:
        raise ValueError(f"{where} is not a workload file: its format is {quoted(head.format or 'not named')}")
    if head.version > VERSION or head.grammar > GRAMMAR_VERSION:
        raise ValueError(
            f"{where} has version {head.version} (grammar {head.grammar}); this frameroof reads up to "
            f"{VERSION} (grammar {GRAMMAR_VERSION}): update frameroof"
        )
    if head.version < 1 or head.grammar < 1:
        raise ValueError(f"{where} has version {head.version} (grammar {head.grammar}); versions begin at 1")
    broken = f"{where} is a broken workload file"
    file = from_json(data, _File, broken)
    try:
        _check_counts(file)
        workload = Workload(
            name=file.name,
            params={name: _param(name, size) for name, size in file.params.items()},
            stages=tuple(_stage(stage, file.version) for stage in file.stages),
            title=file.title,
            item=file.item,
            dtype=file.dtype,
            notes=tuple(file.notes),
            source=tuple(file.source),
            made_by=file.made_by,
            passes=tuple(file.passes),
            devices=file.devices,
            plan=file.plan,
        )
        if not 1 <= workload.devices <= MOST_DEVICES:
            raise ValueError(f"its plan is for {workload.devices} devices")
        if workload.dtype not in BITS or not workload.stages:
            raise ValueError(f"it has {len(workload.stages)} stages and the dtype {quoted(workload.dtype)}")
        for stage in workload.stages:
            _check_names(stage, workload)
        return workload
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError, RecursionError) as error:
        raise ValueError(f"{broken}: {error}") from error


def _check_counts(file: _File) -> None:
    """No file holds so many operations or names that working with it takes long."""
    for what, most, rows in (
        ("operations", MOST_OPERATIONS, sum(len(stage.ops) for stage in file.stages)),
        ("tensors", MOST_OPERATIONS, sum(len(stage.tensors) + len(stage.held) for stage in file.stages)),
        ("operands", MOST_OPERANDS, sum(len(o.reads) + len(o.writes) for stage in file.stages for o in stage.ops)),
    ):
        if rows > most:
            raise ValueError(f"it has {rows:,} {what}, and at most {most:,} are read")
    most = max(
        [len(file.params), len(file.stages), *(len(s.let) + len(s.limits) + len(s.uncounted) for s in file.stages)]
    )
    if most > MOST_NAMES:
        raise ValueError(f"it has {most:,} sizes, stages or names, and at most {MOST_NAMES:,} are read")
    said = sum(map(len, (*file.notes, *file.source, *file.passes, file.plan, *file.made_by.values())))
    if said > MOST_SAID:
        raise ValueError(f"its notes and sources have {said:,} characters, and at most {MOST_SAID:,} are read")
    for stage in file.stages:
        for name in (*file.params, *stage.let, *stage.loop[:1]):
            if not name.isidentifier() or keyword.iskeyword(name) or name in _TAKEN or len(name) > 100:
                raise ValueError(f"{quoted(name)} cannot be the name of a size")


def _check_names(stage: Stage, workload: Workload) -> None:
    """Every name that a stage uses must be a parameter, its loop variable or bound by an earlier `let`."""
    known = set(workload.params)
    _need(expr(stage.repeat).names, known, f"stage {stage.name}: repeat")
    if stage.loop:
        _need(expr(stage.loop[1]).names, known, f"stage {stage.name}: loop")
        known.add(stage.loop[0])
    for name, text in stage.let.items():
        _need(expr(text).names, known, f"stage {stage.name}: {name}")
        known.add(name)
    _need(stage.limits, known, f"stage {stage.name}: limits")
    polys = {d for op in stage.ops for d in (*op.dims.values(), op.count)}
    tensors = {id(t): t for op in stage.ops for t in (*op.reads, *op.writes)}  # shared objects: few of them
    polys |= {d for t in tensors.values() for d in t.shape}
    polys |= {p for h in stage.held for p in (h.elements, h.fixed_bytes)} | {stage.cache}
    _need({name for p in polys for name in p.names}, known, f"stage {stage.name}: operations")
    for env in _turns(stage, {name: size.default for name, size in workload.params.items()}):
        negative = [p for p in polys if p(env) < 0]
        if negative:
            raise ValueError(f"stage {stage.name}: a size of {negative[0]} is negative at the default sizes")
        for op in stage.ops:
            check_channels(op, env)
    if any(not 0 <= h.row < len(stage.ops) for h in stage.held):
        raise ValueError(f"stage {stage.name}: held names a row that is not there")


def _turns(stage: Stage, defaults: dict[str, int]) -> list[dict[str, Any]]:
    """What the stage's names mean at the default sizes: in the first and the last turn of its loop, if it has one."""
    if int(expr(stage.repeat)(defaults)) < 0:
        raise ValueError(f"stage {stage.name}: it would run {stage.repeat} times")
    if not stage.loop:
        return [stage.bind(defaults)]
    last = int(expr(stage.loop[1])(defaults)) - 1
    return [stage.bind({**defaults, stage.loop[0]: turn}) for turn in sorted({0, last}) if last >= 0]


def _need(used: Iterable[str], known: set[str], where: str) -> None:
    unknown = sorted(set(used) - known)
    if unknown:
        raise ValueError(f"{where} uses {unknown[0]!r}, which nothing binds")


def load(path: str | os.PathLike[str]) -> Workload:
    """Read a workload file, plain or gzipped."""
    return loads(read_unpacked(path, MOST_BYTES), str(path))


def save(workload: Workload, path: str | os.PathLike[str], force: bool = False) -> Path:
    """Write a workload file, whole or not at all; an existing one only with `force`."""
    return write_whole(path, dumps(workload), force=force)
