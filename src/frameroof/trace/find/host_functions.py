"""Idle time of the device by what the host did in it: the function with its line, and the call inside it.

The function is the innermost Python frame. Where the thread has none, it is the module, the range or the operator that
was innermost, and the row's kind says so; where it has no event at all, the row says that.
"""

from __future__ import annotations

import re
from collections import defaultdict

import numpy as np

from ...run import HostFunctionRow
from ..intervals import merged
from ..read.columns import Array, Problem, Trace, kinds
from ..read.events import Kind
from ..resolve.graph_capture import captures
from ..resolve.work_table import WorkTable
from .host_activity import Events
from .host_parts import HOST_CAUSES, HostPart
from .idle import Idle

MOST_ROWS = 400
"""The rest of a cause's rows are added up in one."""
NOTHING = "(no event recorded)"
OTHERS = "(other functions)"
NOT_THE_HOST = {
    "dependency": "(launched: waiting in the device's queue)",
    "graph": "(between kernels of a graph replay)",
    "unknown": "(the launch is not in the trace)",
    "profiler": "(overhead of the profiler)",
}

_LINE = re.compile(r"\(\d+\): ")
"""What only frames of Python code have: `file.py(12): function`."""
_ADDRESS = re.compile(r"(?: of pybind11_builtins\.\w+)?(?: object)? at 0x[0-9a-fA-F]+")
LOAD = "module load"
_PURPOSES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("graph capture", re.compile(
        r"(?:Begin|End)Capture|GraphInstantiate|torch/cuda/graphs\.py\(\d+\): (?:capture_\w+|__enter__|__exit__)|"
        r"torch/_inductor/cudagraph_trees\.py\(\d+\): (?:__init__|_\w*record\w*|record_function)"
    )),
    ("garbage collection", re.compile(r"Python GC|built-in (?:function|method) collect\b|\bgc\.collect\b")),
    (LOAD, re.compile(
        r"Module(?:Load|GetFunction|GetLoadingMode)|Library(?:Load|Get)|Func(?:Get|Set)Attribute|FuncLoad|FuncBySymbol|"
        r"FatBinary|KernelGetFunction|ModuleCreate|ProgramBuild|ProgramCreate"
    )),
    ("allocation", re.compile(r"Malloc|MemAlloc|HostAlloc|HostRegister|MemCreate|MemMap\b|AddressReserve|USM\w*Alloc")),
    ("free", re.compile(r"^(?:cuda|hip|cu|ze|ur|pi)\w*Free|MemUnmap|MemRelease|HostUnregister")),
    ("initialization", re.compile(
        r"^(?:cublas|cudnn|cufft|cusolver|cusparse|hipblas|rocblas|miopen|nccl|rccl)\w*(?:Create|Init)|"
        r"^(?:cu|hip|ze)Init|CtxCreate|PrimaryCtx(?:Retain|Reset)|(?:Stream|Event|MemPool)Create|_lazy_init$"
    )),
    ("launch", re.compile(r"Launch")),
    ("compilation", re.compile(
        r"torch/_dynamo/(?:convert_frame|symbolic_convert|output_graph|variables/)|triton/compiler/code_gen|"
        r"triton/compiler/compiler\.py\(\d+\): (?:compile|parse|make_ir)$|"
        r"triton/backends/\w+/compiler\.py\(\d+\): make_|"
        r"torch/_inductor/(?:codegen/|graph|scheduler|lowering|ir\.|fx_passes/|select_algorithm|async_compile)"
    )),
)  # fmt: skip
_ROOTS = {
    "graph capture": re.compile(
        r"^CUDAGraph\w*\.record|torch/_inductor/cudagraph_trees\.py\(\d+\): _record$|"
        r"model_runner\.py\(\d+\): _?capture_\w+$|(?:cuda|npu)_graph_runner\.py\(\d+\): capture\w*$"
    ),
    "compilation": re.compile(
        r"torch/_dynamo/convert_frame\.py\(\d+\): _compile|\(dynamo_timed\)$|"
        r"triton/compiler/compiler\.py\(\d+\): compile$|"
        r"torch/_inductor/runtime/triton_heuristics\.py\(\d+\): (?:benchmark_all|autotune_to_one|_?precompile)|"
        r"triton/runtime/autotuner\.py\(\d+\): _?bench|torch/utils/cpp_extension\.py\(\d+\): (?:load|_jit_compile)|"
        r"flashinfer/jit/core\.py\(\d+\): build"
    ),
}
"""Frames and ranges of what happens once: whatever they call does, too. What they made runs outside of them."""
FIRST_LAUNCH = 10
"""A first launch of a kernel that takes so many times as long as launches do at the median loaded something, ..."""
FIRST_LAUNCH_NS = 100_000
"""... if it takes at least as long as this."""
WARM_UP_NS = 1_000_000
"""Idle time in first launches from which on the report says that warming up was recorded."""


ONCE = ("", "first launch", "graph capture", "compilation")
"""What happens once, as far as it is told by more than a name."""

