"""What the host did while the device stood still, function by function: all numbers counted by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from trace_made import FILES, REAL, SHARED, Made, real

from frameroof.trace.find.host_activity import _cut, _nested
from frameroof.trace.find.idle import explain_idle
from frameroof.trace.read.decode import read
from frameroof.trace.read.events import Kind
from frameroof.trace.resolve.work_table import make_work_table
from frameroof.trace.to_run import analyze

US, MS = 1_000, 1_000_000
CASES = SHARED / "cases" / "traces"


def gap_of(t, until, tid=1, **options):
    """Kernels of 10 us at 5 us and, launched 5 us earlier, at `until`: in between the device stands still."""
    t.call(0, 500, 1, tid=options.get("first", tid))
    t.kernel(5 * US, 10 * US, 1, "first")
    t.call(until - 5 * US, 500, 2, tid=tid)
    t.kernel(until, 10 * US, 2, "second")
    return t


def times(run):
    """(function, inside) -> ns of the idle time, of all causes."""
    found = Counter()
    for row in run.host_functions:
        found[row.function, row.inside] += row.time_ns
    return dict(found)


def test_a_gap_is_split_among_the_frames_that_fill_it(tmp_path):
    """15 us to 10 ms: tokenize, then preprocess with an allocation and a library's function in it, then the rest."""
    t = gap_of(Made(), 10 * MS)
    t.frame("run.py(1): main", 0, 11 * MS)
    t.frame("text.py(20): tokenize", 1 * MS, 2 * MS)
    t.frame("image.py(7): preprocess", 4 * MS, 5 * MS)
    t.frame("PIL/Image.py(99): resize", 5 * MS, 3 * MS)
    t.frame("<built-in method resize of ImagingCore object at 0x7f12>", 5 * MS + 10, 2 * MS)
    t.call(4 * MS + 100, 700 * US, name="cudaMalloc")
    run = t.run(tmp_path)
    found = times(run)
    assert found["text.py(20): tokenize", ""] == 2 * MS
    assert found["PIL/Image.py(99): resize", "<built-in method resize of ImagingCore>"] == 2 * MS
    assert found["PIL/Image.py(99): resize", ""] == 1 * MS
    assert found["image.py(7): preprocess", "cudaMalloc"] == 700 * US
    assert found["image.py(7): preprocess", ""] == 5 * MS - 3 * MS - 700 * US
    launched = found["run.py(1): main", "cudaLaunchKernel"]  # from the call to the floor of 5 us
    assert launched == 5 * US
    assert found["run.py(1): main", ""] == 10 * MS - 15 * US - 2 * MS - 5 * MS - launched
    assert sum(found.values()) == run.summary.idle_ns
    assert next(r.what for r in run.host_functions if r.inside == "cudaMalloc") == "allocation"


def test_many_small_functions_are_their_callers(tmp_path):
    """A thousand calls of 5 us fill preprocess; none of them says what the host did, preprocess does."""
    t = gap_of(Made(), 10 * MS)
    t.frame("image.py(7): preprocess", 1 * MS, 8 * MS)
    for i in range(1000):
        t.frame("pixels.py(3): scale", 1 * MS + 8 * US * i, 5 * US)
    assert times(t.run(tmp_path))["image.py(7): preprocess", ""] == 8 * MS


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("cudaMalloc", "allocation"), ("hipMallocAsync", "allocation"), ("cuMemAlloc_v2", "allocation"),
        ("urUSMDeviceAlloc", "allocation"), ("cudaFreeAsync", "free"), ("hipModuleLoadData", "module load"),
        ("cudaFuncGetAttributes", "module load"), ("cuLibraryLoadData", "module load"),
        ("cublasCreate_v2", "initialization"), ("hipStreamCreateWithFlags", "initialization"),
        ("cudaGraphLaunch", "launch"), ("hipGetDevicePropertiesR0600", ""),
    ],
)  # fmt: skip
def test_a_call_says_what_it_is_for(tmp_path, name, what):
    t = gap_of(Made(), 5 * MS)
    t.frame("run.py(1): main", 0, 6 * MS)
    t.call(1 * MS, 3 * MS, name=name)
    row = next(r for r in t.run(tmp_path).host_functions if r.inside == name)
    assert (row.time_ns, row.what, row.kind, row.cause) == (3 * MS, what, "python", "host_launch")


