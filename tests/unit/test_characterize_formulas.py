"""The formulas behind the experiments, by hand: section V-A, Amdahl, crossovers, staggered requests."""

import pytest

from frameroof.study.characterize.frames import attention_flops, counted_crossover
from frameroof.study.characterize.predicted import workload_of
from frameroof.study.characterize.quality import pareto, published
from frameroof.study.characterize.reuse import kernels
from frameroof.study.characterize.scaling import crossovers
from frameroof.study.characterize.sequence import fundamental_period
from frameroof.study.characterize.similarity import counted_bytes
from frameroof.study.characterize.speedup import amdahl, implied_module_speedup
from frameroof.study.characterize.staggering import Segment, simulate, slices
from frameroof.study.characterize.taxonomy import level
from frameroof.study.characterize.training import unit_bytes


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


STEP = (Segment(1.0, 0.0, 1.0, held=8.0), Segment(1.0, 0.5, 0.0))


def test_two_requests_in_step_fight_for_bandwidth():
    got = simulate(STEP, requests=2, steps=1, staggered=False)
    assert (got.seconds, got.bandwidth_peak, got.held_peak) == (pytest.approx(3.0), 2.0, 16.0)  # 2 s, then 1 s
    assert got.bandwidth_mean == pytest.approx(2 / 3)


def test_two_staggered_requests_take_turns():
    got = simulate(STEP, requests=2, steps=3, staggered=True)
    assert (got.seconds, got.bandwidth_peak, got.held_peak) == (pytest.approx(7.0), 1.0, 8.0)  # 6 s and a wait of 1 s
    assert got.over_share == 0


def test_bandwidth_in_use_is_what_was_moved_over_what_could_have_been():
    """Where compute is what they fight for, each uses half the bandwidth that it would alone."""
    got = simulate((Segment(1.0, 1.0, 0.5),), requests=2, steps=1, staggered=False)
    assert (got.seconds, got.bandwidth_peak, got.bandwidth_mean) == (pytest.approx(2.0), 1.0, pytest.approx(0.5))
    step = (*STEP, Segment(0.5, 0.9, 0.7), Segment(0.3, 1.0, 0.1, held=2.0))
    moved = 3 * sum(segment.seconds * segment.bandwidth for segment in step)
    for requests, staggered in ((2, False), (5, False), (2, True), (5, True)):
        got = simulate(step, requests, 3, staggered)
        assert got.bandwidth_mean * got.seconds == pytest.approx(requests * moved)


def test_slices_add_up_to_the_demand():
    got = simulate(STEP, requests=2, steps=1, staggered=False)
    assert slices(got, 3) == [
        (pytest.approx(at), pytest.approx(d), h) for at, d, h in ((0.5, 2, 16), (1.5, 2, 16), (2.5, 0, 0))
    ]
    with pytest.raises(ValueError, match="at least 1 request"):
        simulate(STEP, 0, 1, False)
