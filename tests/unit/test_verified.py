"""The range in which a record was verified stands in its file, and a size outside of it is said."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import frameroof  # noqa: E402
from frameroof.workload.file import dumps, loads  # noqa: E402
from frameroof.workload.recipe import Part, Recipe, Size, sizes  # noqa: E402
from frameroof.workload.verified import outside, verified  # noqa: E402


def linear(tokens=8):
    return nn.Linear(16, 16), (torch.empty(tokens, 16),), {}


@sizes(rows=Size(4), let={})
def declared(rows=4):
    return nn.Linear(16, 16), (torch.empty(rows, 16),), {}


def test_the_range_is_that_of_what_was_traced():
    traced = []

    def build(tokens=8):
        traced.append(tokens)
        return linear(tokens)

    found = verified(frameroof.count(build))
    assert found == {"tokens": (min(traced), max(traced))}
    assert found["tokens"][0] == 1
    assert found["tokens"][1] >= 16


def test_a_size_outside_is_said_and_one_inside_is_not():
    workload = loads(dumps(frameroof.count(linear)))
    low, high = verified(workload)["tokens"]
    assert outside(workload, {"tokens": high}) == outside(workload, {"tokens": low}) == []
    said = f"tokens {high + 1} is outside of {low} to {high}, which was verified"
    assert outside(workload, {"tokens": high + 1}) == [said]
    prediction = frameroof.predict(workload, on="H100", sizes={"tokens": high + 1})
    assert said in prediction.to_dict()["assumptions"]["model"]


def test_a_stage_whose_size_is_worked_out_says_it_of_its_own():
    from frameroof.count import record_recipe

    part = Part("forward", declared, sizes={"rows": "height*2"})
    workload = record_recipe(Recipe("r", "r", {"height": Size(2)}, (part,)))
    low, high = workload.stages[0].limits["rows"].verified
    assert verified(workload) == {}
    assert outside(workload, {"height": high // 2}) == []
    assert outside(workload, {"height": high}) == [
        f"stage forward: rows {2 * high} is outside of {low} to {high}, which was verified"
    ]


def test_a_fixed_size_and_an_old_file_have_no_range():
    fixed = frameroof.count(linear, fixed=True)
    assert verified(fixed) == {}
    assert b"verified" not in dumps(fixed)
    assert outside(fixed, {"tokens": 8}) == []


def test_a_range_from_large_to_small_is_refused():
    broken = dumps(frameroof.count(linear)).replace(b'"verified":[1,', b'"verified":[9999,')
    with pytest.raises(ValueError, match="no range"):
        loads(broken)
