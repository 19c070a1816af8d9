"""A CUDA device that is pretended: tensors lie on the CPU and say "cuda:0", so host code takes its way for a GPU.

Values are true. What `torch.cuda` gives takes no argument that torch's own functions do not take, and refuses what a
device would refuse: reading a value, waiting for the device or drawing noise from a generator of one's own while a
graph is captured, and the time between events that nobody has waited for. A captured graph runs nothing; its replay
repeats every operation over the same memory, and what it made is worthless once another graph of its pool has run.
Figures of the device: an H200 (device/H200.md of the workplace).
"""

from __future__ import annotations

import inspect
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch._dynamo  # before torch.Generator is replaced
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

HERE = torch.device("cuda", 0)
NAME, MEMORY = "NVIDIA H200", 143_771 << 20
PROPERTIES = {"name": NAME, "major": 9, "minor": 0, "total_memory": MEMORY, "multi_processor_count": 132,
              "L2_cache_size": 60 << 20}  # fmt: skip
DEVICE, IS_CUDA = torch.Tensor.device.__get__, torch.Tensor.is_cuda.__get__
READS = ("aten::_local_scalar_dense", "aten::item", "aten::nonzero", "aten::masked_select", "aten::equal",
         "aten::is_nonzero", "aten::pin_memory", "aten::_pin_memory")  # fmt: skip
CAPTURE = "operation not permitted when stream is capturing"
_order = itertools.count(1)


class Device:
    """What the pretended device knows."""

    def __init__(self) -> None:
        self.waited = 0  # for everything that was given to the device so far
        self.capturing: Capture | None = None
        self.stream = Stream()
        self.default = self.stream
        self.last: dict[Any, CUDAGraph] = {}  # of each pool of memory, the graph whose values lie in it
        self.used: set[str] = set()  # names of torch.cuda that were called


_device: Device | None = None


def device() -> Device:
    assert _device is not None, "no CUDA device is pretended now"
    return _device


def _may_wait(what: str) -> None:
    if device().capturing is not None:
        raise RuntimeError(f"CUDA error: {CAPTURE} ({what})")


class Stream:
    def __init__(self, device: Any = None, priority: int = 0) -> None:
        self.device, self.priority = HERE, priority

    def wait_stream(self, stream: Stream) -> None:
        assert isinstance(stream, Stream)

    def wait_event(self, event: Event) -> None:
        assert isinstance(event, Event)

    def record_event(self, event: Event | None = None) -> Event:
        event = event or Event()
        event.record(self)
        return event

    def synchronize(self) -> None:
        _may_wait("Stream.synchronize")
        device().waited = next(_order)


class Event:
    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> None:
        self.timed, self.at, self.order = enable_timing, 0.0, 0

    def record(self, stream: Stream | None = None) -> None:
        self.at, self.order = time.perf_counter(), next(_order)

    def wait(self, stream: Stream | None = None) -> None:
        assert self.order, "an event is waited for that was never recorded"

    def synchronize(self) -> None:
        _may_wait("Event.synchronize")
        device().waited = max(device().waited, self.order)

    def query(self) -> bool:
        return self.order <= device().waited

    def elapsed_time(self, end_event: Event) -> float:
        for event in (self, end_event):
            if not event.timed:
                raise ValueError("Both events must be created with argument 'enable_timing=True'.")
            if not event.order:
                raise RuntimeError("CUDA error: invalid resource handle")
            if not event.query():
                raise RuntimeError("CUDA error: device not ready")
        return max((end_event.at - self.at) * 1e3, 1e-3)


class Capture(TorchDispatchMode):
    """Writes down every operation of the thread that captures."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, list[tuple[int, torch.Tensor]]]] = []  # and what each makes, by place
        self.made: dict[int, torch.Tensor] = {}  # storages of the graph's own memory
        self.before: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # others that it writes, and what they held
        self.thread = threading.get_ident()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        if name in READS:
            raise RuntimeError(f"CUDA error: {CAPTURE} ({name})")
        if any(isinstance(x, GENERATOR) for x in tree_leaves((args, kwargs))):
            raise RuntimeError("Attempt to increase offset for a CUDA generator not in capture mode.")
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        for argument, x in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write and isinstance(x, torch.Tensor):
                self._keep(x)
        out = func(*args, **kwargs)
        places = {_place(x) for x in inputs}
        new = [(at, x) for at, x in enumerate(tree_leaves(out)) if isinstance(x, torch.Tensor)]
        new = [(at, x) for at, x in new if _place(x) not in places]
        self.made |= {_place(x): x for _, x in new}
        self.calls.append((func, args, kwargs, new))
        return out

    def _keep(self, x: torch.Tensor) -> None:
        if _place(x) not in self.made and _place(x) not in self.before:
            whole = torch.empty(0, dtype=torch.uint8).set_(x.untyped_storage())
            self.before[_place(x)] = whole, whole.clone()


def _place(x: torch.Tensor) -> int:
    return x.untyped_storage()._cdata


class CUDAGraph:
    def __init__(self, keep_graph: bool = False) -> None:
        self.capture: Capture | None = None
        self.pool_of: Any = None

    def spoil(self) -> None:
        """Memory of the graph's own holds nothing that anyone may read."""
        assert self.capture is not None
        for x in self.capture.made.values():
            if x.dtype.is_floating_point and x.element_size() > 1:
                x.fill_(float("nan"))

    @torch.inference_mode()
    def replay(self) -> None:
        if self.capture is None:
            raise RuntimeError("Called CUDAGraph::replay without a preceding successful capture.")
        _may_wait("CUDAGraph.replay")
        with torch._C.DisableTorchFunction():
            if self.pool_of in device().last:
                device().last[self.pool_of].spoil()
            device().last[self.pool_of] = self
            for func, args, kwargs, new in self.capture.calls:
                made = tree_leaves(func(*args, **kwargs))
                for at, x in new:
                    x.copy_(made[at])

    def pool(self) -> Any:
        return self.pool_of


