"""Folding alike layers, and unfolding them again."""

from frameroof.workload.expr import ONE, Poly
from frameroof.workload.fold import fold, unfold
from frameroof.workload.records import Op, Tensor


def op(path, size=1, count=ONE):
    return Op(path, "elementwise", "add", (), (Tensor((Poly.of(size),), "bf16"),), count=count)


def test_layers_become_one_row_and_come_back():
    paths = [f"blocks.{i}.attn.{j}.to_q" for i in range(3) for j in (0, 2)]
    rows, where = fold([op(p) for p in paths])
    assert [row.path for row in rows] == ["blocks.[0-2].attn.[0,2].to_q"]
    assert rows[0].count({}) == 6
    assert sorted(unfold(rows[0].path)) == sorted(paths)
    assert where == [0] * 6


def test_other_sizes_stay_apart_and_calls_of_one_path_add_up():
    rows, where = fold([op("a.0"), op("a.1", size=2), op("a.0"), op("b")])
    assert [(row.path, row.count({})) for row in rows] == [("a.0", 2), ("a.1", 1), ("b", 1)]
    assert where == [0, 1, 0, 2]


def test_a_set_is_a_product_only_when_every_path_is_there():
    paths = ["x.0.y.0", "x.0.y.1", "x.1.y.0"]
    rows, _ = fold([op(p) for p in paths])
    assert sorted(p for row in rows for p in unfold(row.path)) == sorted(paths)
    assert sum(row.count({}) for row in rows) == 3


def test_calls_that_differ_by_layer_are_not_mixed():
    rows, _ = fold([op("l.0"), op("l.1"), op("l.1")])
    assert {row.path: row.count({}) for row in rows} == {"l.0": 1, "l.1": 2}


def test_layers_of_one_count_and_other_sizes_stay_apart():
    rows, _ = fold([op("a.0"), op("a.1", size=2), op("a.2")])
    assert [(row.path, row.writes[0].elements({})) for row in rows] == [("a.[0,2]", 1), ("a.1", 2)]
