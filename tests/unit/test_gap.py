"""A run beside its limits: rooflines by hand, matching with a workload, sums that add up."""

from __future__ import annotations

import msgspec
import pytest
from trace_made import FILES, H100, TRUTH, Made, real

from frameroof import catalogue
from frameroof.dtypes import unit_of
from frameroof.estimate import estimate
from frameroof.gap import find_gap
from frameroof.hardware import device, parse_node
from frameroof.report.distance import print_gap
from frameroof.roofline import Roofline
from frameroof.workload.file import loads

BF16 = "c10::BFloat16"
LAYER = """{"format": "frameroof.workload", "version": 1, "grammar": 1, "name": "layer",
 "params": {"batch": {"default": 1}}, "stages": [{"name": "forward",
 "tensors": ["bf16[batch,64]", "w:bf16[64,96]", "bf16[batch,96]"],
 "ops": [{"path": "fc", "kind": "linear", "name": "linear", "reads": [0, 1], "writes": [2],
          "dims": {"b": 1, "m": "batch", "n": 96, "k": 64}},
         {"path": "out", "kind": "linear", "name": "linear", "reads": [0, 1], "writes": [2],
          "dims": {"b": 1, "m": "batch", "n": 8, "k": 96}},
         {"path": "act", "kind": "elementwise", "name": "gelu", "reads": [2], "writes": [2]}],
 "weights": {"bf16": 6144}}]}"""


@pytest.fixture
def layer(tmp_path):
    path = tmp_path / "layer.workload.json"
    path.write_text(LAYER, "utf-8")
    return catalogue.load(str(path))


def row_of(gap, name):
    return next(r for r in gap.rows if r.name == name)


def test_names_and_paths_are_taken_as_what_they_mean(tmp_path, layer):
    t = Made(**H100)
    t.one("aten::addmm", 10_000, 400_000, dims=[[96], [2, 64], [64, 96]], types=[BF16] * 3)
    run = t.run(tmp_path)
    folder = run.save(tmp_path / "run").parent
    meant = find_gap(run, device("A100"), layer, {"batch": 2})
    assert meant.device == "A100-SXM4-80GB"
    assert meant.coverage_workload
    assert find_gap(folder, on="A100", against=tmp_path / "layer.workload.json", sizes={"batch": 2}) == meant
    assert find_gap(str(folder / "run.json")).device == "H100-SXM5-80GB"  # the run's own
    assert find_gap(folder).coverage_workload is None
    (folder / "workload.json").write_text(LAYER, "utf-8")  # as `profile` leaves it
    assert find_gap(folder).coverage_workload


def test_what_a_gap_lacks_is_said(tmp_path):
    t = Made(deviceProperties=[{**H100["deviceProperties"][0], "name": "An unknown accelerator"}])
    t.one("aten::mm", 10_000, 400_000, dims=[[64, 64], [64, 64]], types=[BF16, BF16])
    run = t.run(tmp_path)
    with pytest.raises(ValueError, match=r"An unknown accelerator.* --on"):
        find_gap(run)
    with pytest.raises(ValueError, match="sizes belong to the workload"):
        find_gap(run, "H100", sizes={"batch": 2})
    with pytest.raises(ValueError, match="no device is called 'H1000'"):
        find_gap(run, "H1000")


def test_the_roofline_of_a_product_by_hand(tmp_path):
    t = Made(**H100)
    t.one("aten::mm", 10_000, 400_000, dims=[[4096, 4096], [4096, 4096]], types=[BF16, BF16])
    t.one("aten::mm", 500_000, 20_000, dims=[[1, 4096], [4096, 4096]], types=[BF16, BF16])
    t.one("aten::mul", 600_000, 60_000, dims=[[4096, 4096], [4096, 4096]], types=[BF16, BF16])
    t.one("my::op", 700_000, 7_000)
    h100 = device("H100")
    gap = find_gap(t.run(tmp_path), h100)
    big, thin = (next(r for r in gap.rows if r.name == "aten::mm" and r.dims[0][0] == m) for m in (4096, 1))
    flops, peak, bandwidth = 2 * 4096**3, h100.dense_flops["bf16"], h100.bandwidth
    assert (big.bound, big.limit_ns) == ("compute", round(flops / peak * 1e9))
    assert big.mfu == pytest.approx(flops / peak / 400e-6)
    assert big.above_ns == 400_000 - big.limit_ns
    moved = 2 * (4096 + 4096**2 + 4096)
    assert (thin.bound, thin.limit_ns) == ("memory", round(moved / bandwidth * 1e9))
    assert thin.mbu == pytest.approx(moved / bandwidth / 20e-6)
    scale = row_of(gap, "aten::mul")
    assert (scale.bound, scale.limit_ns, scale.mfu) == ("memory", round(3 * 2 * 4096**2 / bandwidth * 1e9), None)
    assert row_of(gap, "my::op").limit_ns is None
    assert gap.coverage_limit == pytest.approx(480 / 487)
    assert gap.never_faster_ns == gap.idle_ns + big.limit_ns + thin.limit_ns + scale.limit_ns


