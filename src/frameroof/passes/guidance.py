"""Classifier-free guidance in one batch: a step that was recorded as several passes becomes one over a larger batch.

Most pipelines of images run the halves of guidance as one batch of twice the size, some of video run the model twice.
The FLOPs are the same; in one batch weights are read once, kernels are larger, and there are half as many launches.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..workload.expr import expr
from ..workload.records import BATCH, Stage, Workload

GUIDANCE = "guidance"
"""The size that says how many passes a guided step takes."""
GUIDED = "guided_batch"
"""What a stage calls the larger batch."""
WHOLE = f"{BATCH}*{GUIDANCE}"
DONE = "guidance in one batch"


def batch_guidance(workload: Workload) -> Workload:
    """The workload with all passes of a guided step as one batch; itself where no step has several, or they are one."""
    if DONE in workload.passes or not {GUIDANCE, BATCH} <= set(workload.params):
        return workload
    made = workload.remembered
    if batch_guidance not in made:
        made[batch_guidance] = workload.with_stages(tuple(map(_batched, workload.stages)), DONE)
    found: Workload = made[batch_guidance]
    return found


def items_of(stage: Stage, sizes: Mapping[str, Any]) -> Any:
    """Items of one pass of a stage, a number or an array: the batch, times the passes that are one batch in it."""
    items = sizes.get(BATCH, 1)
    return items * sizes[GUIDANCE] if WHOLE in (stage.let.get(GUIDED), stage.let.get(BATCH)) else items


def _batched(stage: Stage) -> Stage:
    if GUIDANCE not in expr(stage.repeat).names:
        return stage
    repeat = re.sub(rf"\b{GUIDANCE}\b", "1", stage.repeat)
    return replace(stage, repeat=repeat, let=_larger(stage.let))


def _larger(let: Mapping[str, str]) -> dict[str, str]:
    """What names are bound to, in order, where the pipeline's batch is as many times as large.

    A stage may bind the name to another expression; up to there it stands for the pipeline's.
    """
    if BATCH not in let:
        return {BATCH: WHOLE, **let}
    made: dict[str, str] = {GUIDED: WHOLE}
    for name, text in let.items():
        made[name] = text if BATCH in made else re.sub(rf"\b{BATCH}\b", GUIDED, text)
    return made
