"""The ways to run a stream that the bench compares, each a change of another one, and engines made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from frameroof.models.causal_wan import CausalWan, Ops
from frameroof.profiler.environment import free_bytes
from frameroof.stream import Engine, StreamConfig, preset
from frameroof.stream.compiled import CompiledOps
from frameroof.stream.engine import Files
from frameroof.stream.fused import FusedOps
from frameroof.stream.quantise import quantise_linears
from frameroof.units import format_bytes


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to run: `config` names the settings, `change` what it changes of the variant `base`.

    `of` is the latency that the change is meant for. `why_cpu` is why a CPU need not gain from it.
    """

    config: str
    change: str
    base: str = ""
    of: str = "block"
    ops: str = "plain"
    scheme: str = ""
    only: tuple[str, ...] = ("blocks.*",)
    graphs: bool = False
    why_cpu: str = ""

    @property
    def exact(self) -> bool:
        """Whether the same numbers are to come out, but for rounding."""
        return not self.scheme


FUSED_CPU = "on a CPU the fused operations are plain PyTorch in fp32, without kernels of their own"
EIGHT_CPU = "on a CPU the 8-bit products are exact sums in fp64, made for checking and not for speed"
VARIANTS: Mapping[str, Variant] = {
    "baseline": Variant(config="baseline", change="cache cloned, rolled, inserted and joined in each layer"),
    "ring": Variant(config="ring", change="ring cache: nothing cloned, rolled or joined", base="baseline"),
    "tabulated": Variant(config="tabulated", change="modulation looked up", base="ring"),
    "recache-needed": Variant(
        config="recache-needed", change="a switch recomputes only what is no sink", base="tabulated", of="switch"
    ),
    "context-before": Variant(
        config="context-before", change="context pass put off, and left out before a switch", base="recache-needed",
        of="switch",
    ),
    "fold": Variant(
        config="fold", change="context pass folded into the next block's first step", base="recache-needed",
        why_cpu="it saves a forward's launches and fills a GPU better, and computes as much as before",
    ),
    "compiled": Variant(config="fold", change="torch.compile of the small operations", base="fold", ops="compiled"),
    "fused": Variant(config="fold", change="fused kernels", base="fold", ops="fused", why_cpu=FUSED_CPU),
    "graph": Variant(config="fold", change="CUDA graphs of every forward", base="fold", graphs=True),
    "fused-graph": Variant(
        config="fold", change="fused kernels in CUDA graphs", base="fused", ops="fused", graphs=True
    ),
    "fp8": Variant(config="fold", change="fp8 linears", base="fused", ops="fused", scheme="fp8", why_cpu=EIGHT_CPU),
    "int8": Variant(config="fold", change="int8 linears", base="fused", ops="fused", scheme="int8", why_cpu=EIGHT_CPU),
    "fp8-ffn": Variant(
        config="fold", change="fp8 in the MLPs alone", base="fused", ops="fused", scheme="fp8",
        only=("blocks.*.ffn.*",), why_cpu=EIGHT_CPU,
    ),
    "fp8-graph": Variant(
        config="fold", change="fp8 linears in CUDA graphs", base="fused-graph", ops="fused", scheme="fp8", graphs=True
    ),
}  # fmt: skip
SLOW_TO_BUILD = ("compiled",)  # minutes of compilation on a CPU: only where it is named


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is run, where, and with which weights (none: random ones)."""

    model: str = "tiny"
    changes: Mapping[str, int] = dataclasses.field(default_factory=dict)  # of the settings: window, sink …
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    decoder: str | None = None
    files: Files | None = None
    seed: int = 0

    def config(self, variant: str = "baseline") -> StreamConfig:
        return preset(self.model, find(variant).config, **self.changes)

    def engine(self, variant: str = "baseline") -> Engine:
        """An engine; ValueError, a sentence, for what cannot run here."""
        v = find(variant)
        if reason := refused(variant, self.device):
            raise ValueError(f"Variant '{variant}' {reason}.")
        how: dict[str, Any] = {
            "device": self.device,
            "dtype": self.dtype,
            "vae": self.decoder,
            "ops": _ops(v),
            "graphs": v.graphs,
        }
        if self.files is not None:
            return Engine.load(self.config(variant), self.files, **how)
        return Engine.random(self.config(variant), seed=self.seed, umt5=False, **how)

    def needed_bytes(self, variants: int = 1) -> int:
        """What the transformers' weights and the caches of so many variants take: the least that is needed."""
        c = self.config()
        element = torch.tensor([], dtype=self.dtype).element_size()
        return variants * (c.cache_bytes(element) + _elements(c) * element)

    def check_memory(self, variants: int = 1) -> None:
        """ValueError where weights and caches alone are more than what is free."""
        needed, free = self.needed_bytes(variants), free_bytes(self.device)
        if free is not None and needed > free:
            several = f" in {variants} variants" if variants > 1 else ""
            raise ValueError(
                f"{self.model}{several} needs {format_bytes(needed)} for its weights and caches, and "
                f"{format_bytes(free)} of memory are free on {self.device}."
            )


def find(name: str) -> Variant:
    if name not in VARIANTS:
        raise ValueError(f"No variant is called '{name}'; there are {', '.join(VARIANTS)}, and 'all'.")
    return VARIANTS[name]


def refused(name: str, device: str) -> str:
    """Why a variant cannot run on this device; "" where it can."""
    if find(name).graphs and not device.startswith("cuda"):
        return "captures CUDA graphs, and runs on a CUDA device only"
    return ""


def chosen(names: list[str], device: str) -> tuple[list[str], dict[str, str]]:
    """The variants to run, the baseline first, and of 'all' those left out with the reason."""
    if names != ["all"]:
        for name in names:
            if reason := refused(name, device):
                raise ValueError(f"Variant '{name}' {reason}.")
        return ["baseline", *(name for name in dict.fromkeys(names) if name != "baseline")], {}
    left = {name: reason for name in VARIANTS if (reason := refused(name, device))}
    if not device.startswith("cuda"):
        left |= dict.fromkeys(SLOW_TO_BUILD, "compiles for minutes on a CPU; name it to run it")
    return [name for name in VARIANTS if name not in left], left


def _ops(v: Variant) -> Callable[[CausalWan], Ops] | None:
    if v.ops == "plain" and not v.scheme:
        return None

    def make(model: CausalWan) -> Ops:
        if v.scheme:
            quantise_linears(model, v.scheme, v.only)
        if v.ops == "fused":
            return FusedOps(model)
        return CompiledOps() if v.ops == "compiled" else Ops()

    return make


def _elements(c: StreamConfig) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in CausalWan(c.model).parameters())