def test_causal_attention_is_limited_by_its_triangle_with_the_diagonal(tmp_path):
    def limit(causal):
        t = Made(**H100)
        q = [1, 8, 8192, 128]
        concrete = ["", "", "", "0.", str(causal)]
        t.one(
            "aten::_scaled_dot_product_flash_attention", 10_000, 10_000_000, "flash_fwd", [q] * 3, [BF16] * 3, concrete
        )
        (row,) = find_gap(t.run(tmp_path), device("H100")).rows
        return row

    full, half = limit(False), limit(True)
    assert full.limit_ns == pytest.approx(4 * 8 * 8192**2 * 128 / device("H100").dense_flops["bf16"] * 1e9, abs=1)
    assert half.limit_ns == pytest.approx(full.limit_ns * 8193 / 8192 / 2, abs=1)


def test_a_product_of_unknown_types_is_limited_by_its_flops(tmp_path):
    """Its bytes would need its types; the peak is that of bf16."""
    t, h100 = Made(**H100), device("H100")
    t.one("aten::mm", 10_000, 400_000, dims=[[4096, 4096]] * 2, types=["", ""])
    gap = find_gap(t.run(tmp_path), h100)
    assert any("products have the peak of bf16" in line for line in gap.assumptions)
    (row,) = gap.rows
    assert (row.limit_ns, row.mbu) == (round(2 * 4096**3 / h100.dense_flops["bf16"] * 1e9), None)


def test_copies_from_the_host_are_limited_by_its_link(tmp_path):
    """32 MiB from the host at the speed of PCIe, and beside them 32 MiB within the device, read and written."""
    t, h100 = Made(**H100), device("H100")
    for i, name in enumerate(("Memcpy HtoD (Pinned -> Device)", "Memcpy DtoD (Device -> Device)")):
        at = 10_000 * i
        t.op("aten::copy_", at, 9_000, dims=[[4096, 4096]] * 2, types=[BF16] * 2)
        t.call(at + 100, 500, i + 1)
        t.kernel(1_000_000 * (i + 1), 800_000, i + 1, name, cat="gpu_memcpy", bytes=2**25)
    gap = find_gap(t.run(tmp_path), h100)
    assert {row.limit_ns for row in gap.rows} == {
        round(2**25 / h100.pcie_bandwidth * 1e9),
        round(2 * 2**25 / h100.bandwidth * 1e9),
    }
    assert any("limited by PCIe, 64.00 GB/s" in line for line in gap.assumptions)


MOVED = 2 * 2 * 4096**2
"""Bytes of a product of two numbers, in and out: 20 us of an H100's memory."""


