"""The predicted source of the experiments: its frames against hand counts and against the modules themselves."""

import pytest
from characterize_made import MODELS, predicted
from cli_said import said

from frameroof.study.characterize.predicted import Predicted, stage_of
from frameroof.study.characterize.sequence import fundamental_period
from frameroof.study.characterize.source import CALLS, WORK


@pytest.fixture(scope="module")
def source():
    return predicted()


def test_sequence_lengths_of_stable_diffusion_at_512(source):
    calls = source.calls("stable-diffusion", "flash", {"steps": 2})
    part = calls.filter((calls["stage"] == "denoise") & (calls["kind"] == "self"))
    once = [4096] * 2 + [1024] * 2 + [256] * 2 + [64] + [256] * 3 + [1024] * 3 + [4096] * 3
    assert part["query_len"].to_list() == once * 2
    assert fundamental_period(part["query_len"].to_list()) == len(once)
    assert part["start_ns"].is_sorted()
    assert calls["call"].to_list() == list(range(len(calls)))


def test_calls_and_work_say_the_same(source):
    for name in MODELS:
        for attention in ("baseline", "flash"):
            work, calls = source.work(name, attention, {}), source.calls(name, attention, {})
            mine = work.filter(work["class"] == "attention")
            assert calls["flops"].sum() == mine["flops"].sum()
            assert calls["time_ns"].sum() == pytest.approx(mine["time_ns"].sum(), rel=1e-3)  # whole ns a call
            assert (dict(work.schema), dict(calls.schema)) == (dict(WORK), dict(CALLS))
            end = calls["start_ns"][-1] + calls["time_ns"][-1]
            assert end <= work["time_ns"].sum() * 1.001


def test_both_attentions_count_the_same_flops(source):
    for name in MODELS:
        totals = {kind: source.work(name, kind, {})["flops"].sum() for kind in ("baseline", "flash")}
        assert totals["baseline"] == totals["flash"]


def test_parti_attends_to_one_token_more_each_time(source):
    calls = source.calls("parti", "flash", {})
    own = calls.filter((calls["stage"] == "decode") & (calls["kind"] == "self"))
    assert own["key_len"].to_list() == [i for i in range(1, 1025) for _ in range(64)]  # 64 layers a token


def test_guidance_is_one_batch():
    plain = stage_of("stable-diffusion", "flash", "denoise", {"guidance": 1})
    both = stage_of("stable-diffusion", "flash", "denoise")
    assert (plain.repeat, both.repeat) == (50, 50)
    assert sum(int(w.flops * w.count) for w in both.work) == 2 * sum(int(w.flops * w.count) for w in plain.work)


def test_lean_baseline_passes_over_the_matrix_four_times():
    for name, passes in (("baseline", 10), ("lean", 4)):
        run = stage_of("stable-diffusion", name, "denoise")
        own = [w for w in run.work if w.piece and w.dims["q"] == w.dims["kv"] == 4096]
        matrix = 2 * int(next(w for w in own if w.piece == "scores").scores)
        path = own[0].op.path
        moved = sum(w.bytes for w in own if w.op.path == path)
        assert passes <= moved / matrix < passes + 0.1  # and q, k, v and the output, which are small


@pytest.mark.parametrize(
    ("name", "recipe", "stage", "sizes"),
    [
        ("imagen", "imagen", "denoise", {"height": 64, "width": 64}),
        ("make-a-video", "make-a-video", "denoise", {"frames": 16, "height": 64, "width": 64}),
        ("phenaki", "phenaki", "c_vivit_decode", {}),
    ],
)
def test_calls_come_in_the_order_in_which_the_module_makes_them(name, recipe, stage, sizes, monkeypatch):
    torch = pytest.importorskip("torch")
    from frameroof.models import named_recipe

    seen, real = [], torch.nn.functional.scaled_dot_product_attention

    def spy(q, k, *rest, **named):
        seen.append((q.shape[-2], k.shape[-2]))
        return real(q, k, *rest, **named)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    part = next(p for p in named_recipe(recipe).parts if p.name == stage)
    with torch.device("meta"), torch.inference_mode():
        module, args, kwargs = part.build(**sizes)
        module.eval()(*args, **kwargs)
    source = Predicted("A100", (name,))
    one = {size: 1 for size in ("steps", "guidance") if size in source.sizes(name)}  # a pass, as the module is called
    calls = source.calls(name, "flash", one)
    mine = calls.filter(calls["stage"] == stage)
    assert list(zip(mine["query_len"], mine["key_len"], strict=True)) == seen


def test_the_smallest_image_of_figure_10_counts_exactly():
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    from frameroof.models import named_recipe

    part = next(p for p in named_recipe("stable-diffusion-1.5").parts if p.name == "denoise")
    with torch.device("meta"), torch.inference_mode():
        module, args, kwargs = part.build(height=128, width=128)
        small = [a[..., :8, :8] if a.ndim == 4 else a for a in args]
        small_kwargs = {k: v[..., :8, :8] if getattr(v, "ndim", 0) == 4 else v for k, v in kwargs.items()}
        with FlopCounterMode(display=False) as counter:
            module(*small, **small_kwargs)
    run = stage_of("stable-diffusion", "flash", "denoise", {"height": 64, "width": 64, "guidance": 1})
    assert sum(int(w.flops * w.count) for w in run.work) == counter.get_total_flops()


def test_a_size_beyond_a_table_is_a_sentence(tmp_path):
    done = said("characterize", "--predict", "--only", "table-1", "--models", "sdxl", "--size", "steps=1000000000",
                "--out", tmp_path / "study")  # fmt: skip
    assert (done.returncode, "beyond any use" in done.stderr, "Traceback" in done.stderr) == (2, True, False), done