Key = tuple[str, str, str, str, str]
"""(cause, function, kind, inside, what of `ONCE`)."""


def by_function(work_table: WorkTable, idle: Idle, whole: WorkTable | None = None) -> list[HostFunctionRow]:
    """Every nanosecond of idle time once, the longest first; says as a problem where first launches were recorded.

    Of a window `whole` has all work of the trace: what was launched before it is no first launch.
    """
    if work_table.on_cpu or not idle.causes:
        return []
    once = _once(whole or work_table)
    found: defaultdict[Key, list[int]] = defaultdict(lambda: [0, 0])
    next_operator = work_table.operator_row[idle.gap_row]
    for part in idle.host:
        for key, time, gaps in _named(work_table.trace, part, once, next_operator):
            found[key][0] += time
            found[key][1] += gaps
    warm_up = [
        (time, 0 if purpose(inside or function) == LOAD else gaps)
        for (_, function, _, inside, what), (time, gaps) in found.items()
        if what == "first launch"
    ]
    if sum(time for time, _ in warm_up) >= WARM_UP_NS:
        _say_warm_up(work_table.trace, warm_up)
    told: defaultdict[str, int] = defaultdict(int)
    for key, (time, _) in found.items():
        told[key[0]] += time
    for cause, time in idle.causes.items():
        if time > told[cause]:
            kind = "device" if cause != "profiler" else "none"
            found[cause, NOT_THE_HOST[cause], kind, "", ""] = [time - told[cause], idle.cause_gaps[cause]]
    rows = [
        HostFunctionRow(cause, function, kind, inside, what, time, time / idle.idle_ns, gaps)
        for (cause, function, kind, inside, what), (time, gaps) in found.items()
    ]
    rows = _longest(sorted(rows, key=lambda row: -row.time_ns))
    for row in rows:
        if row.kind not in ("none", "device"):
            row.what = row.what or purpose(row.inside) or purpose(row.function)
    return rows


def _longest(rows: list[HostFunctionRow]) -> list[HostFunctionRow]:
    """The longest rows; the others of each cause as one."""
    kept, rest = rows[:MOST_ROWS], rows[MOST_ROWS:]
    for cause in dict.fromkeys(row.cause for row in rest):
        mine = [row for row in rest if row.cause == cause]
        time, share, gaps = sum(r.time_ns for r in mine), sum(r.share for r in mine), sum(r.gaps for r in mine)
        kept.append(HostFunctionRow(cause, OTHERS, "none", "", "", time, share, gaps))
    return kept


def _say_warm_up(trace: Trace, launches: list[tuple[int, int]]) -> None:
    time, count = (sum(column) for column in zip(*launches, strict=True))
    what = f"first launches that took far longer than later ones; they left the device idle for {time / 1e6:.4g} ms"
    action = "counted, though it is warm-up (a first launch loads its module): warm up before recording"
    trace.problems.append(Problem(what, max(1, count), action))


def _once(work_table: WorkTable) -> Array:
    """For each host row its place in `ONCE`."""
    trace, host = work_table.trace, work_table.trace.host
    once = _first_launches(work_table).astype(np.int64)
    for what, pattern in _ROOTS.items():
        named = np.array([bool(pattern.search(name)) for name in trace.names], dtype=bool)
        roots = np.flatnonzero(named[host.name] & (host.kind != int(Kind.RUNTIME)))
        spans = np.column_stack([roots, roots]).astype(np.int64)
        if what == "graph capture":
            spans = np.concatenate([spans, np.array(captures(trace), dtype=np.int64).reshape(-1, 2)])
        inside = _inside(trace, spans)
        once[inside[once[inside] == 0]] = ONCE.index(what)
    return once


def _inside(trace: Trace, spans: Array) -> Array:
    """Host rows that lie between the start of one row and the end of another of their thread, for pairs of rows."""
    host = trace.host
    thread = host.thread[spans[:, 0]]
    found = [np.zeros(0, dtype=np.int64)]
    for number in np.flatnonzero(np.bincount(thread)).tolist():
        mine = spans[thread == number]
        start, end = merged(host.start[mine[:, 0]], host.end[mine[:, 1]])
        rows = np.flatnonzero((host.thread == number) & (host.start >= start[0]))
        last = np.searchsorted(start, host.start[rows], side="right") - 1
        found.append(rows[host.end[rows] <= end[last]])
    return np.concatenate(found)


