"""Nsight Systems exports: small SQLite files with the real table layouts, and answers worked out by hand."""

import gzip
import json
import os
import re
import sqlite3
from decimal import Decimal

import numpy as np
import pytest

from frameroof.trace.idle import explain_idle
from frameroof.trace.intervals import covered
from frameroof.trace.link import link, module_paths
from frameroof.trace.nsys import is_sqlite, read_nsys
from frameroof.trace.nsys_schema import STAGE, call_name, copy_name, read_range
from frameroof.trace.placed import place
from frameroof.trace.read import read
from frameroof.trace.schema import Kind
from frameroof.trace.shapes import cost, matmul, parse
from frameroof.trace.source import TraceError
from frameroof.trace.stages import STAGE_ANNOTATION

# Columns as in an export by Nsight Systems 2024.6.2 (schema 3.16.1), the tables of graphs as in the user guide; columns
# that the reader never looks at are left out.
TIMES = "start INTEGER NOT NULL, end INTEGER NOT NULL"
DEVICE = f"{TIMES}, deviceId INTEGER NOT NULL, streamId INTEGER, correlationId INTEGER, globalPid INTEGER"
CALLED = "globalTid INTEGER, correlationId INTEGER, nameId INTEGER"
TABLES = {
    "StringIds": "id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL",
    "META_DATA_EXPORT": "name TEXT NOT NULL, value TEXT",
    "TARGET_INFO_SESSION_START_TIME": "utcEpochNs INTEGER, utcTime TEXT, localTime TEXT",
    "TARGET_INFO_SYSTEM_ENV": "globalVid INTEGER, devStateName TEXT, name TEXT, nameEnum INTEGER, value TEXT",
    "TARGET_INFO_GPU": "vmId INTEGER, id INTEGER NOT NULL, name TEXT, busLocation TEXT, totalMemory INTEGER",
    "TARGET_INFO_CUDA_DEVICE": "gpuId INTEGER, cudaId INTEGER, pid INTEGER, uuid TEXT, numMultiprocessors INTEGER",
    "CUPTI_ACTIVITY_KIND_KERNEL": f"{DEVICE}, demangledName INTEGER, shortName INTEGER NOT NULL, mangledName INTEGER,"
    " gridX INTEGER, graphNodeId INTEGER",
    "CUPTI_ACTIVITY_KIND_MEMCPY": f"{DEVICE}, bytes INTEGER NOT NULL, copyKind INTEGER NOT NULL, srcKind INTEGER,"
    " dstKind INTEGER, graphNodeId INTEGER",
    "CUPTI_ACTIVITY_KIND_MEMSET": f"{DEVICE}, bytes INTEGER NOT NULL, graphNodeId INTEGER, memKind INTEGER",
    "CUPTI_ACTIVITY_KIND_GRAPH_TRACE": f"{DEVICE}, graphId INTEGER NOT NULL, graphExecId INTEGER NOT NULL",
    "CUPTI_ACTIVITY_KIND_SYNCHRONIZATION": f"{DEVICE}, syncType INTEGER NOT NULL, eventId INTEGER NOT NULL",
    "CUPTI_ACTIVITY_KIND_RUNTIME": f"{TIMES}, eventClass INTEGER, {CALLED} NOT NULL, returnValue INTEGER,"
    " callchainId INTEGER",
    "NVTX_EVENTS": "start INTEGER NOT NULL, end INTEGER, eventType INTEGER NOT NULL, rangeId INTEGER, category INTEGER,"
    " color INTEGER, text TEXT, globalTid INTEGER, endGlobalTid INTEGER, textId INTEGER, domainId INTEGER",
    "PROFILER_OVERHEAD": f"{TIMES}, {CALLED}",
    "OSRT_API": f"{TIMES}, globalTid INTEGER, nameId INTEGER",
    "CUDA_GRAPH_NODE_EVENTS": f"{TIMES}, eventClass INTEGER, globalTid INTEGER, nameId INTEGER, graphNodeId INTEGER,"
    " originalGraphNodeId INTEGER",
}
KERNEL, COPY, FILL = (f"CUPTI_ACTIVITY_KIND_{name}" for name in ("KERNEL", "MEMCPY", "MEMSET"))
GRAPH, SYNC, CALL = (f"CUPTI_ACTIVITY_KIND_{name}" for name in ("GRAPH_TRACE", "SYNCHRONIZATION", "RUNTIME"))
NVTX = "NVTX_EVENTS"


