"""Modules that read values: counted with the small tensors that the builder gave, refused where nobody knows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from frameroof import count  # noqa: E402
from frameroof.count.record import CannotCount, trace  # noqa: E402


class Reads(nn.Module):
    """A linear layer of 16 and a forward that is given."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        super().__init__()
        self.proj = nn.Linear(16, 16)
        self.does = forward

    def forward(self, *given: Any) -> Any:
        return self.does(self.proj, *given)


def by_list(proj: Any, x: Any, lengths: Any) -> Any:
    return torch.cat([proj(part) for part in x.split(lengths.tolist())])


def by_mask(proj: Any, x: Any, lengths: Any) -> Any:
    return proj(x[torch.arange(len(x), device=x.device) < lengths[0]])


def by_selection(proj: Any, x: Any, lengths: Any) -> Any:
    keep = torch.zeros(len(x), dtype=torch.bool)
    keep[: lengths[0]] = True
    return proj(torch.masked_select(x, keep[:, None]).view(-1, 16))


def by_repeats(proj: Any, x: Any, lengths: Any) -> Any:
    return proj(torch.repeat_interleave(x[:2], lengths, dim=0))


def by_bins(proj: Any, x: Any, lengths: Any) -> Any:
    counts = torch.bincount(torch.repeat_interleave(torch.arange(2), lengths))
    return [proj(x[:n]) for n in counts.cpu().numpy()]


def by_places(proj: Any, x: Any, lengths: Any) -> Any:
    (places,) = torch.where(F.pad(lengths.cumsum(0), (1, 0))[1:] > lengths[0])
    out = torch.zeros_like(x)
    out[places] = proj(x[places])
    return out


# rows that reach the layer, by hand: lengths are 5 and 11
ROWS = {by_list: 16, by_mask: 5, by_selection: 5, by_repeats: 16, by_bins: 16, by_places: 1}


def build(forward: Callable[..., Any]) -> Any:
    return Reads(forward), (torch.empty(16, 16), torch.tensor([5, 11])), {}


@pytest.mark.parametrize("forward", ROWS, ids=lambda f: f.__name__)
def test_what_a_builder_gave_is_read(forward):
    found = trace(lambda: build(forward), {})
    assert sum(op.dims["m"] for op in found.ops if op.kind == "linear") == ROWS[forward]
    assert found.params == {"bf16": 16 * 17}


@pytest.mark.parametrize("forward", ROWS, ids=lambda f: f.__name__)
def test_so_are_the_inputs_of_a_module_that_exists(forward):
    module, given, _ = build(forward)
    with torch.no_grad():
        module.to(torch.float32)
    workload = count(module, given)
    assert sum(op.flops()({}) * op.times({}) for op in workload.stages[0].ops) == 2 * 16 * 16 * ROWS[forward]


def changed_by_what_nobody_knows(proj: Any, x: Any, lengths: Any) -> Any:
    view = lengths[:1]
    view.copy_(x[0, :1].long())
    return proj(x[: lengths.sum().item()])


def of_an_activation(proj: Any, x: Any, lengths: Any) -> Any:
    return proj(x[x[:, 0] > 0])


@pytest.mark.parametrize("forward", [changed_by_what_nobody_knows, of_an_activation], ids=lambda f: f.__name__)
def test_what_depends_on_activations_is_refused(forward):
    with pytest.raises(CannotCount, match=r"test_known\.py"):
        trace(lambda: build(forward), {})


def test_autocast_on_the_tensors_own_device():
    def forward(proj: Any, x: Any, lengths: Any) -> Any:
        with torch.autocast(device_type=x.device.type, enabled=False):
            angle = x.float().cumsum(0)
        return proj(x * angle.cos().to(x.dtype))

    assert [op.kind for op in trace(lambda: build(forward), {}).ops].count("linear") == 1
    with pytest.raises(RuntimeError), torch.autocast(device_type="meta"):
        pass  # as PyTorch has it, outside of a count


class Routed(nn.Module):
    """Four experts of 16 x 32, of which each token goes to two, sorted as HiDream does or masked as Mixtral does."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.gate = nn.Linear(16, 4, bias=False)
        self.experts = nn.ModuleList(nn.Linear(16, 32, bias=False) for _ in range(4))
        self.how = how

    def forward(self, x: Any) -> Any:
        chosen = self.gate(x).softmax(-1).topk(2).indices
        out = x.new_zeros(len(x), 32)
        if self.how == "sorted":
            order = chosen.flatten().argsort()
            ends = chosen.flatten().bincount().cpu().numpy().cumsum(0)
            parts = [order[a:b] // 2 for a, b in zip((0, *ends), ends, strict=False)]
        else:
            hit = F.one_hot(chosen, 4).permute(2, 1, 0)
            parts = [torch.where(hit[e])[1] for e in (hit.sum((-1, -2)) > 0).nonzero().flatten().tolist()]
        for expert, tokens in zip(self.experts, parts, strict=True):
            out.index_add_(0, tokens, expert(x[tokens]))
        return out


@pytest.mark.parametrize("how", ["sorted", "masked"])
def test_tokens_are_sent_to_experts_evenly(how):
    workload = count(lambda tokens=64: (Routed(how), (torch.empty(tokens, 16),), {}), fixed=True)
    each = [op for op in workload.stages[0].ops if op.path.startswith("experts")]
    assert sum(int(op.flops()({}) * op.times({})) for op in each) == 2 * 64 * 2 * 16 * 32
    assert {int(op.dims["m"]({})) for op in each} == {32}
    assert any(note.startswith("what topk chooses by activations") for note in workload.notes)


def test_lists_of_values_are_noted():
    workload = count(lambda: (Reads(by_list), (torch.empty(8, 16), torch.tensor([3, 5])), {}), fixed=True)
    assert any("those of the values that the builder gave" in note for note in workload.notes)