@pytest.mark.parametrize("frame", ["<built-in function collect>", "Python GC"])
def test_garbage_collection(tmp_path, frame):
    t = gap_of(Made(), 5 * MS)
    t.frame("run.py(1): main", 0, 6 * MS)
    t.frame(frame, 1 * MS, 3 * MS)
    row = next(r for r in t.run(tmp_path).host_functions if r.inside == frame)
    assert (row.time_ns, row.what) == (3 * MS, "garbage collection")


def test_without_frames_ranges_and_operators_tell_and_what_was_not_recorded_is_said(tmp_path):
    t = gap_of(Made(), 10 * MS)
    t.note("ProfilerStep#3", 0, 11 * MS)  # that a step went on says nothing
    t.note("encode prompt", 1 * MS, 4 * MS)
    t.op("aten::index", 2 * MS, 1 * MS)
    t.op("aten::sort", 6 * MS, 1 * MS)
    t.op("aten::mm", 10 * MS - 6 * US, 3 * US)
    run = t.run(tmp_path)
    assert times(run) == {
        ("encode prompt", ""): 3 * MS,
        ("encode prompt", "aten::index"): 1 * MS,
        ("aten::sort", ""): 1 * MS,
        ("aten::mm", ""): 1 * US,
        ("aten::mm", "cudaLaunchKernel"): 5 * US,
        ("(no event recorded)", "before aten::mm"): 10 * MS - 15 * US - 5 * MS - 6 * US,
    }
    assert {r.kind for r in run.host_functions} == {"annotation", "operator", "none"}


def test_the_thread_that_launches_tells(tmp_path):
    """The main thread was busy with something else while the worker, which launches, read a file."""
    t = gap_of(Made(), 10 * MS, tid=2)
    t.frame("server.py(5): answer", 0, 11 * MS, tid=1)
    t.frame("worker.py(8): read_file", 0, 11 * MS, tid=2)
    found = times(t.run(tmp_path))
    assert found == {
        ("worker.py(8): read_file", ""): 10 * MS - 20 * US,
        ("worker.py(8): read_file", "cudaLaunchKernel"): 5 * US,
    }


def test_where_that_thread_has_no_event_the_one_that_launched_before_tells(tmp_path):
    """Forward on thread 1, backward on thread 2, which begins at 8 ms."""
    t = gap_of(Made(), 10 * MS, tid=2, first=1)
    t.frame("train.py(5): loss", 0, 8 * MS, tid=1)
    t.op("autograd::engine::evaluate_function: MmBackward0", 8 * MS, 2 * MS, tid=2)
    found = times(t.run(tmp_path))
    assert found["train.py(5): loss", ""] == 8 * MS - 15 * US
    assert found["autograd::engine::evaluate_function: MmBackward0", ""] == 2 * MS - 5 * US


def test_the_time_inside_a_launch_call_is_the_hosts(tmp_path):
    """The kernel starts 2 us before its call of 20 ms returns; the next one 30 us after its own, which is the queue."""
    t = Made()
    for i in range(12):
        t.call(i * 20 * US, 5 * US, i + 1)
        t.kernel(i * 20 * US + 5 * US, 10 * US, i + 1)
    t.call(1 * MS, 20 * MS, 20)
    t.kernel(21 * MS - 2 * US, 10 * US, 20)
    t.call(21 * MS + 2 * US, 5 * US, 21)
    t.kernel(21 * MS + 40 * US, 10 * US, 21)
    run = t.run(tmp_path)
    assert run.idle["dependency"] == 32 * US  # 21.008 to 21.040
    assert sum(run.idle.values()) - 32 * US == run.idle["host_launch"]
    assert not [p for p in run.problems if "first launches" in p.what]  # not the first of its kernel