@pytest.mark.parametrize(
    ("time_ns", "count", "reason"),
    [
        (20_040, 1, ""),
        (20_020, 1, ""),  # whole nanoseconds
        (19_000, 1, "in the cache"),
        (5_000, 2, "in the cache"),  # 50 MiB in each of two calls
        (4_300, 1, "a fault of ours"),  # of 64 MiB no more than 50 can have been there
        (1_000, 1, "a fault of ours"),
    ],
)
def test_a_limit_above_what_was_measured_is_said_with_its_reason(tmp_path, capsys, time_ns, count, reason):
    t, h100 = Made(**H100), device("H100")
    for at in range(count):
        t.one("aten::mul", 10_000 + 100_000 * at, time_ns, dims=[[4096, 4096]], types=[BF16])
    t.one("aten::mm", 900_000, 400_000, dims=[[4096, 4096], [4096, 4096]], types=[BF16, BF16])
    gap = find_gap(t.run(tmp_path), h100)
    row, product = row_of(gap, "aten::mul"), row_of(gap, "aten::mm")
    limit = round(count * MOVED / h100.bandwidth * 1e9)
    assert (row.limit_ns, row.above_ns, row.violation) == (limit, count * time_ns - limit, reason)  # never cut
    held = min(limit, count * time_ns)
    assert gap.limit_ns == held + product.limit_ns
    assert sum(c.limit_ns for c in gap.classes) == gap.limit_ns
    assert sum(c.above_ns for c in gap.classes) == gap.time_ns - gap.limit_ns
    print_gap(gap)
    out = " ".join(capsys.readouterr().out.split())
    assert ("The limits of 1 operations" in out, bool(reason) and f"{reason}: 1 (" in out) == (bool(reason),) * 2
    share = count * time_ns / gap.time_ns if reason else 0.0
    assert gap.coverage_violated == pytest.approx(share)
    assert [(v.operation, v.count, v.time_ns, v.limit_ns, v.reason) for v in gap.violations] == (
        [("(no modules recorded): aten::mul", count, count * time_ns, limit, reason)] if reason else []
    )
    assert [v.saved_bytes for v in gap.violations] == (
        [pytest.approx(MOVED - time_ns / 1e9 * h100.bandwidth, rel=1e-6)] if reason else []
    )


def test_a_device_whose_cache_is_unknown_has_none_to_allow(tmp_path):
    t = Made(**H100)
    t.one("aten::mul", 10_000, 19_000, dims=[[4096, 4096]], types=[BF16])
    bare = msgspec.structs.replace(device("H100"), cache_bytes=None)
    assert [v.reason for v in find_gap(t.run(tmp_path), bare).violations] == ["a fault of ours"]


def test_copies_faster_than_their_link_are_said(tmp_path):
    t = Made(**H100)
    t.op("aten::copy_", 0, 9_000, dims=[[4096, 4096]] * 2, types=[BF16] * 2)
    t.call(100, 500, 1)
    t.kernel(1_000_000, 100_000, 1, "Memcpy HtoD (Pinned -> Device)", cat="gpu_memcpy", bytes=2**25)
    (one,) = find_gap(t.run(tmp_path), device("H100")).violations
    assert (one.reason, one.saved_bytes) == ("above the link", None)


def test_what_is_faster_than_the_peak_is_said(tmp_path, capsys):
    t = Made(**H100)
    t.one("aten::mm", 10_000, 4_000, dims=[[4096, 4096], [4096, 4096]], types=[BF16, BF16])
    gap = find_gap(t.run(tmp_path), device("H100"))
    assert gap.above_peak == ["(no modules recorded): aten::mm"]
    assert [v.reason for v in gap.violations] == ["above the peak"]
    print_gap(gap)
    assert "Faster than the dense peak" in capsys.readouterr().out


def test_an_operation_of_the_workload_is_named(tmp_path, layer):
    t = Made(**H100)
    t.one("aten::addmm", 10_000, 5_000, dims=[[96], [6, 64], [64, 96]], types=[BF16] * 3)
    t.one("aten::gelu", 20_000, 2_000, dims=[[6, 96]], types=[BF16])
    t.one("aten::mm", 30_000, 3_000, dims=[[6, 64], [64, 7]], types=[BF16] * 2)
    run = t.run(tmp_path)
    gap = find_gap(run, device("H100"), layer, {"batch": 3})
    assert (row_of(gap, "aten::addmm").path, row_of(gap, "aten::addmm").exact) == ("fc", True)  # twice its batch
    assert row_of(gap, "aten::gelu").path == "act"
    assert row_of(gap, "aten::mm").path == ""
    assert gap.coverage_workload == run.coverage.workload == 0.7
    assert not row_of(find_gap(run, device("H100"), layer, {"batch": 4}), "aten::addmm").exact
    with pytest.raises(ValueError, match="too small"):
        find_gap(run, device("H100"), layer, {"batch": 0})


