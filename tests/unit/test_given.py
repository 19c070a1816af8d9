"""What is no module or builder: a sentence that says what to give in its place."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from frameroof import count  # noqa: E402


class Pipeline:
    """As those of diffusers: several models, and no module itself."""

    def __init__(self) -> None:
        self.components = {"unet": nn.Linear(4, 4), "scheduler": object()}

    def __call__(self) -> None: ...


class Ends(BaseException):
    """What is no `Exception`."""


def ends_the_process():
    raise SystemExit(3)


def raises_no_exception():
    raise Ends("at once")


def returns_a_module():
    return nn.Linear(4, 4)


def returns_a_lambda():
    return (lambda x: x), (torch.empty(3),), {}


def returns_a_method():
    return nn.Linear(4, 4).forward, (torch.empty(3, 4),), {}


def returns_nested():
    lists = [torch.ones(2, 4), torch.ones(3, 4)]
    return nn.Linear(4, 4), (torch.nested.nested_tensor(lists, layout=torch.jagged),), {}


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Pipeline(), "several models: count them one by one, unet"),
        (nn.Linear(4, 4).forward, "forward is a method of a Linear: give the module itself"),
        (3, "a int is no module, builder or name"),
        (ends_the_process, r"test_given\.py:\d+ in ends_the_process: .*SystemExit: 3"),
        (raises_no_exception, r"test_given\.py:\d+ in raises_no_exception: .*Ends: at once"),
        (returns_a_module, r"the builder returned a Linear; a builder returns \(module, args, kwargs\)"),
        (returns_a_lambda, "first result is no nn.Module but a function: put it into the forward"),
        (returns_a_method, "forward is a method of a Linear"),
        (returns_nested, "an input of the Linear is nested; a nested tensor has no one shape: pad it"),
    ],
)
def test_a_sentence_says_what_to_give(model, said: str):
    with pytest.raises(ValueError, match=said):
        count(model)


def test_a_tensor_nested_within_a_forward_names_the_line():
    class Nests(nn.Module):
        def forward(self, x):
            return torch.nested.nested_tensor_from_jagged(x, torch.tensor([0, 2, 5])).sum()

    with pytest.raises(ValueError, match=r"test_given\.py:\d+ in forward"):
        count(Nests(), (torch.empty(5, 4),))


def test_a_bound_method_and_a_lambda_are_builders():
    class Family:
        def build(self, tokens: int = 8):
            return nn.Linear(4, 4), (torch.empty(tokens, 4),), {}

    assert list(count(Family().build).params) == ["tokens"]
    assert list(count(lambda tokens=8: (nn.Linear(4, 4), (torch.empty(tokens, 4),), {})).params) == ["tokens"]
