"""Every type of number there is here, in one table: its width, its order, its names elsewhere, and what it serves for.

It exists so that a type is added in one place: a row of `TABLE`. No other file lists types; what needs several of them
takes one of the tuples below. Nothing is imported: below the torch line, `getattr(torch, torch_name("bf16"))` is the
type itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Dtype(NamedTuple):
    """One type of number.

    `order` is its width among the types that matrix work computes in (None: in none); where operands differ, the
    widest counts. `torch` are its names in torch, the usual one first; `trace` those in traces of torch's profiler
    ("Input type"); `triton` its name in a Triton signature. `held` is the type that holds its elements, where it is a
    way to multiply that type, and `switch` what of torch.backends.cuda.matmul asks for it. `near` are the types whose
    peak stands for its own where a device states none, in a limit that must never be too long; `wished` is the unit
    that may do its matrix work, as `unit_of` says; `faster` the one that operands of this type must have had where
    they ran faster than its own; `counted_as` is the type at whose peak counted work is limited where a device states
    none of its own ("": that is an error); `alike` is the type whose measured products stand for its own where none
    were measured, as the same kernels multiply it; `times` says that a product in it is so many products of another.
    `codes` are its numbers in torch (`c10::ScalarType`), as traces hold an argument ``dtype``. `uses`, words:

    - ``peak``: devices state a peak for it (in TOML and `--set`); ``column``: tables of machines show it;
    - ``choice``: `--dtype` quantizes to it; ``build``: models are built in it; ``stream``: streams run in it;
    - ``probe``: the peak of a CPU in it is measured;
    - ``single``: its operands are held in fp32;
    - ``half``, ``eight``: what advice proposes instead of wider types, the first that a device has;
    - ``packed``: it holds weights of fewer bits;
    - ``place``: it holds places in a tensor, such as positions and indices.
    """

    name: str
    bits: int
    order: int | None = None
    torch: tuple[str, ...] = ()
    trace: tuple[str, ...] = ()
    triton: str = ""
    uses: str = ""
    near: tuple[str, ...] = ()
    wished: str = ""
    faster: str = ""
    held: str = ""
    switch: str = ""
    counted_as: str = ""
    alike: str = ""
    times: tuple[str, int] | None = None
    codes: tuple[int, ...] = ()


_EIGHT = ("Float8_e4m3fn", "Float8_e5m2", "Float8_e4m3fnuz", "Float8_e5m2fnuz")
TABLE = (
    Dtype("fp64", 64, 6, ("float64",), ("double", "Double"), codes=(7,)),
    Dtype(
        "fp32", 32, 5, ("float32",), ("float", "Float"), "fp32", "peak choice build stream probe single",
        near=("bf16",), wished="tf32", faster="tf32", counted_as="bf16", codes=(6,),
    ),
    Dtype(
        "tf32", 32, 4, uses="peak choice build single", near=("fp32", "bf16"), held="fp32", counted_as="fp32",
        switch="allow_tf32", alike="bf16",
    ),
    Dtype(
        "tf32x3", 32, near=("fp32", "bf16"), faster="tf32", held="fp32", counted_as="fp32", alike="bf16",
        times=("tf32", 3),
    ),
    Dtype(
        "bf16", 16, 3, ("bfloat16",), ("c10::BFloat16", "BFloat16"), "bf16",
        "peak choice build stream probe half column", near=("fp16",), codes=(15,),
    ),
    Dtype(
        "fp16", 16, 3, ("float16",), ("c10::Half", "Half"), "fp16", "peak choice build half",
        near=("bf16",), faster="fp16_acc", alike="bf16",
        codes=(5,),
    ),
    Dtype(
        "fp16_acc", 16, 2, uses="peak choice build", near=("fp16", "bf16"), held="fp16", counted_as="fp16",
        switch="allow_fp16_accumulation", alike="bf16",
    ),
    Dtype(
        "fp8", 8, 1, tuple(map(str.lower, _EIGHT)), (*(f"c10::{name}" for name in _EIGHT), *_EIGHT), "fp8e4nv",
        "peak choice eight column", near=("int8",), alike="int8", codes=(24, 23, 26, 25),
    ),
    Dtype(
        "int8", 8, 1, ("int8",), ("signed char", "Char"), "i8", "peak choice eight column", near=("fp8",), alike="fp8",
        codes=(1,),
    ),
    Dtype("fp4", 4, 0, uses="peak choice column"),
    Dtype(
        "int64", 64, None, ("int64",), ("long int", "long", "long long", "__int64", "Long"), "i64", "place", codes=(4,),
    ),
    Dtype("int32", 32, None, ("int32",), ("int", "Int"), "i32", "place", codes=(3,)),
    Dtype("int16", 16, None, ("int16",), ("short int", "short", "Short"), "i16", codes=(2,)),
    Dtype("uint8", 8, None, ("uint8",), ("unsigned char", "Byte"), "u8", "packed", codes=(0,)),
    Dtype("bool", 8, None, ("bool",), ("bool", "Bool"), "i1", codes=(11,)),
    Dtype("complex64", 64, None, ("complex64",), ("c10::complex<float>",), codes=(9,)),
    Dtype("complex128", 128, None, ("complex128",), ("c10::complex<double>",), codes=(10,)),
)  # fmt: skip
DTYPES = {dtype.name: dtype for dtype in TABLE}

TORCH, STRICT = "torch", "strict"
MATHS = (TORCH, STRICT, "tf32")
"""What multiplies operands in fp32: as PyTorch does by default, fp32 alone, or TF32 alone (`unit_of`)."""
THREEFOLD = "tf32x3"
"""What PyTorch's fused attention multiplies fp32 with (`unit_of`)."""
UNRECORDED = "bf16"
"""What products are taken to be in where their type was not recorded."""
BITS = {dtype.name: dtype.bits for dtype in TABLE}
ORDER = {dtype.name: dtype.order for dtype in TABLE if dtype.order is not None}
"""Width among the types that matrix work computes in."""


