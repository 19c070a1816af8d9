"""What the machine reaches: matrix products, attention, convolutions, memory-bound operations, copies, launches.

Bytes count each input read once and each output written once. Shapes: M rows, N outputs, K inputs; B batch, H heads,
Q queries, L keys, D head width; convolutions are (batch, channels in, channels out, *sizes), kernels 3 wide.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import functional as F

from frameroof.dtypes import BITS, EIGHT_BIT, HALF, ORDER, PEAKS, STREAMED, torch_name
from frameroof.stream.attention import OWN_FP8, SDPA, backend

from . import efficiency, works
from .clock import WARM, Case, Work, between, mark, randn, settle, timed
from .record import Log, Session

NOTES = (
    "Events around one call; the L2 cache overwritten before it (unless --no-flush); cases of a group in random order.",
    "launch/host: host seconds of one of many eager launches. launch/graph-node: device seconds of one of many nodes "
    "of a graph. launch/graph: seconds of a replay of one node, from its launch until the host knows of its end.",
    "efficiency: the file that `frameroof predict --efficiency` takes, made of these rows, or why there is none.",
)
WIDE = sorted((name for name in PEAKS if BITS[name] > 8), key=ORDER.__getitem__)
LAUNCHES = 1000


def run(session: Session) -> Log:
    """All of it, one kind of operation after the other."""
    log = Log.open(session, "calibrate", NOTES)
    for part, group in ((_gemms, 8), (_attention, 5), (_convolutions, 4), (_elementwise, 8), (_copies, 4)):
        timed(log, list(part(session)), group)
    _launches(log)
    log.about["efficiency"] = efficiency.write(log)
    return log


def _case(s: Session, name: str, make: Callable[[], Work], about: dict[str, Any]) -> Case:
    """What is predicted of a row is counted from what it says of itself, as the efficiency file's shares are."""
    op = works.of(about)
    assert op is not None, name
    return Case(name, s.machine.predict(op), make, about)


# ------------------------------------------------------------------------------ matrix products


def _gemms(s: Session) -> Iterator[Case]:
    dtypes = [d for d in WIDE if d in STREAMED] if s.tiny else [*WIDE, *EIGHT_BIT]
    layers = [(1536, 1536), (4608, 1536), (8960, 1536), (1536, 8960), (5120, 5120)]
    for dtype in dtypes:
        rows = (1, 64, 512, 4680, 9360, 32768) if dtype in (HALF[0], EIGHT_BIT[0]) else (4680,)
        shapes = [(m, n, k) for n, k in layers for m in rows]
        shapes += [(side,) * 3 for side in (1024, 2048, 4096, 8192)]
        for m, n, k in [(32, 48, 64)] if s.tiny else shapes:
            if dtype in EIGHT_BIT and m < 17:  # fewer rows than torch._int_mm takes
                continue
            about = {"kind": "gemm", "dtype": dtype, "m": m, "n": n, "k": k}
            yield _case(s, f"gemm/{dtype}/{m}x{n}x{k}", _gemm(s, dtype, m, n, k), about)


def _gemm(s: Session, dtype: str, m: int, n: int, k: int) -> Callable[[], Work]:
    def make() -> Work:
        if dtype == "int8":
            a, b = (torch.randint(-127, 128, shape, device=s.device, dtype=torch.int8) for shape in ((m, k), (n, k)))
            return lambda: torch._int_mm(a, b.t())
        if dtype == "fp8":
            a, b = (randn(s, *shape).to(torch.float8_e4m3fn) for shape in ((m, k), (n, k)))
            one = torch.ones((), device=s.device)
            how = {"scale_a": one, "scale_b": one, "out_dtype": torch.bfloat16, "use_fast_accum": True}
            return lambda: torch._scaled_mm(a, b.t(), **how)
        made = getattr(torch, torch_name("fp32" if dtype == "tf32" else dtype))
        a, b = (randn(s, *shape, dtype=made) for shape in ((m, k), (n, k)))
        return _in_tf32(lambda: F.linear(a, b)) if dtype == "tf32" else lambda: F.linear(a, b)

    return make


def _in_tf32(work: Work) -> Work:
    def wrapped() -> Any:
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = True
        try:
            return work()
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before

    return wrapped


# ----------------------------------------------------------------------------------- attention


