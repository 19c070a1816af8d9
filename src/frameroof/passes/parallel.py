"""How several devices share a workload: the door for plans, each a pass that leaves a device its share.

A plan says in `Workload.plan` what it assumes and in `Workload.devices` for how many devices it is. What devices send
each other are operations of the kind `collective`, which a plan adds where it needs them.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from ..workload.records import Workload


def share_perfectly(workload: Workload, devices: int) -> Workload:
    """Every device does an equal share of every stage, without communication: the best that any plan could reach.

    Sizes stay whole; a stage carries the exact share. Raises `ValueError`, a sentence, for fewer than one device and
    for a workload that has a plan already.
    """
    if devices < 1:
        raise ValueError(f"a plan is for at least 1 device, not {devices}")
    if workload.plan:
        raise ValueError(f"{workload.name} has a plan already: {workload.plan}")
    if devices == 1:
        return workload
    stages = tuple(replace(stage, share=stage.share * Fraction(1, devices)) for stage in workload.stages)
    plan = f"{devices} devices share the work perfectly, without communication (an idealization)"
    return replace(workload, stages=stages, devices=devices, plan=plan, passes=(*workload.passes, "perfect sharing"))


def with_plan(workload: Workload, devices: int) -> Workload:
    """The workload with the plan it has, or shared perfectly where it has none.

    Raises `ValueError`, a sentence, for a plan that is for another number of devices.
    """
    if not workload.plan:
        made, asked = workload.remembered, (share_perfectly, devices)
        if asked not in made:
            made[asked] = share_perfectly(workload, devices)
        return made[asked]  # type: ignore[no-any-return]
    if workload.devices != devices:
        raise ValueError(
            f"the plan of {workload.name} is for {workload.devices} devices, and the machine has {devices}"
        )
    return workload
