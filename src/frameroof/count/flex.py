"""`torch.nn.attention.flex_attention` as one attention, with the pairs of a query and a key that its mask leaves.

PyTorch refuses it on meta tensors, and off a GPU it makes the whole matrix of scores. Here its own checks run, and then
an operator of ours stands for the kernel. `masks` counts what is left. A block mask is made once for many steps: making
one is neither done nor counted, and on which device it was asked for does not matter.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch.library import Library
from torch.nn.attention import flex_attention as flex
from torch.utils._python_dispatch import _disable_current_modes

from . import masks

UNKNOWN = "flex_attention: what a mask keeps depends on values that are not known; its limit assumes that it keeps none"
SOME = (
    "flex_attention: some rows of a large mask are counted, and the rest taken to keep as many as the one that keeps "
    "fewest of those near by"
)
MADE = "flex_attention: making a block mask is not counted; it is made once for many steps"

_LIBRARY = Library("frameroof", "FRAGMENT")
_LIBRARY.define(
    "flex_attention(Tensor q, Tensor k, Tensor v, Tensor[] bias, int[] dims, int twice_pairs, str align, bool[] asked)"
    " -> Tensor[]"
)


def _made(q: Any, k: Any, v: Any, bias: Any, dims: Any, twice_pairs: int, align: str, asked: Any) -> list[torch.Tensor]:
    """The output, its dimensions in memory in the order of the queries', and the statistics that are asked for."""
    order = sorted(range(4), key=q.stride, reverse=True)
    shape = (dims[0], dims[1], dims[3], dims[6])
    out = q.new_empty([shape[d] for d in order]).permute([order.index(d) for d in range(4)])
    return [out, *(out.new_empty(shape[:-1], dtype=torch.float32) for wanted in asked if wanted)]


_LIBRARY.impl("flex_attention", _made, "Meta")
OPERATOR = torch.ops.frameroof.flex_attention.default
NAMES = ("b", "heads", "kv_heads", "q", "kv", "d", "dv")
ALL = -1  # pairs, where there is no mask


def rule(args: Any, kwargs: Any, out: Any) -> tuple[str, dict[str, int], dict[str, Any]]:
    """Kind, sizes and attributes of a recorded call."""
    dims, pairs, align = args[4:7]
    found = dict(zip(NAMES, dims, strict=True))
    if align:
        return "attention", found, {"causal": True, "align": align}
    return "attention", found | ({} if pairs == ALL else {"twice_pairs": pairs}), {"causal": False}


@contextmanager
def flex_attention_recorded(notes: dict[str, None]) -> Iterator[None]:
    """Within, `flex_attention` and `create_block_mask` run without data, however they were imported or compiled.

    `notes` is told what was assumed.
    """
    takes = {"flex_attention": _Attention(notes), "create_block_mask": _Masks(notes)}
    before = {name: getattr(flex, name).__code__ for name in takes}
    outer = vars(flex).get(_TAKEN)
    vars(flex)[_TAKEN] = takes
    for name in takes:
        getattr(flex, name).__code__ = _CODES[name]
    try:
        yield
    finally:
        for name, code in before.items():
            getattr(flex, name).__code__ = code
        vars(flex)[_TAKEN] = outer


_taken_by_frameroof: dict[str, Any] = {}
_TAKEN = "_taken_by_frameroof"
_CODES = {
    "flex_attention": (lambda *args, **kwargs: _taken_by_frameroof["flex_attention"](*args, **kwargs)).__code__,
    "create_block_mask": (lambda *args, **kwargs: _taken_by_frameroof["create_block_mask"](*args, **kwargs)).__code__,
}
"""What the two functions run meanwhile, in the module of theirs, where `_TAKEN` is put."""

_ORIGINAL = {name: getattr(flex, name) for name in ("flex_attention", "create_block_mask")}
_CODE = {name: function.__code__ for name, function in _ORIGINAL.items()}
_SIGNATURE = {name: inspect.signature(function) for name, function in _ORIGINAL.items()}


def _with(name: str, **replaced: Any) -> Callable[..., Any]:
    """PyTorch's own function, with some of the names that it uses replaced."""
    own = _ORIGINAL[name]
    made = FunctionType(_CODE[name], {**vars(flex), **replaced}, name, own.__defaults__)
    made.__kwdefaults__ = own.__kwdefaults__
    return made


class _Masks:
    """`create_block_mask` without its dense mask: the function that says what it keeps is enough."""

    def __init__(self, notes: dict[str, None]) -> None:
        self.notes = notes

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = _SIGNATURE["create_block_mask"].bind(*args, **kwargs)
        given.apply_defaults()
        given.arguments.update(device="meta", **({"_compile": False} if "_compile" in given.arguments else {}))
        self.notes[MADE] = None
        make = _with("create_block_mask", create_mask=_blank)
        with _disable_current_modes():
            made = make(*given.args, **given.kwargs)
        masks.follows_function(made)
        return made


def _blank(function: Any, b: int | None, h: int | None, q: int, kv: int, device: Any = None) -> torch.Tensor:
    return torch.empty((b or 1, h or 1, q, kv), dtype=torch.bool, device="meta")


def _all(q: torch.Tensor, k: torch.Tensor) -> Any:
    with _disable_current_modes():
        return flex._create_empty_block_mask(q, k)


class _Attention:
    """`flex_attention` with its own checks, and our operator in place of its kernel."""

    def __init__(self, notes: dict[str, None]) -> None:
        self.notes = notes

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = _SIGNATURE["flex_attention"].bind(*args, **kwargs)
        mask = given.arguments.get("block_mask")
        if mask is not None:
            with _disable_current_modes():
                given.arguments["block_mask"] = mask.to("meta")
        aux = given.arguments.get("return_aux")
        lse = bool(given.arguments.get("return_lse") or getattr(aux, "lse", False))
        self.asked = lse, bool(getattr(aux, "max_scores", False))

        def kernel(q: Any, k: Any, v: Any, score_mod: Any, *more: Any, **options: Any) -> Any:
            return self.kernel((q, k, v), score_mod, mask)

        run = _with(
            "flex_attention",
            flex_attention_hop=kernel,
            _validate_device=lambda *tensors: None,
            _create_empty_block_mask=_all,
            _FLEX_ATTENTION_DISABLE_COMPILE_DEBUG=True,  # called as it is, not compiled
        )
        return run(*given.args, **given.kwargs)

    def kernel(self, qkv: tuple[torch.Tensor, ...], score_mod: Any, mask: Any) -> tuple[Any, Any, Any]:
        """Output, log-sum-exp and largest scores: the latter two empty unless they are asked for."""
        q, k, v = qkv
        b, heads, tokens, d = q.shape
        dims = [b, heads, k.shape[1], tokens, k.shape[2], d, v.shape[-1]]
        bias = [x[..., :tokens, : k.shape[2]] for x in masks.tensors_of(score_mod) if x.dim() > 2]
        left = None if mask is None else masks.left_by(mask, dims)
        pairs, align = ALL, ""
        if mask is not None:
            if left is None or not left.exact:
                self.notes[SOME if left else UNKNOWN] = None
            left = left or masks.NOTHING
            pairs, align = left.twice_pairs, left.align
            q, k, v = q[:, :, : left.queries], k[:, :, : left.keys], v[:, :, : left.keys]
        found = OPERATOR(q, k, v, bias, dims, pairs, align, list(self.asked))
        statistics = iter(found[1:])
        lse, largest = (next(statistics) if wanted else found[0].new_empty(0) for wanted in self.asked)
        return found[0], lse, largest
