"""Results that are remembered on meta tensors are laid out as PyTorch itself lays them out."""

import pytest

torch = pytest.importorskip("torch")

from frameroof.count.known import value_of, values_kept  # noqa: E402
from frameroof.count.meta import run_on_meta  # noqa: E402

aten = torch.ops.aten
SHAPES = [(2, 8, 4, 4), (1, 8, 1, 1), (3, 8, 1, 5), (2, 1, 8, 8), (4, 8, 6, 2)]
CALLS = {
    "add": (aten.add.Tensor, lambda x: (x, x)),
    "compared": (aten.lt.Scalar, lambda x: (x, 0)),
    "of integers": (aten.sin.default, lambda x: (x.long(),)),
    "broadcast": (aten.mul.Tensor, lambda x: (x, x[:1])),
    "turned": (aten.silu.default, lambda x: (x.transpose(1, 2),)),
    "turned over": (aten.add.Tensor, lambda x: (x, x.transpose(2, 3).contiguous().transpose(2, 3))),
    "channels last": (aten.add.Tensor, lambda x: (x.contiguous(memory_format=torch.channels_last), x)),
    "rows of a column": (aten.mul.Tensor, lambda x: (x[..., :1], x[..., :1])),
    "norm": (aten.group_norm.default, lambda x: (x, x.shape[1])),
    "layer norm": (aten.layer_norm.default, lambda x: (x, x.shape[-1:])),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_result_is_laid_out_as_pytorch_does(name):
    func, args = CALLS[name]
    for shape in SHAPES * 2:
        given = args(torch.empty(shape, device="meta"))
        seen, right = run_on_meta(func, given, {}), func(*given)
        assert (seen.shape, seen.stride(), seen.dtype) == (right.shape, right.stride(), right.dtype)


def test_filling_leaves_no_old_values_and_makes_no_new_ones():
    with torch.device("meta"), values_kept():
        known, weight = torch.tensor([1, 2, 3]), torch.empty(3)
        torch.nn.init.constant_(weight, 2.0)
        assert value_of(weight) is None
        assert value_of(known).tolist() == [1, 2, 3]
        assert value_of(known.fill_(7)).tolist() == [7, 7, 7]
        with pytest.raises(ValueError, match="fan"):
            torch.nn.init.kaiming_uniform_(weight)
