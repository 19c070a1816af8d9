"""Collectives, counted by hand: sizes as the profiler writes them, rates by the rule of nccl-tests, exposed time."""

from __future__ import annotations

import json

import pytest
from cli_said import said
from trace_made import H100, REAL, Made, analyze, real

US = 1000
LINK = 450e9
"""Bytes a second in one direction of an H100's NVLink."""


def told(name, sent, received, ranks=8, dtype="BFloat16", **more):
    """The arguments of a kernel of NCCL."""
    return {
        "Collective name": name, "In msg nelems": sent, "Out msg nelems": received, "Group size": ranks,
        "dtype": dtype, "Process Group Name": "tp", "Process Group Ranks": str([*range(ranks)]), **more,
    }  # fmt: skip


def one(args, kernel="ncclDevKernel_Generic", length=100, around=None):
    t = Made(**H100)
    if around:
        around(t)
    t.call(1 * US, US, 1)
    t.kernel(10 * US, length * US, 1, kernel, **args)
    return t


@pytest.mark.parametrize(
    ("args", "kind", "size", "often"),
    [
        (told("allreduce", 2**20, 2**20), "all-reduce", 2**21, 2 * 7 / 8),
        (told("_allgather_base", 2**20, 2**23), "all-gather", 2**24, 7 / 8),
        (told("allgather_into_tensor_coalesced", 2**20, 2**23, dtype="Float"), "all-gather", 2**25, 7 / 8),
        (told("_reduce_scatter_base", 2**23, 2**20, dtype="bfloat16"), "reduce-scatter", 2**24, 7 / 8),
        (told("all_to_all", 2**20, 2**20, 4, "Float8_e4m3fn"), "all-to-all", 2**20, 3 / 4),
        (told("broadcast", 2**20, 2**20, dtype="Long"), "broadcast", 2**23, 1),
        (told("send", 2**20, 2**20, 2, "Half"), "send", 2**21, 1),
        (told("recv", 2**20, 2**20, 2, "c10::Half"), "receive", 2**21, 1),
        (told("gather", 2**20, 0), "gather", 2**24, 7 / 8),
    ],
)
def test_sizes_and_rates(tmp_path, args, kind, size, often):
    (row,) = one(args).run(tmp_path).collectives
    assert (row.name, row.group, row.ranks, row.bytes, row.count) == (kind, "tp", args["Group size"], size, 1)
    assert row.algorithm_bytes_per_s == pytest.approx(size / 100e-6)
    assert row.bus_bytes_per_s == pytest.approx(often * size / 100e-6)
    assert (row.link, row.link_bytes_per_s) == ("own", LINK)
    assert row.share_of_link == pytest.approx(often * size / 100e-6 / LINK)


def test_lists_are_read_as_texts_are(tmp_path):
    args = told("all_to_allv", 700, 800, 2) | {"Process Group Ranks": [0, 1], "In split size": [300, 400]}
    (row,) = one(args).run(tmp_path).collectives
    assert (row.bytes, row.uneven, row.members) == (1600, True, "0,1")
    args |= {"Process Group Ranks": "[0, 1]", "In split size": "[300, 400]"}
    assert one(args).run(tmp_path).collectives == [row]


@pytest.mark.parametrize(
    ("kernel", "name"),
    [
        ("ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)", "all-reduce"),
        ("ncclKernel_SendRecv(ncclDevComm*, unsigned long, ncclWork*)", "send and receive"),
        ("ncclDevKernel_ReduceScatter_Sum_f32_RING_LL", "reduce-scatter"),
        ("ncclDevKernel_Generic_1(ncclDevKernelArgsStorage<4096ul>)", "ncclDevKernel_Generic_1"),
        ("void vllm::cross_device_reduce_1stage<__nv_bfloat16, 8>(void*)", "all-reduce"),
    ],
)
def test_a_kernel_alone_has_a_name_and_no_size(tmp_path, kernel, name):
    (row,) = one({}, kernel).run(tmp_path).collectives
    assert (row.name, row.bytes, row.ranks, row.algorithm_bytes_per_s, row.bus_bytes_per_s) == (name, *[None] * 4)


def test_a_barrier_moves_nothing(tmp_path):
    (row,) = one(told("barrier", 0, 0)).run(tmp_path).collectives
    assert (row.name, row.bytes, row.bus_bytes_per_s) == ("barrier", None, None)


