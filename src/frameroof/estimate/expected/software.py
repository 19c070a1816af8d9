"""The state of the software that runs a model: a preset and what was said otherwise, ``compiled,attention=fa2``.

It decides which kernels run and how often they are launched, so it belongs to every expected time and to none of the
limits. For one model on one device it is exactly one choice of each (`Running`), and a line that says all of it. A
preset is a row of `PRESETS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...dtypes import BUILT, MATHS
from ...outside import quoted

YES, NO = "yes", "no"
BATCHED, TWICE = "batched", "twice"
BEST = "best"
KERNELS = ("fa2", "fa3", "fa4", "cudnn", "sdpa", "math", "trt")
"""Attention kernels that can be asked for; which of them a device has is `attention.KERNELS_OF`'s to say."""
ALLOWED: Mapping[str, tuple[str, ...]] = {
    "attention": (BEST, *KERNELS),
    "compile": (YES, NO),
    "guidance": (BATCHED, TWICE),
    "vae": BUILT,
    "maths": MATHS,
    "layout": ("channels_first", "channels_last"),
}
"""What may be said beside a preset."""


@dataclass(frozen=True)
class Software:
    """A preset, with what was said otherwise; "" is what the model's own pipeline does.

    `compile`: whether pointwise work is fused and launched as one, by a compiler or an engine. `attention` is a kernel,
    or the best that the device has. `epilogues`: whether what follows a product runs in its kernel, as in engines;
    `launches`: whether the host takes time for launches.
    """

    name: str
    compile: str
    attention: str
    vae: str = ""
    guidance: str = ""
    maths: str = ""
    layout: str = "channels_first"
    epilogues: bool = False
    launches: bool = True
    about: str = ""
    said: tuple[str, ...] = ()

    @property
    def compiled(self) -> bool:
        """Whether pointwise work is fused."""
        return self.compile == YES

    def to_dict(self) -> dict[str, Any]:
        """For JSON: what was asked for."""
        return {"preset": self.name, "said": list(self.said)}

    def __str__(self) -> str:
        return ",".join((self.name, *self.said))


NO_DEVICE = "no device"
"""Whose curves a device has that nothing like it was measured of."""
NAMES = {
    "fa2": "FlashAttention-2",
    "fa3": "FlashAttention-3",
    "fa4": "FlashAttention-4",
    "cudnn": "cuDNN's attention",
    "sdpa": "torch's own attention",
    "math": "attention through memory",
    "trt": "TensorRT's attention",
}


@dataclass(frozen=True)
class Running:
    """A software state for one model on one device: exactly one choice of each, and whose numbers stand for it.

    `vae` and `guidance` are "" where the model has none; `curves` is the device whose curves are used.
    """

    software: Software
    attention: str
    vae: str
    guidance: str
    maths: str
    launch_us: float
    curves: str
    derived: bool

    @property
    def line(self) -> str:
        """All of it in one line."""
        s = self.software
        words = [
            "pointwise work fused" + (", into products too" if s.epilogues else "") if s.compiled else "eager",
            NAMES[self.attention],
            {BATCHED: "guidance in one batch", TWICE: "guidance in two passes"}.get(self.guidance, ""),
            f"VAE in {self.vae}" if self.vae else "",
            s.layout.replace("_", " "),
            f"{self.launch_us:.3g} us a launch" if self.launch_us else "no time of the host",
            self.whose,
        ]
        return f"{s}: {', '.join(word for word in words if word)}"

    @property
    def whose(self) -> str:
        """Whose curves they are, in words."""
        if not self.derived:
            return f"curves measured on {self.curves}"
        return f"curves derived from {self.curves}" if self.curves != NO_DEVICE else "curves stated, of no device"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **self.software.to_dict(),
            "compiled": self.software.compiled,
            "attention": self.attention,
            "guidance": self.guidance or None,
            "vae": self.vae or None,
            "maths": self.maths,
            "layout": self.software.layout,
            "launch_us": self.launch_us,
            "curves": self.curves,
            "derived": self.derived,
            "line": self.line,
        }


PRESETS = {
    each.name: each
    for each in (
        Software(
            "compiled", YES, BEST, layout="channels_last",
            about="what a careful user has today: torch.compile, the fastest public attention kernel of the device",
        ),
        Software(
            "diffusers-eager", NO, "sdpa",
            about="diffusers as installed: eager PyTorch, torch's own attention, default layout",
        ),
        Software("xdit", NO, "fa2", about="xDiT on diffusers' models: eager, FlashAttention-2"),
        Software(
            "wan", NO, "fa2", guidance=TWICE,
            about="the Wan repositories: eager, FlashAttention-2 (3 where it is installed), VAE as they run it",
        ),
        Software(
            "tensorrt", YES, "trt", layout="channels_last", epilogues=True,
            about="an engine of NVIDIA's TensorRT: fused, its own attention kernels, one launch a graph",
        ),
        Software(
            "ideal", YES, BEST, layout="channels_last", epilogues=True, launches=False,
            about="compiled, with no time of the host: every kernel as fast as it was measured",
        ),
    )
}  # fmt: skip
DEFAULT = PRESETS["compiled"]


def parse_software(text: str) -> Software:
    """``"wan"``, ``"diffusers-eager,attention=fa2,vae=fp32"`` or ``"attention=fa2"`` (of the default preset).

    Raises `ValueError`, a sentence, for an unknown preset, an unknown choice, one made twice, and for choices that
    contradict their preset.
    """
    items = [item.strip() for item in text.split(",")]
    preset = DEFAULT
    if items and "=" not in items[0]:
        name = items.pop(0)
        if name not in PRESETS:
            raise ValueError(
                f"unknown software {quoted(name)}; a preset is {', '.join(PRESETS)}, and what is otherwise follows as "
                "attention=fa2, vae=fp32 …"
            )
        preset = PRESETS[name]
    said: dict[str, str] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or key not in ALLOWED:
            raise ValueError(
                f"unknown choice {quoted(item)} of software; there are {', '.join(ALLOWED)}, as in vae=fp32"
            )
        if value not in ALLOWED[key]:
            raise ValueError(f"{key} of software is {', '.join(ALLOWED[key])}, not {quoted(value)}")
        if key in said:
            raise ValueError(f"{quoted(text)} says {key} twice")
        said[key] = value
    _check(preset, said)
    words: Any = said
    return replace(preset, **words, said=tuple(f"{key}={value}" for key, value in said.items()))


def _check(preset: Software, said: Mapping[str, str]) -> None:
    """`ValueError`, a sentence, for what contradicts the preset: an engine is compiled, and has its own kernels."""
    if preset.name in ("tensorrt", "ideal") and said.get("compile") == NO:
        raise ValueError(f"{preset.name} and compile=no contradict each other: {preset.name} is {preset.about}")
    if preset.name == "diffusers-eager" and said.get("compile") == YES:
        raise ValueError("diffusers-eager and compile=yes contradict each other; the preset that compiles is compiled")
    if preset.name != "tensorrt" and said.get("attention") == "trt":
        raise ValueError(
            f"{preset.name} and attention=trt contradict each other: TensorRT's kernels run in its engines"
        )
    if preset.name == "tensorrt" and said.get("attention") not in (None, "trt", BEST):
        raise ValueError(
            f"tensorrt and attention={said['attention']} contradict each other: an engine has its own kernels"
        )


def software_of(asked: str | Software | None) -> Software:
    """What was asked for: a text, a software state, or None for the default. `ValueError` as `parse_software`."""
    if asked is None:
        return DEFAULT
    return asked if isinstance(asked, Software) else parse_software(asked)
