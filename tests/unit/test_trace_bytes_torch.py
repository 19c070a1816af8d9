"""Bytes and FLOPs of operators against torch itself: its schemas, its tensors, its counter of FLOPs."""

from __future__ import annotations

import pytest
from test_trace_shapes import counted, given, meta

from frameroof.dtypes import TABLE
from frameroof.trace.resolve.operator_cost import cost
from frameroof.trace.resolve.recorded_inputs import Inputs
from frameroof.trace.resolve.written_only import OVERLOADS

torch = pytest.importorskip("torch")
NAMES = {getattr(torch, dtype.torch[0]): dtype.trace[0] for dtype in TABLE if dtype.torch and dtype.trace}
CODES = {getattr(torch, dtype.torch[0]): dtype.codes[0] for dtype in TABLE if dtype.torch and dtype.codes}


def sign(argument):
    """How `written_only` writes an argument of a schema."""
    kind = str(argument.type)
    if "Tensor" not in kind:
        return "-"
    if "List" in kind:
        return "l"
    return "o" if argument.is_out else "?" if "Optional" in kind else "t"


def test_overloads_are_those_of_torch():
    """Every one in the table is one of torch's, unless this torch lacks the operator; no other call looks like it."""
    known = {}
    for schema in torch._C._jit_get_all_schemas():
        if schema.name.startswith("aten::"):
            outs = any(argument.is_out for argument in schema.arguments)
            known.setdefault(schema.name[6:], []).append((outs, "".join(map(sign, schema.arguments))))
    wrong = []
    for arguments, names in OVERLOADS.items():
        for name in names.split():
            here = known.get(name, [(True, arguments)])
            if (True, arguments) not in here or (False, arguments.replace("o", "t")) in here:
                wrong.append((name, arguments))
    assert not wrong


def text(value):
    """A value as the profiler writes it."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(text, value)) + "]"
    if isinstance(value, torch.dtype):
        return str(CODES[value])
    return str(value) if isinstance(value, (bool, int, float)) else ""


def recorded(func, args, kwargs):
    """The inputs of a call as the profiler records them: all of its schema's arguments, in order."""
    dims, types, values = [], [], []
    for at, argument in enumerate(func._schema.arguments):
        value = kwargs.get(argument.name, args[at] if at < len(args) else argument.default_value)
        if isinstance(value, torch.Tensor):
            dims.append(tuple(value.shape))
            types.append(NAMES[value.dtype])
        elif isinstance(value, (list, tuple)) and any(isinstance(each, torch.Tensor) for each in value):
            dims.append(tuple(tuple(each.shape) for each in value))
            types.append("TensorList")
        else:
            dims.append(())
            types.append("" if value is None else "ScalarList" if isinstance(value, (list, tuple)) else "Scalar")
        values.append("" if isinstance(value, torch.Tensor) else text(value))
    return Inputs(tuple(dims), tuple(types), tuple(values), 4)


def tensors(*given):
    for each in given:
        if isinstance(each, torch.Tensor):
            yield each
        elif isinstance(each, (list, tuple)):
            yield from tensors(*each)


def size(found):
    return sum(each.numel() * each.element_size() for each in found if each.dim())


def true_bytes(func, args, kwargs):
    """Inputs read, and results and what is changed written; run on tensors without data."""
    read, written = [], []
    for at, argument in enumerate(func._schema.arguments):
        value = kwargs.get(argument.name, args[at] if at < len(args) else None)
        changed = argument.alias_info is not None and argument.alias_info.is_write
        (written if argument.is_out else read).extend(tensors(value))
        written.extend(tensors(value) if changed and not argument.is_out else ())
    held = [*read, *written]
    written += [t for t in tensors(func(*args, **kwargs)) if not any(t is other for other in held)]
    return size(read) + size(written)


