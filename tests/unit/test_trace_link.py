"""From work back to its launch, operator, module and annotation: every rule on a trace made for it."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from trace_made import H100, Made, place_of

from frameroof.hardware import device
from frameroof.trace.read.decode import read
from frameroof.trace.resolve.link import link, module_paths
from frameroof.trace.to_run import analyze


def named(trace, rows):
    return [trace.names[trace.host.name[r]] if r >= 0 else None for r in rows.tolist()]


def test_correlation_then_what_encloses_the_launch_on_its_thread(tmp_path):
    t = Made()
    t.note("step", 0, 100_000)
    t.module("Net_0", 1_000, 90_000)
    t.module("Linear_3", 2_000, 20_000)
    t.op("aten::linear", 3_000, 18_000)
    t.op("aten::addmm", 4_000, 10_000)
    t.call(5_000, 1_000, 11)
    t.op("aten::silu", 3_500, 9_000, tid=2)  # encloses it in time, on another thread
    t.call(6_000, 1_000, 12, tid=2)
    t.call(50_000, 1_000, 13)  # in the module and no operator
    for i, corr in enumerate((11, 12, 13, 14)):
        t.kernel(200_000 + 10_000 * i, 1_000, corr)
    trace, links, operators = t.link(tmp_path)
    assert operators == ["aten::addmm", "aten::silu", None, None]
    assert named(trace, links.work_module) == ["nn.Module: Linear_3", None, "nn.Module: Net_0", None]
    assert named(trace, links.work_mark) == ["step", None, "step", None]
    assert (links.launch >= 0).tolist() == [True, True, True, False]
    paths = module_paths(trace, links)
    assert [paths.get(int(r)) for r in links.work_module] == ["Net_0/Linear_3", None, "Net_0", None]


def test_paths_that_our_profiler_wrote_stand_as_they_are(tmp_path):
    t = Made()
    t.note("mod::unet", 0, 10_000)
    t.note("mod::unet.down.0", 1_000, 8_000)
    t.call(2_000, 500, 1)
    t.kernel(7_000, 1_000, 1)
    assert t.run(tmp_path).modules[-1].name == "unet.down.0"


def test_external_id_names_the_operator_where_the_launch_is_missing(tmp_path):
    t = Made()
    t.op("aten::mm", 0, 5_000, ext=77)
    t.op("aten::add", 6_000, 5_000, ext=5)
    t.kernel(20_000, 1_000, 5, **{"External id": 77})  # its launch (5) is not in the file
    _, links, operators = t.link(tmp_path)
    assert operators == ["aten::mm"]
    assert links.launch.tolist() == [-1]


def test_external_id_is_not_trusted_where_it_repeats_the_correlation(tmp_path):
    """Kineto from late 2022 to February 2024: 5 would name `aten::add`, which has nothing to do with it."""
    t = Made()
    t.op("aten::add", 6_000, 5_000, ext=5)
    t.kernel(20_000, 1_000, 5, **{"External id": 5})
    t.kernel(30_000, 1_000, 6, **{"External id": 6})
    assert t.link(tmp_path)[2] == [None, None]


def test_without_correlation_a_unique_external_id_finds_the_launch(tmp_path):
    t = Made()
    t.op("aten::mm", 0, 5_000)
    t.call(1_000, 500, **{"External id": 9})
    t.call(2_000, 500, **{"External id": 8})
    t.call(3_000, 500, **{"External id": 8})
    t.kernel(20_000, 1_000, **{"External id": 9})
    t.kernel(30_000, 1_000, **{"External id": 8})  # two calls carry it: either could be meant
    _, links, operators = t.link(tmp_path)
    assert operators == ["aten::mm", None]
    assert (links.launch >= 0).tolist() == [True, False]


def test_correlation_zero_links_nothing(tmp_path):
    t = Made()
    t.op("aten::mm", 0, 5_000)
    t.call(1_000, 500)
    t.events[-1]["args"] = {"correlation": 0}
    t.kernel(20_000, 1_000)
    t.events[-1]["args"]["correlation"] = 0
    assert t.link(tmp_path)[2] == [None]


def test_arrows_alone(tmp_path):
    t = Made()
    t.op("aten::mm", 0, 5_000)
    t.call(1_000, 500)
    t.kernel(20_000, 1_000)
    t.kernel(30_000, 1_000)
    t.events += [
        {"ph": "s", "cat": "ac2g", "name": "ac2g", "id": 3, "pid": 100, "tid": 1, "ts": 1.0},
        {"ph": "f", "cat": "ac2g", "name": "ac2g", "id": 3, "pid": 0, "tid": 7, "ts": 20.0, "bp": "e"},
    ]
    assert t.link(tmp_path)[2] == ["aten::mm", None]


@pytest.mark.parametrize(("finer", "operator"), [(0, "aten::mm"), (0.5, None)])
def test_in_whole_microseconds_a_call_may_start_where_its_operator_ends(tmp_path, finer, operator):
    t = Made()
    t.op("aten::mm", 10_000, 1_000)
    t.call(11_000, 0, 1)
    t.kernel(20_000, 1_000, 1)
    t.events[-1]["ts"] += finer
    assert t.link(tmp_path)[2] == [operator]


def test_of_equal_starts_the_longer_one_is_the_parent(tmp_path):
    t = Made()
    t.op("aten::addmm", 10_000, 2_000)
    t.op("aten::linear", 10_000, 5_000)
    t.call(10_000, 500, 1)
    t.call(13_000, 500, 2)
    t.kernel(20_000, 1_000, 1)
    t.kernel(30_000, 1_000, 2)
    assert t.link(tmp_path)[2] == ["aten::addmm", "aten::linear"]


def test_what_only_carries_a_stream_is_no_work(tmp_path):
    t = Made()
    t.op("triton_poi_fused_add_0", 0, 5_000)
    t.events[-1]["args"] = {"stream": 7, "correlation": 3}
    t.kernel(5_000, 10_000, cat="gpu_user_annotation", name="step")
    t.kernel(5_000, 10_000, cat="cuda_sync", name="Stream Sync")
    t.kernel(6_000, 1_000, 1)
    run = t.run(tmp_path)
    assert (run.summary.kernels, run.summary.busy_ns) == (1, 1_000)


def test_a_trace_of_the_processor_is_its_operators_with_their_own_time(tmp_path):
    t = Made()
    t.op("aten::linear", 0, 10_000, tid=1)
    t.op("aten::addmm", 2_000, 5_000, tid=1)
    t.op("aten::mul", 5_000, 20_000, tid=2)  # beside the first, on another thread
    run = t.run(tmp_path)
    assert {o.name: o.time_ns for o in run.operators} == {
        "aten::linear": 5_000,
        "aten::addmm": 5_000,
        "aten::mul": 20_000,
    }
    assert (run.summary.busy_ns, run.summary.span_ns) == (25_000, 25_000)  # a union over the threads
    assert sum(c.time_ns for c in run.classes) == 30_000
    assert run.problems == []


LOST = "a device is named, but none of its work is in the file"
NCCL = "NCCL is called, which needs GPUs, but no work of one is in the file"


@pytest.mark.parametrize(
    ("header", "call", "note", "said", "host_only"),
    [
        ({}, "cudaLaunchKernel", None, [LOST], True),
        (H100, None, None, [LOST], True),
        (H100, "cudaDeviceSynchronize", None, [LOST], False),  # its calls were recorded, and none launched anything
        ({}, None, "nccl:all_reduce", [NCCL], True),
        ({}, None, "gloo:all_reduce", [], False),
    ],
)
def test_a_file_that_lost_its_device_says_so_and_has_no_rates_and_no_advice(
    tmp_path, header, call, note, said, host_only
):  # six: what is in the file, and what is said of it
    t = Made(**header)
    for i in range(40):
        t.op("aten::mm", 50_000 * i, 10_000, [[512, 512], [512, 512]], ["float", "float"])
        t.op("aten::add", 50_000 * i + 20_000, 10_000, [[512, 512], [512, 512]], ["float", "float"])
        t.op("aten::mul", 50_000 * i + 30_000, 10_000, [[512, 512], [512, 512]], ["float", "float"])
    if call:
        t.call(1_000, 500, 4, name=call)
    if note:
        t.note(note, 0, 500)
    run = t.run(tmp_path)
    assert [p.what for p in run.problems] == said
    assert (run.summary.on_cpu, run.summary.host_only) == (True, host_only)
    rates = [(o.flops_per_s, o.bytes_per_s) for o in run.operators]
    assert all(o.flops or o.class_ != "linear" for o in run.operators)  # what was computed is known all the same
    assert all((flops, moved) == (None, None) for flops, moved in rates) == host_only
    assert bool(run.advice) == (not host_only)
    cpu = msgspec.structs.replace(device("H100"), name="here", kind="cpu")  # as `frameroof profile` on a CPU says
    known = t.run(tmp_path, on=cpu)
    assert not known.summary.host_only
    assert all(o.bytes_per_s for o in known.operators)


def test_several_devices_are_told_apart(tmp_path):
    t = Made(deviceProperties=[{"id": 0, "name": "A"}, {"id": 1, "name": "B"}])
    t.kernel(0, 10_000, 1, device=0)
    t.kernel(30_000, 10_000, 2, device=0)
    t.kernel(5_000, 20_000, 3, device=1)
    run = t.run(tmp_path)
    assert (run.summary.busy_ns, run.summary.idle_ns, run.summary.devices) == (35_000, 5_000, 2)
    assert [(d.device, d.name, d.busy_ns, d.span_ns, d.idle_ns, d.kernels) for d in run.devices] == [
        (0, "A", 20_000, 40_000, 20_000, 2), (1, "B", 20_000, 20_000, 0, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        *("h100_eager_diffusion.json", "h100_flash_gqa.json", "a100_cuda_graph.json", "mi300x_eager.json"),
        *(
            pytest.param(f"{name}.json.gz", marks=pytest.mark.shared)
            for name in ("h100_bert_small", "mi300x_sd35_xdit", "h100_timesformer")
        ),
    ],
)
def test_the_two_ways_to_the_operator_agree(name):
    """Containment found the operator; the External id of newer files says it independently."""
    trace = read(place_of(name))
    links = link(trace)
    named_too = (trace.work.external > 0) & (links.work_operator >= 0)
    assert named_too.mean() > 0.99
    said = trace.host.external[links.work_operator[named_too]]
    assert np.mean(said == trace.work.external[named_too]) == 1.0


def test_the_order_of_events_in_the_file_does_not_matter(tmp_path):
    t = Made()
    for i in range(20):
        t.one("aten::mm", 10_000 * (i + 1), 5_000, dims=[[4, 8], [8, 2]])
    one = json.loads(json.dumps(t.run(tmp_path).to_dict()))
    t.events.reverse()
    assert analyze(t.write(tmp_path, "made.json")).to_dict() == one