def test_little_that_matches_is_told_from_little_that_was_recorded(tmp_path, layer, capsys):
    """5 of 20 us match; of the other 15 either the sizes were recorded, and are another model's, or they were not."""
    for shape, words in (({"dims": [[6, 50], [50, 7]], "types": [BF16] * 2}, "is it this model"), ({}, "most of the")):
        t = Made(**H100)
        t.one("aten::addmm", 10_000, 5_000, dims=[[96], [6, 64], [64, 96]], types=[BF16] * 3)
        t.one("aten::mm", 30_000, 15_000, **shape)
        print_gap(find_gap(t.run(tmp_path), device("H100"), layer, {"batch": 3}))
        assert words in " ".join(capsys.readouterr().out.split())


def test_other_sizes_than_the_workload_was_asked_for_are_said(tmp_path, layer, capsys):
    t = Made(**H100)
    t.one("aten::addmm", 10_000, 9_000, dims=[[96], [6, 64], [64, 96]], types=[BF16] * 3)
    t.one("aten::mm", 30_000, 1_000, dims=[[8, 96], [96, 8]], types=[BF16] * 2)
    run = t.run(tmp_path)
    right, wrong = (find_gap(run, device("H100"), layer, {"batch": batch}) for batch in (2, 4))
    assert (right.coverage_exact, wrong.coverage_exact) == (1.0, 0.1)
    assert find_gap(run, device("H100")).coverage_exact is None
    print_gap(right)
    assert "other sizes" not in capsys.readouterr().out
    print_gap(wrong)
    assert "90.0% of that has other sizes than the workload (the longest: fc at 96, 6x64" in capsys.readouterr().out


NORMS = """{"format": "frameroof.workload", "version": 1, "grammar": 1, "name": "norms",
 "params": {"batch": {"default": 2}}, "stages": [{"name": "forward", "tensors": ["bf16[batch,64]"],
 "ops": [{"path": "embed", "kind": "elementwise", "name": "add", "reads": [0], "writes": [0]},
         {"path": "blocks.[0-3].norm", "kind": "norm", "name": "layer_norm", "reads": [0], "writes": [0]}],
 "weights": {}}]}"""


def test_a_fused_kernel_is_named_by_what_it_is_for(tmp_path):
    """A norm's kernel that also adds: the norm of the blocks, not the first addition of the model."""
    path = tmp_path / "norms.workload.json"
    path.write_text(NORMS, "utf-8")
    t = Made(**H100)
    t.note("stage::forward", 0, 50_000)
    t.one("triton_red_fused_add_layer_norm_3", 10_000, 5_000, "triton_red_fused_add_layer_norm_3", [[2, 64]], [BF16])
    (row,) = find_gap(t.run(tmp_path), device("H100"), catalogue.load(str(path))).rows
    assert (row.class_, row.path) == ("layer norm", "blocks.[0-3].norm (+1 fused or alike)")


def test_attention_without_sizes_says_so(tmp_path, capsys):
    t = Made(**H100)
    t.one("my::flash_attention", 10_000, 5_000, "flash_fwd")
    print_gap(find_gap(t.run(tmp_path), device("H100")))
    out = capsys.readouterr().out
    assert "not recorded" in out
    assert "0 x 0" not in out


def test_what_the_run_does_not_show_is_listed(tmp_path, layer):
    t = Made(**H100)
    t.note("stage::forward", 0, 50_000)
    t.one("aten::addmm", 10_000, 5_000, dims=[[96], [6, 64], [64, 96]], types=[BF16] * 3)
    assert find_gap(t.run(tmp_path), device("H100"), layer).missing == ["forward: out"]


def test_peaks_fall_back_to_the_next_type_and_never_to_a_smaller_limit():
    h100 = device("H100")
    seen = Roofline(h100, ran=True)
    assert seen.peak("bf16") == h100.dense_flops["bf16"]
    assert seen.peak(unit_of(None, "linear")) == h100.dense_flops["bf16"]
    assert seen.peak("fp32") == h100.dense_flops["fp32"] < seen.peak("tf32") == h100.dense_flops["tf32"]
    assert seen.peak("unheard") == max(h100.dense_flops.values())


