"""Where a run came from: the file that was analyzed, and what was run to make it."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType


class Origin(msgspec.Struct, kw_only=True):
    """The file of a run and what was run; what is `UNSET` does not stand in the JSON."""

    path: str = "run"
    """The file's name."""
    kind: str = "trace"
    times: str = "ns"
    """ns, or us in files of whole microseconds."""
    rank: int | None = None
    world_size: int | None = None
    versions: dict[str, int | str] = {}
    """Of the runtime, as the file gives them."""
    ignored: dict[str, int] = {}
    """Categories of events that are not read -> how many."""
    script: str | UnsetType = UNSET
    callable: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    attention: str | UnsetType = UNSET
    """fused or baseline, as a characterization ran it."""
    reduced: bool | UnsetType = UNSET
    """Whether the model was made smaller to be run here."""
    dtype: str | UnsetType | None = UNSET
    maths: str | UnsetType = UNSET
    """What multiplied fp32, where that was said or asked of torch (`dtypes.MATHS`)."""
    extra: dict[str, str] | UnsetType = UNSET
    """What other writers added."""
