"""Files of other writers: Ascend's are read, the others refused by name; never a report of the host alone."""

from __future__ import annotations

import gzip
import json
import pickle
import sqlite3

import pytest
from trace_made import H100, SHARED, Made

from frameroof.trace.read.file import TraceError
from frameroof.trace.to_run import analyze

CASE = SHARED / "cases" / "traces" / "ascend_trace_view.json"


def named(pid, name, **more):
    return {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": name, **more}}


def bar(name, pid, tid, ts, dur, **more):
    return {"ph": "X", "name": name, "pid": pid, "tid": tid, "ts": ts, "dur": dur, **more}


def ascend():
    """Two products on stream 3, handed over by operators; a copy, a wait that is none of work, and a second view."""
    yield from (named(4, "Ascend Hardware"), named(5, "CANN"), named(9, "Python"), named(6, "Overlap Analysis"))
    yield {"ph": "M", "name": "process_labels", "pid": 4, "tid": 0, "args": {"labels": "NPU 2"}}
    for i in range(2):
        at = 1000.0 + 100 * i
        inputs = {"Input Dims": "512,512;512,512;", "Input type": "c10::BFloat16;c10::BFloat16;Scalar"}
        yield bar("aten::mm", 9, 9, at, 30.0, cat="cpu_op", args=inputs)
        yield {"ph": "s", "cat": "async_npu", "name": "async_npu", "id": str(i), "pid": 9, "tid": 9, "ts": str(at + 5)}
        yield bar("Node@launch", 5, 7, at + 10, 5.0, args={"connection_id": i})
        task = {"Task Type": "AI_CORE", "Stream Id": 3, "connection_id": i}
        yield bar("MatMulV2", 4, 3, f"{at + 40}", 50.5, args=task)
        yield {"ph": "f", "cat": "async_npu", "name": "async_npu", "id": str(i), "pid": 4, "tid": 3, "ts": str(at + 40)}
    yield bar("MEMCPY_ASYNC", 4, 3, 1210.0, 4.0, args={"Task Type": "MEMCPY_ASYNC", "Stream Id": 3})
    yield bar("EVENT_WAIT", 4, 8, 1000.0, 200.0, args={"Task Type": "EVENT_WAIT", "Stream Id": 8})
    yield bar("Computing", 6, 0, 1000.0, 900.0)
    yield bar("AscendCL@aclrtSynchronizeStream", 5, 7, 1150.0, 70.0)


def test_ascend_is_read_from_its_tasks(tmp_path):
    path = tmp_path / "trace_view.json"
    path.write_text(json.dumps(list(ascend())), "utf-8")
    run = analyze(path)
    assert (run.summary.kernels, run.summary.copies, run.summary.busy_ns) == (2, 1, 2 * 50_500 + 4_000)
    mm = next(o for o in run.operators if o.name == "aten::mm")
    assert (mm.count, mm.time_ns, mm.flops) == (2, 101_000, 2 * 2 * 512**3)
    assert [(p.what, p.count) for p in run.problems if "no category" in p.what] == [("events of no category", 1)]
    assert run.launch.median_ns == 35_000


XLA = [
    named(1, "/device:TPU:0"),
    named(2, "/host:CPU"),
    {"ph": "M", "name": "thread_name", "pid": 1, "tid": 3, "args": {"name": "XLA Ops"}},
    bar("fusion.1", 1, 3, 5.0, 10.0),
    bar("PjitFunction(f)", 2, 4, 1.0, 20.0),
]
LEGACY = [
    {"name": "mm", "ph": "X", "ts": 1, "dur": 9, "tid": 0, "pid": "CPU functions", "args": {}},
    {"name": "gemm", "ph": "X", "ts": 12, "dur": 30, "tid": 0, "pid": "CUDA functions", "args": {}},
]
NSYS2JSON = [
    {"name": "gemm", "ph": "X", "cat": "cuda", "ts": 1.0, "dur": 9.0, "tid": "Stream 7", "pid": "Device 0", "args": {}},
    {"name": "step", "ph": "X", "cat": "nvtx", "ts": 1.0, "dur": 9.0, "tid": "NVTX Thread 1", "pid": "Device 0"},
]
ROCPROF = [
    named(6, "6 GPU0"),
    named(2, "2 CPU HIP API"),
    bar("gemm.kd", 6, 0, "17", "9", args={"dev-id": "0", "queue-id": "0"}),
]
GAUDI = [named(3, "Gaudi2 MME"), bar("mme", 3, 1, 5.0, 9.0, cat="hw")]
OPERATOR = bar("aten::mm", 100, 100, 1.0, 40.0, cat="cpu_op")
UNKNOWN = [OPERATOR, bar("k", 0, 7, 9.0, 20.0, cat="npu_task", args={"stream": 7})]
REFUSED = {
    "XLA": (XLA, "XLA"),
    "XLA beside operators of torch": ([*XLA, OPERATOR], "XLA"),
    "torch before 1.8.1": (LEGACY, "before 1.8.1"),
    "nsys2json": (NSYS2JSON, "nsys2json"),
    "rocprof": (ROCPROF, "rocprof"),
    "Gaudi": ([*GAUDI, OPERATOR], "Gaudi"),
    "ONNX Runtime": (
        [bar("MatMul_kernel_time", 1, 2, 5.0, 3.0, cat="Node", args={"op_name": "MatMul"})],
        "ONNX Runtime",
    ),
    "TensorFlow's timeline": (
        [bar("MatMul", 1, 0, 1.0, 3.0, cat="Op", args={"op": "MatMul"})],
        "TensorFlow's timeline",
    ),
    "a browser": ([bar("Layout", 1, 0, 1.0, 3.0, cat="blink,devtools.timeline")], "a browser"),
    "nothing known": ([bar("a", 1, 0, 1.0, 3.0, cat="mine")], r"no event that frameroof knows, but 1 of .*'mine'"),
    "a category of some device": (UNKNOWN, r"1 events of the category 'npu_task' \(0.020 ms\)"),
}


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_a_device_that_is_not_read_is_no_report_of_the_host(tmp_path, name, listed):
    events, words = REFUSED[name]
    path = tmp_path / "trace.json.gz"
    path.write_bytes(gzip.compress(json.dumps(events if listed else {"traceEvents": events}).encode()))
    with pytest.raises(TraceError, match=words):
        analyze(path)


def test_categories_that_are_left_out_are_said(tmp_path):
    t = Made(**H100)
    t.one("aten::mm", 1_000_000, 10_000)
    for i in range(3):
        t._add("my_events", "mine", 1_000_000 + i, 2_000, 1)
    run = t.run(tmp_path)
    assert [(p.what, p.count, p.action) for p in run.problems] == [
        ("events of the category 'my_events'", 3, "left out (0.006 ms of them)")
    ]
    assert run.summary.kernels == 1


def test_an_own_category_on_the_host_is_no_device(tmp_path):
    t = Made()
    t.op("aten::mm", 1_000_000, 10_000)
    t._add("my_events", "mine", 1_000_000, 2_000, 1)
    assert t.run(tmp_path).summary.on_cpu


BEGINNINGS = {
    "memory": (pickle.dumps({"segments": []}), "a pickle"),
    "perfetto": (b"\x0a\x35\x0a\x10" + bytes(60), "a protocol buffer"),
    "ncu": (b"NVR\0" + bytes(60), "Nsight Compute"),
    "ncu, as a table": (b'"ID","Process ID","Process Name","Host Name"\n"0","1","p","h"\n', "CSV"),
    "rocprofv3": (b'{"rocprofiler-sdk-tool": [{"metadata": {}}]}', "rocprofv3"),
    "speedscope": (b'{"$schema": "https://www.speedscope.app/file-format-schema.json", "profiles": []}', "speedscope"),
    "execution trace": (b'{"nodes": [{"id": 2, "name": "[pytorch]", "rf_id": 1}]}', "execution trace"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(20), "zstd"),
}  # fmt: skip


@pytest.mark.parametrize("name", BEGINNINGS)
def test_a_file_of_another_format_is_named(tmp_path, name):
    text, words = BEGINNINGS[name]
    path = tmp_path / "file.json"
    path.write_bytes(text)
    with pytest.raises(TraceError, match=words):
        analyze(path)


def database(path, *tables):
    with sqlite3.connect(path) as made:
        for table, columns, *rows in tables:
            made.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
            for row in rows:
                made.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
    made.close()
    return path


KERNEL = ("start", "end", "deviceId", "streamId", "correlationId", "shortName")
CALLS = ("CUPTI_ACTIVITY_KIND_RUNTIME", ("start", "end", "globalTid", "correlationId", "nameId"), (0, 5, 1 << 24, 1, 0))
NAMES = ("StringIds", ("id", "value"), (0, "cudaLaunchKernel"), (1, "gemm"))


def test_tables_with_the_number_of_their_record_are_read(tmp_path):
    kernels = ("CUPTI_ACTIVITY_KIND_KERNEL_V3", KERNEL, (10, 40, 0, 7, 1, 1), (50, 90, 0, 7, 2, 1))
    run = analyze(database(tmp_path / "a.sqlite", kernels, CALLS, NAMES))
    assert (run.summary.kernels, run.summary.busy_ns, run.kernels[0].name) == (2, 70, "gemm")
    assert run.source.ignored == {}


def test_work_in_tables_of_another_name_is_no_report_of_the_host(tmp_path):
    kernels = ("CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL", KERNEL, (10, 40, 0, 7, 1, 1))
    with pytest.raises(TraceError, match="1 rows of CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL"):
        analyze(database(tmp_path / "a.sqlite", kernels, CALLS, NAMES))
    with pytest.raises(TraceError, match="rocpd"):
        analyze(database(tmp_path / "b.db", ("rocpd_kernel_dispatch_0", ("id",), (1,))))


@pytest.mark.shared
@pytest.mark.skipif(not CASE.is_file(), reason="no ../shared/cases here")
def test_the_public_case():
    run = analyze(CASE)
    assert (run.summary.kernels, run.summary.busy_ns, run.summary.on_cpu) == (8, 404_000, False)
    assert [(o.name, o.count, o.time_ns) for o in run.operators] == [("aten::mm", 8, 404_000)]
