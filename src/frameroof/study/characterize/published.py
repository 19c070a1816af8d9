"""Beyond the paper: expected times of whole pipelines beside published ones on the paper's device."""

from __future__ import annotations

from ...estimate.expected import Clock
from .claims import claim
from .predicted import Predicted
from .source import Claim, Experiment, Row, Source, columns

# Published times of whole pipelines on A100 with PyTorch's eager execution: the prediction beside them.
PUBLISHED: tuple[tuple[str, str, str, dict[str, int], float, str], ...] = (
    ("stable-diffusion", "A100 40GB", "flash", {"batch": 16}, 13.55, "github.com/huggingface/diffusers/pull/2764"),
    ("stable-diffusion", "A100 40GB", "lean", {"batch": 16}, 18.95, "github.com/huggingface/diffusers/pull/2764"),
    ("stable-diffusion", "A100 40GB", "flash", {"batch": 8}, 7.04, "github.com/huggingface/diffusers/pull/2764"),
    ("stable-diffusion", "A100 40GB", "lean", {"batch": 8}, 9.74, "github.com/huggingface/diffusers/pull/2764"),
    ("stable-diffusion", "A100", "flash", {"batch": 1}, 1.604, "github.com/fal-ai/stable-diffusion-benchmarks"),
    (
        "pixart-alpha-1024",
        "A100",
        "flash",
        {"steps": 20},
        1.97,
        "github.com/xdit-project/xdit_assets pixart/A100-1k.png",
    ),
    ("sd3-medium", "A100", "flash", {"steps": 20}, 3.09, "github.com/xdit-project/xdit_assets sd3/A100-SD3.png"),
    ("wan2.1-t2v-14b", "A100", "flash", {}, 3342.6, "github.com/Wan-Video/Wan2.1 assets/comp_effic.png"),
    ("sdxl-base", "A100", "flash", {"steps": 20}, 2.7, "github.com/huggingface/amused assets (batch-size plots)"),
)


BEYOND_PUBLISHED_COLUMNS = columns(
    "model: name",
    "machine: device",
    "attention: flash, or lean: diffusers' own baseline",
    "sizes: where not the defaults",
    "published_s [s]: one run, published",
    "device_s [s]: expected of the device alone",
    "wall_s [s]: expected of the device and the host that launches its work",
    "ratio: predicted wall over published",
    "source: where it was read",
)


def beyond_published(source: Source) -> Experiment:
    """Expected times, of device and host, beside published ones on A100: how far they hold for eager PyTorch."""
    rows, missing = [], "It sets predictions beside published times: --predict has it."
    if isinstance(source, Predicted):
        rows = [_published(source, *each) for each in PUBLISHED if source.holds(each[1])]
        missing = f"All were published for A100, and expected times are known for {source.expected.about.device} alone."
    return Experiment(
        id="beyond-published",
        title="Predicted and published times on A100",
        how="predicted",
        machine="A100",
        columns=BEYOND_PUBLISHED_COLUMNS,
        rows=tuple(rows),
        claims=tuple(_published_claims(rows)),
        assumptions=(
            *source.assumptions,
            "What the host takes for a launch, and the rates of eager elements and convolutions, were fitted to "
            "published times of whole models (`frameroof validate`): these rows are no clean check of them.",
        ),
        missing="" if rows else missing,
    )


def _published(  # seven arguments: the source and an entry of the table
    source: Predicted, name: str, device: str, attention: str, sizes: dict[str, int], published: float, where: str
) -> Row:
    clocks: tuple[Clock, Clock] = ("kernel", "wall")
    both = {clock: Predicted(device, (name,), source.expected, clock) for clock in clocks}
    seconds = {c: int(s.work(name, attention, sizes)["time_ns"].sum()) / 1e9 for c, s in both.items()}
    return {
        "model": name,
        "machine": both["wall"].machine,
        "attention": attention,
        "sizes": dict(sizes),
        "published_s": published,
        "device_s": seconds["kernel"],
        "wall_s": seconds["wall"],
        "ratio": seconds["wall"] / published,
        "source": where,
    }


def _published_claims(rows: list[Row]) -> list[Claim]:
    at = {(r["attention"], r["sizes"].get("batch")): r for r in rows if r["model"] == "stable-diffusion"}
    if not at:
        return []
    flash, lean = at["flash", 16], at["lean", 16]
    return [
        claim(
            "Speed-up of flash attention in Stable Diffusion at batch 16 on A100, published by diffusers (not in "
            "the paper)",
            "diffusers pull request 2764",
            (lean["published_s"] / flash["published_s"],),
            [lean["wall_s"] / flash["wall_s"]],
            "x",
            "Against diffusers' baseline of 2023, which folds the scale into the product and keeps the softmax "
            "in fp16. Published with PyTorch 2.0, whose kernel was the first FlashAttention, half as fast as the "
            "second that is expected here (arXiv 2307.08691).",
        )
    ]
