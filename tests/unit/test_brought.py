"""Modules as people bring them: every size is found, and FLOPs and what is moved are those counted by hand.

Each case is a builder, the sizes that it must admit, and formulas of its FLOPs and of the 16-bit elements that its
operations read and write, each on its own (None where a value or index of another width is among them).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.flop_counter import register_flop_formula  # noqa: E402

from frameroof import count  # noqa: E402

Formula = Callable[..., int]


class Does(nn.Module):
    """Parts by name, and a forward that is given."""

    def __init__(self, does: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self.does = does
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *given: Any) -> Any:
        return self.does(self, *given)


def at(workload: Any, sizes: Mapping[str, int]) -> tuple[int, float]:
    """FLOPs, and 16-bit elements moved by operations on their own."""
    (stage,) = workload.stages
    env = stage.bind(workload.sizes(sizes))
    ran = [(op, op.times(env)) for op in stage.ops]
    return sum(op.flops()(env) * n for op, n in ran), sum(op.bits()(env) * n for op, n in ran) / 16


# ------------------------------------------------------------------------------------------------ sizes


def to_channels_last(height: int = 8, width: int = 8):
    forward = lambda m, x: m.proj(x.permute(0, 2, 3, 1).contiguous())  # noqa: E731
    return Does(forward, proj=nn.Linear(16, 16)), (torch.empty(1, 16, height, width),), {}


def without_padding(height: int = 16, width: int = 16):
    return nn.Conv2d(3, 8, 3, bias=False), (torch.empty(1, 3, height, width),), {}


def in_time_too(frames: int = 8, side: int = 12):
    return nn.Conv3d(3, 4, 3, bias=False), (torch.empty(1, 3, frames, side, side),), {}


def halved_twice(height: int = 30, width: int = 30):
    halves = (nn.Conv2d(a, 8, 3, stride=2, padding=1, bias=False) for a in (3, 8))
    return nn.Sequential(*halves), (torch.empty(1, 3, height, width),), {}


def half(n: int) -> int:
    return -(-n // 2)


def doubled(side: int = 9):
    return nn.ConvTranspose2d(4, 4, 4, stride=2, padding=1, bias=False), (torch.empty(1, 4, side, side),), {}


def heads_apart(batch: int = 1, tokens: int = 8):
    def forward(m: Any, x: Any) -> Any:
        b, n, h, d = x.shape
        return x.permute(0, 2, 1, 3).reshape(b * h, n, d) * 2

    return Does(forward), (torch.empty(batch, tokens, 4, 16),), {}


def guided(batch: int = 1, tokens: int = 8):
    """Two passes in one batch, the result set apart again by 7 times their difference."""

    def forward(m: Any, x: Any) -> Any:
        one, other = m.proj(torch.cat([x, x])).chunk(2)
        return other + 7 * (one - other)

    return Does(forward, proj=nn.Linear(16, 16, bias=False)), (torch.empty(batch, tokens, 16),), {}


def up_to_the_table(text: int = 77):
    table = nn.Embedding(77, 16)
    forward = lambda m, x: m.proj(x + m.table.weight[: x.shape[1]])  # noqa: E731
    return Does(forward, table=table, proj=nn.Linear(16, 16, bias=False)), (torch.empty(1, text, 16),), {}


def to_a_multiple(tokens: int = 64):
    forward = lambda m, x: m.proj(F.pad(x, (0, 0, 0, -x.shape[1] % 32)))  # noqa: E731
    return Does(forward, proj=nn.Linear(8, 8, bias=False)), (torch.empty(1, tokens, 8),), {}


# ------------------------------------------------------------------------------------------------ values and devices


def autocast_on_its_device(tokens: int = 16):
    def forward(m: Any, x: Any) -> Any:
        with torch.autocast(device_type=x.device.type, enabled=False):
            angle = x.float().cumsum(1)
        return m.proj(x * angle.cos().to(x.dtype))

    return Does(forward, proj=nn.Linear(32, 32, bias=False)), (torch.empty(1, tokens, 32),), {}


def lengths_from_values(tokens: int = 16):
    def forward(m: Any, x: Any, lengths: Any) -> Any:
        parts = m.proj(x).split(lengths.tolist())
        return torch.cat([F.scaled_dot_product_attention(p[None], p[None], p[None])[0] for p in parts])

    lengths = torch.tensor([tokens // 2, tokens - tokens // 2])
    return Does(forward, proj=nn.Linear(32, 32, bias=False)), (torch.empty(tokens, 32), lengths), {}


def packed_to_padded(tokens: int = 16):
    """Sequences of a quarter and the rest, given by where they begin, padded to the longer."""

    def forward(m: Any, x: Any, begins: Any) -> Any:
        lengths = begins.diff()
        assert int(lengths.max()) == max(lengths.tolist())
        return m.proj(nn.utils.rnn.pad_sequence(x.split(lengths.tolist()), batch_first=True))

    begins = torch.tensor([0, tokens // 4, tokens])
    return Does(forward, proj=nn.Linear(8, 8, bias=False)), (torch.empty(tokens, 8), begins), {}


def every_other(tokens: int = 16):
    keep = torch.arange(2 * tokens).view(2, tokens) % 2 == 0
    forward = lambda m, x, keep: m.proj(x[keep])  # noqa: E731
    return Does(forward, proj=nn.Linear(8, 8, bias=False)), (torch.empty(2, tokens, 8), keep), {}


def positions_of_a_grid(height: int = 4, width: int = 4):
    def forward(m: Any, x: Any, grid: Any) -> Any:
        places = torch.cat([torch.arange(h * w, device=x.device) for _, h, w in grid])
        return m.proj(x + m.table(places))

    parts = {"proj": nn.Linear(8, 8, bias=False), "table": nn.Embedding(10_000, 8)}
    return Does(forward, **parts), (torch.empty(height * width, 8), torch.tensor([[1, height, width]])), {}


def by_its_own_formula(batch: int = 1, tokens: int = 256):
    if not hasattr(torch.ops.frameroof_tests, "brought"):

        @torch.library.custom_op("frameroof_tests::brought", mutates_args=())
        def operator(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a @ b

        operator.register_fake(lambda a, b: a.new_empty(*a.shape[:-1], b.shape[-1]))

        @register_flop_formula(torch.ops.frameroof_tests.brought)
        def formula(a: Any, b: Any, *_: Any, **__: Any) -> int:
            return 2 * a[0] * a[1] * a[2] * b[1]

    forward = lambda m, x: torch.ops.frameroof_tests.brought(x, m.proj.weight.mT)  # noqa: E731
    return Does(forward, proj=nn.Linear(64, 128, bias=False)), (torch.empty(batch, tokens, 64),), {}


CASES: dict[Any, tuple[dict[str, tuple[int, int | None]], Formula, Formula | None]] = {
    to_channels_last: (
        {"height": (1, None), "width": (1, None)},
        lambda height, width: 2 * height * width * 16 * 16,
        lambda height, width: 32 * height * width * (2 if height * width > 1 else 1) + 16 * 16 + 16,
    ),
    without_padding: (
        {"height": (3, None), "width": (3, None)},
        lambda height, width: 2 * 27 * 8 * (height - 2) * (width - 2),
        lambda height, width: 3 * height * width + 216 + 8 * (height - 2) * (width - 2),
    ),
    in_time_too: (
        {"frames": (3, None), "side": (3, None)},
        lambda frames, side: 2 * 81 * 4 * (frames - 2) * (side - 2) ** 2,
        lambda frames, side: 3 * frames * side**2 + 324 + 4 * (frames - 2) * (side - 2) ** 2,
    ),
    halved_twice: (
        {"height": (1, None), "width": (1, None)},
        lambda height, width: (
            2 * 27 * 8 * half(height) * half(width) + 2 * 72 * 8 * half(half(height)) * half(half(width))
        ),
        lambda height, width: (
            3 * height * width
            + 216
            + 576
            + 16 * half(height) * half(width)
            + 8 * half(half(height)) * half(half(width))
        ),
    ),
    doubled: (
        {"side": (1, None)},
        lambda side: 2 * 4 * side**2 * 4 * 16,
        lambda side: 4 * side**2 + 256 + 4 * (2 * side) ** 2,
    ),
    heads_apart: (
        {"batch": (1, None), "tokens": (1, None)},
        lambda batch, tokens: 0,
        lambda batch, tokens: 64 * batch * tokens * (4 if min(batch, tokens) > 1 else 2),
    ),
    guided: (
        {"batch": (1, None), "tokens": (1, None)},
        lambda batch, tokens: 2 * 2 * batch * tokens * 256,
        lambda batch, tokens: 16 * batch * tokens * (3 + 4 + 3 + 2 + 3) + 256,
    ),
    up_to_the_table: (
        {"text": (1, 77)},
        lambda text: 2 * text * 256,
        lambda text: 16 * text * 5 + 256,
    ),
    to_a_multiple: (
        {"tokens": (1, None)},
        lambda tokens: 2 * 32 * -(-tokens // 32) * 64,
        lambda tokens: 64 + 3 * 8 * 32 * -(-tokens // 32) + 8 * tokens,  # PyTorch copies where it adds nothing, too
    ),
    autocast_on_its_device: (
        {"tokens": (1, None)},
        lambda tokens: 2 * tokens * 32 * 32,
        # to fp32, cumulative sum, cosine, back to bf16; product; linear
        lambda tokens: 32 * tokens * (3 + 4 + 4 + 3 + 3 + 2) + 1024,
    ),
    lengths_from_values: (
        {"tokens": (2, None)},
        lambda tokens: 2 * tokens * 1024 + 4 * 32 * ((tokens // 2) ** 2 + (tokens - tokens // 2) ** 2),
        lambda tokens: 32 * tokens * (2 + 4 + 2) + 1024,
    ),
    packed_to_padded: ({"tokens": (1, None)}, lambda tokens: 2 * 2 * (tokens - tokens // 4) * 64, None),
    every_other: ({"tokens": (1, None)}, lambda tokens: 2 * tokens * 64, None),
    positions_of_a_grid: (
        {"height": (1, None), "width": (1, None)},
        lambda height, width: 2 * height * width * 64,
        None,
    ),
    by_its_own_formula: (
        {"batch": (1, None), "tokens": (1, None)},
        lambda batch, tokens: 2 * batch * tokens * 64 * 128,
        lambda batch, tokens: 64 * batch * tokens + 64 * 128 + 128 * batch * tokens,
    ),
}


@pytest.mark.parametrize("build", CASES, ids=lambda build: build.__name__)
def test_every_size_is_found_and_counted_as_by_hand(build):
    admitted, flops, moved = CASES[build]
    workload = count(build)
    assert {name: (size.lowest, size.most) for name, size in workload.params.items()} == admitted
    defaults = {name: size.default for name, size in workload.params.items()}
    asked = [defaults, {name: least for name, (least, _) in admitted.items()}]
    for more in (1, 3, 14, 45):
        asked.append({name: min(least + more, most or 10**9) for name, (least, most) in admitted.items()})
        asked += [{**defaults, name: min(least + more, most or 10**9)} for name, (least, most) in admitted.items()]
    for sizes in asked:
        found = at(workload, sizes)
        assert found[0] == flops(**sizes), sizes
        if moved is not None:
            assert found[1] == moved(**sizes), sizes


def test_the_hop_of_a_window_is_found_from_how_sizes_grow():
    """Windows of 400 samples, 160 apart: 1 + (n-400)//160 of them, each through a linear layer of 400 x 8."""

    def build(samples: int = 1600) -> Any:
        forward = lambda m, x: m.proj(x.unfold(-1, 400, 160))  # noqa: E731
        return Does(forward, proj=nn.Linear(400, 8, bias=False)), (torch.empty(1, samples),), {}

    workload = count(build)
    for samples in (1600, 1601, 1679, 1680, 1839, 1840, 3333, 16_000):
        assert at(workload, {"samples": samples})[0] == 2 * (1 + (samples - 400) // 160) * 400 * 8
