"""Convolutions as matrix products: channels and groups by hand, in older files, and throughout the catalogue."""

import json
from math import prod

import pytest
import torch
from torch import nn

from frameroof import catalogue
from frameroof.count import trace
from frameroof.rules import convolution_product
from frameroof.workload import file


# By hand: the groups; rows, columns and depth of each group's product.
@pytest.mark.parametrize(
    ("layer", "shape", "sides"),
    [
        (lambda: nn.Conv1d(4, 6, 3, padding=1), (2, 4, 9), (1, 2 * 9, 6, 4 * 3)),
        (lambda: nn.Conv2d(4, 6, 3, padding=1), (2, 4, 9, 5), (1, 2 * 9 * 5, 6, 4 * 9)),
        (lambda: nn.Conv2d(4, 6, 3, stride=2), (2, 4, 9, 9), (1, 2 * 4 * 4, 6, 4 * 9)),
        (lambda: nn.Conv2d(4, 6, 1), (2, 4, 9, 9), (1, 2 * 9 * 9, 6, 4)),
        (lambda: nn.Conv3d(4, 6, (3, 1, 2)), (2, 4, 9, 9, 5), (1, 2 * 7 * 9 * 4, 6, 4 * 6)),
        (lambda: nn.Conv2d(8, 6, 3, groups=2), (2, 8, 9, 9), (2, 2 * 7 * 7, 3, 4 * 9)),
        (lambda: nn.Conv2d(8, 8, 3, groups=8, padding=1), (2, 8, 9, 9), (8, 2 * 9 * 9, 1, 9)),
        # transposed: a row for each position of the input, whose channels are the depth
        (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2), (2, 4, 9, 9), (1, 2 * 9 * 9, 6 * 9, 4)),
        (lambda: nn.ConvTranspose1d(8, 6, 4, groups=2), (2, 8, 9), (2, 2 * 9, 3 * 4, 4)),
    ],
)
def test_a_convolution_is_a_product_of_these_sides(layer, shape, sides):
    found = trace(lambda: (layer(), (torch.empty(shape),), {}), {})
    (op,) = [op for op in found.ops if op.kind.startswith("conv")]
    dims = op.dims
    assert convolution_product(**dims, transposed=op.attrs.get("transposed", False)) == sides
    assert prod(sides) == dims["n"] * dims["k"]  # the same multiply-adds


ROW = {"path": "at", "kind": "conv2d", "name": "convolution", "reads": [0, 1], "writes": [2]}


def workload(version, tensors, **row):
    """A file of one convolution."""
    head = {"format": file.FORMAT, "version": version, "grammar": 1, "name": "one"}
    stage = {"name": "all", "tensors": tensors, "ops": [ROW | row]}
    return json.dumps(head | {"params": {"b": {"default": 2}}, "stages": [stage]}).encode()


def read(version, tensors, **row):
    return file.loads(workload(version, tensors, **row)).stages[0].ops[0]


PLAIN = ["bf16[b,8,9,9]", "w:bf16[6,8,3,3]", "bf16[b,6,7,7]"]
GROUPED = ["bf16[b,8,9,9]", "w:bf16[6,4,3,3]", "bf16[b,6,7,7]"]
TRANSPOSED = ["bf16[b,8,9,9]", "w:bf16[8,3,4,4]", "bf16[b,6,20,20]"]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("tensors", "n", "k", "attrs", "c", "g"),
    [
        (PLAIN, "294*b", 72, {"kernel": "3x3"}, 6, 1),
        (GROUPED, "294*b", 36, {"kernel": "3x3", "groups": 2}, 6, 2),
        (TRANSPOSED, "648*b", 48, {"kernel": "4x4", "groups": 2, "transposed": True}, 8, 2),
    ],
)
def test_operands_of_an_older_file_tell_channels_and_groups(version, tensors, n, k, attrs, c, g):
    op = read(version, tensors, dims={"n": n, "k": k}, attrs=attrs)
    assert {name: str(value) for name, value in op.dims.items()} == {"n": n, "k": str(k), "c": str(c), "g": str(g)}
    assert "groups" not in op.attrs


@pytest.mark.parametrize(
    ("tensors", "dims", "attrs"),
    [
        (["bf16[b,8,9,9]", "w:bf16[72,6]", "bf16[b,6,7,7]"], {"n": "294*b", "k": 72}, {}),  # a packed weight
        (PLAIN, {"n": "294*b", "k": 36}, {}),  # a depth that is not the weight's
        (GROUPED, {"n": "294*b", "k": 36}, {}),  # groups that are not written down
        (PLAIN, {"n": "294*b", "k": 72}, {"groups": "two"}),
    ],
)
def test_where_operands_do_not_tell_nothing_is_guessed(tensors, dims, attrs):
    op = read(2, tensors, dims=dims, attrs=attrs)
    assert set(op.dims) == {"n", "k"}
    assert op.attrs == attrs
    assert set(read(3, tensors, dims=dims, attrs=attrs).dims) == {"n", "k"}


@pytest.mark.parametrize(
    ("dims", "sentence"),
    [
        ({"c": 6}, "both channels c and groups g, or neither"),
        ({"c": 0, "g": 1}, "588 elements are not of 0 channels in 1 groups"),
        ({"c": 5, "g": 1}, "588 elements are not of 5 channels"),
        ({"c": 6, "g": 4}, "6 channels in 4 groups"),
    ],
)
def test_channels_that_do_not_divide_are_sentences(dims, sentence):
    with pytest.raises(ValueError, match=sentence):
        read(3, PLAIN, dims={"n": "294*b", "k": 72} | dims)


def test_every_convolution_of_the_catalogue_is_a_product_of_its_weight():
    seen = set()
    for name in catalogue.names():
        workload = catalogue.load(name)
        for stage in workload.stages:
            env = stage.bind({**workload.sizes(), **({stage.loop[0]: 0} if stage.loop else {})})
            for op in stage.ops:
                if not op.kind.startswith("conv"):
                    continue
                dims = {dim: size(env) for dim, size in op.dims.items()}
                transposed = op.attrs.get("transposed", False)
                b, m, n, k = convolution_product(**dims, transposed=transposed)
                assert b * m * n * k == dims["n"] * dims["k"], (name, op.path)
                shape = [size(env) for size in op.reads[1].shape]
                assert b * n * k == prod(shape), (name, op.path)
                assert prod(map(int, op.attrs["kernel"].split("x"))) == prod(shape[2:])
                seen.add((op.kind, transposed, dims["g"] > 1, dims["g"] == dims["c"]))
    assert {("conv3d", False, False, False), ("conv2d", True, False, False), ("conv2d", False, True, True)} <= seen