def tid(pid, thread):
    return 1 << 48 | pid << 24 | thread


MAIN, PID = tid(4711, 42), tid(4711, 0)


class Export:
    """Writes an export: only the tables that hold rows, as Nsight Systems does."""

    def __init__(self, path):
        self.path, self.db, self.strings = path, sqlite3.connect(path), {}
        self.add("META_DATA_EXPORT", name="EXPORT_SCHEMA_VERSION", value="3.16.1")

    def string(self, text):
        if text not in self.strings:
            self.strings[text] = len(self.strings) + 1
            self.add("StringIds", id=self.strings[text], value=text)
        return self.strings[text]

    def add(self, table, **row):
        self.db.execute(f"CREATE TABLE IF NOT EXISTS {table} ({TABLES[table]})")
        names = ", ".join(f'"{name}"' for name in row)
        self.db.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(row))})", list(row.values()))
        return self

    def kernel(self, start, end, name="k", correlation=0, stream=7, device=0, pid=PID, node=None):
        text = self.string(name)
        return self.add(
            KERNEL, start=start, end=end, deviceId=device, streamId=stream, correlationId=correlation, globalPid=pid,
            demangledName=text, shortName=text, graphNodeId=node,
        )  # fmt: skip

    def call(self, start, end, name, correlation, thread=MAIN):
        row = {"globalTid": thread, "correlationId": correlation, "nameId": self.string(name), "returnValue": 0}
        return self.add(CALL, start=start, end=end, eventClass=0, **row)

    def range(self, start, end, text, sort=59, thread=MAIN, **more):
        row = {"text": text, "globalTid": thread, "domainId": 0, **more}
        return self.add(NVTX, start=start, end=end, eventType=sort, **row)

    def close(self):
        self.db.commit()
        self.db.close()

    def read(self, **options):
        self.close()
        return read_nsys(self.path, **options)


@pytest.fixture
def export(tmp_path):
    return Export(tmp_path / "report.sqlite")


def text(trace, columns):
    return [trace.names[n] for n in columns.name.tolist()]


def problems(trace):
    return {p.what: p.count for p in trace.problems}


