"""Plans: what a device is left of a workload, and what devices send each other, by hand."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import msgspec
import pytest

from frameroof.estimate import estimate, memory_of
from frameroof.estimate.grid import estimate_grid
from frameroof.hardware import Node, device, parse_node
from frameroof.passes import share_perfectly
from frameroof.workload.expr import Poly
from frameroof.workload.file import dumps, loads
from frameroof.workload.records import Op, Stage, Tensor, Workload

H100 = device("H100")  # 989.4 TFLOP/s in bf16, 3.35 TB/s, 450 GB/s to others in one direction
MEBI = Poly({(): 2**20})


def _workload(*ops: Op) -> Workload:
    return Workload("hand", {}, (Stage("forward", ops, weights={"bf16": 2**20}),))


def _linear() -> Op:
    side = Poly({(): 1024})
    x = Tensor((side, side), "bf16")
    return Op(
        "fc", "linear", "linear", (x, replace(x, weight=True)), (x,), {"b": Poly.of(1), **dict.fromkeys("mnk", side)}
    )


def _collective(name: str, before: int, after: int) -> Op:
    return Op("sync", "collective", name, (Tensor((MEBI * before,), "bf16"),), (Tensor((MEBI * after,), "bf16"),))


def test_a_stage_carries_an_exact_share_and_its_sizes_stay_whole():
    shared = share_perfectly(_workload(_linear()), 3)
    assert (shared.devices, shared.stages[0].share) == (3, Fraction(1, 3))
    assert shared.stages[0].ops == _workload(_linear()).stages[0].ops
    assert "3 devices share the work perfectly" in shared.plan


def test_times_are_of_one_device_and_counts_of_the_whole():
    one, three = (estimate(_workload(_linear()), Node(H100, n)).total for n in (1, 3))
    assert (three.flops, three.bytes) == (one.flops, one.bytes) == (2 * 1024**3, 3 * 2 * 1024**2)
    assert three.limit_s == pytest.approx(one.limit_s / 3, rel=1e-15)
    assert one.limit_s == pytest.approx(max(2 * 1024**3 / H100.dense_flops["bf16"], 3 * 2 * 1024**2 / H100.bandwidth))


def test_perfect_sharing_is_the_plan_of_a_workload_without_one():
    given, made = _workload(_linear()), share_perfectly(_workload(_linear()), 8)
    assert estimate(given, Node(H100, 8)).total.limit_s == estimate(made, Node(H100, 8)).total.limit_s
    assert memory_of(given, Node(H100, 8), {}).available_bytes == 8 * H100.memory_bytes


@pytest.mark.parametrize("run", [lambda w, n: estimate(w, n), lambda w, n: estimate_grid(w, [n], {})])
def test_a_plan_for_other_devices_is_refused(run):
    with pytest.raises(ValueError, match="plan of hand is for 2 devices, and the machine has 4"):
        run(share_perfectly(_workload(_linear()), 2), Node(H100, 4))


def test_a_second_plan_and_no_device_are_refused():
    with pytest.raises(ValueError, match="has a plan already"):
        share_perfectly(share_perfectly(_workload(_linear()), 2), 2)
    with pytest.raises(ValueError, match="at least 1 device"):
        share_perfectly(_workload(_linear()), 0)


def test_a_plan_is_saved_with_its_workload():
    shared = share_perfectly(_workload(_linear()), 6)
    again = loads(dumps(shared))
    assert (again.devices, again.plan, again.stages[0].share) == (6, shared.plan, Fraction(1, 6))
    assert b'"share":' not in dumps(_workload(_linear()))  # older readers still take a workload without a plan
    for share in ("0", "2", "1/0", "-1/2", "x"):
        with pytest.raises(ValueError, match="share is above 0 and at most 1"):
            loads(dumps(shared).replace(b'"share":"1/6"', f'"share":"{share}"'.encode()))


def test_a_grid_shares_as_estimate_does():
    nodes = [Node(H100, 1), Node(H100, 8), parse_node("4xMI300X")]
    grid = estimate_grid(_workload(_linear()), nodes, {})
    assert list(grid.limit_s[:, 0]) == [
        pytest.approx(estimate(_workload(_linear()), node).total.limit_s, rel=1e-12) for node in nodes
    ]


@pytest.mark.parametrize(
    ("name", "before", "after", "passed"),
    [
        ("all_gather", 1, 4, 4 * 3 / 4),  # the gathered tensor, less the own part
        ("reduce_scatter", 4, 1, 4 * 3 / 4),
        ("all_reduce", 2, 2, 2 * 2 * 3 / 4),  # both of them, one after the other
    ],
)
def test_a_collective_is_limited_by_what_a_ring_passes_through_each_link(name, before, after, passed):
    plan = replace(_workload(_collective(name, before, after)), devices=4, plan="by hand")
    found = estimate(plan, Node(H100, 4)).total
    assert found.limit_s == pytest.approx(passed * 2 * 2**20 / H100.link_bandwidth)
    assert (found.compute_s, found.flops) == (0, 0)


def test_a_collective_needs_a_link_and_a_known_name():
    with pytest.raises(ValueError, match="unknown collective 'gossip'"):
        estimate(_workload(_collective("gossip", 1, 1)), Node(H100))
    alone = replace(_workload(_collective("all_reduce", 1, 1)), devices=2, plan="by hand")
    bare = msgspec.structs.replace(H100, link_bandwidth=None, pcie_bandwidth=None)
    with pytest.raises(ValueError, match="states no link between devices"):
        estimate(alone, Node(bare, 2))


def test_a_grid_has_no_collectives():
    with pytest.raises(ValueError, match="sync: a grid has no collectives"):
        estimate_grid(_workload(_collective("all_reduce", 1, 1)), [Node(H100)], {})