@pytest.mark.parametrize("inside", ["", "cuModuleLoadData", "cuLibraryLoadData"])
def test_the_first_launch_of_a_kernel_is_warm_up_with_what_it_loads(tmp_path, inside):
    t = Made()
    if inside:
        t.call(2 * MS, 17 * MS, name=inside)
    for i in range(12):
        t.call(i * 20 * US, 5 * US, i + 1)
        t.kernel(i * 20 * US + 5 * US, 10 * US, i + 1)
    t.call(1 * MS, 20 * MS, 20, "hipModuleLaunchKernel")
    t.kernel(21 * MS, 10 * US, 20, "new")
    run = t.run(tmp_path)
    assert sum(r.time_ns for r in run.host_functions if r.what == "first launch") == 20 * MS
    assert run.advice[0].id == "host.warm-up"
    assert "once: 1 first launch that" in run.advice[0].evidence
    (problem,) = [p for p in run.problems if "first launches" in p.what]
    assert (problem.count, "20 ms" in problem.what, "warm up" in problem.action) == (1, True, True)


def test_work_after_a_wait_is_the_hosts_and_the_wait_brings_no_more_than_it_took(tmp_path):
    """The host waits 4 ms for a kernel, then prepares the next image for 30 ms."""
    t = Made()
    t.call(0, 500, 1)
    t.kernel(5 * US, 4 * MS, 1)
    t.call(10 * US, 4 * MS, name="cudaStreamSynchronize")  # 5 us longer than the kernel
    t.frame("image.py(7): preprocess", 4 * MS + 10 * US, 30 * MS)
    t.call(34 * MS + 10 * US, 500, 2)
    t.kernel(34 * MS + 15 * US, 4 * MS, 2)
    run = t.run(tmp_path)
    assert run.idle == {"synchronization": 5 * US, "host_launch": 30 * MS + 5 * US}
    assert times(run)["image.py(7): preprocess", ""] == 30 * MS
    assert [s.idle_ns for s in run.syncs] == [5 * US]
    assert not [a for a in run.advice if a.title.startswith("Remove the wait")]


def test_long_work_of_the_host_and_first_launches_are_advice_of_their_own(tmp_path):
    """11 gaps of 10 us; 235 us to 1 ms on the way; preprocess fills 20 ms; the call that follows loads for 9 ms."""
    t = Made()
    for i in range(12):
        t.call(i * 20 * US, 5 * US, i + 1)
        t.kernel(i * 20 * US + 5 * US, 10 * US, i + 1)
    t.frame("run.py(1): main", 0, 40 * MS)
    t.frame("image.py(7): preprocess", 1 * MS, 20 * MS)
    t.call(21 * MS, 9 * MS, 20)
    t.kernel(30 * MS, 10 * US, 20, "new")
    run = t.run(tmp_path)
    found = {(a.id, getattr(a.concerns, "function", "")): round(a.max_gain_s * 1e9) for a in run.advice}
    assert found == {
        ("host.work", "image.py(7): preprocess"): 20 * MS,
        ("host.warm-up", ""): 9 * MS,
        ("host.launches", ""): 11 * 10 * US + 765 * US,
    }
    assert "20.00 ms of it in image.py(7): preprocess" in run.first_lines.why


def test_a_wait_that_found_nothing_to_wait_for_is_none(tmp_path):
    """Called when the device had long been idle, it took 3 ms all the same."""
    t = gap_of(Made(), 10 * MS)
    t.call(2 * MS, 3 * MS, name="cudaDeviceSynchronize")
    run = t.run(tmp_path)
    assert "synchronization" not in run.idle
    assert times(run)["cudaDeviceSynchronize", ""] == 3 * MS
    assert not [s for s in run.syncs if s.idle_ns]