def test_one_step_by_hand(export):
    """Module > operator > launch > kernel, a copy, a fill; busy: [200,300) or [250,400) or [500,530) or [600,610)."""
    export.range(0, 1000, "stage::denoise")
    export.range(10, 900, "mod::unet.down")
    export.range(20, 100, "aten::conv2d, seq = 3, op_id = 12, sizes = [[1, 3, 64, 64], [8, 3, 3, 3], [], [], []]")
    export.call(30, 40, "cudaLaunchKernel_v7000", 101)
    export.call(50, 60, "cuLaunchKernelEx", 102)
    export.call(450, 460, "cudaMemcpyAsync_v3020", 103)
    export.call(550, 560, "cudaMemsetAsync_ptsz_v7000", 104)
    export.kernel(200, 300, "void conv<float>(float*)", 101)
    export.kernel(250, 400, "void tail()", 102)
    export.add(
        COPY, start=500, end=530, deviceId=0, streamId=13, correlationId=103, globalPid=PID, bytes=4096, copyKind=1,
        srcKind=0, dstKind=2,
    )  # fmt: skip
    export.add(FILL, start=600, end=610, deviceId=0, streamId=7, correlationId=104, globalPid=PID, bytes=64, memKind=2)
    trace = export.read()

    kernels = ["void conv<float>(float*)", "void tail()"]
    assert text(trace, trace.work) == [*kernels, "Memcpy HtoD (Pageable -> Device)", "Memset (Device)"]
    assert trace.work.kind.tolist() == [Kind.KERNEL, Kind.KERNEL, Kind.MEMCPY, Kind.MEMSET]
    assert trace.work.bytes.tolist() == [-1, -1, 4096, 64]
    assert trace.work.stream.tolist() == [7, 7, 13, 7]
    assert trace.work.correlation.tolist() == [101, 102, 103, 104]
    assert covered(trace.work.start, trace.work.end) == 200 + 30 + 10
    assert trace.nanosecond
    assert not trace.is_rocm
    assert not trace.problems

    host, links = trace.host, link(trace)
    assert text(trace, host)[:3] == ["stage::denoise", "mod::unet.down", "aten::conv2d"]
    assert host.kind[:3].tolist() == [Kind.ANNOTATION, Kind.MODULE, Kind.OPERATOR]
    assert trace.threads == [("4711", "42")]
    launched = [trace.names[host.name[row]] for row in links.launch.tolist()]
    assert launched == ["cudaLaunchKernel", "cuLaunchKernelEx", "cudaMemcpyAsync", "cudaMemsetAsync"]
    assert links.work_operator.tolist() == [2, 2, -1, -1]
    assert [module_paths(trace, links)[row] for row in links.work_module.tolist()] == ["unet.down"] * 4
    assert host.external[2] == 12
    assert parse(trace.arguments[host.args[2]]).dims[:3] == ((1, 3, 64, 64), (8, 3, 3, 3), ())
    assert place(trace).classes == ["convolution", "convolution", "copy", "copy"]


def test_read_knows_an_export_by_its_first_bytes(export):
    export.kernel(1, 2).close()
    trace = read(export.path)
    assert text(trace, trace.work) == ["k"]


def test_header(export):
    export.kernel(1, 2)
    export.add("META_DATA_EXPORT", name="EXPORT_PRODUCT_VERSION", value="2024.6.2.225")
    export.add("TARGET_INFO_SESSION_START_TIME", utcEpochNs=1_784_597_271_426_118_694, utcTime="", localTime="")
    export.add("TARGET_INFO_GPU", id=0, name="NVIDIA H100 80GB HBM3", totalMemory=85_000_000_000)
    export.add("TARGET_INFO_SYSTEM_ENV", name="Hostname", value="box")
    export.add("TARGET_INFO_SYSTEM_ENV", name="CudaDriverVersion", value="13000")
    header = export.read().header
    assert header.base_ns == 1_784_597_271_426_118_694
    assert [(d.id, d.name, d.total_memory) for d in header.devices] == [(0, "NVIDIA H100 80GB HBM3", 85_000_000_000)]
    assert (header.host_name, header.cuda_driver) == ("box", "13000")
    assert header.schema_version == "Nsight Systems 2024.6.2.225, schema 3.16.1"


def test_graph_replay_as_a_whole_is_one_piece_of_work_and_says_so(export):
    export.call(10, 20, "cudaGraphLaunch_v10000", 5)
    export.add(
        GRAPH, start=100, end=900, deviceId=0, streamId=7, correlationId=5, globalPid=PID, graphId=1, graphExecId=2
    )
    trace = export.read()
    assert text(trace, trace.work) == ["CUDA graph"]
    assert trace.work.kind.tolist() == [Kind.KERNEL]
    assert problems(trace) == {"CUDA graph replays recorded as a whole": 1}
    assert place(trace).graph.tolist() == [True]


