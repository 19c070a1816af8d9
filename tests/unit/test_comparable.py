"""Runs that cannot be compared fail a check with the reason; what a change brought is said only above the noise."""

from __future__ import annotations

import pytest
from cli_said import said
from msgspec import structs
from run_made import MS, advised, improved, made

from frameroof.recorded import concerns
from frameroof.report.comparison import markdown
from frameroof.run import GroupRow, OperatorRow, ShapeRow, StageRow, StepRow, save_run
from frameroof.study.comparable import incomparable
from frameroof.study.compare import compare
from frameroof.study.noise import noise_ns


def product(rows, k=512, n=1024, calls=1, name="aten::mm"):
    return ShapeRow(
        "linear", name, "denoise", "", [[rows, k], [k, n]], "bf16", 10 * MS, calls, 2.0 * rows * k * n * calls
    )


def convolution(positions, cin=64, cout=32, batch=1):
    flops = 2.0 * batch * positions * cin * 9 * cout
    dims = [[batch, cin, positions], [cout, cin, 9]]
    return ShapeRow("convolution", "aten::convolution", "denoise", "", dims, "bf16", 10 * MS, 1, flops)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ([product(4096)], [product(4096)], ""),
        ([product(4096)], [product(4096, k=640, n=2048)], "different models"),
        ([product(4096)], [product(1024)], "4,096 rows or positions before and 1,024 after, with 0.25 times"),
        ([product(4096, calls=2)], [product(8192)], ""),  # guidance in one forward
        ([product(4096, calls=20)], [product(4096, calls=30)], ""),  # more steps
        ([convolution(4096)], [convolution(1024)], "4,096 rows or positions before and 1,024 after"),
        ([convolution(4096)], [convolution(4096, cout=48)], "different models"),
        ([product(4096)], [product(4096, name="triton_mm_fused")], ""),  # nothing tells
    ],
    ids=["same", "weights", "length", "merged batch", "steps", "resolution", "filters", "unknown"],
)
def test_weights_tell_models_and_their_rows_tell_sizes(before, after, reason):
    found = incomparable(made(shapes=before), made(shapes=after))
    assert reason in (found[0] if found else "")
    assert bool(found) == bool(reason)


def named(source):
    return made(stages=[StageRow("denoise", source, 60 * MS, 60 * MS, 1, [60 * MS], {}, 1.0)])


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("FluxTransformer2DModel", "xFuserFlux1Transformer2DWrapper", True),
        ("FluxTransformer2DModel", "SD3Transformer2DModel", False),
        ("BertLMHeadModel", "ViTModel", False),
        ("annotation", "ViTModel", True),
    ],
)
def test_without_sizes_the_longest_stage_tells_the_model(one, other, alike):
    assert (incomparable(named(one), named(other)) == []) == alike


def renamed(name):
    return made(stages=[], classes=[GroupRow("other", 9, 1, 1.0)], kernels=[GroupRow(name, 9, 1, 1.0)],
                operators=[OperatorRow("other", name, 9, 1, 1)])  # fmt: skip


def test_nothing_in_common_and_work_of_the_host_alone():
    assert "no stage, operator or kernel in common" in incomparable(renamed("a"), renamed("b"))[0]
    assert incomparable(renamed("a"), renamed("a")) == []
    host = made()
    host.summary.on_cpu = host.summary.host_only = True
    assert incomparable(made(), host) == ["the run after has times of the host alone, the other those of a device"]
    assert incomparable(made(classes=[]), made()) == ["the run before holds no work"]


def test_a_check_of_other_sizes_fails_with_the_reason(tmp_path):
    for name, rows in (("a", 4096), ("b", 1024)):
        save_run(made(shapes=[product(rows)]), tmp_path / name)
    result = said("compare", tmp_path / "a", tmp_path / "b", "--fail-on", "total>5%")
    assert result.returncode == 1
    assert result.stderr.startswith(
        "frameroof: check failed: these runs cannot be compared: they are of different sizes"
    )
    assert "These runs cannot be compared: they are of different sizes" in result.stdout
    assert "no longer applies" not in result.stdout
    assert said("compare", tmp_path / "a", tmp_path / "b").returncode == 0


def test_work_outside_modules_is_one_row():
    runs = [made(stages=[StageRow("(outside modules)", "", ns, ns, 1, [ns], {}, 1.0)]) for ns in (50 * MS, 20 * MS)]
    assert markdown(compare(*runs), []).count("(outside modules)") == 1


# ------------------------------------------------------------------------------------------- noise


def step(busy_ms, idle_ms=0):
    busy, idle = busy_ms * MS, idle_ms * MS
    return StepRow(1, "s", busy, busy, idle, 0, 1, busy, classes={"attention": busy}, idle={"host_launch": idle})


def test_noise_is_twice_the_deviation_of_the_sum():
    """Steps of 9, 10 and 11 ms: a deviation of 1 ms, so their sum varies by the root of 3; twice it by twice that."""
    run = made(steps=[step(9), step(10), step(11)])
    about = concerns.Classes(("attention",))
    assert noise_ns(about, 30 * MS, run) == pytest.approx(2 * 3**0.5 * MS)
    assert noise_ns(about, 60 * MS, run) == pytest.approx(4 * 3**0.5 * MS)
    assert noise_ns(about, 30 * MS, made(stages=[])) is None
    warm = structs.replace(step(90), kind="warm-up")
    assert noise_ns(about, 30 * MS, made(steps=[warm, *run.steps])) == noise_ns(about, 30 * MS, run)


def outcome(after_ms, steps=((9, 0), (10, 0), (11, 0))):
    """Advice about attention of 40 ms that is gone; afterwards it takes so long."""
    first = made(steps=[step(*each) for each in steps], stages=[],
                 advice=[advised("device.fused-attention", concerns.Classes(("attention",)), 0.02)])  # fmt: skip
    after = made(steps=first.steps, stages=[], advice=[], classes=[GroupRow("attention", after_ms * MS, 1, 1.0)])
    return compare(first, after).brought[0]


@pytest.mark.parametrize(("after", "brought"), [(20, 20 * MS), (35, None), (36, None), (44, None), (60, -20 * MS)])
def test_what_is_within_the_noise_was_not_brought(after, brought):
    assert outcome(after).brought_ns == brought


def test_where_nothing_repeats_nothing_is_said_to_be_brought(capsys):
    from frameroof.report.comparison import print_comparison

    runs = made(stages=[]), improved()
    runs[1].stages = []
    found = compare(*runs)
    assert {b.noise_ns for b in found.brought} == {None}
    print_comparison(found, [])
    out = " ".join(capsys.readouterr().out.split())
    assert "how much of the change is noise is not known" in out
    assert "fused-attention: brought" not in out
