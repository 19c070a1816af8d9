"""Tensors on a CUDA device that is not there: their shapes, types, strides and devices, but no values.

Inside `fake_cuda` an operation of tensors on two devices fails, as does reading a value, and every operation's own
checks of shapes and types run as for CUDA (torch._scaled_mm, torch._int_mm …). Triton programs are not launched:
`Launches` writes down what would be. Noise is drawn without a generator, which a CPU build of torch cannot make for
CUDA.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo  # before torch.Generator is replaced
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CAPABILITY = (9, 0)  # of an H100 or H200
GUARDS = "_ZN3c104impl26device_guard_impl_registryE"  # c10's table of what switches devices, by kind of device
CUDA, LAZY = 1, 17  # kinds; the lazy one counts no devices, for which torch then puts a guard that does nothing


@contextmanager
def fake_cuda() -> Iterator[None]:
    """Tensors made here, on "cuda" or on the CPU, are fake; so is what torch.cuda says of the device."""
    real, tensor = torch.Generator, torch.tensor

    class Generator:
        """One of the CPU, whatever device is asked for: a fake tensor is drawn without it."""

        def __new__(cls, device: Any = "cpu") -> Any:
            return real()

    def made(data: Any, *, dtype: torch.dtype | None = None, device: Any = None) -> torch.Tensor:
        on_cpu = tensor(data, dtype=dtype)
        return on_cpu if device is None else torch.empty(on_cpu.shape, dtype=on_cpu.dtype, device=device)

    with torch.device("cpu"):  # torch remembers what makes tensors: the real torch.tensor
        torch.empty(0)
    with pytest.MonkeyPatch.context() as patch, _guard(), FakeTensorMode():
        patch.setattr(FakeTensorMode, "avoid_device_init", True)
        patch.setattr(torch, "Generator", Generator)
        patch.setattr(torch, "tensor", made)
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "get_device_capability", lambda device=None: CAPABILITY)
        patch.setattr(torch.cuda, "current_device", lambda: 0)
        yield


@contextmanager
def _guard() -> Iterator[None]:
    """A CPU build has nothing that switches CUDA devices, and refuses indices and copies of such tensors."""
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    try:
        guards = (ctypes.c_void_p * (LAZY + 1)).in_dll(library, GUARDS)
    except ValueError:
        pytest.skip("this torch has no table of device guards under the known name")
    before = guards[CUDA]
    if before is None:
        guards[CUDA] = guards[LAZY]
        torch._C._ensureCUDADeviceGuardSet()
    try:
        yield
    finally:
        guards[CUDA] = before


class OnTheDevice(TorchDispatchMode):
    """Names every operation that touches a tensor of the CPU: a copy from or to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, torch.Tensor)]
        if any(x.device.type == "cpu" for x in tensors):
            self.found.append(str(func))
        return out


class Launches:
    """In the place of `Launch.run`: checks where a program's tensors lie, and keeps each kind of launch once."""

    def __init__(self, key: Callable[[Any], Any]) -> None:
        self.key, self.kinds, self.count = key, {}, 0

    def __call__(self, launch: Any) -> None:
        self.count += 1
        assert 0 < launch.grid < 2**31
        for name, x in zip(launch.program.arg_names, launch.arguments, strict=False):
            if isinstance(x, torch.Tensor):
                assert x.device.type == "cuda", f"{launch.program.__name__}: {name} lies on {x.device}"
                assert x.stride(-1) == 1 or x.shape[-1] == 1, f"{launch.program.__name__}: rows of {name} have gaps"
                begins = x.storage_offset() * x.element_size()
                assert begins % 16 == 0, f"{launch.program.__name__}: {name} begins at byte {begins}"
        self.kinds.setdefault(self.key(launch), launch)


class Call:
    """In the place of `CudaCapture`: runs twice and once more, as it would; a replay runs once more."""

    def __init__(self, *device: Any) -> None:
        pass

    def __call__(self, forward: Callable[[], None]) -> Callable[[], None]:
        for _ in range(3):
            forward()
        return forward
