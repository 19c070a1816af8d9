"""`profile`, then `gap`, on this processor: a small UNet like Stable Diffusion's and a small DiT like Wan's."""

import gzip
import json
from pathlib import Path

import pytest
from cli_said import said

torch = pytest.importorskip("torch")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from frameroof.profiler import recorder  # noqa: E402
from frameroof.profiler.probe import probe  # noqa: E402

BUILDERS = """
import torch
from diffusers import UNet2DConditionModel, WanTransformer3DModel


def unet(batch: int = 1, height: int = 128, width: int = 128):
    module = UNet2DConditionModel(
        sample_size=16, block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=32, attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    return module, (torch.randn(batch, 4, height // 8, width // 8), torch.tensor(10), torch.randn(batch, 77, 32)), {}


def dit(batch: int = 1, frames: int = 2, height: int = 8, width: int = 8):
    module = WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=32, text_dim=32, freq_dim=32, ffn_dim=128,
        num_layers=2,
    )
    return module, (torch.randn(batch, 16, frames, height, width), torch.tensor([10]), torch.randn(batch, 16, 32)), {}
"""


@pytest.fixture(scope="module", params=["unet", "dit"])
def run(request, tmp_path_factory):
    """The folder of a profiled run, and the module with its inputs on meta."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    (folder / "built.py").write_text(BUILDERS)
    with pytest.MonkeyPatch.context() as patch:  # the probe takes seconds, and tests of its own measure it
        patch.setattr(recorder, "_this_cpu", lambda: probe(0.001))
        _call("profile", f"{folder / 'built.py'}:{request.param}", "--repeat", "1", "--out", str(folder / "run"))
    space: dict = {}
    with torch.device("meta"):
        exec(BUILDERS, space)
        module, args, _ = space[request.param]()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        module.eval()(*args)
    return folder / "run", counter.get_total_flops()


def _call(*words: str) -> str:
    found = said(*words)
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_classes_add_up_to_what_the_trace_holds(run):
    folder, _ = run
    found = json.loads((folder / "run.json").read_bytes())
    events = json.loads(gzip.decompress((folder / "trace.json.gz").read_bytes()))["traceEvents"]
    operators = [e for e in events if e.get("cat") == "cpu_op" and not e["name"].startswith(("mod::", "stage::"))]
    busy = _covered([(e["tid"], e["ts"], e["ts"] + e["dur"]) for e in operators])
    assert sum(c["time_ns"] for c in found["classes"]) == pytest.approx(1000 * busy, rel=0.02)


def _covered(spans):
    """Time of the outermost spans of each thread, in the unit of the spans."""
    total, reach = 0.0, {}
    for thread, start, end in sorted(spans):
        total += max(0.0, end - max(start, reach.get(thread, start)))
        reach[thread] = max(end, reach.get(thread, end))
    return total


def test_its_flops_are_torchs(run):
    folder, flops = run
    assert json.loads((folder / "run.json").read_bytes())["summary"]["flops"] == flops


def test_the_gap_names_the_operations_of_the_model(run):
    folder, _ = run
    gap = json.loads(_call("gap", str(folder), "--json"))
    assert all(row["path"] for row in gap["rows"] if row["mfu"]), "matrix work that the workload does not know"
    assert 0 < gap["coverage_workload"] <= 1
    assert gap["missing"] == gap["uncounted"] == []
    assert sum(row["time_ns"] for row in gap["rows"]) == gap["time_ns"]
    paths = {row["path"].split(" (+")[0] for row in gap["rows"] if row["class"] == "attention"}
    assert {path.split(".")[-1] for path in paths} == {"attn1", "attn2"}
