"""Module paths in a trace: forward hooks that open a range `mod::<path>` around every call of a module.

A range is opened by the cheapest call that torch has (`_RecordFunctionFast`), a tenth of `record_function`;
`trace.py` gives it the category of an annotation when the file is written. A compiled module is one range: hooks
inside it would be traced by Dynamo, so they are not set there, and do nothing where one is being compiled.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.compiler import is_compiling
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from ..annotations import module_of, module_range

_Range: Any = torch._C._profiler._RecordFunctionFast
Roots = Mapping[str, nn.Module]


def hookable(module: nn.Module, path: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, nn.Module]]:
    """(path, module) as `named_modules` has them, a shared module once, and nothing inside compiled ones."""
    seen = set() if seen is None else seen
    if id(module) in seen:
        return
    seen.add(id(module))
    yield path, module
    if is_compiled(module):
        return
    for name, child in module.named_children():
        yield from hookable(child, f"{path}.{name}" if path else name, seen)


def is_compiled(module: nn.Module) -> bool:
    """Whether a call of the module runs code that was compiled as a whole."""
    return (
        type(module).__name__ == "OptimizedModule"
        or getattr(module, "_compiled_call_impl", None) is not None
        or isinstance(module, torch.jit.ScriptModule)
    )


class ModuleHooks:
    """Ranges for the modules of some roots, or, without roots, for every module that is called.

    A root given under the name "" has the name of its class and lends its children no prefix: their paths are
    those of `named_modules`. Without roots the outermost module that is called is a root, named by its class.
    """

    def __init__(self, roots: list[tuple[str, nn.Module]] | None = None) -> None:
        self.roots = roots
        self.names: dict[int, tuple[weakref.ref[nn.Module], str]] = {}
        self._classes: dict[str, int] = {}
        self._handles: list[Any] = []
        self._wrapped: list[tuple[nn.Module, Any]] = []
        self._local = threading.local()

    def __enter__(self) -> ModuleHooks:
        if self.roots is None:
            self._handles += [
                register_module_forward_pre_hook(self._enter_any),
                register_module_forward_hook(self._leave, always_call=True),
            ]
            return self
        for prefix, root in self.roots:
            for path, module in hookable(root, prefix):
                if id(module) not in self.names:
                    self._name(module, path or _class(root))
                    self._hook(module)
        return self

    def __exit__(self, *error: Any) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for module, before in self._wrapped:
            module._compiled_call_impl = before
        self._wrapped.clear()
        for _, opened in reversed(self._stack()):  # what an interrupt left open
            opened.__exit__(None, None, None)
        self._local = threading.local()

    @property
    def paths(self) -> list[str]:
        """The paths of all modules with a name."""
        return [module_of(name) for _, name in self.names.values()]

    def _name(self, module: nn.Module, path: str) -> None:
        self.names[id(module)] = (weakref.ref(module), module_range(path))

    def _hook(self, module: nn.Module) -> None:
        if getattr(module, "_compiled_call_impl", None) is not None:
            self._wrap(module)
            return
        self._handles.append(module.register_forward_pre_hook(self._enter))
        self._handles.append(module.register_forward_hook(self._leave, always_call=True))

    def _wrap(self, module: nn.Module) -> None:
        """A module compiled in place calls its compiled code first: hooks of its own would be part of that."""
        before, name = module._compiled_call_impl, self.names[id(module)][1]

        def call(*args: Any, **kwargs: Any) -> Any:
            if is_compiling():
                return before(*args, **kwargs)
            with _Range(name):
                return before(*args, **kwargs)

        module._compiled_call_impl = call
        self._wrapped.append((module, before))

    def _stack(self) -> list[tuple[nn.Module, Any]]:
        stack: list[tuple[nn.Module, Any]] | None = getattr(self._local, "stack", None)
        if stack is None:
            stack = self._local.stack = []
        return stack

    def _enter(self, module: nn.Module, args: Any) -> None:
        if is_compiling():
            return
        opened = _Range(self.names[id(module)][1])
        opened.__enter__()
        try:
            self._local.stack.append((module, opened))
        except AttributeError:  # the first call in this thread
            self._local.stack = [(module, opened)]

    def _enter_any(self, module: nn.Module, args: Any) -> None:
        if is_compiling():
            return
        known = self.names.get(id(module))
        if known is None or known[0]() is not module or not self._stack():
            self._name_any(module)
        self._enter(module, args)

    def _name_any(self, module: nn.Module) -> None:
        """Name a module that is called outside of all others, with all inside it, or one that came later."""
        stack = self._stack()
        known = self.names.get(id(module))
        is_known = known is not None and known[0]() is module
        if stack:
            self._name(module, f"{self._path(stack[-1][0])}.{_class(module)}")
            return
        if is_known:
            return
        kind = _class(module)
        number = self._classes.get(kind, 0)
        self._classes[kind] = number + 1
        for path, inner in hookable(module, f"{kind}_{number}" if number else kind):
            self._name(inner, path)

    def _path(self, module: nn.Module) -> str:
        return module_of(self.names[id(module)][1])

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if is_compiling():
            return
        stack = self._stack()
        if stack and stack[-1][0] is module:  # as good as always
            stack.pop()[1].__exit__(None, None, None)
            return
        if not any(owner is module for owner, _ in stack):
            return  # another hook failed before ours had begun
        while stack:
            owner, opened = stack.pop()
            opened.__exit__(None, None, None)
            if owner is module:
                return


def _class(module: nn.Module) -> str:
    inner = getattr(module, "_orig_mod", module) if type(module).__name__ == "OptimizedModule" else module
    return type(inner).__name__


def roots_of(model: Any) -> list[tuple[str, nn.Module]] | None:
    """The modules that a user wants named: a module, a mapping or list of them, a diffusers pipeline; None for all.

    Raises `ValueError`, a sentence, for anything else.
    """
    if model is None:
        return None
    if isinstance(model, nn.Module):
        return [("", model)]
    parts = getattr(model, "components", model)  # of a diffusers pipeline
    if isinstance(parts, Mapping):
        found = [(str(name), part) for name, part in parts.items() if isinstance(part, nn.Module)]
    elif isinstance(parts, (list, tuple)):
        found = [("", part) for part in parts if isinstance(part, nn.Module)]
    else:
        found = []
    if not found:
        raise ValueError(f"profile takes a module, a mapping of modules or a pipeline, not a {type(model).__name__}")
    return found
