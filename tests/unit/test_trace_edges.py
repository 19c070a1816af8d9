"""Reading a trace where a rule turns: a coincidence among numbers, unequal latencies, one helper of two attentions."""

from __future__ import annotations

import pytest
from trace_made import H100, Made

from frameroof.trace.find import stages
from frameroof.trace.find.attention.calls import find_attention
from frameroof.trace.read.repair import Repairer
from frameroof.trace.resolve.operator_cost import matmul
from frameroof.trace.resolve.recorded_inputs import Inputs

# --------------------------------------------------------------------------------------- links


def test_one_number_that_is_the_correlation_too_does_not_make_all_external_ids_untrue(tmp_path):
    t = Made()
    t.op("aten::mm", 0, 5_000, ext=77)
    t.op("aten::add", 6_000, 5_000, ext=6)
    t.kernel(20_000, 1_000, 5, **{"External id": 77})
    t.kernel(30_000, 1_000, 6, **{"External id": 6})  # by chance
    assert t.link(tmp_path)[2] == ["aten::mm", "aten::add"]


def test_work_without_an_external_id_does_not_make_untrue_ones_true(tmp_path):
    t = Made()
    t.op("aten::add", 0, 5_000, ext=5)
    t.kernel(20_000, 1_000, 5, **{"External id": 5})  # its correlation number once more
    t.kernel(30_000, 1_000, 6)
    assert t.link(tmp_path)[2] == [None, None]


def test_a_host_row_belongs_to_what_encloses_it_and_not_to_what_ended_before(tmp_path):
    t = Made()
    t.op("aten::outer", 0, 20_000)
    t.op("aten::first", 1_000, 4_000)
    t.op("aten::second", 5_000, 4_000)  # begins where the first ends
    t.call(6_000, 500, 1)
    t.call(9_500, 500, 2)
    t.kernel(30_000, 1_000, 1)
    t.kernel(40_000, 1_000, 2)
    trace, links, operators = t.link(tmp_path)
    assert operators == ["aten::second", "aten::outer"]
    named = {trace.names[trace.host.name[row]]: links.around(row) for row in range(len(trace.host))}
    assert trace.names[trace.host.name[named["aten::second"]]] == "aten::outer"
    assert named["aten::outer"] == -1


# --------------------------------------------------------------------------------------- idle time


def launched(latencies, length=1_000, period=100_000):
    """Kernels one at a time, each launched when the device has long been idle."""
    t = Made()
    for i, latency in enumerate(latencies):
        t.call(period * i, 500, i + 1)
        t.kernel(period * i + latency, length, i + 1)
    return t


@pytest.mark.parametrize(
    ("latencies", "floor"),
    [
        # 20 gaps and more: the 5th percentile over the launches behind them. Of 21 it is the second least
        ([3_000, *range(5_000, 7_001, 100)], 5_100),
        # of 20 it lies at 0.95 between the least and the next
        ([3_000, *range(5_000, 6_901, 100)], 5_095),
        # fewer gaps say little: the least latency of all launches, that of the first one too
        ([3_000, *range(5_000, 6_801, 100)], 3_000),
        # no launch of an idle device should take longer than 20 us
        ([30_000] * 25, 20_000),
        ([30_000] * 5, 30_000),
    ],
)
def test_the_floor_of_the_launch_latency_by_hand(tmp_path, latencies, floor):
    assert launched(latencies).run(tmp_path).launch.floor_ns == floor


def test_launches_that_came_while_the_device_worked_say_nothing_of_the_floor(tmp_path):
    t = launched([5_000])
    for i in range(30):  # in the midst of the kernel before it, and started 50 us later
        t.call(50_000 * i + 5_500, 500, 10 + i)
        t.kernel(50_000 * (i + 1) + 5_000, 1_000, 10 + i)
    t.call(1_600_000, 500, 99)  # the one that finds the device idle
    t.kernel(1_606_000, 1_000, 99)
    assert t.run(tmp_path).launch.floor_ns == 6_000


def test_percentiles_of_the_latency_and_the_depth_of_the_queue(tmp_path):
    launch = launched([1_000, 2_000, 3_000, 4_000, 11_000]).run(tmp_path).launch
    # of five the 90th percentile lies at 3.6: 4 + 0.6 x 7 us; the 99th at 3.96
    assert (launch.median_ns, launch.p90_ns, launch.p99_ns) == (3_000, 8_200, 10_720)
    assert (launch.mean_queue_depth, launch.max_queue_depth) == (1.0, 1)
    t = Made()
    for i in range(3):  # three at once: one, two, three wait
        t.call(1_000 * i, 500, i + 1)
        t.kernel(10_000 + 1_000 * i, 1_000, i + 1)
    launch = t.run(tmp_path).launch
    assert (launch.mean_queue_depth, launch.max_queue_depth) == (2.0, 3)


@pytest.mark.parametrize(
    ("length", "active"),
    [(1_000, 300_000), (50_000, 300_000), (80_000, 270_000), (150_000, 200_000)],
)
def test_a_launch_that_is_held_for_long_is_the_hosts_own_time_for_fifty_us_only(tmp_path, length, active):
    """Launches at 0, 100 and 300 us; the second takes longer: it waits for room in the queue."""
    t = Made()
    for i, (at, long) in enumerate(((0, 1_000), (100_000, length), (300_000, 1_000))):
        t.call(at, long, i + 1)
        t.kernel(at + 200_000, 1_000, i + 1)
    assert t.run(tmp_path).launch.host_active_ns == active


