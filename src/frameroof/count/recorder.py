"""Run a module's forward on meta tensors and write down every operation that it performs.

Inference mode lets the recorder see composite operations whole (linear, matmul, attention, norms)
before they fall apart; those without a rule are decomposed until a rule is found.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..dtypes import name_of
from . import known, rules, values
from .causal import causal_biases
from .ends import Ends, ends_refused
from .flex import flex_attention_recorded
from .given import NESTED
from .left import all_of, left_behind
from .meta import autocast_on_meta, nothing_compiled, run_on_meta
from .operands import RawTensor, changed, only_given, operands, raw_of

_HEADS = ("heads", "num_heads", "num_attention_heads", "n_heads", "n_head")
_NORM_CLASS = re.compile(r"(layer|group|rms|batch|instance)_?norm", re.IGNORECASE)

_DROPOUTS = ("dropout", "dropout_p", "attention_dropout", "attn_dropout", "activation_dropout")  # attributes

_WHOLE: set[Any] = set()  # operations that are known to have no decomposition to try


@dataclass(slots=True)
class RawOp:
    """One operation at one size, at call `visit` of its module and place `slot` within that call."""

    path: str
    visit: int
    slot: int
    kind: str
    name: str
    reads: list[RawTensor]
    writes: list[RawTensor]
    dims: dict[str, int]
    attrs: dict[str, Any]
    pointwise: bool
    held: tuple[int, int] = (0, 0)
    region: int = 0


@dataclass(slots=True)
class Storage:
    """One allocation: its size and when it lives, in operation indices."""

    elements: int
    dtype: str
    born: int
    last: int
    by: tuple[int, int] | None  # (operation, which output or -1 for a bare allocation); None when given
    shape: tuple[int, ...] = ()
    fixed: bool = False  # weights and small constant buffers: not part of the activations


@dataclass
class Trace:
    """Everything one forward did at one size."""

    ops: list[RawOp] = field(default_factory=list)
    storages: list[Storage] = field(default_factory=list)
    uncounted: dict[str, int] = field(default_factory=dict)
    params: dict[str, int] = field(default_factory=dict)
    outputs: set[int] = field(default_factory=set)
    heads: dict[str, int] = field(default_factory=dict)
    buffers: set[int] = field(default_factory=set)
    tables: set[int] = field(default_factory=set)  # constant buffers
    tables_held: bool = False  # whether they are large enough to count
    notes: dict[str, None] = field(default_factory=dict)  # what was assumed, in order, without repeats


class CannotCount(ValueError):
    """A module that does not run on meta tensors; the message says which line."""


class Recorder(TorchDispatchMode):
    """Records into `trace` while active; use `record`."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.trace = Trace()
        self.names = {id(m): name for name, m in module.named_modules()}
        self.frames: list[list[Any]] = [["", 0, 0, False, None]]  # path, visit, next slot, inside a norm, module
        self.visits: dict[str, int] = {}
        self.heads: dict[str, int] = {}
        self._uid: dict[int, int] = {}
        self._writer: dict[int, int] = {}
        self._weights: set[int] = set()
        self._alive: list[Any] = []  # storages stay referenced: a freed one's address would be used again
        for parameter in module.parameters():
            self._weights.add(self._adopt(parameter, fixed=True))
        for buffer in module.buffers():
            self.trace.buffers.add(self._adopt(buffer, fixed=True))
        self._weights |= self.trace.buffers
        for parameter in module.parameters():
            name = name_of(parameter.dtype)
            self.trace.params[name] = self.trace.params.get(name, 0) + parameter.numel()

    # --- where we are -------------------------------------------------------------------------

    def enter(self, module: nn.Module, args: Any) -> None:
        """Forward pre-hook: operations belong to this module from now on."""
        path = self.names.get(id(module), type(module).__name__)
        visit = self.visits.get(path, 0)
        if visit == 0:
            self.heads[path] = next((h for n in _HEADS if type(h := vars(module).get(n)) is int), 0)
        self.visits[path] = visit + 1
        norm = bool(_NORM_CLASS.search(type(module).__name__)) and not any(True for _ in module.children())
        self.frames.append([path, visit, 0, norm, module])

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        """Forward hook: back to the caller, also after an exception that the caller catches."""
        at = next((i for i in range(len(self.frames) - 1, 0, -1) if self.frames[i][4] is module), None)
        if at is not None:  # what stands above it was left by exceptions
            del self.frames[at:]

    # --- values -------------------------------------------------------------------------------

    def _adopt(self, tensor: torch.Tensor, fixed: bool = False, by: tuple[int, int] | None = None) -> int:
        key = tensor.untyped_storage()._cdata
        now = len(self.trace.ops)
        uid = len(self.trace.storages)
        self._uid[key] = uid
        self._alive.append(tensor.untyped_storage())
        elements = tensor.untyped_storage().nbytes() // max(1, tensor.element_size())
        self.trace.storages.append(
            Storage(
                elements,
                name_of(tensor.dtype),
                -1 if by is None else now,
                now,
                by,
                tuple(tensor.shape),
                fixed,
            )
        )
        self._writer[uid] = -1 if by is None or by[1] < 0 else now
        return uid

    def _raw(self, tensor: torch.Tensor) -> RawTensor:
        if tensor.is_nested:
            raise NotImplementedError(NESTED)
        key = tensor.untyped_storage()._cdata
        uid = self._uid.get(key)
        if uid is None:
            uid = self._adopt(tensor)
        self.trace.storages[uid].last = len(self.trace.ops)
        value = (uid, self._writer[uid])
        weight = uid in self._weights and value[1] < 0  # a buffer that the forward has written is none
        return raw_of(tensor, name_of(tensor.dtype), value, weight)

    # --- operations ---------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in values.ASKING:
            answer = values.assumed(args[0])
            if answer is not None:
                self.trace.notes[answer[1]] = None
                return answer[0]
        found = known.answer(func, args, kwargs)
        if found is not known.MISSING:
            self.trace.notes[known.note_of(args, kwargs)] = None
            return found
        func, args, kwargs = known.chosen(func, args, kwargs)
        if func not in _WHOLE and not rules.is_known(rules.plain(func)) and func.namespace != "prim":
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        _WHOLE.add(func)
        inputs = known.tensors(args, {name: value for name, value in kwargs.items() if name != "out"})
        reads = [self._raw(t) for t in inputs]
        given = known.tensors(kwargs.get("out"))  # written, not read
        inputs += [t for t in given if self._raw(t)]
        if func is rules.aten.scaled_dot_product_attention.default:
            out = _attention_output(*args[:3])
        else:
            out = run_on_meta(func, args, kwargs)
        known.follow(func, args, kwargs, inputs, out)
        known.spread(func, args, out)
        outputs = known.tensors(out)
        if any(t.is_nested for t in outputs):
            raise NotImplementedError(NESTED)
        self._note(func, (args, kwargs, out), inputs, reads, outputs)
        return out

    def _uncounted(self, func: Any) -> None:
        self.trace.uncounted[str(func)] = self.trace.uncounted.get(str(func), 0) + 1

    def _note(self, func: Any, call: Any, inputs: list[Any], reads: list[RawTensor], outputs: list[Any]) -> None:
        mutates = func._schema.is_mutable
        if mutates and not outputs:  # a list operation, or one of somebody's own: it returns nothing
            outputs = changed(func, call[0], call[1])
        known = {t.untyped_storage()._cdata for t in inputs}
        fresh = [t for t in outputs if t.untyped_storage()._cdata not in known]
        if rules.moves_nothing(func) or not outputs or not any(t.numel() for t in outputs):
            for tensor in fresh:
                self._adopt(tensor, by=(len(self.trace.ops), -1))
            return
        if not fresh and not mutates:
            return  # a view
        func = rules.plain(func)
        kind, dims, attrs = rules.classify(func, *call)
        name = rules.base_name(func)
        if kind == "other":
            self._uncounted(func)
        now = len(self.trace.ops)
        frame = self.frames[-1]
        if kind == "matmul" and "formula" not in attrs and any(r.weight for r in reads):
            kind = "linear"
        if frame[3] and kind in ("elementwise", "reduction"):
            kind, attrs = "norm", {"part": True}
        if reads and (note := rules.note_of(name, kind, reads[0].dtype)):
            self.trace.notes[note] = None
        kept = operands(func, call[:2], kind, (reads, inputs, outputs))
        pointwise = rules.is_pointwise(func) or rules.scales_channels(name, call[0])
        op = RawOp(frame[0], frame[1], frame[2], kind, name, kept, [], dims, attrs, pointwise)
        frame[2] += 1
        targets = outputs if not mutates else [t for t in outputs if t.numel()]
        for which, tensor in enumerate(targets):
            if tensor.untyped_storage()._cdata in known:
                uid = self._uid[tensor.untyped_storage()._cdata]
                self._writer[uid] = now
            else:
                uid = self._adopt(tensor, by=(now, which))
            op.writes.append(raw_of(tensor, name_of(tensor.dtype), (uid, now)))
        only_given(name, op.reads, op.writes[0])
        self.trace.ops.append(op)