@pytest.mark.parametrize("name", FILES)
def test_rows_classes_and_stages_add_up_to_the_work(name, capsys):
    run = real(name)
    total = run.summary.kernel_ns + run.summary.memory_ns
    if run.summary.host_only:  # its rows are launches for a device that the file does not show
        assert name in ("edge_cpu_only_no_dist.json.gz", "mi300x_graph_capture.json")
        with pytest.raises(ValueError, match="times of the host alone"):
            find_gap(run, device("H100"))
        return
    gap = find_gap(run, device(run.summary.hardware or "H100"))
    assert sum(r.time_ns for r in gap.rows) == total == gap.time_ns
    for sums in (gap.classes, gap.stages):
        assert sum(s.time_ns for s in sums) == total
        assert all(s.limit_ns + s.above_ns + s.unlimited_ns == s.time_ns for s in sums)
    assert {c.name: c.time_ns for c in gap.classes} == {c.name: c.time_ns for c in run.classes}
    assert gap.above_peak == []
    assert gap.limit_ns <= gap.never_faster_ns <= gap.span_ns
    print_gap(gap, 5)
    assert "None" not in capsys.readouterr().out


GEMM = [[1024, 1024], [1024, 1024]]
FLOPS = 2 * 1024**3


@pytest.mark.parametrize(
    ("kernel", "took_ns", "peak"),
    [
        ("ampere_sgemm_128x64_nn", 40_000, "fp32"),
        ("sm80_xmma_gemm_f32f32_tf32f32_f32_nn_n_tilesize128x128x32", 40_000, "tf32"),
        ("cutlass_80_tensorop_s1688gemm_128x128_32x3_nn_align4", 40_000, "tf32"),
        ("gemm_of_a_name_unheard_of", 20_000, "tf32"),  # 107 TFLOP/s: fp32 has 67
    ],
)
def test_products_of_fp32_have_the_unit_that_computed_them(tmp_path, kernel, took_ns, peak):
    t = Made(**H100)
    t.one("aten::mm", 10_000, took_ns, kernel, GEMM, ["float"] * 2)
    (row,) = find_gap(t.run(tmp_path), device("H100")).rows
    assert row.limit_ns == round(FLOPS / device("H100").dense_flops[peak] * 1e9)


def test_fp32_has_the_same_unit_in_predict_and_in_gap(tmp_path):
    """A product and a 1 x 1 convolution of the same size: fp32 and TF32, in both."""
    t = Made(**H100)
    t.one("aten::mm", 10_000, 90_000, "sgemm", GEMM, ["float"] * 2)
    image, weight = [1, 1024, 32, 32], [1024, 1024, 1, 1]
    numbers = ["", "", "", "[1, 1]", "[0, 0]", "[1, 1]", "1"]
    t.one("aten::conv2d", 200_000, 90_000, "cudnn", [image, weight, [], [], [], [], []], ["float"] * 2, numbers)
    gap = find_gap(t.run(tmp_path), device("H100"))
    x, side = "fp32[1024,1024]", 1024
    text = f"""{{"format": "frameroof.workload", "version": 1, "grammar": 1, "name": "both",
     "stages": [{{"name": "forward", "tensors": ["{x}"], "ops": [
     {{"path": "fc", "kind": "matmul", "name": "mm", "reads": [0, 0], "writes": [0],
       "dims": {{"b": 1, "m": {side}, "n": {side}, "k": {side}}}}},
     {{"path": "conv", "kind": "conv2d", "name": "convolution", "reads": [0, 0], "writes": [0],
       "dims": {{"n": {side * side}, "k": {side}}}}}]}}]}}"""
    limits = [op.limit_s for op in estimate(loads(text.encode()), parse_node("H100")).total.ops]
    assert [row_of(gap, name).limit_ns for name in ("aten::mm", "aten::conv2d")] == [round(s * 1e9) for s in limits]
    assert limits == [pytest.approx(FLOPS / device("H100").dense_flops[unit]) for unit in ("fp32", "tf32")]


@pytest.mark.shared
@pytest.mark.skipif(not TRUTH, reason="no ../shared/traces here")
def test_sd35_beside_its_workload():
    run = real("mi300x_sd35_xdit.json.gz")
    gap = find_gap(run, device("MI300X"), catalogue.load("sd3.5-large"))
    assert gap.coverage_workload > 0.95
    first = gap.rows[0]
    assert (first.class_, first.path, first.exact) == ("attention", "transformer_blocks.[0-37].attn", True)
    run.coverage.workload = None