class Graph:
    """In the place of the context manager `torch.cuda.graph`."""

    def __init__(  # torch's own
        self, cuda_graph: CUDAGraph, pool: Any = None, stream: Any = None, capture_error_mode: str = "global"
    ) -> None:
        assert capture_error_mode in ("global", "thread_local", "relaxed")
        assert stream is None or isinstance(stream, Stream)
        self.graph, self.pool, self.mode = cuda_graph, pool if pool is not None else object(), Capture()
        self.stream = stream or Stream()

    def __enter__(self) -> None:
        _may_wait("a second capture in this process")
        device().waited = next(_order)
        device().capturing, self.before, device().stream = self.mode, device().stream, self.stream
        self.mode.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.mode.__exit__(*error)
        device().capturing, device().stream = None, self.before
        if error[0] is not None:
            return
        for whole, held in self.mode.before.values():
            whole.copy_(held)
        self.graph.capture, self.graph.pool_of = self.mode, self.pool
        self.graph.spoil()


class OnCuda(TorchFunctionMode):
    """Tensors say that they are on the device; what is asked for on it is made on the CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in ("device", "__init__"):  # torch.device itself
            return func(*args, **kwargs)
        if func == DEVICE:
            real = func(*args)
            return HERE if real.type == "cpu" else real
        if func == IS_CUDA:
            return True
        if name == "pin_memory":
            _may_wait("pin_memory")
            return args[0]
        if name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__"):
            _may_wait(name)
            return args[0].clone() if name == "cpu" else func(*args, **kwargs)
        if name in STANDS_FOR:
            return STANDS_FOR[name](*args, **kwargs)
        return func(*tree_map(_on_cpu, args), **{k: _on_cpu(v) for k, v in kwargs.items()})


def _on_cpu(x: Any) -> Any:
    if isinstance(x, torch.device):
        return torch.device("cpu") if x.type == "cuda" else x
    return "cpu" if isinstance(x, str) and x.split(":")[0] == "cuda" else x


def _scaled_mm(  # torch's own
    self: torch.Tensor, mat2: torch.Tensor, scale_a: torch.Tensor, scale_b: torch.Tensor,
    bias: torch.Tensor | None = None, scale_result: Any = None, out_dtype: Any = None, use_fast_accum: bool = False,
) -> torch.Tensor:  # fmt: skip
    """The product in fp64 of what cuBLASLt and CUTLASS take, for one scale each or one a row."""
    (rows, inner), outputs = self.shape, mat2.shape[1]
    assert self.is_contiguous(), "mat1 must be row-major"
    assert mat2.t().is_contiguous(), "mat2 must be column-major"
    assert inner % 16 == 0, "trailing dimension of mat1 must be divisible by 16"
    assert outputs % 16 == 0, "trailing dimension of mat2 must be divisible by 16"
    assert self.dtype == mat2.dtype == torch.float8_e4m3fn
    assert scale_a.dtype == scale_b.dtype == torch.float32
    if not (scale_a.numel() == scale_b.numel() == 1):
        assert (scale_a.shape, scale_b.shape) == ((rows, 1), (1, outputs))
        assert scale_a.is_contiguous()
        assert scale_b.is_contiguous()
        assert out_dtype == torch.bfloat16, "only bf16 output is offered for row-wise scales"
    assert bias is None or bias.dtype == torch.bfloat16
    out = (self.double() @ mat2.double()) * scale_a * scale_b
    return (out if bias is None else out + bias).to(out_dtype)


def _int_mm(self: torch.Tensor, mat2: torch.Tensor) -> torch.Tensor:
    assert self.dtype == mat2.dtype == torch.int8
    assert self.shape[0] > 16, "self.size(0) needs to be greater than 16"
    assert self.shape[1] % 8 == mat2.shape[1] % 8 == 0, "sizes need to be multiples of 8"
    return (self.double() @ mat2.double()).to(torch.int32)


def _addmm_activation(  # torch's own
    self: torch.Tensor, mat1: torch.Tensor, mat2: torch.Tensor, *, beta: float = 1, alpha: float = 1,
    use_gelu: bool = False,
) -> torch.Tensor:  # fmt: skip
    assert use_gelu
    assert self.dim() == 1
    return F.gelu(F.linear(mat1, mat2.t(), self), approximate="tanh")


STANDS_FOR = {"_scaled_mm": _scaled_mm, "_int_mm": _int_mm, "_addmm_activation": _addmm_activation}
GENERATOR = torch.Generator


class Generator:
    def __new__(cls, device: Any = "cpu") -> Any:
        return GENERATOR(_on_cpu(device))


@contextmanager
def _within(stream: Stream | None) -> Iterator[None]:
    before = device().stream
    device().stream = stream or before
    try:
        yield
    finally:
        device().stream = before


def _record_stream(self: torch.Tensor, stream: Stream) -> None:
    assert isinstance(stream, Stream)
    device().used.add("record_stream")


def _profile(real: Any) -> Any:
    """torch's profiler, asked for CUDA as for a device, and recording the CPU."""

    def profile(*, activities: Any, **how: Any) -> Any:
        return real(activities=[each for each in activities if each.name == "CPU"], **how)

    return profile


