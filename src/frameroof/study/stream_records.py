"""What `stream bench`, `stream tune` and `benchmarks/gpu.py stream` write, as records: written and read whole.

docs/reference/stream-json.rst says what each key means. Seconds, bytes, FLOPs; `None` (null) is not known, what is
`UNSET` does not stand in the JSON. `stream log` reads files through `read_log_file`, which names what is wrong in one.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ..outside import from_json, record
from ..recorded import Environment

BENCH, TUNE, GPU = "frameroof.stream.bench/2", "frameroof.stream.tune/2", "frameroof.benchmarks.gpu/1"
Amount = Annotated[float, Meta(ge=0)]
"""Seconds, FLOPs, bytes or rates: none is below 0."""
Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Quartiles = Annotated[list[float], Meta(min_length=3, max_length=3)]


class Configuration(msgspec.Struct, kw_only=True):
    """Everything that something was measured with but the machine and the versions."""

    model: str
    variant: str
    dtype: str
    linears: str
    quantized: list[str] | UnsetType = UNSET
    """Absent in files of 2026-11-21, which spell it otherwise."""
    operations: str
    attention: str
    decoding: dict[str, int | bool]
    graphs: bool
    batch: Count
    decoder: str | None
    weights: str
    steps: list[int]
    layers: Count
    dim: Count
    cache: str
    context: str
    recache: str
    tabulate: bool
    window: Count
    sink: Count
    block: Count
    height: Count
    width: Count
    text_tokens: Count


class Parity(msgspec.Struct, kw_only=True):
    """Whether numbers that are meant to be equal are."""

    equal: bool
    relative: float
    tolerance: float
    model: str


class Quality(msgspec.Struct, kw_only=True):
    """Latents beside the baseline's in fp32; of the worst block where it says no more."""

    relative: float
    cosine: float
    taught_relative: float | None
    floor: float
    free_blocks: list[float]
    taught_blocks: list[float]
    psnr_db: float | None
    ssim: float | None


class Timed(msgspec.Struct, kw_only=True):
    """Steps, block, switch, decode or end_to_end of a variant: counts, limit, all samples."""

    flops: Amount | None
    bytes: Amount | None
    limit_s: Amount | None
    measured_s: list[Amount]
    flop_per_s: Amount | None
    latency_s: list[float] | UnsetType = UNSET
    """Of `switch` alone: those blocks less the block before."""


class Latencies(msgspec.Struct, kw_only=True):
    """The figures of the latency report (`frameroof.stream.metrics.Report`)."""

    first_frame_s: Amount
    inter_frame_s: Amount
    switch_s: list[float]
    visible_s: list[Amount]
    block_p50_s: Amount
    block_p90_s: Amount
    block_p99_s: Amount
    jitter_s: Amount | None
    fps_generate: Amount
    fps_decoded: Amount | None
    real_time_factor: Amount | None
    apart_s: dict[str, Amount]
    peak_bytes: Count | None
    blocks: Count


class SelfAttention(msgspec.Struct, kw_only=True):
    """Self-attention of one layer in a forward."""

    first_layer_s: Amount
    later_layers_s: Amount | None
    limit_s: Amount | None


class PartTime(msgspec.Struct, kw_only=True):
    """One part of a forward in the trace."""

    part: str
    seconds: Amount
    limit_s: Amount | None


class Forward(msgspec.Struct, kw_only=True):
    """One name of forward: under the clock, from the trace, and beside its limits."""

    name: str
    measured_s: list[Amount]
    limit_s: Amount | None
    gaps_s: Amount
    gaps_per_layer_s: Amount | None
    self_attention: SelfAttention | None
    parts: list[PartTime]


class KernelTime(msgspec.Struct, kw_only=True):
    """All calls of a kernel in one denoising step."""

    name: str
    part: str
    calls: Count
    seconds: Amount


class Variant(msgspec.Struct, kw_only=True):
    """One variant, whole."""

    name: str
    change: str
    parity: Parity | None
    quality: Quality
    steps: Timed
    block: Timed
    switch: Timed
    decode: Timed
    end_to_end: Timed
    report: Latencies
    forwards: list[Forward]
    kernels: list[KernelTime]
    says: list[str]
    block_parts_s: dict[str, Amount]
    cache_share: Amount | None
    configuration: Configuration
    hardware: str
    versions: dict[str, str]


class Predicted(msgspec.Struct, kw_only=True):
    """What limits say that a change saves, and what that is in words."""

    before_s: Amount | UnsetType | None = UNSET
    after_s: Amount | UnsetType | None = UNSET
    saved_s: float | None
    what: str


class Outcome(msgspec.Struct, kw_only=True):
    """A latency before and after a change."""

    before: str
    of: str
    parity: Parity | None
    quality: Quality
    before_s: float
    after_s: float
    baseline_s: float
    saved_s: Quartiles
    """Quartiles of before less after."""
    predicted: Predicted


