"""Nsight Systems exports against answers worked out by hand."""

import numpy as np
import pytest
from nsys_made import COPY, FILL, GRAPH, MAIN, PID, SYNC, Export, problems, text, tid

from frameroof.trace.intervals import covered
from frameroof.trace.read.decode import read
from frameroof.trace.read.events import Kind
from frameroof.trace.resolve.link import link, module_paths
from frameroof.trace.resolve.recorded_inputs import parse
from frameroof.trace.resolve.work_table import make_work_table


@pytest.fixture
def export(tmp_path):
    return Export(tmp_path / "report.sqlite")


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
    assert make_work_table(trace).classes == ["convolution", "convolution", "copy", "copy"]


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
    assert make_work_table(trace).graph.tolist() == [True]


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
    work_table = make_work_table(trace)
    assert work_table.operator == ["aten::addmm", "aten::gelu", "", ""]
    assert work_table.module == ["model.block", "model.block", "", ""]
    assert work_table.graph.all()
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


def test_columns_agree_in_length_and_type_with_the_kineto_reader(export):
    export.kernel(0, 5).range(0, 9, "x")
    trace = export.read()
    for part in (trace.host, trace.work, trace.device_spans):
        columns = {name: getattr(part, name) for name in part.__dataclass_fields__}
        assert {len(column) for column in columns.values()} == {len(part)}
        assert all(np.issubdtype(column.dtype, np.integer) for column in columns.values())