def _attention(s: Session) -> Iterator[Case]:
    full = [
        (1, 12, 4680, 4680, 128), (1, 12, 4680, 18720, 128), (1, 12, 9360, 18720, 128), (1, 12, 14040, 18720, 128),
        (1, 12, 4680, 512, 128), (1, 40, 4680, 18720, 128), (1, 24, 4608, 4608, 128), (2, 8, 4096, 4096, 40),
        (2, 8, 4096, 77, 40), (2, 10, 4096, 4096, 64), (2, 20, 1024, 1024, 64), (4096, 8, 16, 16, 64),
        (1, 32, 2048, 2048, 128), (1, 32, 1, 2048, 128), (16, 32, 1, 2048, 128),
    ]  # fmt: skip
    for shape in [(1, 2, 24, 40, 16)] if s.tiny else full:
        b, h, q, kv, d = shape
        about = {"kind": "attention", "dtype": "bf16", "batch": b, "heads": h, "q": q, "kv": kv, "d": d, "shape": shape}
        for name in (*SDPA, *OWN_FP8):
            scores = 4 * 2 * b * h * q * kv if name == "math" else 0  # written and read twice at least
            more = {"kernel": name, "products": "fp8" if name in OWN_FP8 else "bf16", "more": scores}
            yield _case(s, f"attention/{'x'.join(map(str, shape))}/{name}", _attends(s, name, shape), about | more)


def _attends(s: Session, name: str, shape: tuple[int, ...]) -> Callable[[], Work]:
    def make() -> Work:
        b, h, q, kv, d = shape
        q_BQHD, k_BLHD, v_BLHD = (randn(s, b, n, h, d, dtype=torch.bfloat16) for n in (q, kv, kv))
        attend = backend(name)
        return lambda: attend(q_BQHD, k_BLHD, v_BLHD)

    return make


# -------------------------------------------------------------------------------- convolutions


def _convolutions(s: Session) -> Iterator[Case]:
    full = [
        (2, 320, 320, 64, 64), (2, 640, 640, 32, 32), (2, 1280, 1280, 16, 16), (1, 512, 512, 128, 128),
        (1, 256, 256, 512, 512), (1, 128, 128, 1024, 1024),
        (1, 384, 384, 3, 60, 104), (1, 384, 384, 6, 120, 208), (1, 192, 192, 12, 240, 416), (1, 96, 96, 12, 480, 832),
    ]  # fmt: skip
    for shape in [(1, 4, 8, 6, 6), (1, 4, 4, 3, 6, 6)] if s.tiny else full:
        kind = f"conv{len(shape) - 3}d"
        for layout in ("channels_first", "channels_last"):
            about = {"kind": kind, "dtype": "bf16", "shape": shape, "layout": layout}
            yield _case(s, f"{kind}/{'x'.join(map(str, shape))}/{layout}", _conv(s, shape, layout), about)


def _conv(s: Session, shape: tuple[int, ...], layout: str) -> Callable[[], Work]:
    def make() -> Work:
        batch, inner, outer, *sizes = shape
        last = {2: torch.channels_last, 3: torch.channels_last_3d}[len(sizes)]
        order = last if layout == "channels_last" else torch.contiguous_format
        x = randn(s, batch, inner, *sizes, dtype=torch.bfloat16).contiguous(memory_format=order)
        w = randn(s, outer, inner, *[3] * len(sizes), dtype=torch.bfloat16).contiguous(memory_format=order)
        convolve = F.conv2d if len(sizes) == 2 else F.conv3d
        return lambda: convolve(x, w, padding=1)

    return make


# --------------------------------------------------------------------------------- memory-bound


def _elementwise(s: Session) -> Iterator[Case]:
    for rows, width in [(24, 64)] if s.tiny else [(4680, 1536), (18720, 1536), (262144, 1536)]:
        for name, (streams, make) in _memory_bound(s, rows, width).items():
            about = {"kind": "elementwise", "dtype": "bf16", "rows": rows, "width": width}
            yield _case(s, f"{name}/{rows}x{width}", make, about | {"operator": name, "streams": streams})


