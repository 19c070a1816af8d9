"""`frameroof.count` on what a user of Python has at hand; every count here can be done by hand."""

from __future__ import annotations

import pytest

import frameroof
from frameroof.count import CannotCount

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402


class Scores(nn.Module):
    """Two inputs, one by keyword; a tensor that is neither parameter nor buffer, and one in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.more = torch.ones(4, 6), [torch.ones(6)]

    def forward(self, x: torch.Tensor, *, scale: torch.Tensor) -> torch.Tensor:
        return (x * scale) @ self.table + self.more[0]


def flops(workload: frameroof.Workload, **sizes: int) -> int:
    """Matrix FLOPs of one run."""
    return int(frameroof.predict(workload, "H100", sizes=sizes).estimate.total.flops)


def test_a_module_with_its_inputs():
    workload = frameroof.count(nn.Linear(64, 32), (torch.randn(8, 64),))
    assert (workload.name, workload.dtype, dict(workload.params)) == ("Linear", "fp32", {})
    assert flops(workload) == 2 * 8 * 64 * 32
    assert sum(workload.stages[0].weights.values()) == 64 * 32 + 32


def test_inputs_by_keyword_and_tensors_that_are_mere_attributes():
    workload = frameroof.count(Scores(), lambda rows=3: {"x": torch.ones(rows, 4), "scale": torch.ones(4)})
    assert flops(workload, rows=5) == 2 * 5 * 4 * 6


def test_inputs_that_depend_on_sizes_make_a_workload_for_every_size():
    workload = frameroof.count(nn.Linear(64, 32), lambda batch=4, tokens=16: (torch.empty(batch, tokens, 64),))
    assert {name: size.default for name, size in workload.params.items()} == {"batch": 4, "tokens": 16}
    assert flops(workload, batch=3, tokens=77) == 2 * 3 * 77 * 64 * 32


def test_the_module_stays_as_it_is_and_no_weight_is_copied():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)).requires_grad_(False)
    model[1].weight = model[0].weight  # tied
    before = model[0].weight.clone()
    workload = frameroof.count(model, (torch.empty(2, 8),), dtype="bf16")
    assert workload.stages[0].weights == {"bf16": 8 * 8 + 2 * 8}  # tied weights are counted once
    assert model[0].weight is model[1].weight
    assert model[0].weight.dtype == torch.float32
    assert torch.equal(model[0].weight, before)


def test_a_builder_for_every_size_and_at_one():
    def build(batch: int = 2) -> tuple[nn.Module, tuple[torch.Tensor, ...], dict[str, torch.Tensor]]:
        return nn.Linear(4, 4), (torch.empty(batch, 4),), {}

    assert flops(frameroof.count(build), batch=9) == 2 * 9 * 4 * 4
    fixed = frameroof.count(build, sizes={"batch": 5}, fixed=True)
    assert flops(fixed) == 2 * 5 * 4 * 4
    with pytest.raises(ValueError, match="batch=9 is too large"):
        flops(fixed, batch=9)


class Uncopyable(nn.Linear):
    def __deepcopy__(self, memo: object) -> nn.Module:
        raise TypeError("one of a kind")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda: frameroof.count(nn.Linear(2, 2), (torch.empty(1, 2),), sizes={"batch": 2}), "a function of the sizes"),
        (
            lambda: frameroof.count(nn.Linear(2, 2), (torch.empty(1, 2),), dtype="int4"),
            "fp32 or tf32, not 'int4'",
        ),
        (lambda: frameroof.count(lambda: None, (torch.empty(1, 2),)), "inputs belong to a module"),
        (lambda: frameroof.count(nn.Linear(2, 2).double(), (torch.empty(1, 2),)), "the module is in float64"),
        (lambda: frameroof.count(Uncopyable(2, 2), (torch.empty(1, 2),)), "one of a kind"),
        (lambda: frameroof.count(nn.Linear(2, 2), (torch.empty(1, 3),)), "cannot run on meta tensors"),
        (lambda: frameroof.count("no-such-model"), "unknown model 'no-such-model'"),
    ],
)
def test_what_cannot_be_counted_says_why(asked, said: str):
    with pytest.raises(ValueError, match=said):
        asked()


def test_a_forward_that_asks_for_values_names_its_line():
    class Asks(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[: int(x.sum().item())]

    with pytest.raises(CannotCount, match=r"test_counting\.py"):
        frameroof.count(Asks(), (torch.ones(3),))