def _first_launches(work_table: WorkTable) -> Array:
    """Mask of the host rows that launched a kernel of their name first and took far longer than a launch does."""
    host = work_table.trace.host
    mask = np.zeros(len(host), dtype=bool)
    rows = work_table.launch[work_table.launch >= 0]
    if not len(rows):
        return mask
    took = host.end[rows] - host.start[rows]
    least = max(FIRST_LAUNCH * float(np.median(took)), FIRST_LAUNCH_NS)
    long = (work_table.launch >= 0) & (host.end[work_table.launch] - host.start[work_table.launch] >= least)
    kernel = np.array(work_table.kind) == int(Kind.KERNEL)
    names = {work_table.kernel[row] for row in np.flatnonzero(long & kernel).tolist()}
    seen: set[str] = set()
    if not names:
        return mask
    by_launch = np.flatnonzero((work_table.launch >= 0) & kernel)
    by_launch = by_launch[np.argsort(host.start[work_table.launch[by_launch]], kind="stable")]
    for row in by_launch.tolist():
        name = work_table.kernel[row]
        if name in names and name not in seen:
            seen.add(name)
            mask[work_table.launch[row]] = long[row]
    return mask


def _named(trace: Trace, part: HostPart, once: Array, following: Array) -> list[tuple[Key, int, int]]:
    """(name, ns, gaps) of one thread's pieces; as numbers as long as there are many.

    `following` is the host row of the operator that ends each gap: where nothing was recorded, it says before what.
    """
    numbers = _numbers(trace, part.events, once)  # the last row is that of no event
    event, cause, interval = part.pieces.event, part.cause, part.pieces.interval
    name = _ranked(numbers)[event]
    ends = np.where((event < 0) & (following[interval] >= 0), trace.host.name[following[interval]], -1)
    order = np.lexsort((interval, ends, name * len(HOST_CAUSES) + cause))
    event, cause, name, ends, interval = (column[order] for column in (event, cause, name, ends, interval))
    fresh = np.append(True, (np.diff(name) != 0) | (np.diff(cause) != 0) | (np.diff(ends) != 0))
    begins = np.flatnonzero(fresh)
    time = np.add.reduceat(part.length[order], begins)
    gaps = np.add.reduceat((fresh | np.append(True, np.diff(interval) != 0)).astype(np.int64), begins)
    told = zip(cause[begins].tolist(), numbers[event[begins]].tolist(), ends[begins].tolist(), strict=True)
    keys = [_words(trace, number, row, end) for number, row, end in told]
    return list(zip(keys, time.tolist(), gaps.tolist(), strict=True))


def _ranked(numbers: Array) -> Array:
    """For each row the place of its numbers among the different ones."""
    order = np.lexsort(numbers.T)
    fresh = np.append(False, (np.diff(numbers[order], axis=0) != 0).any(axis=1))
    rank = np.empty(len(numbers), dtype=np.int64)
    rank[order] = np.cumsum(fresh)
    return rank


def _numbers(trace: Trace, events: Events, once: Array) -> Array:
    """For each event (name of its function, kind of that, name inside or -1, place in `ONCE`); then for none."""
    kind, name = events.kind, trace.host.name[events.row]
    python = kind == int(Kind.PYTHON)
    lined = np.zeros(len(trace.names), dtype=bool)
    used = np.flatnonzero(np.bincount(name[python], minlength=len(trace.names)))
    lined[[n for n in used.tolist() if _LINE.search(trace.names[n])]] = True
    at = np.arange(len(name))
    for wanted in (kind == int(Kind.OPERATOR), kinds(kind, Kind.MODULE, Kind.ANNOTATION), python & lined[name]):
        around = events.around(wanted)
        at = np.where(around >= 0, around, at)
    inside = np.where(at != np.arange(len(name)), name, -1)
    what = once[events.row]
    launches = what == ONCE.index("first launch")
    if launches.any():  # what a first launch loads is part of it
        numbers = np.flatnonzero(np.bincount(name, minlength=len(trace.names))).tolist()
        loads = np.isin(name, [n for n in numbers if purpose(trace.names[n]) == LOAD])
        what = np.where(loads & (what == 0) & (events.around(launches) >= 0), ONCE.index("first launch"), what)
    told = np.column_stack([name[at], kind[at], inside, what]).astype(np.int64)
    return np.concatenate([told, np.full((1, 4), -1)])


def _words(trace: Trace, cause: int, numbers: list[int], following: int) -> Key:
    """The numbers of a name as words; `following` is the name of the operator after it, or -1."""
    function, kind, inside, once = numbers
    if function < 0:
        return HOST_CAUSES[cause], NOTHING, "none", f"before {trace.names[following]}" if following >= 0 else "", ""
    called, within = (_without_address(trace.names[n]) if n >= 0 else "" for n in (function, inside))
    return HOST_CAUSES[cause], called, _KINDS[kind], within, ONCE[once]


def _without_address(name: str) -> str:
    """The name of a function for every object that it is called for."""
    return _ADDRESS.sub("", name) if " at 0x" in name else name


_KINDS = {
    int(Kind.PYTHON): "python",
    int(Kind.MODULE): "module",
    int(Kind.ANNOTATION): "annotation",
    int(Kind.OPERATOR): "operator",
    int(Kind.RUNTIME): "call",
}


def purpose(name: str) -> str:
    """What a call or a function of this name is for; "" where the name does not tell."""
    return next((what for what, pattern in _PURPOSES if pattern.search(name)), "")