def test_a_graph_node_belongs_to_the_operator_of_its_capture(export):
    """Nodes 11 and 12 were captured under two operators; 21 and 22 are their clones, replayed by a launch outside."""
    export.range(0, 50, "mod::model.block")
    export.range(1, 20, "aten::linear, op_id = 7")
    export.range(2, 19, "aten::addmm, op_id = 7")  # equal numbers, as in two processes
    export.range(30, 40, "aten::gelu, op_id = 9")
    for start, node, original in ((5, 11, None), (35, 12, None), (25, 13, None), (60, 21, 11), (61, 22, 12)):
        export.add(
            "CUDA_GRAPH_NODE_EVENTS", start=start, end=start + 1, eventClass=77, globalTid=MAIN, nameId=1,
            graphNodeId=node, originalGraphNodeId=original,
        )  # fmt: skip
    export.call(100, 105, "cudaGraphLaunch_v10000", 8)
    for start, name, node in ((110, "gemm", 21), (120, "gelu", 22), (130, "lost", 99), (140, "between", 13)):
        export.kernel(start, start + 10, name, 8, node=node)
    trace = export.read()
    placed = place(trace)
    assert placed.operator == ["aten::addmm", "aten::gelu", "", ""]
    assert placed.module == ["model.block", "model.block", "", ""]
    assert placed.graph.all()
    assert problems(trace) == {"graph nodes whose creation is not in the file": 1}


def test_processes_are_kept_apart(export):
    """Two ranks with equal correlation numbers, each seeing its own GPU as device 0."""
    for rank, pid in enumerate((100, 200)):
        export.call(10 + rank, 12 + rank, "cudaLaunchKernel_v7000", 1, tid(pid, 1))
        export.kernel(20 + rank, 30 + rank, f"rank{rank}", 1, pid=tid(pid, 0))
        export.add("TARGET_INFO_CUDA_DEVICE", gpuId=rank + 4, cudaId=0, pid=pid)
    trace = export.read()
    links = link(trace)
    assert [trace.threads[t][0] for t in trace.host.thread[links.launch].tolist()] == ["100", "200"]
    assert trace.work.device.tolist() == [4, 5]
    assert trace.work.stream.tolist() == [7, 7]
    assert trace.work.correlation[0] == 1
    assert trace.work.correlation[1] != 1


def test_streams_of_processes_on_one_device_differ(export):
    export.kernel(0, 10, pid=tid(1, 0)).kernel(5, 15, pid=tid(2, 0))
    trace = export.read()
    assert trace.work.device.tolist() == [0, 0]
    assert len(set(trace.work.stream.tolist())) == 2


def test_work_without_a_process_in_a_file_of_two_is_not_linked_by_chance(export):
    export.call(0, 1, "cudaLaunchKernel_v7000", 1, tid(1, 1)).call(0, 1, "cudaLaunchKernel_v7000", 1, tid(2, 1))
    export.kernel(5, 6, correlation=1, pid=None)
    trace = export.read()
    assert link(trace).launch.tolist() == [-1]
    assert len(trace.problems) == 1


def test_work_without_a_process_is_that_of_the_only_one_that_calls_the_device(export):
    export.range(0, 9, "another process", thread=tid(1, 1)).call(0, 1, "cudaLaunchKernel_v7000", 1, tid(2, 1))
    trace = export.kernel(5, 6, correlation=1, pid=None).read()
    assert trace.threads[trace.host.thread[link(trace).launch[0]]] == ("2", "1")


def test_unfinished_ranges_end_with_the_trace(export):
    export.range(0, None, "outer").range(5, 0, "old export").range(6, None, "half", sort=35)
    export.kernel(50, 70)
    trace = export.read()
    assert sorted(zip(text(trace, trace.host), trace.host.end.tolist(), strict=True)) == [
        ("half", 70), ("old export", 70), ("outer", 70),
    ]  # fmt: skip
    assert problems(trace) == {"NVTX ranges without an end": 3}