def test_waits_of_the_host_between_launches_are_not_its_own_time(tmp_path):
    t = launched([5_000, 5_000])
    t.call(10_000, 30_000, name="cudaStreamSynchronize")
    t.call(30_000, 20_000, name="cudaDeviceSynchronize")  # on another thread, half of it at the same time
    t.events[-1]["tid"] = 2
    t.call(90_000, 50_000, name="cudaEventSynchronize")  # beyond the last launch it does not count
    assert t.run(tmp_path).launch.host_active_ns == 100_000 - 40_000 - 10_000


def test_gaps_are_sorted_by_length_with_their_upper_ends(tmp_path):
    t, at = Made(), 10_000
    for gap in (0, 1_000, 1_001, 10_000, 10_001, 100_000, 100_001):
        t.kernel(at, 1_000)
        at += 1_000 + gap
    t.kernel(at, 1_000)
    assert [(gap.name, gap.count, gap.time_ns) for gap in t.run(tmp_path).launch.gaps] == [
        ("up to 1 us", 1, 1_000),
        ("1 to 10 us", 2, 11_001),
        ("10 to 100 us", 2, 110_001),
        ("over 100 us", 1, 100_001),
    ]


def test_waits_without_idle_time_stand_in_order_of_what_the_host_spent(tmp_path):
    t = Made()
    t.call(0, 500, 1)
    t.kernel(5_000, 1_000_000, 1)
    t.call(10_000, 1_000, name="cudaEventSynchronize")
    t.call(20_000, 3_000, name="cudaStreamSynchronize")
    t.call(30_000, 1_500, name="cudaStreamSynchronize")
    assert [(s.call, s.count, s.host_ns) for s in t.run(tmp_path).syncs] == [
        ("cudaStreamSynchronize", 2, 4_500),
        ("cudaEventSynchronize", 1, 1_000),
    ]


# --------------------------------------------------------------------------------------- attention


def alone(t, names):
    """Kernels without operators, 10 us apart; the i-th takes i + 1 us."""
    for i, name in enumerate(names):
        t.call(10_000 * i, 500, i + 1)
        t.kernel(10_000 * i + 5_000, 1_000 * (i + 1), i + 1, name)
    return t


@pytest.mark.parametrize(
    ("names", "durations"),
    [
        # what combines the parts of an attention finishes the one before it
        (["flash_fwd_splitkv", "flash_fwd_splitkv_combine", "flash_fwd"], [3_000, 3_000]),
        (["flash_fwd", "flash_fwd_splitkv", "flash_fwd_splitkv_combine"], [1_000, 5_000]),
        # what prepares one belongs to the one after it, or to the last where none follows
        (["flash_fwd", "flash_attn_quant", "flash_fwd"], [1_000, 5_000]),
        (["flash_fwd", "flash_attn_quant"], [3_000]),
        (["flash_fwd_combine", "flash_fwd"], [3_000]),
    ],
)
def test_helpers_join_the_attention_that_they_are_for(tmp_path, names, durations):
    calls = find_attention(alone(Made(**H100), names).place(tmp_path))
    assert [call.duration for call in calls] == durations


@pytest.mark.parametrize(
    ("operator", "dims", "product"),
    [
        ("mm", [[2, 3], [3, 5]], (1, 2, 3, 5)),
        ("addmm", [[5], [2, 3], [3, 5]], (1, 2, 3, 5)),
        ("bmm", [[7, 2, 3], [7, 3, 5]], (7, 2, 3, 5)),
        ("baddbmm", [[7, 2, 5], [7, 2, 3], [7, 3, 5]], (7, 2, 3, 5)),
        ("linear", [[4, 2, 3], [5, 3], [5]], (1, 8, 3, 5)),
        ("mul", [[2, 3], [3, 5]], None),
    ],
)
def test_products_by_their_sizes(operator, dims, product):
    """(batch, rows, inner size, columns)."""
    assert matmul(operator, Inputs(tuple(tuple(d) for d in dims), (), ())) == product


# --------------------------------------------------------------------------------------- broken files


def test_an_inner_object_without_a_phase_belongs_to_its_event():
    sound = b'{"ph": "X", "name": "a", "args": {"of": [{"id": 1}, {"id": 2}]}}'
    repairer = Repairer(keep=True)
    events, tail = repairer.events(sound + b', {"ph": "X", "name": "say "hi""}', last=False)
    assert [event.name for event in events] == ["a", 'say "hi"']
    assert dict(repairer.mended) == {"unescaped quotes or backslashes in a name": 1}
    assert (repairer.lost, repairer.lost_bytes, repairer.foreign, tail) == (0, 0, 0, None)
    assert repairer.texts is not None
    assert (repairer.texts[0], len(repairer.texts)) == (sound, 2)


def test_ruins_are_counted_with_their_bytes_and_the_events_in_them():
    repairer = Repairer()
    events, _ = repairer.events(b'of a name"}, {"ph": "X", "name": "a"}, {"ph": "X", "na', last=False)
    assert [event.name for event in events] == ["a"]
    # `of a name"` before the first start, `{"ph": "X", "na` cut off
    assert (repairer.foreign, repairer.lost, repairer.lost_bytes) == (1, 1, 10 + 15)
    assert [(p.what, p.count, p.action) for p in repairer.problems()] == [
        ("events too broken to read", 1, "left out (25 bytes of text)"),
        ("entries of the list that are no events", 1, "left out (25 bytes of text)"),
    ]


def test_no_rule_of_a_role_looks_through_all_that_follows() -> None:
    """One that may begin anywhere and goes on to the end takes the square of a name's length: 0.4 s for 10,000."""
    assert not [rule.pattern for _, rule in stages._ROLES if ".*" in rule.pattern or ".+" in rule.pattern]
    names = ("CausalDecoder3d", "WanEncoder3d", "Qwen2_5_VLForConditionalGeneration", "FluxTransformer2DModel")
    assert [stages._role(name) for name in names] == ["vae decode", "vae encode", "text encode", "denoise"]