def _attention_output(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """What fused attention returns: (…, heads, tokens, head dim), laid out token by token as kernels do."""
    lead = rules.attention_lead(q.shape, k.shape, v.shape)
    if len(lead) != 2:
        return q.new_empty((*lead, q.shape[-2], v.shape[-1]))
    return q.new_empty((lead[0], q.shape[-2], lead[1], v.shape[-1])).transpose(1, 2)


@contextmanager
def _hooks(recorder: Recorder) -> Iterator[None]:
    before = nn.modules.module.register_module_forward_pre_hook(recorder.enter)
    after = nn.modules.module.register_module_forward_hook(recorder.leave, always_call=True)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        before.remove()
        after.remove()


def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Trace:
    """Run ``module(*args, **kwargs)`` on meta tensors; `CannotCount` says which line does not run there."""
    if not isinstance(module, nn.Module):
        raise CannotCount(f"the builder's first result is no nn.Module but a {type(module).__name__}")
    if not isinstance(args, tuple) or not isinstance(kwargs, dict):
        raise CannotCount("the builder's second and third results are a tuple of arguments and a dict of keywords")
    try:
        recorder = Recorder(module)
        if training := _training(module):
            recorder.trace.notes[training] = None
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, torch.Tensor):
                recorder._raw(tensor)
        with (
            torch.inference_mode(),
            torch.device("meta"),
            known.Values(recorder.trace.notes),
            autocast_on_meta(),
            causal_biases(),
            nothing_compiled(),
            ends_refused(),
            flex_attention_recorded(recorder.trace.notes),
            _hooks(recorder),
            recorder,
        ):
            out = all_of(module(*args, **kwargs))
    except (Exception, SystemExit, Ends) as error:
        raise CannotCount(f"{type(module).__name__} cannot run on meta tensors: {line_of(error)}") from error
    end = len(recorder.trace.ops)
    for tensor in left_behind(module, (args, kwargs), out):
        uid = recorder._uid.get(tensor.untyped_storage()._cdata)
        if uid is not None:
            recorder.trace.storages[uid].last = end
            recorder.trace.outputs.add(uid)
    recorder.trace.heads = recorder.heads
    return recorder.trace