def test_start_end_ranges_that_cross_stand_aside(export):
    """`loose` [5,20) crosses the operator [0,10): the launch at 12 must not come to lie under that operator."""
    export.range(0, 10, "aten::mm, op_id = 1").range(5, 20, "loose", sort=60).range(0, 100, "whole", sort=60)
    export.call(12, 13, "cudaLaunchKernel_v7000", 1).kernel(30, 40, correlation=1)
    trace = export.read()
    links = link(trace)
    assert links.work_operator.tolist() == [-1]
    assert trace.names[trace.host.name[links.work_mark[0]]] == "whole"
    assert problems(trace) == {"NVTX ranges that overlap others of their thread without nesting": 1}
    assert ("4711", "42 ranges") in trace.threads


def test_of_two_that_cross_the_start_end_range_gives_way_and_a_common_end_is_no_crossing(export):
    export.range(0, 10, "loose", sort=60).range(5, 20, "aten::mm, op_id = 1").range(6, 20, "inside", sort=60)
    export.call(12, 13, "cudaLaunchKernel_v7000", 1).kernel(30, 40, correlation=1)
    trace = export.read()
    rows = zip(text(trace, trace.host), trace.host.thread.tolist(), strict=True)
    assert [name for name, thread in rows if trace.threads[thread][1] != "42"] == ["loose"]
    links = link(trace)
    assert trace.names[trace.host.name[links.work_operator[0]]] == "aten::mm"
    assert trace.names[trace.host.name[links.work_mark[0]]] == "inside"


def test_registered_strings_marks_and_domains(export):
    export.range(0, 9, None, textId=export.string("aten::add"))
    export.range(1, None, "a mark", sort=34).range(0, None, "NCCL", sort=75, domainId=3).range(2, 3, None)
    export.add("OSRT_API", start=0, end=1, globalTid=MAIN, nameId=1)
    trace = export.read()
    assert text(trace, trace.host) == ["aten::add", "(unnamed range)"]
    assert trace.host.kind.tolist() == [Kind.OPERATOR, Kind.ANNOTATION]
    assert trace.ignored == {"NVTX marks, names and domains": 2, "OSRT_API": 1}
    assert trace.events == 5
    assert not trace.problems


def test_waits_and_overhead(export):
    export.add(SYNC, start=10, end=30, deviceId=0, streamId=7, correlationId=3, globalPid=PID, syncType=3, eventId=0)
    export.add("PROFILER_OVERHEAD", start=1, end=4, globalTid=MAIN, correlationId=0, nameId=export.string("CUDA flush"))
    export.kernel(0, 10)
    trace = export.read()
    assert len(trace.work) == 1
    assert text(trace, trace.device_spans) == ["Stream Sync"]
    assert trace.device_spans.kind.tolist() == [Kind.SYNC]
    assert text(trace, trace.host) == ["CUDA flush"]
    assert trace.host.kind.tolist() == [Kind.OVERHEAD]


def test_an_older_layout_with_fewer_columns(tmp_path):
    db = sqlite3.connect(tmp_path / "old.sqlite")
    db.executescript(
        f"""CREATE TABLE {KERNEL} (start INT NOT NULL, end INT NOT NULL, shortName INT NOT NULL);
        CREATE TABLE {COPY} (start INT NOT NULL, end INT NOT NULL, bytes INT, copyKind INT);
        CREATE TABLE StringIds (id INT, value TEXT);
        INSERT INTO StringIds VALUES (1, 'gemm'); INSERT INTO {KERNEL} VALUES (0, 5, 1), (6, 9, 404);
        INSERT INTO {COPY} VALUES (10, 20, 7, 2);"""
    )
    db.close()
    trace = read_nsys(tmp_path / "old.sqlite")
    assert text(trace, trace.work) == ["gemm", "(unnamed kernel)", "Memcpy DtoH"]
    assert (trace.work.device == -1).all()
    assert link(trace).launch.tolist() == [-1] * 3