def _memory_bound(s: Session, rows: int, width: int) -> dict[str, tuple[int, Callable[[], Work]]]:
    """Each operation, how many activations it reads and writes, and what makes it."""

    def one(function: Callable[[torch.Tensor], Any]) -> Callable[[], Work]:
        def make() -> Work:
            x = randn(s, rows, width, dtype=torch.bfloat16)
            return lambda: function(x)

        return make

    def added() -> Work:
        x, y = (randn(s, rows, width, dtype=torch.bfloat16) for _ in range(2))
        return lambda: x + y

    def grouped() -> Work:
        x = randn(s, 1, width, rows, dtype=torch.bfloat16)
        return lambda: F.group_norm(x, 32)

    return {
        "layer_norm": (2, one(lambda x: F.layer_norm(x, x.shape[-1:]))),
        "rms_norm": (2, one(lambda x: F.rms_norm(x, x.shape[-1:]))),
        "group_norm": (2, grouped),
        "softmax": (2, one(lambda x: F.softmax(x, dim=-1))),
        "silu": (2, one(F.silu)),
        "gelu": (2, one(lambda x: F.gelu(x, approximate="tanh"))),
        "scale": (2, one(lambda x: x * 1.5)),
        "add": (3, added),
        "transpose": (2, one(lambda x: x.t().contiguous())),
    }


# -------------------------------------------------------------------------- copies and launches


def _copies(s: Session) -> Iterator[Case]:
    for size in (1 << 12,) if s.tiny else (1 << 12, 1 << 20, 64 << 20, 1 << 30):
        about = {"kind": "copy", "bytes": size}
        yield _case(s, f"copy/DtoD/{size}", _copy(s, size), about | {"within": True})
        if s.cuda:
            limit = size / s.machine.bus if s.machine.bus else None
            predicted = {"flops": 0.0, "bytes": size, "limit_s": limit, "expected_s": None, "bound": "host link"}
            for where in ("HtoD", "DtoH"):
                for pinned in (True, False):
                    name = f"copy/{where}/{'pinned' if pinned else 'pageable'}/{size}"
                    yield Case(name, predicted, _copy(s, size, where, pinned), about)


def _copy(s: Session, size: int, where: str = "DtoD", pinned: bool = False) -> Callable[[], Work]:
    def make() -> Work:
        on = torch.randint(0, 256, (size,), dtype=torch.uint8, device=s.device)
        if where == "DtoD":
            other = torch.empty_like(on)
            return lambda: other.copy_(on)
        host = torch.randint(0, 256, (size,), dtype=torch.uint8)
        host = host.pin_memory() if pinned else host
        to, source = (on, host) if where == "HtoD" else (host, on)
        return lambda: to.copy_(source, non_blocking=pinned)

    return make


def _launches(log: Log) -> None:
    """What it costs to launch: eagerly, and as a node of a graph."""
    s, kernel = log.session, log.session.machine.kernels.table.kernel
    predicted = {"limit_s": None, "expected_s": kernel.value * 1e-6, "source": kernel.source}
    for name in ("launch/host", "launch/graph-node", "launch/graph"):
        if s.wanted(name):
            log.predict(name, predicted, kind="launch")
    x, count = randn(s, 1), 20 if s.tiny else LAUNCHES
    for name in log.todo([name for name in log.rows if name.startswith("launch/")]):
        if name != "launch/host" and not s.cuda:
            log.refuse(name, "CUDA graphs need a CUDA device.")
        elif name == "launch/host":
            log.measure(name, [_host(s, x, count) for _ in range(s.samples)], launches=count)
        else:
            log.measure(name, _graph(s, x, 1 if name == "launch/graph" else count))
    log.save()


@torch.inference_mode()
def _host(s: Session, x: torch.Tensor, count: int) -> float:
    settle(s)
    start = time.perf_counter()
    for _ in range(count):
        x.add_(1.0)
    taken = time.perf_counter() - start
    settle(s)
    return taken / count


def _graph(s: Session, x: torch.Tensor, nodes: int) -> list[float]:
    """Seconds of a node of many, between events; of one node, waited for, by the host's clock."""
    graph = torch.cuda.CUDAGraph()
    x.add_(1.0)
    settle(s)
    with torch.cuda.graph(graph):
        for _ in range(nodes):
            x.add_(1.0)
    for _ in range(WARM):
        graph.replay()
    found = []
    for _ in range(s.samples):
        settle(s)
        clock, start = time.perf_counter(), mark(s)
        graph.replay()
        end = mark(s)
        settle(s)
        found.append(time.perf_counter() - clock if nodes == 1 else between(start, end) / nodes)
    return found