def calls():
    """(operator, arguments, keywords) of many families, in several types."""
    aten, kinds = torch.ops.aten, (torch.float32, torch.bfloat16, torch.int64, torch.bool)
    x, y = {t: meta(6, 8).to(t) for t in kinds}, {t: meta(8).to(t) for t in kinds}
    image, f = meta(2, 4, 9, 11), x[torch.float32]
    for name in ("add", "sub", "mul", "div", "eq", "lt", "ge", "ne", "maximum", "minimum", "remainder", "pow"):
        op = getattr(aten, name)
        overload = next(getattr(op, o) for o in ("Tensor", "Tensor_Tensor", "default") if o in op.overloads())
        for a in kinds:
            for b in kinds:
                if not (name in ("sub", "remainder", "pow") and torch.bool in (a, b)):
                    yield overload, (x[a], y[b]), {}
    for name in "exp sqrt neg abs relu silu gelu tanh sigmoid rsqrt cos isnan logical_not log1p square sgn".split():
        yield getattr(aten, name).default, (f,), {}
        yield getattr(aten, name).default, (x[torch.bfloat16],), {}
        if hasattr(getattr(aten, name), "out") and name != "isnan":
            yield (
                getattr(aten, name).out,
                (f,),
                {"out": meta(6, 8).to(torch.bool if name == "logical_not" else f.dtype)},
            )
    for name, more in (("add_", (f,)), ("mul_", (y[torch.float32],)), ("relu_", ()), ("clamp_", (0, 1))):
        op = getattr(aten, name)
        yield getattr(op, "Tensor" if more and isinstance(more[0], torch.Tensor) else "default"), (f, *more), {}
    for op, more in (
        (aten.sum.dim_IntList, ([1],)), (aten.mean.dim, ([0],)), (aten.amax.default, ([1], True)),
        (aten.argmax.default, (1,)), (aten.any.dim, (1,)), (aten.max.dim, (1,)), (aten.cumsum.default, (1,)),
        (aten.sort.default, (1,)), (aten.topk.default, (3, 1)), (aten._softmax.default, (1, False)),
        (aten._log_softmax.default, (1, False)), (aten.tril.default, ()), (aten.flip.default, ([0],)),
        (aten.repeat.default, ([2, 3],)), (aten.constant_pad_nd.default, ([1, 2],)), (aten.glu.default, (1,)),
        (aten.clone.default, ()), (aten.native_dropout.default, (0.5, True)), (aten.where.self, (f, f)),
        (aten._to_copy.default, ()), (aten.linalg_vector_norm.default, (2, [1])), (aten.lerp.Scalar, (f, 0.5)),
        (aten.addcmul.default, (f, f)), (aten.masked_fill.Scalar, (x[torch.bool], 0.0)), (aten.mm.default, (f.t(),)),
    ):  # fmt: skip
        yield op, (x[torch.bool], *more) if op is aten.where.self else (f, *more), {}
    yield aten._to_copy.default, (f,), {"dtype": torch.bfloat16}
    yield aten.cat.default, ([f, f],), {}
    yield aten.cat.out, ([f, f],), {"out": meta(12, 8)}
    yield aten.mm.out, (f, f.t()), {"out": meta(6, 6)}
    yield aten.addmm.out, (meta(6), f, f.t()), {"out": meta(6, 6)}
    yield aten.bmm.default, (meta(2, 3, 4), meta(2, 4, 5)), {}
    yield aten.mul.out, (f, x[torch.bfloat16]), {"out": meta(6, 8).to(torch.bfloat16)}
    yield aten._int_mm.default, (meta(32, 16).to(torch.int8), meta(16, 8).to(torch.int8)), {}
    yield aten.upsample_nearest2d.default, (image, [18, 22]), {}
    yield aten.upsample_bilinear2d.vec, (image, None, False, [2.0, 2.0]), {}
    yield aten.avg_pool2d.default, (image, [3, 3], [2, 2], [1, 1]), {}
    yield aten.max_pool2d_with_indices.default, (image, [3, 3], [2, 2]), {}
    yield aten._adaptive_avg_pool2d.default, (image, [3, 2]), {}
    yield aten.im2col.default, (image, [3, 3], [1, 1], [1, 1], [2, 2]), {}
    yield aten._foreach_add.List, ([f, y[torch.float32]], [f, y[torch.float32]]), {}
    yield aten._foreach_mul_.Scalar, ([f, y[torch.float32]], 2.0), {}
    yield aten.threshold_backward.default, (f, f, 0), {}
    yield aten.gelu_backward.default, (f, f), {}
    yield aten._softmax_backward_data.default, (f, f, 1, torch.float32), {}
    yield aten._fft_r2c.default, (f, [1], 0, True), {}
    yield aten._fft_c2c.default, (f.to(torch.complex64), [1], 0, True), {}


def test_bytes_are_those_of_torch_s_tensors():
    wrong, seen = [], 0
    for func, args, kwargs in calls():
        found = cost(func._schema.name, recorded(func, args, kwargs))
        true = true_bytes(func, args, kwargs)
        seen += 1
        if found is None or found.bytes != true:
            wrong.append((str(func), [(t.dtype, tuple(t.shape)) for t in tensors(args)], true, found))
    assert seen > 200
    assert not wrong


@pytest.mark.parametrize("mask", [[True, True, True], [True, False, False], [False, True, False]])
@pytest.mark.parametrize(("groups", "transposed"), [(1, False), (2, False), (1, True)])
def test_gradients_of_convolutions_as_torch_counts_them(mask, groups, transposed):
    """As often as its FLOPs as gradients are wanted; torch's counter takes groups apart where there are none, too."""
    x, w = meta(2, 6, 17, 13), meta(*((6, 8, 3, 3) if transposed else (8, 6 // groups, 3, 3)))
    numbers = ([2, 2], [1, 1], [1, 1], transposed, [0, 0], groups)
    forward = torch.convolution(x, w, None, *numbers)
    want = counted(lambda: torch.convolution(x, w, None, *numbers)) * sum(mask[:2])
    if groups == 1 and not transposed:
        run = torch.ops.aten.convolution_backward
        assert counted(lambda: run(forward, x, w, [8], *numbers, mask)) == want
    values = ["", "", "", "[8]", *map(text, numbers), text(mask)]
    found = cost(
        "aten::convolution_backward",
        given([list(forward.shape), list(x.shape), list(w.shape), *[[]] * 8], None, values),
    )
    read = forward.numel() + mask[0] * w.numel() + mask[1] * x.numel()
    made = mask[0] * x.numel() + mask[1] * w.numel() + mask[2] * 8
    assert (found.flops, found.bytes) == (want, 4 * (read + made))