def test_rows_without_believable_times_are_left_out_and_counted(export):
    export.kernel(0, 0).kernel(10, 5).kernel(1, 2**63 - 1).kernel(1, 2).call(9, 8, "cudaFree_v3020", 1)
    trace = export.read()
    assert trace.work.end.tolist() == [2]
    assert len(trace.host) == 0
    assert problems(trace) == {
        f"rows of {KERNEL} without believable times": 3, f"rows of {CALL} without believable times": 1,
    }  # fmt: skip


def test_columns_agree_in_length_and_type_with_the_kineto_reader(export):
    export.kernel(0, 5).range(0, 9, "x")
    trace = export.read()
    for part in (trace.host, trace.work, trace.device_spans):
        columns = {name: getattr(part, name) for name in part.__dataclass_fields__}
        assert {len(column) for column in columns.values()} == {len(part)}
        assert all(np.issubdtype(column.dtype, np.integer) for column in columns.values())


@pytest.mark.parametrize(
    ("given", "kind", "name", "sizes"),
    [
        ("aten::conv2d, op_id = 12, sizes = [[1, 3, 8, 8], []]", Kind.OPERATOR, "aten::conv2d", "[[1, 3, 8, 8], []]"),
        ("aten::mm, seq = 4, op_id = 2, sizes = [[2, 3], [3, 4]], input_op_ids = [(1,0), (0,-1)]", Kind.OPERATOR,
         "aten::mm", "[[2, 3], [3, 4]]"),
        ("AddmmBackward0, seq = 4, op_id = 3", Kind.OPERATOR, "AddmmBackward0", ""),
        ("conv2d, seq = 5", Kind.OPERATOR, "conv2d", ""),
        ("autograd::engine::evaluate_function: MulBackward0, op_id = 1", Kind.OPERATOR,
         "autograd::engine::evaluate_function: MulBackward0", ""),
        ("aten::empty", Kind.OPERATOR, "aten::empty", ""),
        ("triton_poi_fused_add_0, op_id = 4", Kind.OPERATOR, "triton_poi_fused_add_0", ""),
        ("nccl:all_reduce, sizes = [[2]]", Kind.ANNOTATION, "nccl:all_reduce", "[[2]]"),
        ("Fused, op_id = 4, sizes = [[2]]", Kind.OPERATOR, "Fused", "[[2]]"),
        ("mod::unet.down, op_id = 5", Kind.MODULE, "mod::unet.down", ""),
        ("stage::denoise, op_id = 6", Kind.ANNOTATION, "stage::denoise", ""),
        ("step 3, op_id = 7", Kind.ANNOTATION, "step 3", ""),
        ("prism::engine.step", Kind.ANNOTATION, "prism::engine.step", ""),
        ("a, b, c", Kind.ANNOTATION, "a, b, c", ""),
        ("cub::DeviceScan, sizes = broken", Kind.ANNOTATION, "cub::DeviceScan, sizes = broken", ""),
    ],
)  # fmt: skip
def test_what_a_range_says(given, kind, name, sizes):
    found = read_range(given)
    assert (found.kind, found.name, found.sizes) == (kind, name, sizes)


def test_names_are_those_of_kineto():
    assert call_name("cudaLaunchKernel_v7000") == "cudaLaunchKernel"
    assert call_name("cudaMemcpyAsync_ptsz_v7000") == "cudaMemcpyAsync"
    assert call_name("cuMemcpyHtoDAsync_v2") == "cuMemcpyHtoDAsync_v2"
    assert copy_name(8, 2, 2) == "Memcpy DtoD (Device -> Device)"
    assert copy_name(2, 2, 1) == "Memcpy DtoH (Device -> Pinned)"
    assert copy_name(11, 4, 2) == "Memcpy HtoD (Managed)"
    assert copy_name(99, 7, 7) == "Memcpy Unknown (Unknown -> Unknown)"
    assert STAGE == STAGE_ANNOTATION


