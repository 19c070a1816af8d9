"""Files that hold several processes: each keeps its own launches, operators and devices, or the report says so."""

from __future__ import annotations

import pytest
from trace_made import H100, SHARED, Made

from frameroof.trace.find.ranks import overall
from frameroof.trace.to_run import analyze

CASE = SHARED / "cases" / "traces" / "two_ranks_in_one_file.json"
MM = [[512, 512], [512, 512]]


def rank(number, device=0, ext=0):
    """Ten operators of a rank, with the same numbers in every rank: rank r's are named after it and take 10 + r us."""
    t = Made(**H100)
    for i in range(10):
        at = 1_000_000 + 20_000 * i + 1_000 * number
        t.op(f"aten::op{number}", at, 12_000, MM, ext=1 + i + ext)
        t.call(at + 2_000, 5_000, 1 + i, **{"External id": 1 + i + ext})
        t.kernel(at + 10_000, 10_000 + number * 1_000, 1 + i, device=device, **{"External id": 1 + i + ext})
    return t


def merged(tmp_path, change, count=2, in_order=False, **options):
    """Ranks in one file; `change(rank, event)` is what the merger does to an event."""
    whole = Made(**H100, distributedInfo={"backend": "nccl", "rank": 0, "world_size": count})
    for number in range(count):
        for one in rank(number, **{name: value * number for name, value in options.items()}).events:
            whole.events.append(change(number, {**one, "args": {**one["args"]}}))
    if in_order:
        whole.events.sort(key=lambda one: one["ts"])
    return whole.run(tmp_path)


def prefixed(form):
    def change(number, one):
        return {**one, "pid": form.format(r=number, pid=one["pid"])}

    return change


def shifted(number, one):
    """As TraceLens fuses files: processes and launches count on from a large number, operators do not."""
    args = {**one["args"], "rank": number}
    if "correlation" in args:
        args["correlation"] += number * 10_000
    return {**one, "pid": one["pid"] + number * 1_000, "args": args}


def own_host(number, one):
    """Nothing is changed; the processes of the hosts have different numbers, as they do on one machine."""
    return {**one, "pid": one["pid"] + number * (one["cat"] != "kernel")}


def account(run, count=2):
    """The time of each rank's operator, by hand: ten of 10 + r us."""
    assert {o.name: (o.count, o.time_ns) for o in run.operators} == {
        f"aten::op{r}": (10, 100_000 + 10_000 * r) for r in range(count)
    }
    assert [(d.device, d.busy_ns) for d in run.devices] == [(r, 100_000 + 10_000 * r) for r in range(count)]
    assert run.coverage.operator == 1
    assert (run.source.rank, run.source.world_size) == (None, count)


FORMS = [
    "[TP{r}] {pid}",
    "[TP0{r}-DP00] {pid}",
    "rank{r}_pid{pid}",
    "{pid} (rank {r})",
    "node a{r}x/{pid}",
    "Rank {r}: {pid}",
]


@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_ranks_whose_processes_are_named(tmp_path, form, in_order):
    run = merged(tmp_path, prefixed(form), in_order=in_order)
    account(run)
    assert [(p.count, p.what.startswith("processes in one file")) for p in run.problems] == [(2, True)]


def test_eleven_ranks_are_counted_as_a_person_counts(tmp_path):
    account(merged(tmp_path, prefixed("[TP{r}] {pid}"), count=11), 11)


@pytest.mark.parametrize("in_order", [False, True])
def test_ranks_whose_numbers_are_shifted(tmp_path, in_order):
    account(merged(tmp_path, shifted, in_order=in_order))


def test_ranks_that_have_devices_of_their_own_keep_the_numbers(tmp_path):
    run = merged(tmp_path, prefixed("[TP{r}] {pid}"), device=1)
    account(run)
    assert "device 0" not in run.problems[0].action


@pytest.mark.parametrize("device", [0, 1])
def test_ranks_one_after_the_other_in_a_file(tmp_path, device):
    """Nothing tells them apart but the device, or where there is only one, the order."""
    run = merged(tmp_path, own_host, device=device, ext=0)
    if device:
        account(run)
        return
    assert {p.what: p.count for p in run.problems}["pieces of work that may be of several processes"] == 20
    assert run.summary.kernel_ns == 210_000


@pytest.mark.parametrize("in_order", [False, True])
def test_launches_of_different_numbers_are_told_apart_on_one_device(tmp_path, in_order):
    """Two kernels that overlap on what both ranks call stream 7 of device 0 are no false durations."""

    def change(number, one):
        if "correlation" in one["args"]:
            one["args"]["correlation"] += 100 * number
        return own_host(number, one)

    account(merged(tmp_path, change, in_order=in_order))


def test_ranks_whose_operators_have_numbers_of_their_own(tmp_path):
    """In order of time, on devices of the same number: launch and work carry the same operator."""
    account(merged(tmp_path, own_host, in_order=True, ext=100))


def test_what_nothing_tells_apart_is_said_and_linked_to_nothing(tmp_path):
    run = merged(tmp_path, own_host, in_order=True, device=1)
    assert {p.what: p.count for p in run.problems}["pieces of work that may be of several processes"] == 20
    assert (run.summary.kernel_ns, run.coverage.operator) == (210_000, 0)


def test_files_that_name_no_rank_stand_under_their_place_and_say_so(tmp_path):
    runs = [rank(number).run(tmp_path) for number in range(2)]
    assert [row.rank for row in overall(runs).ranks] == [0, 1]
    assert overall(runs).problems == [
        "2 of the traces name no rank: the number shown is the place among the files given"
    ]


def test_one_process_with_two_devices_stays_as_it_is(tmp_path):
    t = rank(0)
    t.kernel(1_015_000, 3_000, 11, device=1)
    run = t.run(tmp_path)
    assert (run.problems, len(run.devices)) == ([], 2)


def test_workers_without_a_device_are_no_ranks(tmp_path):
    t = rank(0)
    for i in range(3):
        t._add("cpu_op", "aten::stack", 1_000_000, 9_000, 5, pid=200 + i, **{"External id": 1 + i})
    run = t.run(tmp_path)
    assert (run.problems, [o.name for o in run.operators]) == ([], ["aten::op0"])


@pytest.mark.shared
@pytest.mark.skipif(not CASE.is_file(), reason="no ../shared/cases here")
def test_the_public_case():
    run = analyze(CASE)
    assert {o.name: (o.count, o.time_ns) for o in run.operators} == {
        "aten::mm": (10, 100_000),
        "aten::convolution": (10, 120_000),
    }
    assert len(run.devices) == 2
