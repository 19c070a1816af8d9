"""What a Kineto (Chrome trace) file holds: its events as typed structs, its categories under every name since 2021.

Source: the writers of pytorch/kineto from 2021 to 2026; see docs/guide/traces.rst for the table of names.
Times in the file are microseconds, as integers, decimals or strings; `timestamps.py` turns them into nanoseconds.
"""

from __future__ import annotations

from decimal import Decimal
from enum import IntEnum

import msgspec

Number = int | float | str | None
Exact = Decimal | None
"""A number kept digit by digit: used where a double cannot hold the nanoseconds (times since 1970)."""


_NONE = msgspec.Raw(b"")


class Kind(IntEnum):
    """What an event is, whatever its category was called when it was written."""

    OPERATOR = 0  # cpu_op: one operator of ATen, or a Triton launch of torch.compile
    RUNTIME = 1  # a call of the CUDA, HIP, MTIA or XPU runtime or driver
    ANNOTATION = 2  # record_function, ProfilerStep#n, a compiled graph
    PYTHON = 3  # a Python frame
    MODULE = 4  # a Python frame that is the call of an nn.Module, or an annotation `mod::<path>`
    OVERHEAD = 5  # the profiler's own time on the host
    KERNEL = 6
    MEMCPY = 7
    MEMSET = 8
    DEVICE_ANNOTATION = 9  # an annotation drawn over the kernels it launched: never work
    SYNC = 10  # cuda_sync: the wait of a stream or event as the device sees it: never work


HOST_KINDS = (Kind.OPERATOR, Kind.RUNTIME, Kind.ANNOTATION, Kind.PYTHON, Kind.MODULE, Kind.OVERHEAD)
WORK_KINDS = (Kind.KERNEL, Kind.MEMCPY, Kind.MEMSET)

CATEGORIES: dict[str, Kind] = {
    **dict.fromkeys(("cpu_op", "Operator", "hpu_op"), Kind.OPERATOR),
    **dict.fromkeys(("cuda_runtime", "cuda_driver", "Runtime", "xpu_runtime", "xpu_driver"), Kind.RUNTIME),
    **dict.fromkeys(("mtia_runtime", "glow_runtime", "privateuse1_runtime", "privateuse1_driver"), Kind.RUNTIME),
    "user_annotation": Kind.ANNOTATION,
    "python_function": Kind.PYTHON,
    "overhead": Kind.OVERHEAD,
    **dict.fromkeys(("kernel", "Kernel", "mtia_ccp_events"), Kind.KERNEL),
    **dict.fromkeys(("gpu_memcpy", "Memcpy"), Kind.MEMCPY),
    **dict.fromkeys(("gpu_memset", "Memset"), Kind.MEMSET),
    "gpu_user_annotation": Kind.DEVICE_ANNOTATION,
    **dict.fromkeys(("cuda_sync", "xpu_sync"), Kind.SYNC),
}
"""Category in the file -> what it is. A category that is not here is counted under `Trace.ignored`."""

FLOWS = ("async_npu", "ac2g", "async", "async_gpu", "async_cpu_to_gpu")
"""Categories of the arrows from a launch to its work, by age of the writer."""


class Args(msgspec.Struct, gc=False):
    """The arguments that the reader uses; all others are skipped by the decoder."""

    external_id: Number = msgspec.field(name="External id", default=None)
    external_id_2021: Number = msgspec.field(name="external id", default=None)
    correlation: Number = None
    device: Number = None
    stream: Number = None
    bytes: Number = None
    kernel: str | None = None
    graph_node: Number = msgspec.field(name="graph node id", default=None)
    dims: msgspec.Raw = msgspec.field(name="Input Dims", default=_NONE)
    types: msgspec.Raw = msgspec.field(name="Input type", default=_NONE)
    concrete: msgspec.Raw = msgspec.field(name="Concrete Inputs", default=_NONE)
    strides: msgspec.Raw = msgspec.field(name="Input Strides", default=_NONE)
    hierarchy: str | None = msgspec.field(name="Module Hierarchy", default=None)
    order: Number = msgspec.field(name="Ev Idx", default=None)
    collective: str | None = msgspec.field(name="Collective name", default=None)
    """When decoded, all that the arguments say of it (`collectives.described`)."""
    stack: str | None = msgspec.field(name="Call stack", default=None)


class NamelessArgs(Args, gc=False):
    """And those of events without a category: what processes are called, and other writers' work."""

    title: msgspec.Raw = msgspec.field(name="name", default=_NONE)
    """Of a process or a thread, in events of phase M."""
    labels: msgspec.Raw = _NONE
    connection: Number = msgspec.field(name="connection_id", default=None)
    """Ascend: shared by a launch and its tasks."""
    stream_id: Number = msgspec.field(name="Stream Id", default=None)
    task: msgspec.Raw = msgspec.field(name="Task Type", default=_NONE)


class Event(msgspec.Struct, gc=False):
    """One event, times in microseconds as the file has them.

    The arguments stay text until `read` decodes those that are used: most events are Python frames, whose are not.
    """

    ph: str = ""
    cat: str = ""
    name: str = ""
    pid: int | str | float | None = None
    tid: int | str | float | None = None
    ts: Number = None
    dur: Number = None
    id: int | str | float | None = None
    args: msgspec.Raw = _NONE


class ExactEvent(msgspec.Struct, gc=False):
    """The same event with its times kept digit by digit."""

    ph: str = ""
    cat: str = ""
    name: str = ""
    pid: int | str | float | None = None
    tid: int | str | float | None = None
    ts: Exact = None
    dur: Exact = None
    id: int | str | float | None = None
    args: msgspec.Raw = _NONE


WAVEFRONT = 64
"""Threads of a wavefront of AMD's accelerators; NVIDIA's warps have 32, and its devices have names."""


class DeviceProperties(msgspec.Struct, gc=False):
    """One entry of `deviceProperties`."""

    id: int | str | None = None
    name: str = ""
    total_memory: int | None = msgspec.field(name="totalGlobalMem", default=None)
    units: int | float | str | None = msgspec.field(name="numSms", default=None)
    """Multiprocessors or compute units."""
    warp: int | float | str | None = msgspec.field(name="warpSize", default=None)


class Distributed(msgspec.Struct, gc=False):
    """`distributedInfo`: this process among its ranks."""

    backend: str | None = None
    rank: int | None = None
    world_size: int | None = None


class Header(msgspec.Struct):
    """Everything of the file but its events."""

    devices: list[DeviceProperties] = msgspec.field(name="deviceProperties", default_factory=list)
    base_ns: int | None = msgspec.field(name="baseTimeNanoseconds", default=None)
    distributed: Distributed | None = msgspec.field(name="distributedInfo", default=None)
    schema_version: int | str | None = msgspec.field(name="schemaVersion", default=None)
    cuda_runtime: int | str | None = msgspec.field(name="cuda_runtime_version", default=None)
    cuda_driver: int | str | None = msgspec.field(name="cuda_driver_version", default=None)
    hip_runtime: int | str | None = msgspec.field(name="hip_runtime_version", default=None)
    trace_id: str | None = None
    host_name: str | None = None