def test_what_is_no_export_gets_a_sentence(tmp_path):
    def refused(path, words):
        with pytest.raises(TraceError, match=words):
            read_nsys(path)

    other = tmp_path / "other.sqlite"
    db = sqlite3.connect(other)
    db.execute("CREATE TABLE books (id INTEGER)")
    db.commit()
    db.close()
    refused(other, "no Nsight Systems export")
    plain = tmp_path / "plain.json"
    plain.write_text("[]")
    refused(plain, "is no SQLite database")
    refused(tmp_path, "is a folder")
    refused(tmp_path / "missing", "cannot be read")
    assert is_sqlite(other)
    assert not is_sqlite(plain)
    assert not is_sqlite(tmp_path)
    assert not is_sqlite("\0")
    os.mkfifo(tmp_path / "pipe")
    assert not is_sqlite(tmp_path / "pipe")
    bare = tmp_path / "bare.sqlite"
    db = sqlite3.connect(bare)
    db.execute("CREATE TABLE StringIds (id INTEGER, value TEXT)")
    db.commit()
    db.close()
    refused(bare, "neither CUDA nor NVTX")


def test_a_table_without_its_times(tmp_path):
    path = tmp_path / "x.sqlite"
    db = sqlite3.connect(path)
    db.execute(f"CREATE TABLE {KERNEL} (start INTEGER)")
    db.commit()
    db.close()
    with pytest.raises(TraceError, match="has no column end"):
        read_nsys(path)


def test_broken_locked_and_unfinished_files(export, tmp_path):
    for i in range(2000):
        export.kernel(i * 10, i * 10 + 5, f"kernel number {i}")
    export.db.commit()
    whole = export.path.read_bytes()

    cut = tmp_path / "cut.sqlite"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TraceError, match="broken"):
        read_nsys(cut)
    torn = tmp_path / "torn.sqlite"  # its schema is no text
    torn.write_bytes(whole.replace(b"CREATE TABLE CUPTI", b"CREA\xdcE TABLE CUPTI"))
    with pytest.raises(TraceError, match="broken"):
        read_nsys(torn)
    noise = tmp_path / "noise.sqlite"
    noise.write_bytes(whole[:16] + b"\x07" * 8192)
    with pytest.raises(TraceError, match="broken"):
        read_nsys(noise)

    export.db.execute("PRAGMA locking_mode = EXCLUSIVE")
    export.db.execute("BEGIN EXCLUSIVE")
    with pytest.raises(TraceError, match="locked"):
        read_nsys(export.path)
    export.db.rollback()
    export.db.close()
    beside = tmp_path / "report.sqlite-journal"
    beside.write_bytes(b"x")
    with pytest.raises(TraceError, match="not finished"):
        read_nsys(export.path)


def test_odd_values_and_paths(tmp_path):
    """Text that is no UTF-8, text where a number should stand, and a path that means something in a URI."""
    export = Export(tmp_path / "a b?c#d%20.sqlite")
    export.db.execute("CREATE TABLE x (a)")
    export.db.execute(f"CREATE TABLE {KERNEL} ({TABLES[KERNEL]})")
    columns = "start, end, deviceId, streamId, shortName"
    export.db.execute(f"INSERT INTO {KERNEL} ({columns}) VALUES (1, '7', 'zero', 2.5, 1)")
    export.db.execute(f"CREATE TABLE StringIds ({TABLES['StringIds']})")
    export.db.execute("INSERT INTO StringIds VALUES (1, CAST(x'6bff' AS TEXT))")
    trace = export.read()
    assert text(trace, trace.work) == ["k\ufffd"]
    assert (trace.work.device[0], trace.work.stream[0], trace.work.end[0]) == (0, 2, 7)


def test_reading_leaves_the_file_and_its_folder_alone_and_reports_progress(export, tmp_path):
    export.kernel(0, 5)
    export.db.commit()
    before, seen = export.path.read_bytes(), []
    export.read(progress=seen.append)
    assert export.path.read_bytes() == before
    assert os.listdir(tmp_path) == ["report.sqlite"]
    assert seen == sorted(seen)
    assert seen[-1] == len(before)