class Row(msgspec.Struct, kw_only=True):
    """A row of the log; `keep` is None where nothing was run, and only then may an outcome be missing."""

    change: str
    variant: str | UnsetType = UNSET
    before: str | UnsetType = UNSET
    of: str | UnsetType = UNSET
    parity: Parity | UnsetType | None = UNSET
    quality: Quality | UnsetType = UNSET
    before_s: float | UnsetType = UNSET
    after_s: float | UnsetType = UNSET
    baseline_s: float | UnsetType = UNSET
    saved_s: Quartiles | UnsetType = UNSET
    predicted: Predicted | UnsetType = UNSET
    keep: bool | None
    why: str
    configuration: Configuration | UnsetType = UNSET
    hardware: str | UnsetType = UNSET
    versions: dict[str, str] | UnsetType = UNSET

    def __post_init__(self) -> None:
        """`ValueError` with a sentence for a row that was measured and lacks a part of its outcome."""
        missing = [name for name in Outcome.__struct_fields__ if getattr(self, name) is UNSET]
        if self.keep is not None and missing:
            raise ValueError(f"the row {self.change!r} was measured and has no `{missing[0]}`")

    @property
    def outcome(self) -> Outcome | None:
        """What was measured; None where nothing was run."""
        if self.keep is None:
            return None
        found: dict[str, Any] = {name: getattr(self, name) for name in Outcome.__struct_fields__}
        return Outcome(**found)


class CacheTime(msgspec.Struct, kw_only=True):
    """Time in cache operations in a block."""

    seconds: Amount
    times_less: Amount | None
    """Than in the baseline."""


class Batch(msgspec.Struct, kw_only=True):
    """One variant at one batch."""

    variant: str
    batch: Count
    block_s: list[Amount]
    inter_frame_s: Amount
    fps_a_stream: Amount
    fps: Amount
    switch_all_s: list[float]
    switch_one_s: list[float]
    kv_cache_bytes: Count
    peak_bytes: Count | None
    flops: Amount
    limit_s: Amount
    flop_per_s: Amount
    configuration: Configuration
    hardware: str
    versions: dict[str, str]


class Sizes(msgspec.Struct, kw_only=True):
    """The stream that was run; frames are latent frames."""

    window: Count
    sink: Count
    block: Count
    height: Count
    width: Count
    text_tokens: Count
    steps: Count
    blocks: Count
    layers: Count
    dim: Count
    batch: Count


class Bench(msgspec.Struct, kw_only=True):
    """`frameroof stream bench --json`."""

    schema: str = BENCH
    model: str
    hardware: str
    dtype: str
    sizes: Sizes
    kv_cache_bytes: Count
    process_peak_bytes: Count
    decoder: str | None
    switches: list[int]
    variant: str
    steps: Timed
    block: Timed
    switch: Timed
    decode: Timed
    end_to_end: Timed
    variants: Annotated[list[Variant], Meta(min_length=1)]
    rows: list[Row]
    cache_operations: dict[str, CacheTime]
    batches: list[Batch]
    says: list[str]
    notes: list[str]
    environment: Environment


class Reference(msgspec.Struct, kw_only=True):
    """What quality is measured from."""

    window: Count
    sink: Count
    variant: str
    dtype: str


class Point(msgspec.Struct, kw_only=True):
    """One choice of window, sinks, variant and precision; seconds of steady blocks."""

    window: Count
    sink: Count
    variant: str
    precision: str
    block_s: Quartiles
    samples_s: list[Amount]
    predicted_s: Amount | None
    own: bool
    cache_bytes: Count
    quality: Quality
    in_noise: bool
    unbeaten: bool
    recommended: bool
    configuration: Configuration
    hardware: str
    versions: dict[str, str]


class Tuned(msgspec.Struct, kw_only=True):
    """`frameroof stream tune --json`."""

    schema: str = TUNE
    model: str
    hardware: str
    dtype: str
    reference: Reference
    floor: Amount
    most_error: Amount
    reason: str
    points: list[Point]
    says: list[str]
    environment: Environment


class GpuSizes(msgspec.Struct, kw_only=True):
    """The stream that the GPU script ran."""

    model: str
    dtype: str
    window: Count
    sink: Count
    height: Count
    width: Count
    layers: Count
    dim: Count
    batch: Count
    blocks: Count


class GpuRow(msgspec.Struct, kw_only=True):
    """A row of the GPU script; those without a `change` are none of the log."""

    name: str
    change: str | None = None
    why: str | None = None
    quality: Quality | None = None
    log: Row | None = None


class GpuStream(msgspec.Struct, kw_only=True):
    """What the log reads of the section `stream` of `benchmarks/gpu.py`."""

    schema: str = GPU
    section: str = "stream"
    device: str
    stream: GpuSizes
    environment: Environment
    rows: list[GpuRow]


def read_log_file(text: bytes, name: str) -> Bench | Tuned | GpuStream:
    """The record in a file's text; `ValueError`, a sentence with `name`, where it is none or a part of it is wrong."""
    what = f"{name} is no stream.json"
    data = from_json(text, dict[str, Any], what)
    schema = data.get("schema")
    if schema == BENCH:
        return record(data, Bench, what)
    if schema == TUNE:
        return record(data, Tuned, what)
    if schema == GPU and data.get("section") == "stream":
        return record(data, GpuStream, what)
    raise ValueError(
        f"{name} is no JSON of this version of `frameroof stream bench` ({BENCH}), `stream tune` or benchmarks/gpu.py."
    )
