"""What is assumed where a model asks for the value of a tensor: on meta tensors there is none.

Transformers asks whether an attention mask masks anything and drops it when it does not. Without
data the mask stays: that is what a padded batch needs, and never less work than without it. Every
assumption is written into the workload's notes. Any other question is an error that names its line.
"""

from __future__ import annotations

import sys
from typing import Any

import torch

aten = torch.ops.aten
ASKING = {aten._local_scalar_dense.default, aten.item.default, aten.is_nonzero.default}

_MASK_FILES = ("/transformers/masking_utils.py", "/transformers/modeling_attn_mask_utils.py")
KEPT = (
    "attention masks are kept: transformers drops one that masks nothing, which shapes alone do not tell; "
    "causal attention under a mask is limited by its whole rectangle; give no mask to count without it"
)
UNPACKED = "every batch entry is one sequence: position_ids that would pack several are not looked into"
REMEDY = (
    "what it asks is known only with data; in the builder, give that argument as a Python number, leave it out, "
    'or make it with device="cpu" where the module allows it'
)

PACKED = "packed sequences are not recorded: give the padded batch to the layer, without lengths"


def assumed(tensor: torch.Tensor) -> tuple[bool, str] | None:
    """The value that a yes-or-no question about a mask is answered with, and the note; None if unknown."""
    if tensor.dtype != torch.bool or tensor.device.type != "meta":
        return None
    frame: Any = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename.replace("\\", "/")
        if "/torch/" not in name and "/frameroof/count/" not in name:
            break
        frame = frame.f_back
    if frame is None or not name.endswith(_MASK_FILES):
        return None
    if frame.f_code.co_name == "find_packed_sequence_indices":
        return True, UNPACKED
    return False, KEPT


_REFUSALS = (
    "item() cannot be called on meta",
    "Cannot copy out of meta tensor",
    "meta device type tensor to numpy",
    "meta_nonzero_assume_all_nonzero",
    "repeat_interleave a meta tensor",
)


def asks_for_a_value(error: BaseException) -> bool:
    """Whether a module failed because it asked for a value that a meta tensor does not have."""
    return any(refusal in str(error) for refusal in _REFUSALS)
