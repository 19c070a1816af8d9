"""Which stage of the pipeline, and which of its calls, each piece of work belongs to: from the device's side, so that
asynchronous launches do not blur it.

A stage is, first, a range that our profiler or the user named `stage::…`; else the outermost module call around the
launch (a diffusion pipeline calls its text encoders, its denoiser and its decoder one after the other), named by the
role its class has; else what no module encloses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from ...annotations import module_of, stage_of
from ..intervals import covered
from ..read.columns import Array
from ..read.events import Kind
from ..resolve.link import Links
from ..resolve.work_table import WorkTable

OUTSIDE = "(outside modules)"
WHOLE = "(no modules recorded)"
"""All linked work of a trace that holds no module and no range of a stage."""
UNLINKED = "(unlinked)"

_ROLES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "text encode",
        re.compile(r"CLIPText|T5|TextModel|TextEncoder|GemmaModel|Gemma2Model|BertModel|Qwen2.{0,99}ForCond|ChatGLM"),
    ),
    (
        "denoise",
        re.compile(r"UNet|Transformer2D|Transformer3D|DiT|Flux.{0,99}Transformer|WanModel|MMDiT|VideoTransformer|Denois"),
    ),
    ("vae decode", re.compile(r"^Decoder|Autoencoder|VAE|WanDecoder|Decoder3d|Vqgan|VQ", re.I)),
    ("vae encode", re.compile(r"^Encoder_|Encoder3d")),
    ("image encode", re.compile(r"CLIPVision|VisionModel|VisionTransformer|Siglip")),
)  # fmt: skip


@dataclass
class Stage:
    """One stage: its work on the device, and its calls in order of launch."""

    name: str
    source: str
    """What names it: an annotation, or the class of a module."""
    rows: list[int] = field(default_factory=list)
    calls: list[list[int]] = field(default_factory=list)
    """The rows of each call; a denoiser's calls are its steps (twice as many where guidance takes two)."""
    ranges: list[int] = field(default_factory=list)
    """The host row of each call: the module's or the annotation's; negative outside of all."""

    def busy_ns(self, work_table: WorkTable) -> int:
        """Union of its work."""
        return covered(work_table.start[self.rows], work_table.end[self.rows])

    def time_ns(self, work_table: WorkTable) -> int:
        """Sum of its work."""
        return int(work_table.duration[self.rows].sum())


def find_stages(work_table: WorkTable) -> list[Stage]:
    """The stages in order of their first work; all rows of work are in exactly one."""
    key, names = _keys(work_table)
    calls: dict[int, list[int]] = {}
    for row, call in enumerate(key.tolist()):
        calls.setdefault(call, []).append(row)
    stages: dict[str, Stage] = {}
    for call, rows in calls.items():
        name, source = names[call]
        stage = stages.setdefault(name, Stage(name, source))
        if source and source not in stage.source.split(", "):
            stage.source += f", {source}"
        stage.rows += rows
        stage.calls.append(rows)
        stage.ranges.append(call)
    for stage in stages.values():
        stage.rows.sort()
    return list(stages.values())


def _keys(work_table: WorkTable) -> tuple[Array, dict[int, tuple[str, str]]]:
    """(the call that each row belongs to, call -> (stage, what names it)); -1 outside, -2 unlinked."""
    trace = work_table.trace
    key = np.full(len(work_table), -1, dtype=np.int64)
    linked = (work_table.launch >= 0) | (work_table.operator_row >= 0)
    key[~linked] = -2
    names = {-1: (OUTSIDE, ""), -2: (UNLINKED, "")}
    ranges = {i: stage for i, name in enumerate(trace.names) if (stage := stage_of(name)) is not None}
    if ranges:
        named = np.isin(trace.host.name, list(ranges))
        tops = _outermost(work_table.links, work_table.links.mark, work_table.mark_row, named)
        for row in set(tops.tolist()) - {-1}:
            names[row] = (ranges[trace.host.name[row]], "annotation")
        return np.where(tops >= 0, tops, key), names
    tops = _outermost(work_table.links, work_table.links.module, work_table.module_row, None)
    found = sorted(set(tops.tolist()) - {-1})
    if not found and not bool((trace.host.kind == int(Kind.MODULE)).any()):
        names[-1] = (WHOLE, "")
    classes = {row: _class_of(trace.names[trace.host.name[_unwrapped(work_table, row)]]) for row in found}
    roles = {row: _role(name) for row, name in classes.items()}
    for row in found:
        names[row] = (roles[row] or classes[row], classes[row])
    return np.where(tops >= 0, tops, key), names


def _outermost(links: Links, innermost: Array, rows: Array, wanted: Array | None) -> Array:
    """For each host row, the outermost one of its own kind that encloses it and is wanted; itself included.

    `innermost` is the column of `links` for that kind; None: all are wanted.
    """
    best, at = np.full(len(rows), -1, dtype=np.int64), rows
    while (inside := at >= 0).any():
        safe = np.where(inside, at, 0)
        best = np.where(inside if wanted is None else inside & wanted[safe], at, best)
        above = links.parent[safe]
        at = np.where(inside & (above >= 0), innermost[above], -1)
    return best


_WRAPPERS = ("OptimizedModule", "DistributedDataParallel", "FullyShardedDataParallel", "FSDP", "DataParallel")


def _unwrapped(work_table: WorkTable, row: int) -> int:
    """The module call that a wrapper's call (torch.compile, DDP, FSDP) is about: the first one inside it."""
    host, names = work_table.trace.host, work_table.trace.names
    at = row
    while _class_of(names[host.name[at]]).endswith(_WRAPPERS):
        end, inner = host.end[at], at + 1
        while inner < len(host) and host.thread[inner] == host.thread[at] and host.start[inner] < end:
            if host.kind[inner] == int(Kind.MODULE):
                break
            inner += 1
        else:
            return at
        if host.kind[inner] != int(Kind.MODULE):
            return at
        at = inner
    return at


def _class_of(name: str) -> str:
    """ "nn.Module: Decoder_0" -> "Decoder"; "mod::vae.decoder" -> "vae.decoder"."""
    return re.sub(r"_\d+$", "", module_of(name))


def _role(name: str) -> str | None:
    return next((role for role, pattern in _ROLES if pattern.search(name)), None)
