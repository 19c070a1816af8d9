"""Many sizes at once, against arithmetic by hand: more than one chunk, loops by their ends, what each stage holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from workload_made import op, tensor, workload

from frameroof.estimate import Utilization
from frameroof.estimate.grid import estimate_grid
from frameroof.hardware import Device, Node, Price
from frameroof.workload.expr import Poly, poly
from frameroof.workload.recipe import Size
from frameroof.workload.records import Held, Stage


def machine(vector=2e12, bandwidth=1e12, price=None):
    return Device(
        name="m", vendor="v", family="f", kind="accelerator", dense_flops={"bf16": 16e12, "fp32": 4e12},
        memory_bytes=10**9, bandwidth=bandwidth, source=("here",), date="2026-01", confidence="low", vector_peak=vector,
        usd_per_hour=price,
    )  # fmt: skip


NODE = Node(machine())


def read(size):
    """Reads so many bytes, computes nothing."""
    return op("copy", (tensor(size, "int8"),))


def seconds(made, sizes, nodes=(NODE,), **options):
    return estimate_grid(made, list(nodes), sizes, **options).limit_s


def test_every_size_beyond_one_chunk_too():
    n = np.arange(1, 1026)  # chunks of 512, 512 and 1
    found = seconds(workload(Stage("a", (read("n"), read("2*n+1")), repeat="2"), n=1), {"n": n})
    assert found[0] == pytest.approx(2 * (3 * n + 1) / 1e12, rel=1e-12)


def test_operations_in_proportion_are_added_up():
    found = seconds(workload(Stage("a", (read("2*n"), read("6*n"), read("2*n"))), n=1), {"n": [7]})
    assert found[0, 0] == pytest.approx(10 * 7 / 1e12, rel=1e-12)


def test_each_machine_has_its_row_and_a_share_of_several_devices():
    nodes = [NODE, Node(machine(bandwidth=2e12)), Node(machine(), 4)]
    found = seconds(workload(Stage("a", (read("n"),)), n=1), {"n": [1000, 2000]}, nodes)
    assert found.ravel().tolist() == pytest.approx([1e-9, 2e-9, 0.5e-9, 1e-9, 0.25e-9, 0.5e-9])


def test_the_longest_of_matrix_vector_and_memory_of_each_operation():
    # 2 n FLOPs at 16 T/s are n/8 ps; n scalar FLOPs at 2 T/s n/2 ps; n bytes at 1 TB/s n ps
    product = op("matmul", b=1, m="n", n=1, k=1)
    pointwise = op("elementwise", (), (tensor("8*n", "fp4", traffic="chip"),))  # 8 n scalar FLOPs, no bytes
    found = seconds(workload(Stage("a", (product, pointwise, read("n"))), n=1), {"n": [10**6]})
    fp32 = 2 / 4e12  # without operands it is taken to be in fp32
    assert found[0, 0] == pytest.approx(1e6 * (fp32 + 8 / 2e12 + 1 / 1e12), rel=1e-12)
    free = seconds(workload(Stage("a", (pointwise,)), n=1), {"n": [10**6]}, [Node(machine(vector=None))])
    assert free[0, 0] == 0


def test_utilization_goes_by_kind():
    grid = estimate_grid(
        workload(Stage("a", (read("n"), op("matmul", b=1, m="n", n=1, k=1))), n=1), [NODE], {"n": [10**6]},
        Utilization(0.5, {"matmul": 0.25}),
    )  # fmt: skip
    assert grid.limit_s[0, 0] == pytest.approx(1e-6 + 0.5e-6, rel=1e-12)
    assert grid.expected_s[0, 0] == pytest.approx(1e-6 / 0.5 + 0.5e-6 / 0.25, rel=1e-12)


def test_money_is_per_item_of_the_batch_and_unknown_where_the_price_is():
    made = workload(Stage("a", (read("n*batch"),)), n=1, batch=1)
    nodes = [Node(machine(price=Price(3.6, 3.6, "2026-01", "a list"))), NODE]
    grid = estimate_grid(made, nodes, {"n": [10**9, 10**9], "batch": [1, 4]}, Utilization(0.5))
    # 1 ms and 4 ms at half the bandwidth are 2 and 8 ms; $3.6 an hour are $0.001 a second
    assert grid.usd_per_item[0].tolist() == pytest.approx([2e-6, 2e-6])
    assert np.isnan(grid.usd_per_item[1]).all()


@pytest.mark.parametrize(
    ("let", "lengths"),
    [
        ("n+3*i", lambda n, i: n + 3 * i),  # a straight line: from its ends
        ("n+i*i", lambda n, i: n + i * i),
        ("min(n, 4*i+1)", lambda n, i: min(n, 4 * i + 1)),
        ("n//(i+1)", lambda n, i: n // (i + 1)),
    ],
)
def test_a_loop_is_the_sum_over_its_turns(let, lengths):
    made = workload(Stage("a", (read("kv"),), let={"kv": let}, loop=("i", "turns"), repeat="3"), n=1, turns=1)
    n, turns = [7, 8, 9, 10], [0, 1, 2, 11]
    found = seconds(made, {"n": n, "turns": turns})[0]
    assert (found * 1e12).tolist() == pytest.approx(
        [3 * sum(lengths(a, i) for i in range(b)) for a, b in zip(n, turns, strict=True)]
    )


def test_a_loop_whose_limit_changes_sides_is_not_taken_from_its_ends():
    # scalar FLOPs: 10 kv at 2 T/s; bytes: 20 at 1 TB/s. Memory is longer up to kv = 4
    mixed = op("elementwise", (tensor("20", "int8"),), (tensor("10*kv", "bf16", traffic="chip"),))
    made = workload(Stage("a", (mixed,), let={"kv": "1+i"}, loop=("i", "10")), n=1)
    expected = sum(max(20, 5 * kv) for kv in range(1, 11))
    assert seconds(made, {"n": [1]})[0, 0] * 1e12 == pytest.approx(expected)


def test_memory_is_what_the_largest_stage_holds_and_all_weights():
    stages = (
        Stage("a", (), held=(Held(0, poly("n"), Poly()), Held(1, poly("10"), poly("1"))), weights={"bf16": 100}),
        Stage("b", (), held=(Held(0, poly("3*n"), Poly()),), dtype="fp4", weights={"fp4": 3}),
        Stage("c", (), held=(Held(0, poly("1000*n"), Poly()),), repeat="0*n"),  # it never runs
    )
    grid = estimate_grid(workload(*stages, n=1), [NODE], {"n": [1, 20, 21]})
    # 16-bit n or 10 and a byte; 4-bit 3 n, in whole bytes; weights of 200 and 2 bytes
    assert grid.peak_bytes[0].tolist() == [202 + 21, 202 + 40, 202 + 42]
    odd = estimate_grid(workload(stages[1], n=1), [NODE], {"n": [1, 3]})
    assert odd.peak_bytes[0].tolist() == [2 + 1, 2 + 4]  # 12 and 36 bits


def test_sizes_that_are_not_admissible_are_refused_wherever_they_stand():
    made = workload(Stage("a", (read("n"),)), n=1)
    for wrong, sentence in (
        ({"n": [1, 2, -1, 3]}, "n=-1 is too small"),
        ({"n": [1.5]}, "n must be an array of whole numbers"),
        ({"n": []}, "n must be an array of whole numbers"),
        ({"m": [1]}, "hand has no size 'm'; it has: n"),
    ):
        with pytest.raises(ValueError, match=sentence):
            estimate_grid(made, [NODE], wrong)
    steps = replace(made, params={"n": Size(8, step=8)})
    with pytest.raises(ValueError, match="n=12 is not admissible"):
        estimate_grid(steps, [NODE], {"n": [8, 12, 16]})
    assert seconds(made, {}).shape == (1, 1)
    assert seconds(made, {"n": 5})[0, 0] == pytest.approx(5e-12)
