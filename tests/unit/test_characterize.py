"""The paper's experiments: each against a hand count, a closed form, or the modules themselves."""

import json

import polars as pl
import pytest

from frameroof.study.characterize import experiments, suite
from frameroof.study.characterize.claims import claim, contradiction, statement
from frameroof.study.characterize.counters import by_class, read
from frameroof.study.characterize.fleet import figure_1, read_jobs
from frameroof.study.characterize.frames import attention_flops, counted_crossover
from frameroof.study.characterize.predicted import Predicted, passes_of, stage_of, workload_of
from frameroof.study.characterize.quality import pareto, published
from frameroof.study.characterize.reuse import figure_13, kernels
from frameroof.study.characterize.scaling import crossovers
from frameroof.study.characterize.sequence import figure_8, fundamental_period
from frameroof.study.characterize.similarity import counted_bytes
from frameroof.study.characterize.source import CALLS, WORK, columns, work_frame
from frameroof.study.characterize.speedup import amdahl, implied_module_speedup
from frameroof.study.characterize.staggering import Segment, simulate, slices
from frameroof.study.characterize.taxonomy import level
from frameroof.study.characterize.training import unit_bytes
from frameroof.workload.records import Op

MODELS = ("llama", "stable-diffusion", "make-a-video", "parti")


@pytest.fixture(scope="module")
def source():
    return Predicted("A100", MODELS)


# ------------------------------------------------------------------------------------------- the source


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
    calls = Predicted("A100", (name,)).calls(name, "flash", {"steps": 1})
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


# ------------------------------------------------------------------------------------------- formulas


