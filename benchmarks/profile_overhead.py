"""What our hooks add to torch.profiler: `python benchmarks/profile_overhead.py [--out FILE]`.

Small models, because overhead is per module and work is not: a UNet like Stable Diffusion's, a DiT like Wan's, and a
stack of linear layers so small that nothing but overhead is left (the worst case, not held to the bound). Each is
run under torch.profiler with inputs recorded, with and without our hooks, in turns, on one thread; medians of the
process's own time are compared, which what else runs on the machine disturbs least. The bound is 10 %.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity

from frameroof.profiler.environment import cpu_name
from frameroof.profiler.hooks import ModuleHooks

BOUND = 0.10


def unet() -> tuple[nn.Module, Callable[[], Any]]:
    """A UNet2DConditionModel of a tenth of Stable Diffusion's width, over 32 x 32 latents."""
    from diffusers import UNet2DConditionModel

    model = UNet2DConditionModel(
        sample_size=32, block_out_channels=(32, 64, 128, 128), cross_attention_dim=64, attention_head_dim=8
    ).eval()
    sample, text = torch.randn(2, 4, 32, 32), torch.randn(2, 77, 64)
    return model, lambda: model(sample, 1, text)


def dit() -> tuple[nn.Module, Callable[[], Any]]:
    """A Wan transformer of 8 small layers, over 5 frames of 16 x 16 latents."""
    from diffusers import WanTransformer3DModel

    model = WanTransformer3DModel(
        num_attention_heads=4, attention_head_dim=32, text_dim=64, ffn_dim=256, num_layers=8, freq_dim=64
    ).eval()
    latents, text, step = torch.randn(1, 16, 5, 16, 16), torch.randn(1, 64, 64), torch.ones(1, dtype=torch.int64)
    return model, lambda: model(latents, step, text)


def tiny() -> tuple[nn.Module, Callable[[], Any]]:
    """500 linear layers of 8 x 8: nothing but overhead."""
    model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(500))).eval()
    x = torch.randn(1, 8)
    return model, lambda: model(x)


def once(work: Callable[[], Any], model: nn.Module, hooked: bool) -> tuple[float, float]:
    """(seconds, processor seconds) of one call under torch.profiler."""
    hooks = ModuleHooks([("", model)]) if hooked else nullcontext()
    with hooks, torch.profiler.profile(activities=[ProfilerActivity.CPU], record_shapes=True), torch.inference_mode():
        start, cpu = time.perf_counter(), time.process_time()
        work()
        return time.perf_counter() - start, time.process_time() - cpu


def overhead(model: nn.Module, work: Callable[[], Any], samples: int) -> dict[str, Any]:
    """Both ways in turns, and the share that hooks add to the median."""
    for hooked in (False, True):
        once(work, model, hooked)
    pairs = [(once(work, model, False), once(work, model, True)) for _ in range(samples)]
    plain, hooked = ([pair[i] for pair in pairs] for i in (0, 1))
    middle = [statistics.median(t[1] for t in times) for times in (plain, hooked)]
    least = [min(t[1] for t in times) for times in (plain, hooked)]
    return {
        "modules": len(list(model.modules())),
        "profiled_s": middle[0],
        "hooked_s": middle[1],
        "overhead": middle[1] / middle[0] - 1,
        "overhead_of_the_best": least[1] / least[0] - 1,
        "samples": {"plain": plain, "hooked": hooked},
    }


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--samples", type=int, default=25)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for name, make in {"unet": unet, "dit": dit, "tiny": tiny}.items():
        found[name] = overhead(*make(), options.samples)
        row = found[name]
        times = f"{row['profiled_s'] * 1e3:8.2f} ms profiled, {row['hooked_s'] * 1e3:8.2f} ms with hooks"
        shares = f"{row['overhead']:+.1%} (best: {row['overhead_of_the_best']:+.1%})"
        print(f"{name:5} {row['modules']:4} modules  {times}  {shares}")
    if options.out:
        about = {
            "date": date.today().isoformat(),
            "command": " ".join(["python", *sys.argv]),
            "machine": cpu_name(),
            "threads": torch.get_num_threads(),
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "bound": BOUND,
        }
        options.out.write_text(json.dumps({**about, "models": found}, indent=1) + "\n", "utf-8")
    worst = max(found[name]["overhead"] for name in ("unet", "dit"))
    if worst > BOUND:
        raise SystemExit(f"hooks add {worst:.1%} to the profiled time; the bound is {BOUND:.0%}")


if __name__ == "__main__":
    main()