def _used(word: str) -> tuple[str, ...]:
    return tuple(dtype.name for dtype in TABLE if word in dtype.uses.split())


COMPUTED = tuple(ORDER)
"""What matrix work computes in."""
PEAKS = _used("peak")
CHOICES = _used("choice")
BUILT = tuple(sorted(_used("build"), key=BITS.__getitem__))  # narrow ones first
STREAMED = _used("stream")
PROBED = _used("probe")
HALF = _used("half")
SINGLE = _used("single")
"""What holds operands in fp32."""
EIGHT_BIT = _used("eight")
PLACES = _used("place")
COLUMNS = _used("column")

TRACE_BYTES = {name: dtype.bits // 8 for dtype in TABLE for name in dtype.trace}
"""Type names of traces -> bytes of an element."""
TRACE_TYPES = {name: dtype.name for dtype in TABLE for name in dtype.trace}
"""Type names of traces -> names here."""
CODE_BYTES = {str(code): dtype.bits // 8 for dtype in TABLE for code in dtype.codes}
"""Torch's number of a type, as traces write it -> bytes of an element."""
TRACE_NAMES = {n: d.name for d in TABLE if d.order is not None or "packed" in d.uses for n in d.trace}
"""Type names of traces -> names here, of the types that products take."""
TORCH_NAMES = {name: dtype.name for dtype in TABLE for name in dtype.torch}


def element_bytes(name: str) -> int:
    """Bytes of an element of a type as traces or torch call it; 0 for a name that is none."""
    found = DTYPES.get(TORCH_NAMES.get(name.removeprefix("torch."), ""))
    return TRACE_BYTES.get(name) or (found.bits // 8 if found else 0)


def torch_name(name: str) -> str:
    """The attribute of `torch` that holds this type. `ValueError`, a sentence, where torch has none."""
    name = held_in(name)
    if name not in DTYPES or not DTYPES[name].torch:
        raise ValueError(f"{name!r} is no type of torch's; there are {', '.join(d.name for d in TABLE if d.torch)}")
    return DTYPES[name].torch[0]


def held_in(name: str) -> str:
    """The type that holds the elements of `name`: fp32 those of tf32; its own name for most, and for unknown ones."""
    return (DTYPES[name].held if name in DTYPES else "") or name


def name_of(dtype: object) -> str:
    """The name here of one of torch's types, such as ``torch.bfloat16``. `ValueError`, a sentence, for others."""
    try:
        return TORCH_NAMES[str(dtype).removeprefix("torch.")]
    except KeyError:
        raise ValueError(f"{dtype} is a type that has no rule here; there are {', '.join(TORCH_NAMES)}") from None


def unit_of(dtype: str | None, kind: str, maths: str = TORCH) -> str:
    """The unit that does matrix work of a kind on operands of `dtype` (None: not recorded), named after its type.

    Operands in fp32 do not tell, `maths` does: PyTorch computes their convolutions in TF32 and their products in fp32
    (``torch``), unless it is told otherwise (torch.backends.cudnn.allow_tf32 and torch.backends.cuda.matmul.allow_tf32,
    as "CUDA semantics" on pytorch.org says): all of it in fp32 (``strict``) or in TF32 (``tf32``). Whatever it is told,
    its fused attention multiplies fp32 as three products in TF32 each, which keep fp32's digits
    (`OpMultiplyAddFastF32` of CUTLASS, in aten/src/ATen/native/transformers/cuda/mem_eff_attention).
    """
    dtype = dtype or UNRECORDED
    row = DTYPES.get(dtype)
    if not row or not row.wished or maths == row.wished:
        return row.wished if row and row.wished else dtype
    if kind == "attention":
        return THREEFOLD
    return row.wished if maths == TORCH and kind.startswith("conv") else dtype


def item_bytes(name: str) -> int:
    """Bytes of one element in memory of its own: whole ones."""
    return -(-BITS[name] // 8)


_UNLIKE = ({"fp16", "bf16"}, {"int8", "uint8"})
"""Pairs of types of one width whose results need the next wider one."""
_SORTS = ("bool", "int", "float", "complex")


def _sort_of(name: str) -> int:
    """Position in `_SORTS`: what a type of a higher sort meets becomes that sort."""
    torch_type = DTYPES[name].torch[0]
    return next((i for i, sort in enumerate(_SORTS) if sort in torch_type and i != 1), 1)


def promoted_bytes(tensors: Sequence[str], scalars: Sequence[str] = ()) -> int:
    """Bytes of an element of what a pointwise operation of tensors and numbers makes; all types are names here.

    The highest sort (bool, integer, floating, complex) decides, and within it the widest type; fp16 with bf16, and
    int8 with uint8, make the next wider one. `scalars`, numbers or tensors without dimensions, count only where their
    sort is higher ("Type promotion", torch.Tensor's documentation).
    """
    ranked = tensors or scalars
    top = max(map(_sort_of, ranked))
    above = [name for name in scalars if _sort_of(name) > top]
    among = [name for name in above or ranked if _sort_of(name) == max(map(_sort_of, above or ranked))]
    size = max(item_bytes(name) for name in among)
    unlike = any(pair <= set(among) and size == item_bytes(min(pair)) for pair in _UNLIKE)
    return 2 * size if unlike else size


def of_bytes(size: int) -> str:
    """The type that computes in elements of `size` bytes, where nothing else is known; ``bf16`` for other sizes."""
    fits = (dtype.name for dtype in TABLE if dtype.bits == 8 * size and "peak" in dtype.uses.split())
    return next(fits, UNRECORDED)


def check(asked: str | None, allowed: tuple[str, ...], what: str, hint: str = "") -> None:
    """`ValueError`, a sentence from `what` to `hint`, unless `asked` is None or one of `allowed`."""
    if asked is not None and asked not in allowed:
        raise ValueError(
            f"{what} {', '.join(allowed[:-1])} or {allowed[-1]}, not {asked!r}" + (f"; {hint}" if hint else "")
        )
