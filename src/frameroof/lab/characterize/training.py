"""A training step under FSDP with real processes: computation and communication apart (Golden et al., figure 6).

Every device trains the UNet of Stable Diffusion on one picture a step; parameters, gradients and AdamW's state are
sharded block by block (`torch.distributed.fsdp.fully_shard`). The processes talk over gloo, or NCCL where each has a
GPU. Run as a module it is one of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
import torch.nn.functional as F
from torch import nn

SIDE, BATCH = 256, 1
LIMIT_S = 300


def training_rows(
    devices: tuple[int, ...], reduced: bool, device: str, say: Callable[[str], None] = lambda _: None
) -> list[dict[str, Any]]:
    """One row for each number of devices: model, devices, compute_s, communication_s, step_s, backend, of rank 0.

    `communication_s` is the union of all collectives, waiting for the other processes included; `compute_s` the union
    of everything else. They may overlap.
    Raises `ValueError`, a sentence, for more GPUs than there are.
    """
    if device.startswith("cuda") and max(devices) > torch.cuda.device_count():
        raise ValueError(f"training on {max(devices)} GPUs was asked for, and there are {torch.cuda.device_count()}")
    rows = []
    for at, count in enumerate(devices, 1):
        say(f"training step, part {at} of {len(devices)}: {count} {'process' if count == 1 else 'processes'}")
        rows.append(_row(count, reduced, device))
    return rows


def _row(count: int, reduced: bool, device: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="frameroof-fsdp-") as folder:
        command = [sys.executable, "-m", __name__, folder, str(count), device, "reduced" if reduced else "full"]
        ranks = [
            subprocess.Popen([*command, str(rank)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            for rank in range(count)
        ]
        try:
            said = [rank.communicate(timeout=LIMIT_S)[1] for rank in ranks]
        except subprocess.TimeoutExpired as error:
            raise ValueError(f"{count} training processes did not end within {LIMIT_S} s") from error
        finally:
            for rank in ranks:
                rank.kill()
                rank.wait()
        for rank, text in zip(ranks, said, strict=True):
            if rank.returncode:
                last = (text.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
                raise ValueError(f"a training process ended with code {rank.returncode}: {last[:300]}")
        row: dict[str, Any] = msgspec.json.decode((Path(folder) / "row.json").read_bytes())
        return row


def train(folder: Path, rank: int, count: int, device: str, reduced: bool) -> None:
    """One process: a step to warm up, one that is recorded; rank 0 writes the row."""
    import torch.distributed as dist

    cuda = device.startswith("cuda")
    backend, where = ("nccl", torch.device("cuda", rank)) if cuda else ("gloo", torch.device("cpu"))
    if cuda:
        torch.cuda.set_device(where)
    else:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // count))
    store = f"file://{folder / 'store'}"
    dist.init_process_group(backend, init_method=store, rank=rank, world_size=count)
    try:
        row = {"model": "stable-diffusion", "devices": count, "backend": backend}
        row |= recorded_step(sharded_unet(reduced, where, count), where)
        if rank == 0:
            (folder / "row.json").write_bytes(msgspec.json.encode(row))
        dist.barrier()
    finally:
        dist.destroy_process_group()


def sharded_unet(reduced: bool, where: torch.device, count: int) -> nn.Module:
    """The UNet, each of its blocks a unit of sharding."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    from ..pipelines.stable_diffusion import build

    torch.manual_seed(0)
    unet: Any = build(reduced).unet.to(where).train()
    mesh = init_device_mesh(where.type, (count,))
    for block in (*unet.down_blocks, unet.mid_block, *unet.up_blocks):
        fully_shard(block, mesh=mesh)
    fully_shard(unet, mesh=mesh)
    return unet


def recorded_step(unet: Any, where: torch.device) -> dict[str, float]:
    """Seconds of one recorded training step, by kind."""
    from ...profiler import profile

    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-4)
    latents = torch.randn(BATCH, unet.config.in_channels, SIDE // 8, SIDE // 8, device=where)
    text = torch.randn(BATCH, 77, unet.config.cross_attention_dim, device=where)
    timestep = torch.full((BATCH,), 500, device=where)

    def step() -> None:
        found = unet(latents, timestep, text, return_dict=False)[0]
        F.mse_loss(found, torch.zeros_like(found)).backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    torch.distributed.barrier()
    recorded = profile(shapes=False)
    with recorded.recording():
        step()
    taken = recorded.measured.profiled_ns
    assert taken is not None  # it was recorded just now
    return step_times(recorded.trace) | {"step_s": taken / 1e9}


def step_times(trace: Path) -> dict[str, float]:
    """Computation and communication of a trace, each the union of its intervals."""
    from ...trace.intervals import covered
    from ...trace.read.decode import read
    from ...trace.resolve.classify import COMMUNICATION
    from ...trace.resolve.work_table import make_work_table

    work_table = make_work_table(read(trace))
    found = {"compute_s": 0.0, "communication_s": 0.0}
    for name in found:
        rows = [i for i, c in enumerate(work_table.classes) if (c == COMMUNICATION) == (name == "communication_s")]
        found[name] = covered(work_table.start[rows], work_table.end[rows]) / 1e9
    return found


if __name__ == "__main__":
    folder_, count_, device_, size_, rank_ = sys.argv[1:]
    train(Path(folder_), int(rank_), int(count_), device_, size_ == "reduced")