def test_a_blocking_copy_is_named(tmp_path):
    t = gap_of(Made(), 500 * MS)
    t.frame("weights.py(3): load", 1 * MS, 470 * MS)
    t.call(2 * MS, 463 * MS, 9, "cudaMemcpyAsync")
    t.kernel(500 * MS + 20 * US, 1 * US, 9, "Memcpy HtoD (Pageable -> Device)", cat="gpu_memcpy", bytes=4)
    run = t.run(tmp_path)
    assert run.idle["copy"] == 463 * MS
    assert times(run)["weights.py(3): load", "cudaMemcpyAsync"] == 463 * MS


@pytest.mark.parametrize("call", ["cuMemcpyDtoH_v2", "hipMemcpyWithStream", "cudaMemcpy"])
@pytest.mark.parametrize("begins", [1, 461])
def test_a_blocking_copy_to_the_host_is_a_copy_wherever_its_transfer_lies(tmp_path, call, begins):
    """The device has nothing else to do in these 463 ms: for nothing of it the host waits."""
    t = gap_of(Made(), 500 * MS)
    t.call(2 * MS, 463 * MS, 9, call)
    t.kernel((2 + begins) * MS, 1 * MS, 9, "Memcpy DtoH (Device -> Pageable)", cat="gpu_memcpy", bytes=4)
    run = t.run(tmp_path)
    assert (run.idle["copy"], run.idle.get("synchronization", 0)) == (462 * MS, 0)
    assert not [a for a in run.advice if a.id == "host.wait"]


def test_a_blocking_copy_that_holds_up_launched_work(tmp_path):
    """The kernel was launched 20 us into the gap and starts when the copy behind it returns after 463 ms."""
    t = Made()
    t.call(0, 500, 1)
    t.kernel(5 * US, 10 * US, 1)
    t.frame("batch.py(3): upload", 30 * US, 470 * MS)
    t.call(35 * US, 5 * US, 2)
    t.call(50 * US, 463 * MS, 3, "hipMemcpyWithStream")
    t.kernel(463 * MS + 50 * US, 10 * US, 2, "stuck")
    t.kernel(463 * MS + 70 * US, 1 * US, 3, "Memcpy HtoD (Host -> Device)", cat="gpu_memcpy", bytes=60)
    run = t.run(tmp_path)
    assert run.idle["copy"] == 463 * MS
    assert times(run)["batch.py(3): upload", "hipMemcpyWithStream"] == 463 * MS
    assert run.idle["dependency"] < 30 * US


@pytest.mark.parametrize("call", ["cudaStreamSynchronize", "cudaLaunchKernel"])
def test_work_that_waits_in_the_queue_is_the_queues_and_the_host_is_named(tmp_path, call):
    """A wait, and a launch that finds no room, began on the idle device: they wait, they hold nothing up."""
    t = Made()
    t.call(0, 500, 1)
    t.kernel(5 * US, 10 * US, 1)
    t.frame("train.py(3): step", 30 * US, 470 * MS)
    t.call(35 * US, 5 * US, 2)
    t.call(50 * US, 20 * MS, 3, call)
    t.kernel(20 * MS + 40 * US, 10 * US, 2)
    if call == "cudaLaunchKernel":
        t.kernel(20 * MS + 50 * US, 10 * US, 3)
    run = t.run(tmp_path)
    assert run.idle["dependency"] == 20 * MS  # from the launch and its floor of 5 us
    meanwhile = {(r.function, r.inside): r.time_ns for r in run.host_functions if r.cause == "dependency"}
    assert meanwhile["train.py(3): step", call] == 20 * MS - 10 * US  # from 50 us on


def test_ranges_that_overlap_in_part(tmp_path):
    """The second range began later and is still open when the first ends: its rest is its own."""
    t = gap_of(Made(), 10 * MS)
    t.note("first", 1 * MS, 4 * MS)
    t.note("second", 3 * MS, 4 * MS)
    found = times(t.run(tmp_path))
    assert (found["first", ""], found["second", ""]) == (2 * MS, 4 * MS)


