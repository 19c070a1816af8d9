"""What a report says fits the run: its words, no time that its clock cannot tell, no row twice, no share of 0 %."""

from __future__ import annotations

import pytest
from run_made import MS, attention, made

from frameroof.recorded.steps import StepRow
from frameroof.report.analysis import print_run
from frameroof.run import GroupRow, ModuleRow, OperatorRow, StageRow
from frameroof.trace.advice import conclude
from frameroof.trace.advice.device import _fused_how
from frameroof.trace.advice.words import repeated


def said(run, capsys):
    conclude(run, None)
    print_run(run)
    return capsys.readouterr().out


def stage(name, source):
    return StageRow(name, source, MS, MS, 1, [MS], {"linear": MS}, 1.0, 0 if source == "DiT" else MS)


def operators(*names):
    return [OperatorRow("linear", name, MS, 1, 1) for name in names]


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (made(), "a denoising step"),
        (made(stages=[stage("LlamaForCausalLM", "LlamaForCausalLM")], attention=[attention(MS, True, query_len=1)]),
         "a decoded token"),
        (made(stages=[stage("BertLMHeadModel", "BertLMHeadModel")], attention=[attention(MS, True, query_len=141)]),
         "a forward pass"),
        (made(stages=[stage("text encode", "T5EncoderModel"), stage("denoise", "DiT")]), "the text encode stage"),
        (made(stages=[], attention=[], operators=operators("_C_cache_ops::reshape_and_cache_flash")),
         "a decoded token"),
        (made(stages=[], operators=operators("aten::cudnn_convolution")), "the part that repeats"),
        (made(stages=[], operators=operators("aten::convolution_backward")), "a training step"),
        (made(operators=operators("Optimizer.step#AdamW.step")), "a training step"),
    ],
    ids=["diffusion", "language model", "its prefill", "a stage before the denoiser", "its server", "ResNet",
         "ResNet in training", "diffusion in training"],
)  # fmt: skip
def test_what_is_replayed_has_the_name_of_its_kind(run, words, capsys):
    assert repeated(run) == words
    assert f"replay {words} as a" in " ".join(said(run, capsys).split())


def module(name, time_ms, count, idle_ns):
    return ModuleRow(name, time_ms * MS, count, 0.5, idle_ns, idle_ns / count)


def test_a_wrapper_and_the_one_module_in_it_are_one_row(capsys):
    modules = [
        module("T5_0", 50, 10, 5000),
        module("T5_0/Stack_0", 50, 10, 5000),
        module("T5_0/Stack_0/A", 49, 9, 5000),
    ]
    out = said(made(modules=modules), capsys)
    assert [line.split()[0] for line in out.splitlines() if line.strip().startswith("T5")] == ["T5_0", "T5_0/Stack_0/A"]


def test_steps_of_the_clock_are_no_gaps(capsys):
    """1 ns between any two kernels is how some writers write none; a whole microsecond is, in files of those."""
    gaps = [GroupRow("up to 1 us", 3637, 3637, 0.0), GroupRow("1 to 10 us", 9000, 4, 0.0)]
    run = made(modules=[module("a", 50, 69, 69), module("b", 40, 62, 6111), module("c", 30, 10, 50_000)])
    run.launch.gaps = gaps
    out = said(run, capsys)
    assert "Gaps between work: 4 of 1 to 10 us (9.000 µs)." in out
    rows = {line.split()[0]: line.split()[4:] for line in out.splitlines() if line.split()[:1] in (["a"], ["b"], ["c"])}
    assert rows == {"a": ["69"], "b": ["62", "6.111", "µs"], "c": ["10", "50.00", "µs", "5.000", "µs"]}
    run.source.times = "us"
    run.launch.gaps = [GroupRow("up to 1 us", 4982 * 1000, 4982, 0.0)]
    assert "Gaps between work: none." in said(run, capsys)


def test_steps_hide_idle_time_of_one_step_of_the_clock(capsys):
    """Two steps of 10 kernels: 1 ns before one and 10 ns in it are none, 5 us and 20 us are told."""
    times = {"time_ns": MS}
    steps = [
        StepRow(number=1, name="1", wall_ns=MS, busy_ns=MS, idle_ns=10, before_ns=1, kernels=10, **times),
        StepRow(number=2, name="2", wall_ns=MS, busy_ns=MS, idle_ns=20_000, before_ns=5000, kernels=10, **times),
    ]
    rows = {line.split()[0]: line.split()[1:] for line in said(made(steps=steps), capsys).splitlines()
            if line.split()[:1] in (["1"], ["2"])}  # fmt: skip
    assert rows["1"] == ["1.000", "ms", "1.000", "ms", "10"]
    assert rows["2"] == ["1.000", "ms", "1.000", "ms", "20.00", "µs", "5.000", "µs", "10"]


def test_fused_work_is_named_after_the_run():
    assert "rotary" in _fused_how(made())
    assert "rotary" not in _fused_how(made(stages=[]))
    resnet = made(stages=[], classes=[GroupRow("batch norm", MS, 1, 1.0)], operators=operators("aten::batch_norm"))
    assert "folded" in _fused_how(resnet)
    resnet.operators = operators("aten::convolution_backward")
    assert "folded" not in _fused_how(resnet)


def test_lines_of_advice_stay_indented(capsys):
    lines = said(made(), capsys).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("Advice, "))
    told = lines[at + 1 : lines.index("", at)]
    assert any(len(line) > 130 for line in told)
    assert all(line[0].isdigit() or line.startswith(("   ", "Problem")) for line in told)


def test_a_share_of_nothing_is_not_shown(capsys):
    run = made(classes=[GroupRow("linear", 60 * MS, 40, 0.9999), GroupRow("softmax", 6000, 1, 0.0001)])
    run.stages[0].classes = {"linear": 60 * MS, "softmax": 6000}
    out = said(run, capsys)
    assert "linear 100%" in out
    assert "softmax 0%" not in out
    assert "<0.1%" in out


def test_flops_of_unknown_sizes_are_not_said_to_be_none(capsys):
    run = made()
    run.summary.flops, run.coverage.flops = 0.0, 0.0
    assert "FLOPs: not known, for the sizes of matrix work were not recorded." in said(run, capsys)
