"""NVTX ranges of Nsight Systems exports: what they say, which nest, which are left out."""

import pytest
from nsys_made import MAIN, Export, problems, text

from frameroof.trace.read.events import Kind
from frameroof.trace.read.nsys.schema import call_name, copy_name, read_range
from frameroof.trace.resolve.link import link


@pytest.fixture
def export(tmp_path):
    return Export(tmp_path / "report.sqlite")


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