def at_every_moment(start, end, until):
    """Millisecond -> number of the event that is innermost then; -1 for none. `start` and `end` are milliseconds."""
    events = _nested(np.arange(len(start)), np.zeros(len(start)), start * MS, end * MS)
    pieces = _cut(events, np.array([0]), np.array([until * MS]))
    assert int(pieces.length.sum()) == until * MS
    rows = np.append(events.row, -1)[pieces.event]
    order = np.argsort(pieces.start)
    at = np.searchsorted(pieces.start[order], np.arange(until) * MS, side="right") - 1
    return rows[order][at].tolist()


def test_innermost_of_nested_events_at_every_moment():
    """The one that is open and began last; of those that began together the shortest."""
    random = np.random.default_rng(7)
    for _ in range(30):
        spans = {(0, 64)}
        for _ in range(25):
            a, b = sorted(random.integers(0, 65, 2).tolist())
            if a < b and not any(a < c < b < d or c < a < d < b for c, d in spans):
                spans.add((a, b))
        listed = sorted(spans, key=lambda span: (span[0], -span[1]))
        start, end = (np.array(column) for column in zip(*listed, strict=True))
        for moment, found in enumerate(at_every_moment(start, end, 70)):
            is_open = [i for i, (a, b) in enumerate(listed) if a <= moment < b]
            assert found == (is_open[-1] if is_open else -1)


def test_innermost_of_events_that_cross_is_open_at_every_moment():
    random = np.random.default_rng(7)
    for _ in range(30):
        start = np.sort(random.integers(0, 60, 12))
        end = start + random.integers(1, 25, 12)
        order = np.lexsort((-end, start))
        start, end = start[order], end[order]
        for moment, found in enumerate(at_every_moment(start, end, 90)):
            is_open = np.flatnonzero((start <= moment) & (moment < end)).tolist()
            assert found in is_open if is_open else found == -1


def test_an_event_that_outlives_the_one_around_it_by_little_ends_with_it(tmp_path):
    t = gap_of(Made(), 10 * MS)
    t.frame("run.py(1): main", 0, 11 * MS)
    t.note("outer", 1 * MS, 4 * MS)
    t.note("inner", 2 * MS, 3 * MS + 2 * US)
    found = times(t.run(tmp_path))
    assert (found["run.py(1): main", "inner"], found["run.py(1): main", "outer"]) == (3 * MS, 1 * MS)


@pytest.mark.parametrize("name", FILES)
def test_the_table_adds_up_to_the_idle_time(name):
    run = real(name)
    if run.summary.on_cpu:
        assert run.host_functions == []
        return
    assert sum(r.time_ns for r in run.host_functions) == run.summary.idle_ns
    for cause, time in run.idle.items():
        assert sum(r.time_ns for r in run.host_functions if r.cause == cause) == time


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "gaps"),
    [("b200_eager", 5), ("mi300x_sd35_xdit", 7), ("mi300x_flux1_graph_capture", 6), ("mi300x_flux1_hipgraph_v2", 3)],
)
def test_long_gaps_of_real_recordings_have_a_function(name, gaps):
    """Of the time of all gaps above 1 ms at least 80 % lies in a Python frame."""
    work_table = make_work_table(read(REAL / f"{name}.json.gz"))
    idle = explain_idle(work_table)
    length = idle.gap_end - idle.gap_start
    assert int((length > MS).sum()) == gaps
    named = 0
    for part in idle.host:
        framed = part.events.around(part.events.kind == int(Kind.PYTHON))
        inside = (part.pieces.event >= 0) & (length[part.pieces.interval] > MS)
        inside[inside] = framed[part.pieces.event[inside]] >= 0
        named += int(part.length[inside].sum())
    assert named >= 0.8 * int(length[length > MS].sum())


@pytest.mark.shared
def test_the_two_cases_of_long_launch_calls():
    """300 ms in a first launch, 100 ms in one of many: both the host's, to a kernel's latency."""
    load = analyze(CASES / "module_load_inside_launch.json")
    assert load.idle["host_launch"] >= 300 * MS > 1000 * load.idle["dependency"]
    assert [p.count for p in load.problems if "warm up" in p.action] == [1]
    long = analyze(CASES / "launch_call_of_100_ms.json")
    assert long.idle["host_launch"] >= 100 * MS > 1000 * long.idle["dependency"]
    assert not [p for p in long.problems if "warm up" in p.action]


