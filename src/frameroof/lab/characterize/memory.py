"""Memory before and during a run: what a pipeline needs, whether that is there, and what one attention allocates."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ... import catalogue
from ...dtypes import BITS, torch_name
from ...estimate.memory import memory_of
from ...hardware import parse_node
from ...passes import materialize_attention
from ...profiler.environment import free_bytes
from ...profiler.trace import without_marks
from ...units import format_bytes
from ..attention import attention, baseline_attention
from ..pipelines import Pipeline


class Alive(TorchDispatchMode):
    """Bytes of the tensors that are alive, and their peak; a storage counts from the operator that makes it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        for made in tree_leaves(out):
            if isinstance(made, Tensor) and made.untyped_storage()._cdata not in given:
                self._add(made.untyped_storage())
        return out

    def _add(self, storage: Any) -> None:
        if storage in self._known:
            return
        self._known.add(storage)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, size)

    def _remove(self, size: int) -> None:
        self.now -= size


def needed_bytes(pipeline: Pipeline, how: str, sizes: Mapping[str, int], reduced: bool, dtype: str) -> int:
    """Weights and the most that is alive beside them, for a run with attention `how`.

    A reduced model is run on meta tensors for it, with one of each kind of step; a full one is read from its workload.
    """
    if not reduced:
        workload = catalogue.load(pipeline.workload)
        workload = materialize_attention(workload) if how == "baseline" else workload
        scale = BITS[dtype] // BITS[workload.dtype]
        chosen = {name: sizes[name] for name in workload.params}
        if "guidance" in chosen:  # its halves run as one batch
            chosen |= {"batch": sizes["batch"] * sizes["guidance"], "guidance": 1}
        return scale * memory_of(workload, parse_node("A100"), chosen).peak_bytes
    module = on_meta(pipeline, reduced, dtype)
    weights = {id(t): t for t in (*module.parameters(), *module.buffers())}
    once = {name: 1 if name in pipeline.steps else size for name, size in sizes.items()}
    with torch.inference_mode(), attention(how), Alive() as alive:
        module(once)
    return alive.peak + sum(t.numel() * t.element_size() for t in weights.values())


def on_meta(pipeline: Pipeline, reduced: bool, dtype: str = "fp32") -> nn.Module:
    """The pipeline without memory."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, torch_name(dtype)))
    try:
        with torch.device("meta"):
            return pipeline.build(reduced).eval()
    finally:
        torch.set_default_dtype(before)


def check_memory(name: str, needed: int, device: str) -> None:
    """`ValueError` with both numbers where a run would not fit into the memory that is free now."""
    free = free_bytes(device)
    if free is not None and needed > free:
        raise ValueError(
            f"{name} needs {format_bytes(needed)} (weights and the most that is alive at once, estimated), and "
            f"{format_bytes(free)} of memory are free on {device}; smaller sizes need less"
        )


def allocated_by(work: Callable[[], Any], device: str) -> int:
    """The most bytes that `work` has allocated at once, from the profiler's record of the CPU, or CUDA's own."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return int(torch.cuda.max_memory_allocated() - before)
    recorded: Any = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True)
    with without_marks(), recorded:
        work()
    now = peak = 0
    for event in sorted(recorded.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return int(peak)


def similarity_rows(sides: tuple[int, ...], heads: int, head_dim: int, device: str, dtype: str) -> list[dict[str, Any]]:
    """What one baseline self-attention allocates above its inputs, at the highest resolution of a latent UNet.

    Latents are an eighth of the picture's side; batch 1.
    """
    rows = []
    made = getattr(torch, torch_name(dtype))
    for side in sides:
        tokens = (side // 8) ** 2
        given = [torch.randn(1, heads, tokens, head_dim, device=device, dtype=made) for _ in range(3)]
        with torch.inference_mode():
            taken = allocated_by(partial(baseline_attention, *given), device)
        rows.append({
            "side_px": side, "query_len": tokens, "key_len": tokens, "heads": heads, "batch": 1,
            "element_bytes": given[0].element_size(), "allocated_bytes": taken,
        })  # fmt: skip
    return rows