def test_the_operator_tells_where_the_kernel_does_not(tmp_path):
    def around(t):
        t._add("cpu_op", "record_param_comms", 0, 5 * US, 1, **told("allreduce", 2**20, 2**20))

    (row,) = one({}, "ncclKernel_AllReduce_RING_LL_Sum_bf16", around=around).run(tmp_path).collectives
    assert (row.name, row.ranks, row.bytes) == ("all-reduce", 8, 2**21)

    def given(t):
        t.op("_C_custom_ar::all_reduce", 0, 5 * US, [[], [64, 4096], [64, 4096]], ["", *["c10::BFloat16"] * 2])

    (row,) = one({}, "void vllm::cross_device_reduce_2stage<half, 4>", around=given).run(tmp_path).collectives
    assert (row.name, row.bytes, row.dtype, row.ranks, row.bus_bytes_per_s) == ("all-reduce", 2**19, "bf16", None, None)
    assert row.algorithm_bytes_per_s == pytest.approx(2**19 / 100e-6)


def test_the_range_around_it_tells_in_older_files(tmp_path):
    """Until 2024 a kernel of NCCL that sends and receives was any of three collectives, and had no size."""

    def around(t):
        inputs = {"Input Dims": [[[64, 1024], [32, 1024]]], "Input type": ["TensorList"]}
        t._add("user_annotation", "nccl:all_to_all", 0, 5 * US, 1, **inputs)

    (row,) = one({}, "ncclKernel_SendRecv_RING_SIMPLE_Sum_int8_t", around=around).run(tmp_path).collectives
    assert (row.name, row.bytes) == ("all-to-all", None)  # the type of a list of tensors was not recorded

    def given(t):
        t._add(
            "user_annotation", "nccl:reduce_scatter", 0, 5 * US, 1,
            **{"Input Dims": [[64, 1024]], "Input type": ["float"]},
        )  # fmt: skip

    (row,) = one({}, "ncclKernel_ReduceScatter_RING_LL_Sum_float", around=given).run(tmp_path).collectives
    assert (row.name, row.bytes, row.dtype, row.bus_bytes_per_s) == ("reduce-scatter", 2**18, "fp32", None)


def test_exposed_is_what_no_other_work_of_its_device_hides(tmp_path):
    t = one(told("allreduce", 2**20, 2**20))  # 10 to 110 us
    t.kernel(60 * US, 80 * US, name="mm", stream=8)
    t.kernel(20 * US, 30 * US, name="mm", stream=8, device=1)
    run = t.run(tmp_path)
    assert [row.exposed_ns for row in run.collectives] == [50 * US]
    assert run.communication["exposed_ns"] == 50 * US


def test_work_of_another_step_hides_too(tmp_path):
    t = one(told("allreduce", 2**20, 2**20))
    t.note("ProfilerStep#1", 0, 50 * US)
    t.note("ProfilerStep#2", 50 * US, 50 * US)
    t.call(60 * US, US, 2)
    t.kernel(70 * US, 40 * US, 2, "mm", stream=8)
    run = t.run(tmp_path, step="1")
    assert (run.collectives[0].exposed_ns, run.communication["exposed_ns"]) == (60 * US, 60 * US)


def test_equal_calls_are_one_row_and_others_their_own(tmp_path):
    t = Made(**H100)
    for i, size in enumerate((2**20, 2**10, 2**20)):
        t.call(i * 200 * US, US, i + 1)
        t.kernel((i * 200 + 10) * US, (100 + i) * US, i + 1, "ncclDevKernel_AllReduce", **told("allreduce", size, size))
    rows = t.run(tmp_path).collectives
    assert [(row.bytes, row.count, row.time_ns, row.calls_ns) for row in rows] == [
        (2**21, 2, 202 * US, [100 * US, 102 * US]),
        (2**11, 1, 101 * US, [101 * US]),
    ]


def test_advice_names_the_collective_that_is_exposed_most(tmp_path):
    run = one(told("allreduce", 2**20, 2**20)).run(tmp_path)
    (advice,) = (a for a in run.advice if a.id == "device.communication")
    assert "the largest part is 1 all-reduce of 2.097 MB at 8.2% of the link, 100.0 µs" in advice.evidence


def test_it_is_printed_and_tabled(tmp_path):
    path = one(told("allreduce", 2**20, 2**20)).write(tmp_path)
    out = said("analyze", path).stdout
    assert "Collectives" in out
    assert "8.2% of 450.0 GB/s" in out
    said("analyze", path, "--csv", tmp_path / "tables")
    calls = (tmp_path / "tables" / "collective_calls.csv").read_text("utf-8").splitlines()
    assert calls == ["row,start_ns,time_ns", f"1,{10 * US},{100 * US}"]
    assert json.loads(said("analyze", path, "--json").stdout)["collectives"][0]["bytes"] == 2**21


