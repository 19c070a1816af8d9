"""A `stream.json` made by hand, every number round: two changes that were measured and one that was not."""

from __future__ import annotations

from typing import Any

CONFIGURATION = {
    "model": "tiny", "variant": "ring", "dtype": "float32", "linears": "as dtype", "quantized": [],
    "operations": "plain", "attention": "sdpa", "decoding": {"frames_at_once": 1}, "graphs": False, "batch": 1,
    "decoder": None, "weights": "random", "steps": [1000, 500], "layers": 2, "dim": 32, "cache": "ring",
    "context": "after", "recache": "window", "tabulate": False, "window": 12, "sink": 3, "block": 3, "height": 32,
    "width": 48, "text_tokens": 8,
}  # fmt: skip
WHERE = {"configuration": CONFIGURATION, "hardware": "this CPU", "versions": {"torch": "2.13"}}
PARITY = {"equal": True, "relative": 0.0, "tolerance": 1e-5, "model": "tiny"}


def quality(relative: float = 0.0, **changes: Any) -> dict[str, Any]:
    """Of one block, drifting so far."""
    found = {
        "relative": relative, "cosine": 1 - relative / 20, "taught_relative": relative / 2, "floor": 0.001,
        "free_blocks": [relative], "taught_blocks": [relative / 2], "psnr_db": None, "ssim": None,
    }  # fmt: skip
    return found | changes


def timed(seconds: float) -> dict[str, Any]:
    """A part of a stream, at half its limit."""
    return {"flops": 1000, "bytes": 500, "limit_s": seconds / 2, "measured_s": [seconds, seconds], "flop_per_s": 1e5}


def variant(name: str) -> dict[str, Any]:
    """A variant whose blocks take 40 ms."""
    five = {part: timed(0.04) for part in ("steps", "block", "switch", "decode", "end_to_end")}
    five["switch"]["latency_s"] = [-0.001, 0.002]
    report = {
        "first_frame_s": 0.1, "inter_frame_s": 0.01, "switch_s": [-0.001, 0.002], "visible_s": [0.1],
        "block_p50_s": 0.04, "block_p90_s": 0.04, "block_p99_s": 0.04, "jitter_s": None, "fps_generate": 300.0,
        "fps_decoded": None, "real_time_factor": None, "apart_s": {"cold": 1.0}, "peak_bytes": None, "blocks": 2,
    }  # fmt: skip
    forward = {
        "name": "step", "measured_s": [0.01], "limit_s": 0.005, "gaps_s": 0.001, "gaps_per_layer_s": 0.0005,
        "self_attention": {"first_layer_s": 0.001, "later_layers_s": None, "limit_s": None},
        "parts": [{"part": "linears", "seconds": 0.004, "limit_s": 0.002}],
    }  # fmt: skip
    return {
        "name": name, "change": name, "parity": PARITY, "quality": quality(), **five, "report": report,
        "forwards": [forward], "kernels": [{"name": "k", "part": "linears", "calls": 2, "seconds": 0.004}],
        "says": [], "block_parts_s": {"linears": 0.02}, "cache_share": 0.1, **WHERE,
    }  # fmt: skip


def bench() -> dict[str, Any]:
    """The whole file, as data."""
    ring = {
        "change": "ring", "variant": "ring", "before": "baseline", "of": "block", "parity": PARITY,
        "quality": quality(), "before_s": 0.04, "after_s": 0.03, "baseline_s": 0.04,
        "saved_s": [0.009, 0.01, 0.011],
        "predicted": {"before_s": 0.02, "after_s": 0.012, "saved_s": 0.008, "what": "limit against limit"},
        "keep": True, "why": "faster", **WHERE,
    }  # fmt: skip
    fp8 = ring | {
        "change": "fp8", "variant": "fp8", "before": "ring", "parity": None, "quality": quality(0.02, ssim=0.95),
        "before_s": 0.03, "after_s": 0.06, "saved_s": [-0.03, -0.03, -0.02],
        "predicted": {"before_s": None, "after_s": None, "saved_s": None, "what": "no peak"}, "keep": False,
        "why": "slower | here",
    }  # fmt: skip
    graphs = {"change": "graphs", "variant": "graph", "keep": None, "why": "no CUDA", **WHERE}
    first = variant("baseline")
    return {
        "schema": "frameroof.stream.bench/2", "model": "tiny", "hardware": "this CPU", "dtype": "float32",
        "sizes": {"window": 12, "sink": 3, "block": 3, "height": 32, "width": 48, "text_tokens": 8, "steps": 2,
                  "blocks": 16, "layers": 2, "dim": 32, "batch": 1},
        "kv_cache_bytes": 36864, "process_peak_bytes": 1 << 30, "decoder": None, "switches": [6, 8],
        "variant": "baseline", **{name: first[name] for name in ("steps", "block", "switch", "decode", "end_to_end")},
        "variants": [first, variant("ring")], "rows": [ring, fp8, graphs],
        "cache_operations": {"baseline": {"seconds": 1e-3, "times_less": 1.0},
                             "ring": {"seconds": 1e-4, "times_less": 10.0}},
        "batches": [{"variant": "ring", "batch": 2, "block_s": [0.05], "inter_frame_s": 0.02, "fps_a_stream": 200.0,
                     "fps": 400.0, "switch_all_s": [0.001], "switch_one_s": [-0.001], "kv_cache_bytes": 73728,
                     "peak_bytes": None, "flops": 2000, "limit_s": 0.02, "flop_per_s": 4e4, **WHERE}],
        "says": [], "notes": [],
        "environment": {"date": "2026-11-21T09:00:00Z", "versions": {"torch": "2.13"},
                        "settings": {"OMP_NUM_THREADS": "1"}},
    }  # fmt: skip