@pytest.mark.parametrize("side", [128, 512, 1024])
def test_the_closed_form_of_section_5a_is_what_is_counted(side):
    from frameroof.estimate import similarity_matrix_bytes

    latent = side // 8
    assert counted_bytes(side)["of_formula"] == similarity_matrix_bytes(latent, latent, 77, 3)
    by_hand = 8 * (latent**4 * 5 + (latent // 2) ** 4 * 5 + (latent // 4) ** 4 * 5 + (latent // 8) ** 4)
    by_hand += 8 * 77 * (latent**2 * 5 + (latent // 2) ** 2 * 5 + (latent // 4) ** 2 * 5 + (latent // 8) ** 2)
    assert counted_bytes(side)["all"] == 2 * by_hand  # 8 heads, 2 calls down and 3 up, 2 bytes


def test_temporal_attention_passes_spatial_at_as_many_frames_as_tokens():
    for tokens in (64, 196, 1024):
        assert attention_flops("spatial", tokens, tokens) == attention_flops("temporal", tokens, tokens)
        assert attention_flops("temporal", tokens - 1, tokens) < attention_flops("spatial", tokens - 1, tokens)
    assert [counted_crossover(tokens) for tokens in (1024, 256, 64, 63)] == [1024, 256, 64, None]


def test_attention_flops_by_hand():
    each = {
        k: attention_flops(k, 3, 2, width=1, window=2) for k in ("spatial", "temporal", "full", "windowed", "causal")
    }
    # 3 frames of 2 tokens: pairs of (query, key), 4 FLOPs each
    assert each == {"spatial": 48, "temporal": 72, "full": 144, "windowed": 48, "causal": 48}
    with pytest.raises(ValueError, match="unknown kind 'ring'"):
        attention_flops("ring", 1, 1)


def test_amdahl_by_hand():
    assert amdahl(0.5, 2) == pytest.approx(4 / 3)
    assert amdahl(0, 9) == 1
    # of 10 s, 4 are attention; at 2x they are 2 of the 8 left: 1.25x end to end, a quarter of it attention
    assert implied_module_speedup(1.25, 0.25) == pytest.approx(2)
    with pytest.raises(ValueError, match="between 0 and 1"):
        amdahl(1.5, 2)


def test_fundamental_period():
    assert fundamental_period([1, 2, 3] * 4) == 3
    assert fundamental_period([5, 5, 5]) == 1
    assert fundamental_period([1, 2, 1, 2, 1]) == 2
    assert fundamental_period([1, 2, 3, 4]) is None
    assert fundamental_period([]) is None


def test_crossovers_are_interpolated_in_logarithms():
    assert crossovers([100, 400], [0.5, 2.0]) == pytest.approx([200])
    assert crossovers([100, 400], [0.5, 0.9]) == []


def test_published_qualities_have_sources():
    for each in published():
        assert all(len(text) > 10 for text in (each.parameters_source, each.fid_source)), each.name


def test_pareto_and_levels():
    assert pareto([(1, 9), (2, 5), (3, 6), (4, 5)]) == [True, True, False, False]
    assert [level(v, (1, 1000)) for v in (1, 9, 11, 99, 101, 1000)] == [
        "Low",
        "Low",
        "Medium",
        "Medium",
        "High",
        "High",
    ]


def test_bytes_asked_for_by_hand():
    # one head, 128 queries and keys of 64: two tiles each way. scores: rows and columns twice, the matrix once
    call = {"batch": 1, "heads": 1, "query_len": 128, "key_len": 128, "head_dim": 64}
    scores = 2 * (2 * 128 * 64 + 2 * 128 * 64 + 128 * 128)
    values = 2 * (128 * 128 + 2 * 64 * 128 + 128 * 64)  # 2 row tiles, 1 column tile
    assert kernels(call)["gemm"][0] == scores + values
    assert kernels(call)["softmax"] == (6 * 128 * 128, 6 * 128 * 128)


def test_fsdp_units_hold_every_weight_once():
    weights = next(s for s in workload_of("stable-diffusion", "flash").stages if s.name == "denoise").weights
    assert sum(unit_bytes()) == 2 * sum(weights.values())


# ------------------------------------------------------------------------------------------- staggering

STEP = (Segment(1.0, 0.0, 1.0, held=8.0), Segment(1.0, 0.5, 0.0))


def test_two_requests_in_step_fight_for_bandwidth():
    got = simulate(STEP, requests=2, steps=1, staggered=False)
    assert (got.seconds, got.bandwidth_peak, got.held_peak) == (pytest.approx(3.0), 2.0, 16.0)  # 2 s, then 1 s
    assert got.bandwidth_mean == pytest.approx(2 / 3)


def test_two_staggered_requests_take_turns():
    got = simulate(STEP, requests=2, steps=3, staggered=True)
    assert (got.seconds, got.bandwidth_peak, got.held_peak) == (pytest.approx(7.0), 1.0, 8.0)  # 6 s and a wait of 1 s
    assert got.over_share == 0


def test_slices_add_up_to_the_demand():
    got = simulate(STEP, requests=2, steps=1, staggered=False)
    assert slices(got, 3) == [
        (pytest.approx(at), pytest.approx(d), h) for at, d, h in ((0.5, 2, 16), (1.5, 2, 16), (2.5, 0, 0))
    ]
    with pytest.raises(ValueError, match="at least 1 request"):
        simulate(STEP, 0, 1, False)


# ------------------------------------------------------------------------------------------- claims


@pytest.mark.parametrize(
    ("paper", "ours", "verdict"),
    [
        ((0.413,), [0.40], "agrees"),
        ((0.413,), [0.30], "differs"),
        ((0.13, 0.25), [0.14, 0.26], "agrees"),
        ((0.13, 0.25), [0.01, 0.2], "differs"),
        ((2.0,), [], "not tested"),
    ],
)
def test_verdicts_come_from_the_numbers(paper, ours, verdict):
    assert claim("text", "where", paper, ours, "%").verdict == verdict


def test_a_contradiction_names_the_reading_that_ours_supports():
    readings = (("nine times more", 1 / 9, 1 / 9), ("nine times fewer", 9.0, 9.0))
    got = contradiction("FLOPs", "VI", readings, 9.1, "x")
    assert (got.verdict, "nine times fewer" in got.why, "nine times more" in got.why) == (
        "contradicts itself",
        True,
        False,
    )
    assert contradiction("FLOPs", "VI", readings[1:], 9.1, "x").verdict == "agrees"
    assert statement("text", "where", "", "", None).verdict == "not tested"


# ------------------------------------------------------------------------------------------- counters and jobs

HEAD = (
    '"ID","Kernel Name",gpu__time_duration.sum,smsp__inst_executed.sum,lts__t_sectors_lookup_miss.sum,'
    "lts__t_sector_hit_rate.pct"
)
RAW = f"""==PROF== Connected to process 1
{HEAD}
"","","nsecond","inst","sector","%"
"0","ampere_fp16_s16816gemm_fp16_64x64","2,000","1,000,000","5,000","50"
"1","void cunn_SoftMaxForward<4, float>","1000","500000","500","90"
"2","ampere_fp16_s16816gemm_fp16_64x64","2000","1000000","1000","80"
"""
LONG = """"ID","Kernel Name","Section Name","Metric Name","Metric Unit","Metric Value"
"0","void softmax_warp_forward<float>","Memory","L2 Hit Rate","%","75.5"
"0","void softmax_warp_forward<float>","Speed","Duration","usecond","3.5"
"""


def test_counters_of_a_raw_page(tmp_path):
    path = tmp_path / "raw.csv"
    path.write_text(RAW, "utf-8")
    got = by_class(read(path))
    assert got["gemm"]["l2_mpki"] == pytest.approx(6000 / 2000)  # misses over thousands of instructions
    assert got["gemm"]["l2_hit_rate"] == pytest.approx(0.65)  # weighted by equal times
    assert got["softmax"]["time_s"] == pytest.approx(1e-6)


def test_counters_of_a_details_page(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text(LONG, "utf-8")
    assert read(path) == [
        {"kernel": "void softmax_warp_forward<float>", "class": "softmax", "l2_hit_rate": 0.755, "time_s": 3.5e-6}
    ]
    (tmp_path / "other.csv").write_text("a,b\n1,2\n", "utf-8")
    with pytest.raises(ValueError, match="no Nsight Compute CSV"):
        read(tmp_path / "other.csv")


def test_figure_13_shows_counters_or_the_estimate_never_both(source, tmp_path):
    for axis, misses in (("temporal", "4,000"), ("spatial", "2,000")):
        (tmp_path / f"{axis}.csv").write_text(RAW.replace("5,000", misses), "utf-8")
    got = figure_13(source, {axis: tmp_path / f"{axis}.csv" for axis in ("temporal", "spatial")})
    ratio = next(c for c in got.claims if "gemm" in c.text)
    assert (got.how, ratio.ours_value) == ("measured", pytest.approx(5000 / 3000))
    assert source.machine not in got.machine
    assert str(tmp_path / "temporal.csv") in got.machine
    assert "reuse" not in {c.name for c in got.columns}
    estimate = figure_13(source)
    assert estimate.how == "estimated"
    assert all(c.verdict == "not tested" for c in estimate.claims if "misses" in c.text)
    with pytest.raises(ValueError, match="one for spatial"):
        figure_13(source, {"temporal": tmp_path / "temporal.csv"})


def test_counters_stand_beside_the_counted_bytes_of_figure_8(source, tmp_path):
    """Each call of self-attention moves 3 GB in 1 ms: 3 TB/s; those of the prompt between them are passed over."""
    every = source.calls("stable-diffusion", "flash", {}).filter(pl.col("stage") == "denoise")
    lines = ['"ID","Kernel Name",gpu__time_duration.sum,dram__bytes.sum', '"","","msecond","Gbyte"']
    lines += [f'"{i}","flash_fwd_kernel",1,{3 if i % 2 == 0 else 1}' for i in range(12)]
    path = tmp_path / "unet.csv"
    path.write_text("\n".join(lines), "utf-8")
    got = figure_8(source, {"stable-diffusion": path})
    rows = [row for row in got.rows if row["model"] == "stable-diffusion"]
    assert every["kind"].head(4).to_list() == ["self", "cross"] * 2
    assert [row["dram_bytes"] for row in rows] == [3e9] * 6 + [None] * (len(rows) - 6)
    assert rows[0]["dram_share"] == pytest.approx(3e12 / source.node.bandwidth)
    assert "hardware counters" in got.claims[-1].text
    assert got.claims[-1].verdict == "not tested"  # one rate: nothing varies
    assert {row["dram_bytes"] for row in figure_8(source).rows} == {None}
    path.write_text("\n".join(lines[:2] + [lines[2]] * (len(every) + 1)), "utf-8")
    with pytest.raises(ValueError, match="they are not of one run"):
        figure_8(source, {"stable-diffusion": path})
    path.write_text("\n".join([*lines[:2], '"0","gemm",1,1']), "utf-8")
    with pytest.raises(ValueError, match="no kernel of attention"):
        figure_8(source, {"stable-diffusion": path})


def test_the_example_of_figure_1_is_labelled_and_tests_nothing(source):
    got = figure_1(source)
    assert "SYNTHETIC" in got.assumptions[0]
    assert {c.verdict for c in got.claims} == {"not tested"}


def test_job_records_by_hand(source, tmp_path):
    jobs = tmp_path / "jobs.csv"
    head = "job,kind,parameters,gpus,memory_used_bytes,memory_bytes\n"
    jobs.write_text(head + "a,llm,2e9,10,4,8\nb,image,1e9,70,6,8\n", "utf-8")
    got = figure_1(source, jobs)
    assert [c.verdict for c in got.claims] == ["agrees", "differs"]  # 70 over 5 a billion is 14; 0.75 over 0.5 is 1.5
    jobs.write_text(head + "a,llm,2e9,10,9,8\n", "utf-8")
    with pytest.raises(ValueError, match="no more memory than there is"):
        read_jobs(jobs)
    jobs.write_text("job,kind\na,llm\n", "utf-8")
    with pytest.raises(ValueError, match="no column 'parameters'"):
        read_jobs(jobs)


# ------------------------------------------------------------------------------------------- the whole


def test_every_experiment_is_whole(source):
    for got in experiments.run(source):
        names = [column.name for column in got.columns]
        assert got.rows
        assert all(sorted(row) == sorted(names) for row in got.rows), got.id
        assert all(column.meaning for column in got.columns)
        json.dumps(got.to_dict(), allow_nan=False)
        assert got.frame().height == len(got.rows)
        for each in got.claims:
            assert all((each.text, each.where, each.why or each.verdict == "agrees")), each
        if not got.id.startswith(("beyond", "figure-6", "figure-11", "figure-9", "figure-14", "section")):
            assert got.claims, got.id


def test_the_known_contradictions_are_named(source):
    found = {
        c.text: c.ours_value
        for got in experiments.run(source, ("figure-4", "table-2", "figure-8", "section-5a", "figure-12"))
        for c in got.claims
        if c.verdict == "contradicts itself"
    }
    assert len(found) == 5
    assert found["Sequence length of Stable Diffusion varies over the inference by"] == 64  # 4096 over 64
    assert found["FLOPs of spatial over those of temporal attention"] == pytest.approx(9, rel=0.05)


def test_stable_diffusion_is_predicted_near_published_times(source):
    got = next(experiments.run(source, ("beyond-published",)))
    assert all(0.6 < row["ratio"] < 1.4 for row in got.rows), [(row["model"], row["ratio"]) for row in got.rows]


def test_experiments_are_chosen_by_id_number_and_topic():
    assert experiments.chosen("8, table-2") == ("table-2", "figure-8")
    assert experiments.chosen("sequence") == ("table-3", "figure-8", "figure-9")
    assert experiments.chosen() == tuple(experiments.EXPERIMENTS)
    with pytest.raises(ValueError, match="unknown figure or topic '99'"):
        experiments.chosen("99")


def test_a_ninth_model_is_one_line(monkeypatch):
    ninth = suite.Model("flux", "FLUX.1 schnell", "diffusion", "image", "flux.1-schnell", "latent")
    monkeypatch.setitem(suite.MODELS, "flux", ninth)
    source = Predicted("H100", ("flux",))
    got = next(experiments.run(source, ("figure-7",)))
    assert {row["model"] for row in got.rows} == {"flux"}
    assert suite.suite("golden,flux") == (*suite.GOLDEN, "flux")


# ------------------------------------------------------------------------------------------- what is not there


class Unknown(Predicted):
    """A source of a machine whose peaks nobody knows, and whose numbers need a word of caution."""

    caveat = "Small models."

    def __init__(self, *models):
        super().__init__("A100", models)
        self.known, self.node = self.node, None
        self.machine = "a box"

    def work(self, *asked):
        self.node = self.known
        try:
            return super().work(*asked)
        finally:
            self.node = None


def test_a_claim_that_cannot_be_tested_has_no_number_of_ours_and_says_why():
    (got,) = experiments.run(Unknown("stable-diffusion", "muse", "parti"), ("figure-5",))
    bound = [c for c in got.claims if "bound by" in c.text]
    assert [(c.verdict, c.ours, c.why) for c in bound] == [
        ("not tested", "", "Peak and bandwidth of a box are not known.")
    ] * 2
    assert {row["ridge"] for row in got.rows} == {None}
    assert statement("text", "where", "all", "all", None).ours == ""


def test_a_caveat_is_part_of_every_reason_that_rests_on_the_source():
    (got,) = experiments.run(Unknown("stable-diffusion"), ("table-1",))
    warned = {c.counted: c.why.endswith("Small models.") for c in got.claims if c.ours}
    assert warned == {True: False}  # parameters and shapes are counted
    (got,) = experiments.run(Unknown("stable-diffusion"), ("figure-9",))
    assert all(c.why.endswith("Small models.") for c in got.claims)
    assert any("full size" in text for text in got.assumptions)


def test_sizes_that_do_not_fit_are_left_out_of_a_sweep_and_named():
    class Small(Predicted):
        def sides(self, model):
            return (256, 512, 1024)

        def work(self, model, attention, sizes):
            if attention == "baseline" and sizes.get("height") == 1024:
                raise ValueError("baseline needs 9 GB")
            return super().work(model, attention, sizes)

        def calls(self, model, attention, sizes):
            if sizes.get("height") == 1024:
                raise ValueError("flash needs 7 GB")
            return super().calls(model, attention, sizes)

    sweep, lengths = experiments.run(Small("A100", ("stable-diffusion",)), ("figure-10", "figure-9"))
    assert [(row["side_px"], row["attention"]) for row in sweep.rows][-2:] == [(512, "flash"), (1024, "flash")]
    assert "1024 px is left out: baseline needs 9 GB." in sweep.assumptions
    assert {row["side_px"] for row in lengths.rows} == {256, 512}
    assert "1024 px is left out: flash needs 7 GB." in lengths.assumptions


def test_an_experiment_without_rows_says_why():
    asked = ("beyond-staggering", "beyond-staggering-series")
    for got in experiments.run(Predicted("A100", ("llama",)), ("figure-13", "beyond-video")):
        assert bool(got.rows) != bool(got.missing), got.id
    assert all(got.rows and not got.missing for got in experiments.run(Predicted("A100", ("llama",)), asked))


# ------------------------------------------------------------------------------------------- Table I, sizes, devices


def test_levels_of_a_unet_are_those_of_its_configuration(source):
    pytest.importorskip("torch")
    from frameroof.models.common import component
    from frameroof.models.imagen import BASE

    (got,) = experiments.run(Predicted("A100", ("stable-diffusion", "imagen")), ("table-1",))
    ours = {row["model"]: row for row in got.rows}
    _, config = component("stable-diffusion-1.5", "unet")
    widths = config["block_out_channels"]
    assert ours["stable-diffusion"]["channel_multipliers"] == [width // widths[0] for width in widths]
    assert ours["stable-diffusion"]["res_blocks"] == config["layers_per_block"]
    assert ours["stable-diffusion"]["text_width"] == config["cross_attention_dim"]
    assert ours["stable-diffusion"]["attention_sides"] == [64, 32, 16, 8]
    assert ours["imagen"]["channel_multipliers"] == list(BASE.mults)
    assert ours["imagen"]["res_blocks"] == BASE.res_blocks[0]
    assert ours["imagen"]["attention_sides"] == [32, 16, 8]


def test_what_does_not_fit_a_device_has_no_cost_but_the_number(source):
    (got,) = experiments.run(source, ("beyond-cost",))
    of = {(row["machine"], row["model"]): row for row in got.rows}
    small = of["RTX 4090", "parti"]
    assert (small["seconds"], small["usd"]) == (None, None)
    assert "needs 4" in small["refused"]
    assert "24.00 GB" in small["refused"]
    assert of["RTX 4090", "llama"]["seconds"] > of["H100-SXM5-80GB", "llama"]["seconds"]


def test_sizes_that_were_asked_for_reach_other_devices():
    from frameroof.study.characterize.sized import resize

    plain = Predicted("A100", ("stable-diffusion",))
    sized, _ = resize(plain, {"steps": 10}, lambda m, s: workload_of(m, "flash").sizes(s))
    of = {}
    for name, each in (("plain", plain), ("sized", sized)):
        (got,) = experiments.run(each, ("beyond-cost",))
        of[name] = {row["machine"]: row["seconds"] for row in got.rows}
    assert all(of["sized"][machine] < of["plain"][machine] / 3 for machine in of["plain"])
    assert sized.other("H100").sizes("stable-diffusion")["steps"] == 10


def test_models_that_are_not_known_are_refused():
    with pytest.raises(ValueError, match="unknown model 'stable-diffuzion'; did you mean"):
        suite.model("stable-diffuzion")
    assert suite.model("sd15").name == "stable-diffusion"
    kinds = {name: (suite.model(name).family, suite.model(name).modality) for name in ("longlive-1.3b", "llama3.1-8b")}
    assert kinds == {"longlive-1.3b": ("diffusion", "video"), "llama3.1-8b": ("llm", "text")}
    assert suite.suite("sd15,wan2.1-t2v-1.3b") == ("stable-diffusion", "wan2.1-t2v-1.3b")


def test_frames_and_columns_refuse_what_does_not_fit():
    row = {"stage": "s", "name": "n", "class": "magic", "kind": "", "count": 1, "time_ns": 1, "flops": 0, "bytes": 0}
    with pytest.raises(ValueError, match="unknown class 'magic'"):
        work_frame([row])
    assert columns("time_s [s]: how long")[0].unit == "s"
    with pytest.raises(ValueError, match="not a column"):
        columns("no colon")


def test_every_operation_of_the_suite_has_a_class():
    from frameroof.study.characterize.classes import class_of

    found = {}
    for name in suite.GOLDEN:
        for run in passes_of(name, "baseline"):
            for work in run.work:
                found.setdefault(class_of(work.op), set()).add(work.op.kind)
    assert found["attention"] == {"attention"}
    assert found["convolution"] == {"conv1d", "conv2d", "conv3d"} & found["convolution"]
    assert found["linear"] <= {"linear", "matmul"}
    assert "other" not in found
    assert class_of(Op("n", "norm", "group_norm", (), ())) == "group norm"