def _training(module: nn.Module) -> str:
    """A sentence if the module would compute otherwise after `.eval()`; "" if not."""
    dropout, norm = nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase
    found = {
        type(m).__name__
        for m in module.modules()
        if m.training
        and (
            (isinstance(m, dropout) and m.p > 0)
            or (isinstance(m, norm) and m.track_running_stats)
            or any(isinstance(p := vars(m).get(name), float) and p > 0 for name in _DROPOUTS)
        )
    }
    if not found:
        return ""
    return f"in training mode, where {', '.join(sorted(found))} compute otherwise: call .eval() in the builder"


def line_of(error: BaseException) -> str:
    """Where an error was raised, outside of torch and of this package, and what it says."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/torch/" not in f.filename]
    frames = [f for f in frames if not f.filename.startswith("<frozen")]
    frames = [f for f in frames if "/frameroof/count/" not in f.filename] or frames
    text = str(error).strip().split("\n")[0] or type(error).__name__
    if not frames:
        return text
    last = frames[-1]
    remedy = f"; {values.REMEDY}" if values.asks_for_a_value(error) else ""
    if any(f.filename.endswith("/torch/nn/utils/rnn.py") for f in traceback.extract_tb(error.__traceback__)):
        remedy = f"; {values.PACKED}"
    return f"{last.filename}:{last.lineno} in {last.name}: `{last.line}`: {type(error).__name__}: {text}{remedy}"
