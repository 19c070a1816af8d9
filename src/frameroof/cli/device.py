"""The device of PyTorch that a verb is to run on."""

from __future__ import annotations


def torch_device(asked: str | None) -> str:
    """``cpu`` or ``cuda``: what was asked for, else a GPU where there is one; `ValueError` where there is none."""
    import torch

    there = torch.cuda.is_available()
    if asked not in (None, "cpu", "cuda"):
        raise ValueError(f"--device is cpu or cuda, not {asked!r}")
    if asked == "cuda" and not there:
        raise ValueError("there is no CUDA device here; --device cpu runs on the processor")
    return asked or ("cuda" if there else "cpu")
