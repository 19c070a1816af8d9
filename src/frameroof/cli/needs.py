"""What a verb needs that a light install may lack, PyTorch above all, and the device that it is to run on."""

from __future__ import annotations

from importlib.util import find_spec


def need_torch(what: str) -> None:
    """`ValueError`, a sentence, where PyTorch is not installed; `what` needs it."""
    if find_spec("torch") is None:
        raise ValueError(f"{what} needs PyTorch: pip install 'frameroof[torch]'")


def torch_device(asked: str | None) -> str:
    """``cpu`` or ``cuda``: what was asked for, else a GPU where there is one; `ValueError` where there is none."""
    import torch

    there = torch.cuda.is_available()
    if asked not in (None, "cpu", "cuda"):
        raise ValueError(f"--device is cpu or cuda, not {asked!r}")
    if asked == "cuda" and not there:
        raise ValueError("there is no CUDA device here; --device cpu runs on the processor")
    return asked or ("cuda" if there else "cpu")
