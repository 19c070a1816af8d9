"""A stage's table: the same numbers as its operations one by one, each distinct polynomial evaluated once."""

from __future__ import annotations

import numpy as np
import pytest

from frameroof import catalogue
from frameroof.workload.expr import total
from frameroof.workload.records import MATRIX_KINDS
from frameroof.workload.table import split, table_of


@pytest.mark.parametrize("name", ["amused-256", "longlive-1.3b"])
def test_a_table_has_the_numbers_of_its_operations(name):
    workload = catalogue.load(name)
    for stage in workload.stages:
        turns = {stage.loop[0]: np.arange(3)} if stage.loop else {}
        env = stage.bind({**workload.sizes(), **turns})
        table = table_of(stage)
        values = table.at(env)
        for row, op in zip(table.rows, stage.ops, strict=True):
            executed = op.executed_flops()(env) if op.kind in MATRIX_KINDS else 0
            times = 1 if op.attrs.get("total") else op.count(env)
            given, between, chip = (total(t.bits for t in tensors)(env) for tensors in split(op))
            moved = (op.moved_bits()(env), op.bits()(env), given, given)
            expected = [op.count(env), times, op.flops()(env), executed, op.vector_flops()(env), *moved]
            assert all(np.array_equal(values[at], each) for at, each in zip(row.at, expected, strict=True)), op.path
            for found, bits in ((row.between, between), (row.chip, chip)):
                assert np.array_equal(sum(values[at] * n for at, n in found), bits)
            assert row.unit == (op.unit if op.kind in MATRIX_KINDS else "")


def test_a_table_is_made_once_and_holds_each_polynomial_once():
    stage = catalogue.load("amused-256").stages[1]
    assert table_of(stage) is table_of(stage)
    places = {at for row in table_of(stage).rows for at in row.places}
    distinct = {
        p
        for op in stage.ops
        for given, between, chip in [split(op)]
        for sizes in [[tensor.bits for tensor in (*between, *chip)]]
        for of_op in [(op.count, op.flops(), op.vector_flops(), op.bits(), op.moved_bits(), op.executed_flops())]
        for p in (*of_op, total(tensor.bits for tensor in given), *sizes)
    }
    assert len(places) <= len(distinct) + 2  # 1 and 0 may be none of them