def _synchronize() -> None:
    _may_wait("torch.cuda.synchronize")
    device().waited = next(_order)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "is_available": lambda: True,
    "is_initialized": lambda: True,
    "device_count": lambda: 1,
    "current_device": lambda: 0,
    "synchronize": lambda *_, **__: _synchronize(),
    "current_stream": lambda *_, **__: device().stream,
    "default_stream": lambda *_, **__: device().default,
    "stream": lambda stream: _within(stream),
    "graph_pool_handle": lambda: (0, next(_order)),
    "memory_allocated": lambda *_, **__: 1 << 20,
    "max_memory_allocated": lambda *_, **__: 3 << 20,
    "max_memory_reserved": lambda *_, **__: 4 << 20,
    "reset_peak_memory_stats": lambda *_, **__: None,
    "mem_get_info": lambda *_, **__: (MEMORY - (1 << 30), MEMORY),
    "empty_cache": lambda: None,
    "get_device_properties": lambda *_, **__: SimpleNamespace(**PROPERTIES),
    "get_device_name": lambda *_, **__: NAME,
    "get_device_capability": lambda *_, **__: (9, 0),
    "get_allocator_backend": lambda: "native",
}
CLASSES = {"Stream": Stream, "Event": Event, "CUDAGraph": CUDAGraph, "graph": Graph}


def _like(name: str, made: Callable[..., Any]) -> Callable[..., Any]:
    """`made`, refusing arguments that torch's own does not take."""
    real = getattr(torch.cuda, name)
    signature = inspect.signature(real)

    def call(*args: Any, **kwargs: Any) -> Any:
        signature.bind(*args, **kwargs)
        device().used.add(name)
        return made(*args, **kwargs)

    return call


def parameters(name: str) -> list[str]:
    """The names of the arguments of a class of torch.cuda."""
    real = getattr(torch.cuda, name)
    made = real.__init__ if name == "graph" else real.__new__
    return [p for p in inspect.signature(made).parameters if p not in ("cls", "self", "kwargs")]


@contextmanager
def pretended_cuda() -> Iterator[Device]:
    """The device is there within the block, in all threads but for what tensors say (in this one)."""
    global _device
    _device = Device()
    with torch.device("cpu"):  # torch remembers what makes tensors: the real ones
        torch.empty(0)
    with pytest.MonkeyPatch.context() as patch, OnCuda():
        for name, function in FUNCTIONS.items():
            patch.setattr(torch.cuda, name, _like(name, function))
        for name, cls in CLASSES.items():
            patch.setattr(torch.cuda, name, cls)
        patch.setattr(torch, "Generator", Generator)
        patch.setattr(torch, "compile", lambda model, **how: model)
        patch.setattr(torch.version, "cuda", "13.0")
        patch.setattr(torch.Tensor, "record_stream", _record_stream)
        patch.setattr(torch.profiler, "profile", _profile(torch.profiler.profile))
        _kernels(patch)
        try:
            yield _device
        finally:
            _device = None


def _kernels(patch: pytest.MonkeyPatch) -> None:
    """Fused operations are said to be Triton's, and are computed by their references."""
    from frameroof.stream import kernels
    from frameroof.stream.kernels import reference

    patch.setattr(kernels, "_module", lambda x: reference)
    patch.setattr(kernels, "_TRITON", True)
