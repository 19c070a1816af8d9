"""The ways to run a stream that the bench compares, each a change of another one, and engines made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ...models.causal_wan import Attend, CausalWan, Ops, sdpa
from ...profiler.environment import free_bytes
from ...stream import Engine, Session, StreamConfig, kernels, preset
from ...stream.attention import pick
from ...stream.compiled import CompiledOps
from ...stream.engine import Files
from ...stream.fused import FusedOps
from ...stream.quantize import quantize_linears
from ...units import format_bytes

if TYPE_CHECKING:  # it needs msgspec, which a bare machine with a GPU does not have
    from .memory import Taken


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to run: `config` names the settings (`stream.config`), the rest says by what they are computed.

    `change` is what it changes of the variant `base`, `of` the latency that the change is meant for, `attention` a
    name of `stream.attention.pick`, `decoding` what its decoder is made with. `why_cpu` is why a CPU need not gain.
    """

    config: str
    change: str
    base: str = ""
    of: str = "block"
    ops: str = "plain"
    scheme: str = ""
    only: tuple[str, ...] = ("blocks.*",)
    attention: str = "sdpa"
    decoding: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    graphs: bool = False
    why_cpu: str = ""

    @property
    def exact(self) -> bool:
        """Whether the same numbers are to come out, but for rounding."""
        return not self.scheme and "fp8" not in self.attention

    @property
    def captures(self) -> bool:
        """Whether its forwards or its decoder are CUDA graphs, which each session captures for itself."""
        return self.graphs or bool(self.decoding.get("graphs"))


FUSED_CPU = "on a CPU the fused operations are plain PyTorch in fp32, without kernels of their own"
EIGHT_CPU = "on a CPU the 8-bit products are exact sums in fp64, made for checking and not for speed"
VARIANTS: Mapping[str, Variant] = {
    "baseline": Variant(
        config="baseline", change="cache cloned, rolled, inserted and joined in each layer",
        decoding={"frames_at_once": 1},
    ),
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
    "attention": Variant(
        config="fold", change="attention by the kernels measured fastest", base="fused", ops="fused",
        attention="measured",
    ),
    "fp8-attention": Variant(
        config="fold", change="fp8 attention", base="fused", ops="fused", attention="fp8", why_cpu=EIGHT_CPU
    ),
    "attention-graph": Variant(
        config="fold", change="the fastest attention in CUDA graphs", base="fused-graph", ops="fused",
        attention="measured", graphs=True,
    ),
    "fp8-graph": Variant(
        config="fold", change="fp8 linears in CUDA graphs", base="attention-graph", ops="fused", scheme="fp8",
        attention="measured", graphs=True,
    ),
    "fp8-all": Variant(
        config="fold", change="fp8 attention too, where it is faster", base="fp8-graph", ops="fused", scheme="fp8",
        attention="measured-fp8", graphs=True,
    ),
    "vae-block": Variant(
        config="fold", change="VAE decodes a block's frames at once", base="baseline", of="decode"
    ),
    "vae-channels-last": Variant(
        config="fold", change="VAE channels-last", base="vae-block", of="decode", decoding={"channels_last": True}
    ),
    "vae-compiled": Variant(
        config="fold", change="VAE compiled", base="vae-channels-last", of="decode",
        decoding={"channels_last": True, "compiled": True},
    ),
    "vae-graph": Variant(
        config="fold", change="VAE in a CUDA graph", base="vae-channels-last", of="decode",
        decoding={"channels_last": True, "graphs": True},
    ),
}  # fmt: skip
# What `stream tune --precision` makes of a variant's linears; "fp8-all" has fp8 attention too, where it is faster.
PRECISIONS: Mapping[str, Mapping[str, Any]] = {
    "own": {},
    "full": {"scheme": ""},
    "fp8": {"scheme": "fp8", "only": ("blocks.*",)},
    "fp8-ffn": {"scheme": "fp8", "only": ("blocks.*.ffn.*",)},
    "int8": {"scheme": "int8", "only": ("blocks.*",)},
    "int8-ffn": {"scheme": "int8", "only": ("blocks.*.ffn.*",)},
    "fp8-all": {"scheme": "fp8", "only": ("blocks.*",), "attention": "measured-fp8"},
}
PROMPT = "a cat runs"
FAR = 1000  # weights, keys and values are never so small a part of all that a stream takes (`memory`): a 50th is
SLOW_TO_BUILD = ("compiled", "vae-compiled")  # minutes of compilation on a CPU: only where it is named


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is run, where, and with which weights (none: random ones).

    Raises `ValueError`, a sentence, for an unknown precision and for no sample.
    """

    model: str = "tiny"
    changes: Mapping[str, int] = dataclasses.field(default_factory=dict)  # of the settings: window, sink …
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    decoder: str | None = None
    files: Files | None = None
    seed: int = 0
    batch: int = 1
    precision: str = "own"  # of the linears: `PRECISIONS`; "own" is what the variant has

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"batch is {self.batch}; a stream has at least 1 sample.")
        if self.precision not in PRECISIONS:
            raise ValueError(f"No precision is called '{self.precision}'; there are {', '.join(PRECISIONS)}.")

    @property
    def prompts(self) -> list[str]:
        """One prompt for each sample."""
        return [PROMPT, *(f"{PROMPT}, {sample}" for sample in range(1, self.batch))]

    def config(self, variant: str = "baseline") -> StreamConfig:
        return preset(self.model, find(variant).config, **self.changes)

    def variant(self, name: str) -> Variant:
        """The variant with the linears' precision of this setup."""
        return dataclasses.replace(find(name), **PRECISIONS[self.precision])

    @property
    def real(self) -> bool:
        """Whether pictures mean something: the transformer and the decoder have weights of their own."""
        return self.files is not None and bool(self.files.transformer and self.files.vae and self.decoder)

    def session(self, engine: Engine) -> Session:
        """A new stream of every sample's prompt."""
        return engine.prepare(self.prompts, seed=self.seed)

    def engine(self, variant: str = "baseline") -> Engine:
        """An engine; ValueError, a sentence, for what cannot run here."""
        v = self.variant(variant)
        if reason := refused(variant, self.device, self.decoder):
            raise ValueError(f"Variant '{variant}' {reason}.")
        c = self.config(variant)
        said: list[str] = []
        how: dict[str, Any] = {
            "device": self.device,
            "dtype": self.dtype,
            "vae": self.decoder,
            "decoding": v.decoding,
            "ops": _ops(v, c, said),
            "graphs": v.graphs,
        }
        if self.files is not None:
            made = Engine.load(c, self.files, **how)
        else:
            made = Engine.random(c, seed=self.seed, umt5=False, **how)
        made.says += said
        return made

    def least_bytes(self) -> int:
        """What the transformer's weights and a stream's keys and values alone take."""
        c, element = self.config(), self.dtype.itemsize
        return self.batch * c.cache_bytes(element) + _elements(c) * element

    def taken(self, variant: str = "baseline") -> Taken:
        """What an engine of this variant takes of memory, and each of its streams."""
        from .memory import taken

        text, decoding = self.files is not None and self.files.text, self.variant(variant).decoding
        decoding = {name: value for name, value in decoding.items() if name not in ("compiled", "graphs")}
        c = self.config(variant)
        return taken(c, self.dtype, self.batch, decoder=self.decoder, decoding=decoding, text=text)

    def check_memory(self, engines: int = 1, variant: str = "baseline", streams: int = 1, advice: str = "") -> None:
        """ValueError where what so many engines and streams of each take is more than what is free."""
        free = free_bytes(self.device)
        if free is None or engines * streams * self.least_bytes() * FAR < free:
            return
        needed = self.taken(variant)
        if (total := needed.bytes(streams, engines)) > free:
            many = f" in {engines} variants" if engines > 1 else f" with {streams} sessions" if streams > 1 else ""
            raise ValueError(
                f"{self.model}{many} needs at least {format_bytes(total)}{', each ' if engines > 1 else ': '}"
                f"{needed.says(streams)}, and {format_bytes(free)} of memory are free on {self.device}{advice}."
            )


