"""What the kernels refuse, in sentences. No check reads a device value, except slots that lie on the CPU."""

from __future__ import annotations

import torch

from .records import ATTEND_ROWS, FP8, QKV, Affine, Format, Ring, Rotary


def check_format(device: torch.device, to: Format | None) -> None:
    """Raise ValueError for fp8 on a GPU that has none."""
    if to == FP8 and device.type == "cuda":
        found = torch.cuda.get_device_capability(device)
        if found < (8, 9):
            raise ValueError(f"fp8 needs a GPU of compute capability 8.9 or more; this one has {found[0]}.{found[1]}")


def check_qk(qkv: QKV, weights: tuple[torch.Tensor, torch.Tensor], rotary: Rotary, ring: Ring) -> None:
    """Raise ValueError where the sizes of the new tokens, the angles and the ring do not fit."""
    q_BNC = qkv[0]
    samples, tokens, channels = _three(q_BNC, "q")
    if any(x.shape != q_BNC.shape for x in qkv):
        raise ValueError(f"q, k and v differ in shape: {', '.join(str(list(x.shape)) for x in qkv)}")
    k, v, slot_T = ring
    if k.dim() != 4 or k.shape != v.shape or k.stride() != v.stride() or not k[0].is_contiguous():
        raise ValueError(
            "the ring's keys and values are two tensors [B, L, H, D] of one shape, each sample contiguous; "
            f"these are {list(k.shape)} and {list(v.shape)}"
        )
    heads, width = k.shape[2:]
    if k.shape[0] != samples or heads * width != channels or width % 2:
        raise ValueError(f"a ring of shape {list(k.shape)} does not hold keys of shape {list(q_BNC.shape)}")
    if any(w.shape != (channels,) or not w.is_contiguous() for w in weights):
        raise ValueError(f"the norms of q and k have one weight for each of {channels} channels")
    if any(t.shape != (tokens, width // 2) or not t.is_contiguous() for t in rotary):
        shapes = " and ".join(str(list(t.shape)) for t in rotary)
        raise ValueError(f"the rotary tables must be [{tokens}, {width // 2}] and contiguous, not {shapes}")
    for name, x in zip("qkv", qkv, strict=True):
        _rows_contiguous(x, name)
    _check_slots(slot_T, tokens, k.shape[1])


def check_norm(residual: tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None], affine: Affine | None) -> None:
    """Raise ValueError where scale, shift, gate or the second summand do not fit x."""
    x_BNC, y_BNC, gate_BTC = residual
    samples, tokens, channels = _three(x_BNC, "x")
    _rows_contiguous(x_BNC, "x")
    if y_BNC is not None:
        if y_BNC.shape != x_BNC.shape:
            raise ValueError(f"y has the shape {list(y_BNC.shape)}, x has {list(x_BNC.shape)}")
        _rows_contiguous(y_BNC, "y")
    frames = {1}
    scale_BTC, shift_BTC = (affine.scale_BTC, affine.shift_BTC) if affine else (None, None)
    for name, values in (("scale", scale_BTC), ("shift", shift_BTC), ("gate", gate_BTC)):
        if values is None:
            continue
        if values.dim() != 3 or values.shape[0] not in (1, samples) or values.shape[2] != channels:
            raise ValueError(f"the {name} must be [1 or {samples}, frames, {channels}], not {list(values.shape)}")
        if tokens % values.shape[1]:
            raise ValueError(f"{tokens} tokens do not divide into the {values.shape[1]} frames of the {name}")
        _rows_contiguous(values, f"the {name}")
        frames.add(values.shape[1])
    if len(frames) > 2:
        raise ValueError(f"scale, shift and gate have different numbers of frames: {sorted(frames)}")


def check_rows(x: torch.Tensor) -> None:
    """Raise ValueError for a tensor without rows, or whose rows are not contiguous."""
    if not x.dim() or not x.numel():
        raise ValueError(f"there are no rows to quantize in a tensor of shape {list(x.shape)}")
    _rows_contiguous(x, "the tensor to quantize")


def check_sums(sums_RN: torch.Tensor, scales: tuple[torch.Tensor, torch.Tensor], bias_N: torch.Tensor | None) -> None:
    """Raise ValueError where the scales or the bias do not fit the sums."""
    if sums_RN.dim() != 2 or sums_RN.dtype != torch.int32 or not sums_RN.numel():
        raise ValueError(f"sums are [rows, outputs] in int32, not {list(sums_RN.shape)} in {sums_RN.dtype}")
    _rows_contiguous(sums_RN, "the sums")
    rows, outputs = sums_RN.shape
    if [tuple(scale.shape) for scale in scales] != [(rows, 1), (outputs, 1)]:
        shapes = " and ".join(str(list(scale.shape)) for scale in scales)
        raise ValueError(f"sums of shape {[rows, outputs]} take scales [{rows}, 1] and [{outputs}, 1], not {shapes}")
    if any(not scale.is_contiguous() for scale in scales):
        raise ValueError("the scales of the sums must be contiguous")
    if bias_N is not None and (bias_N.shape != (outputs,) or not bias_N.is_contiguous()):
        raise ValueError(f"the bias must be [{outputs}] and contiguous, not {list(bias_N.shape)}")


def check_attention(q_BNHD: torch.Tensor, k_BLHD: torch.Tensor, v_BLHD: torch.Tensor, rows: int) -> None:
    """Raise ValueError where queries, keys and values do not go together."""
    if q_BNHD.dim() != 4 or k_BLHD.dim() != 4 or k_BLHD.shape != v_BLHD.shape or not k_BLHD.numel():
        shapes = " and ".join(str(list(x.shape)) for x in (q_BNHD, k_BLHD, v_BLHD))
        raise ValueError(
            f"queries are [B, N, H, D], keys and values two tensors [B, L, H, D] of one shape, not {shapes}"
        )
    if not q_BNHD.numel() or any(q_BNHD.shape[i] != k_BLHD.shape[i] for i in (0, 2, 3)):
        raise ValueError(f"queries of shape {list(q_BNHD.shape)} do not go with keys of shape {list(k_BLHD.shape)}")
    for name, x in (("queries", q_BNHD), ("keys", k_BLHD), ("values", v_BLHD)):
        _rows_contiguous(x, name)
    if rows not in ATTEND_ROWS:
        raise ValueError(f"a program takes {' or '.join(map(str, ATTEND_ROWS))} queries, not {rows}")


def _check_slots(slot_T: torch.Tensor, tokens: int, length: int) -> None:
    frames = slot_T.numel()
    if slot_T.dim() != 1 or not frames or tokens % frames:
        raise ValueError(f"{tokens} tokens do not divide into {frames} frames, one for each slot")
    if slot_T.dtype != torch.int64 or not slot_T.is_contiguous():
        raise ValueError(f"slots are a contiguous int64 tensor, not {slot_T.dtype}")
    slots, rest = divmod(length, tokens // frames)
    if rest:
        raise ValueError(f"a ring of {length} tokens does not divide into slots of {tokens // frames}")
    if slot_T.device.type == "cpu":
        asked = slot_T.tolist()
        if min(asked) < 0 or max(asked) >= slots or len(set(asked)) < frames:
            raise ValueError(f"slots {asked} are not {frames} different ones of 0 to {slots - 1}")


def _three(x: torch.Tensor, name: str) -> tuple[int, int, int]:
    if x.dim() != 3 or not x.numel():
        raise ValueError(f"{name} must be [samples, tokens, channels], not {list(x.shape)}")
    return x.shape[0], x.shape[1], x.shape[2]


def _rows_contiguous(x: torch.Tensor, name: str) -> None:
    if x.stride(-1) != 1:
        raise ValueError(f"{name}: each row must be contiguous, but its last stride is {x.stride(-1)}")