def test_what_lies_inside_a_graph_capture_is_told_as_one_and_is_no_launch_overhead(tmp_path):
    """Generated code launches for 20 ms into a graph that begins at 5 ms; the same code before it is not in it."""
    t = Made()
    for i in range(12):
        t.call(i * 20 * US, 5 * US, i + 1)
        t.kernel(i * 20 * US + 5 * US, 10 * US, i + 1)
    t.frame("run.py(1): main", 0, 40 * MS)
    t.frame("/tmp/torchinductor_me/ab/cabcdefgh.py(9): call", 1 * MS, 2 * MS)
    t.call(5 * MS, 2 * US, name="cudaStreamBeginCapture")
    t.frame("/tmp/torchinductor_me/ab/cabcdefgh.py(9): call", 5 * MS + 10 * US, 20 * MS)
    t.call(26 * MS, 8 * MS, name="cudaStreamEndCapture")
    t.call(35 * MS, 5 * US, 20)
    t.kernel(35 * MS + 5 * US, 10 * US, 20)
    run = t.run(tmp_path)
    found = {(r.function, r.what): r.time_ns for r in run.host_functions}
    assert found["/tmp/torchinductor_me/ab/cabcdefgh.py(9): call", "graph capture"] == 20 * MS
    assert found["/tmp/torchinductor_me/ab/cabcdefgh.py(9): call", ""] == 2 * MS
    warm_up = next(a for a in run.advice if a.id == "host.warm-up")
    assert (warm_up.title, round(warm_up.max_gain_s * 1e3)) == ("Warm up before recording: graphs are captured", 28)
    assert "20.00 ms of it in torchinductor/cabcde….py(9): call, graph capture" in run.first_lines.why
    assert [a.title for a in run.advice if a.id == "host.work"] == [
        "Keep the device busy during torchinductor/cabcde….py(9): call"
    ]


@pytest.mark.parametrize(
    ("root", "what"),
    [
        ("torch/_dynamo/convert_frame.py(700): _compile", "compilation"),
        ("compile_fx_inner (dynamo_timed)", "compilation"),
        ("triton/compiler/compiler.py(226): compile", "compilation"),
        ("triton/compiler/compiler.py(400): launch_metadata", ""),
        ("CUDAGraphNode.record (dynamo_timed)", "graph capture"),
        ("vllm/v1/worker/gpu_model_runner.py(2300): capture_model", "graph capture"),
    ],
)
def test_whatever_compiling_and_capturing_call_happens_once(tmp_path, root, what):
    t = gap_of(Made(), 30 * MS)
    t.frame("run.py(1): main", 0, 31 * MS)
    t.frame(root, 1 * MS, 20 * MS)
    t.frame("sympy/core/expr.py(12): expand", 2 * MS, 15 * MS)
    run = t.run(tmp_path)
    row = next(r for r in run.host_functions if "sympy" in r.function)
    assert (row.time_ns, row.what) == (15 * MS, what)
    assert run.first_lines.change.startswith("Warm up before recording") == bool(what)


@pytest.mark.parametrize("own", ["overhead", "frame"])
def test_a_device_that_waited_for_the_profiler_is_said_first(tmp_path, own):
    t = gap_of(Made(), 30 * MS)
    if own == "overhead":
        t.overhead(1 * MS, 20 * MS)
    else:
        t.frame("torch/profiler/profiler.py(700): step", 1 * MS, 20 * MS)
    run = t.run(tmp_path)
    assert run.idle["profiler"] == 20 * MS
    assert run.first_lines.why.startswith("idle for 20.00 ms because the profiler was busy with itself")
    assert run.first_lines.change.startswith("Record with less profiling: the profiler held the host: at most 20.00 ms")