def find(name: str) -> Variant:
    """The variant of this name. Raises `ValueError`, a sentence, where there is none."""
    if name not in VARIANTS:
        raise ValueError(
            f"No variant is called '{name}'; there are {', '.join(VARIANTS)}; bench also takes 'all', alone."
        )
    return VARIANTS[name]


def refused(name: str, device: str, decoder: str | None) -> str:
    """Why a variant cannot run on this device with this decoder; "" where it can."""
    v = find(name)
    if v.captures and not device.startswith("cuda"):
        return "captures CUDA graphs, and runs on a CUDA device only"
    if v.of == "decode" and decoder is None:
        return "changes decoding, and no decoder is run"
    return ""


def chosen(names: list[str], device: str, decoder: str | None) -> tuple[list[str], dict[str, str]]:
    """The variants to run, the baseline first, and of 'all' those left out with the reason.

    Raises `ValueError`, a sentence, for a variant that is unknown or cannot run here.
    """
    if names != ["all"]:
        for name in names:
            if reason := refused(name, device, decoder):
                raise ValueError(f"Variant '{name}' {reason}.")
        return ["baseline", *(name for name in dict.fromkeys(names) if name != "baseline")], {}
    left = {name: reason for name in VARIANTS if (reason := refused(name, device, decoder))}
    if not device.startswith("cuda"):
        left = dict.fromkeys(SLOW_TO_BUILD, "compiles for minutes on a CPU; name it to run it") | left
    return [name for name in VARIANTS if name not in left], left


def _ops(v: Variant, c: StreamConfig, said: list[str]) -> Callable[[CausalWan], Ops] | None:
    """What makes a variant's operations, on the device of the model; `said` gets what must be said of them."""
    if v.ops == "plain" and not v.scheme and v.attention == "sdpa":
        return None

    def make(model: CausalWan) -> Ops:
        attend: Attend = sdpa
        if v.attention != "sdpa":
            weight = model.patch_embedding.weight
            attend, sentence = pick(v.attention, c, weight.device, weight.dtype)
            said.append(sentence)
        if v.scheme:
            quantize_linears(model, v.scheme, v.only)
        if v.ops == "fused":
            device = model.patch_embedding.weight.device
            if device.type == "cuda" and kernels.backend(device) == "torch":
                said.append("Triton is not installed here: the fused operations are plain PyTorch.")
            return FusedOps(model, attend)
        return CompiledOps(attend) if v.ops == "compiled" else Ops(attend)

    return make


def _elements(c: StreamConfig) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in CausalWan(c.model).parameters())