COPY_KINDS = {"HtoD": 1, "DtoH": 2, "DtoD": 8}
MEMORY_KINDS = {"Pageable": 0, "Pinned": 1, "Device": 2, "Unknown": 7}


def nanoseconds(value):
    """A time of a Kineto file in whole nanoseconds, exactly."""
    return int((Decimal(value) * 1000).to_integral_value())


def flat(dims):
    """Lists of tensors in place, as `emit_nvtx` writes them."""
    return [one for d in dims for one in (d if d and not isinstance(d[0], int) else [d])]


def transcribe(source, target):
    """What Nsight Systems would have recorded of the run in a Kineto file, Python frames aside."""
    with gzip.open(source) as file:
        events = json.load(file, parse_float=Decimal)["traceEvents"]
    export = Export(target)
    for event in (e for e in events if e["ph"] == "X"):
        args, sort = event.get("args", {}), event.get("cat")
        start = nanoseconds(event["ts"])
        end = start + nanoseconds(event["dur"])
        if sort in ("cpu_op", "user_annotation"):
            suffix = f", op_id = {args['External id']}" if sort == "cpu_op" else ""
            if "Input Dims" in args:
                suffix += f", sizes = {json.dumps(flat(args['Input Dims']))}"
            export.range(start, end, event["name"] + suffix, thread=tid(event["pid"], event["tid"]))
        elif sort in ("cuda_runtime", "cuda_driver"):
            export.call(start, end, f"{event['name']}_v7000", args["correlation"], tid(event["pid"], event["tid"]))
        elif sort == "overhead":
            row = {"globalTid": MAIN, "nameId": export.string(event["name"])}
            export.add("PROFILER_OVERHEAD", start=start, end=end, **row)
        elif sort in ("kernel", "gpu_memcpy", "gpu_memset"):
            row = {"start": start, "end": end, "deviceId": args["device"], "streamId": args["stream"]}
            row |= {"correlationId": args["correlation"], "globalPid": None}
            words = re.findall(r"\w+", event["name"])
            if sort == "kernel":
                names = {"demangledName": export.string(event["name"]), "shortName": export.string(event["name"])}
                export.add(KERNEL, **row, **names)
            elif sort == "gpu_memcpy":
                places = dict(zip(("srcKind", "dstKind"), (MEMORY_KINDS[w] for w in words[2:]), strict=True))
                export.add(COPY, **row, bytes=args["bytes"], copyKind=COPY_KINDS[words[1]], **places)
            else:
                export.add(FILL, **row, bytes=args["bytes"], memKind=MEMORY_KINDS[words[1]])
    return export


@pytest.mark.parametrize("name", ["b200_eager", "h100_timesformer", "h100_vit_falconsai"])
def test_both_kinds_of_file_tell_the_same_of_one_run(shared, tmp_path, name):
    source = shared / "traces" / "real" / f"{name}.json.gz"
    transcribe(source, tmp_path / "run.sqlite").close()
    kineto, nsight = place(read(source)), place(read_nsys(tmp_path / "run.sqlite"))
    assert nsight.kernel == kineto.kernel
    for column in ("start", "end", "device", "stream", "bytes", "graph"):
        assert (getattr(nsight, column) == getattr(kineto, column)).all(), column
    assert nsight.operator == kineto.operator
    assert nsight.classes == kineto.classes
    given = [(nsight.input(row), kineto.input(row)) for row in range(len(kineto))]
    assert all(n is None if k is None else n and list(n.dims) == flat(k.dims) for n, k in given)
    assert any(n for n, _ in given)
    products = [at for at, (n, k) in enumerate(given) if k and matmul(kineto.operator[at].removeprefix("aten::"), k)]
    assert products
    for at in products:  # dimensions are enough for FLOPs
        assert cost(nsight.operator[at], given[at][0]).flops == cost(kineto.operator[at], given[at][1]).flops
    assert explain_idle(nsight).causes == explain_idle(kineto).causes
