"""Intel GPUs (XPU): Level Zero's copies are copies, whichever category they have, and the host's waits are waits."""

from __future__ import annotations

import pytest
from trace_made import Made


@pytest.mark.parametrize("category", ["kernel", "gpu_memcpy"])
def test_copies_and_waits_of_level_zero(tmp_path, category):
    """A kernel of 10 us, a copy back of 30 us that the host waits for; 60 us later the next kernel, of 10 us."""
    t = Made()
    for start, corr in ((0, 1), (100_000, 3)):
        t._add("xpu_runtime", "urEnqueueKernelLaunch", start, 5_000, 1, correlation=corr)
        t.kernel(start + 10_000, 10_000, corr, "gemm_kernel")
    t._add("xpu_runtime", "urEnqueueUSMMemcpy", 6_000, 45_000, 1, correlation=2)
    t.kernel(20_000, 30_000, 2, "zeCommandListAppendMemoryCopy(D2M)", cat=category, bytes=3_000_000)
    t.kernel(120_000, 1_000, 4, "zeCommandListAppendMemoryFill(D)")
    run = t.run(tmp_path)
    assert (run.summary.kernels, run.summary.copies) == (2, 2)
    assert {c.name: c.time_ns for c in run.classes}["copy"] == 31_000
    assert [s.call for s in run.syncs] == ["urEnqueueUSMMemcpy"]
    assert run.idle["synchronization"] > 0
