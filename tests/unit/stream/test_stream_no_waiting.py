"""A block never makes the host wait for the device, shown without one: the stream runs on tensors without data.

On the meta device reading a value fails (`.item()`, `nonzero`, a mask as an index), and every copy between it and the
CPU is seen as an operation with tensors of both. On CUDA those are the ways to wait; `test_stream_fast.py` asks CUDA
itself where there is a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from frameroof.models.causal_wan import PLAIN, CausalWan, Ops
from frameroof.models.wan_vae import VAESize, WanVAE
from frameroof.stream import Session, preset
from frameroof.stream.decoder import Decoder
from frameroof.stream.denoiser import Denoiser
from frameroof.stream.fused import FusedOps
from frameroof.stream.graphs import Graphs
from frameroof.stream.quantize import quantize_linears

META = "meta"


class Transfers(TorchDispatchMode):
    """Names every operation that touches a tensor of the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, torch.Tensor)]
        if any(x.device.type == "cpu" for x in tensors):
            self.found.append(str(func))
        return out


class Encode:
    says = ""

    def __init__(self, c) -> None:
        self.shape = (c.text_tokens, c.model.text_dim)

    def __call__(self, prompts: Sequence[str]) -> torch.Tensor:
        return torch.empty(len(prompts), *self.shape, device=META)


def session(
    monkeypatch: pytest.MonkeyPatch, variant: str, ops: Callable[[CausalWan], Ops] | None = None, graphs: bool = False
) -> Session:
    c = preset("tiny", variant, model=replace(preset("tiny").model, layers=1), steps=(1000, 500))
    size = VAESize(base=4, latent_channels=4, multipliers=(1, 2), residuals=1, time=(True,))
    with torch.device(META):
        model, vae = CausalWan(c.model), WanVAE(size).eval()
    d = Denoiser(c, model, ops(model) if ops else PLAIN)
    velocity = Graphs(d, lambda forward: forward).velocity if graphs else None
    real = torch.Generator
    with monkeypatch.context() as patch:  # this device has no source of noise; a CPU's gives it none either
        patch.setattr(torch, "Generator", lambda device: real())
        return Session(d, Encode(c), ["a", "b"], seeds=[0, 1], decoder=Decoder(vae), velocity=velocity)


def fp8(model: CausalWan) -> Ops:
    quantize_linears(model, "fp8", ["blocks.*"])
    return FusedOps(model)


WAYS = {
    "baseline": ("baseline", None, False),
    "context-before": ("context-before", None, False),
    "fold": ("fold", None, False),
    "fused": ("fold", FusedOps, False),
    "fp8": ("fold", fp8, False),
    "graphs": ("fold", FusedOps, True),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_block_reads_or_sends_a_value(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine blocks: the window fills and moves, one prompt switches for all and one for a single sample."""
    stream = session(monkeypatch, *WAYS[way])
    stream.warm()  # makes the tables of modulation, which are sent once

    def refuse(*args: object, **kwargs: object) -> torch.Tensor:
        raise AssertionError("a tensor is made from values of the host, and sent")

    for name in ("tensor", "as_tensor", "from_numpy"):
        monkeypatch.setattr(torch, name, refuse)
    with Transfers() as transfers:
        for number in range(9):
            if number in (5, 7):
                stream.switch("c", None if number == 5 else 1)
            assert stream.decode_later(stream.generate_block()).wait().device.type == META
    assert stream.recached
    assert transfers.found == []


def test_what_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that is read fails, and one that is sent is named."""
    stream = session(monkeypatch, "fold")
    stream.on_step.append(lambda block, step, clean: print(clean.sum().item()))
    with pytest.raises((RuntimeError, NotImplementedError), match=r"meta|Meta|data"):
        stream.generate_block()
    stream.on_step[0] = lambda block, step, clean: clean.copy_(torch.zeros(clean.shape))
    with Transfers() as transfers:
        stream.generate_block()
    assert "aten.copy_.default" in transfers.found