@pytest.mark.shared
def test_those_of_a_real_training_step():
    """Two ranks of an A100: five buckets of gradients and two broadcasts of buffers, three times."""
    rows = real("a100_nccl_train.json.gz").collectives
    assert sorted((row.name, row.bytes) for row in rows) == [
        ("all-reduce", 4 * n) for n in (2_049_000, 2_431_040, 6_563_840, 6_637_568, 7_875_584)
    ] + [("broadcast", 8 * 53), ("broadcast", 4 * 53_120)]
    assert {(row.group, row.ranks, row.count) for row in rows} == {("0 (default_pg)", 2, 3)}
    assert sum(row.time_ns for row in rows) == real("a100_nccl_train.json.gz").communication["time_ns"]


@pytest.mark.shared
def test_an_all_reduce_in_the_switch_has_the_size_of_its_tensor():
    rows = [row for row in analyze(REAL / "b200_eager.json.gz").collectives if row.name == "all-reduce"]
    assert [(row.bytes, row.count) for row in rows] == [(2 * 2_557_440, 37), (2 * 2_727_936, 36)]


def ranks(folder, shifts, base=0, length=60, args=None):
    """Two calls on each of several ranks, which start so many us late; all end `length` us after the last start."""
    paths = []
    for rank, late in enumerate(shifts):
        t = Made(**H100, distributedInfo={"rank": rank, "world_size": len(shifts), "backend": "nccl"})
        for call in range(2):
            at = 1000 * call + base * rank
            t.call((at + late) * US, US, call + 1)
            size = (max(shifts) - late + length) * US
            kernel = args or told("allreduce", 2**20, 2**20, len(shifts))
            t.kernel((at + late + 5) * US, size, call + 1, "ncclDevKernel_AllReduce", **kernel)
        paths.append(t.write(folder, f"rank{rank}.json"))
    return paths


def test_the_skew_of_the_starts_and_the_time_from_the_last_one(tmp_path):
    data = json.loads(said("analyze", *ranks(tmp_path, (0, 40, 10)), "--json").stdout)["overall"]
    (skew,) = data["collectives"]
    assert (skew["median_skew_ns"], skew["max_skew_ns"], skew["median_latency_ns"]) == (40 * US, 40 * US, 60 * US)
    assert skew["waiting_ns"] == 2 * (40 + 30) * US
    assert (skew["last_rank"], skew["last_share"], skew["ranks"]) == (1, 1.0, [0, 1, 2])
    assert skew["bus_bytes_per_s"] == pytest.approx(2 * 2 / 3 * 2**21 / 60e-6)
    assert data["problems"] == []
    assert "Collectives over the ranks given" in said("analyze", *ranks(tmp_path, (0, 40, 10))).stdout


def test_clocks_that_differ_say_nothing_of_starts(tmp_path):
    data = json.loads(said("analyze", *ranks(tmp_path, (0, 40), base=500), "--json").stdout)["overall"]
    assert data["collectives"] == []
    assert "the clocks of the files differ" in data["problems"][0]


def test_ranks_outside_of_the_group_are_not_matched(tmp_path):
    """Two pairs of ranks whose groups have the same name."""
    paths = ranks(tmp_path, (0, 40), args=told("allreduce", 8, 8, 2))
    others = tmp_path / "others"
    others.mkdir()
    second = told("allreduce", 8, 8, 2) | {"Process Group Ranks": "[2, 3]"}
    for rank, path in enumerate(ranks(others, (0, 20), args=second), 2):
        path.write_text(path.read_text("utf-8").replace(f'"rank": {rank - 2}', f'"rank": {rank}'), "utf-8")
        paths.append(path)
    found = json.loads(said("analyze", *paths, "--json").stdout)["overall"]["collectives"]
    assert [(skew["ranks"], skew["max_skew_ns"]) for skew in found] == [([0, 1], 40 * US), ([2, 3], 20 * US)]


def test_calls_that_are_not_as_many_are_said(tmp_path):
    paths = ranks(tmp_path, (0, 40))
    data = json.loads(paths[1].read_text("utf-8"))
    data["traceEvents"].remove(next(e for e in data["traceEvents"] if e["cat"] == "kernel"))
    paths[1].write_text(json.dumps(data), "utf-8")
    data = json.loads(said("analyze", *paths, "--json").stdout)["overall"]
    assert (data["collectives"], len(data["problems"])) == ([], 1)
