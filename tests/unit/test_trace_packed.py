"""Attention over packed sequences and caches: its size where the file has the lengths, and unknown where it has not."""

from __future__ import annotations

import json

import pytest
from trace_made import H100, Made

from frameroof import compare
from frameroof.gap import find_gap
from frameroof.hardware import device
from frameroof.report.analysis import print_run
from frameroof.report.frames import frames
from frameroof.rules import LOWER_RIGHT, masked_pairs
from frameroof.trace.find.attention.steps import lengths_in
from frameroof.trace.to_run import analyze

BF16, INT = "c10::BFloat16", "int"
UNIFIED = "vllm::unified_attention_with_output"
POOL = [9000, 32, 8, 64]


def vllm(context, generation):
    """The annotation of a step over sequences of (queries, keys), its sums taken one by one."""
    sums = [
        f"{len(part)}(sq{sum(q for q, _ in part)}sk{sum(k for _, k in part)}sqsq{sum(q * q for q, _ in part)}"
        f"sqsk{sum(q * k for q, k in part)})"
        for part in (context, generation)
    ]
    total = sum(q for q, _ in (*context, *generation))
    return f"execute_{total}_context_{sums[0]}_generation_{sums[1]}"


def attended(tmp_path, operator, dims, types, concrete=None, note=None, kernel="kernel_unified_attention_2d"):
    t = Made(**H100)
    if note:
        t.note(note, 1_000, 100_000)
    t.one(operator, 20_000, 50_000, kernel, dims, types, concrete)
    return t.run(tmp_path)


def layer(tokens, tmp_path, note, operator=UNIFIED, keys=None):
    q, k = [tokens, 16, 64], [keys or tokens, 4, 64]
    return attended(tmp_path, operator, [q, k, k, q, [], [0]], [BF16] * 4 + ["", BF16], note=note)


PREFILL, DECODE = [(300, 300), (40, 500)], [(1, 900), (1, 33), (1, 64)]


@pytest.mark.parametrize("parts", [(PREFILL, DECODE), (PREFILL, []), ([], DECODE)])
def test_a_step_says_what_its_attention_computes(tmp_path, parts):
    """Each sequence by itself: queries times keys; of them, those that its causal mask leaves."""
    every = [*parts[0], *parts[1]]
    tokens, keys = sum(q for q, _ in every), sum(k for _, k in every)
    run = layer(tokens, tmp_path, vllm(*parts))
    (row,) = run.attention
    assert row.flops == 4 * 16 * 64 * sum(q * k for q, k in every)
    assert row.executed_flops == 4 * 16 * 64 * sum(masked_pairs(q, k, True, LOWER_RIGHT) for q, k in every)
    assert row.bytes == 2 * 64 * (2 * 16 * tokens + 2 * 4 * keys)
    assert (row.packed.sequences, row.packed.queries, row.packed.keys) == (len(every), tokens, keys)
    assert (row.query_len, row.key_len, run.sequence, run.coverage.attention) == (0, 0, [], 1.0)
    assert f"{len(every)} sequences packed: {tokens:,} queries, {keys:,} keys" in row.size


@pytest.mark.parametrize(
    ("write", "known"),
    [
        (lambda note: note, True),
        (lambda note: note.replace("execute_343_", "execute_"), True),
        (lambda note: "execute_context_2(340)_generation_3(3)", False),
        (lambda note: "execute_new_343_cached_0", False),
    ],
)
def test_older_names_of_a_step_tell_where_they_hold_the_sums(tmp_path, write, known):
    assert layer(343, tmp_path, write(vllm(PREFILL, DECODE))).coverage.attention == float(known)


def test_the_track_of_a_packed_attention_says_its_lengths(tmp_path):
    t = Made(**H100)
    t.note(vllm(PREFILL, DECODE), 1_000, 100_000)
    t.one(UNIFIED, 20_000, 50_000, "k", [[343, 16, 64], *[[343, 4, 64]] * 2, [343, 16, 64]], [BF16] * 4)
    t.run(tmp_path, perfetto=tmp_path / "tracks.json")
    events = json.loads((tmp_path / "tracks.json").read_text("utf-8"))["traceEvents"]
    (track,) = (e for e in events if e["name"] == "self attention packed (fused)")
    assert (track["args"]["sequences"], track["args"]["keys"]) == (5, 800 + 997)


def test_its_lengths_are_a_table_of_their_own(tmp_path):
    known = layer(343, tmp_path, vllm(PREFILL, DECODE))
    assert frames(known)["attention_packed"].rows()[0][:5] == (1, 5, 343, 1797, 110_997)
    assert frames(layer(343, tmp_path, None))["attention_packed"].rows() == [(1, None, 343, None, None, None)]


def test_sequences_that_must_be_alike_have_their_length(tmp_path):
    (row,) = layer(300, tmp_path, vllm([(100, 100)] * 3, [])).attention
    assert (row.batch, row.query_len, row.key_len, row.flops) == (3, 100, 100, 4 * 16 * 64 * 3 * 100 * 100)


@pytest.mark.parametrize(
    "note",
    [
        None,
        "execute_context_2(340)_generation_3(3)",  # tokens without keys
        "step[DECODE bs=343]",
        vllm(PREFILL, [(1, 9)] * 400),  # of another size than the tensors
        "execute_343_context_2(sq340sk10sqsq91600sqsk110000)_generation_0(sq0sk0sqsq0sqsk0)",  # fewer keys than queries
    ],
)
def test_without_lengths_the_size_is_unknown(tmp_path, note, capsys):
    """No FLOPs, bytes, rate, limit or advice; coverage, a problem and every output say so."""
    run = layer(343, tmp_path, note)
    (row,) = run.attention
    assert (row.flops, row.bytes, row.matrix_bytes, row.executed_flops, row.query_len, row.batch) == (
        None, None, None, None, 0, 0,
    )  # fmt: skip
    (operator,) = run.operators
    assert (operator.flops, operator.bytes, operator.flops_per_s, operator.bytes_per_s) == (None,) * 4
    assert (run.coverage.attention, run.coverage.flops, run.sequence) == (0.0, 0.0, [])
    assert any("lengths the file does not hold" in p.what and p.count == 1 for p in run.problems)
    (gap,) = (g for g in find_gap(run, device("H100")).rows if g.class_ == "attention")
    assert (gap.limit_ns, gap.dims) == (None, [])
    assert json.loads(json.dumps(run.to_dict()))["attention"][0]["packed"]["pairs"] is None
    print_run(run)
    assert "unknown: 343 packed queries, 16 heads of 64" in " ".join(capsys.readouterr().out.split())
    (change,) = (c for c in compare(run, run).changes if c.group == "attention")
    assert change.name == "self, size unknown: 343 packed queries, 16 heads of 64"


def test_the_keys_of_an_encoder_are_none_of_the_step(tmp_path):
    (row,) = layer(343, tmp_path, vllm(PREFILL, DECODE), keys=1500).attention
    assert row.flops is None


def test_what_puts_parts_together_is_no_attention_of_its_own(tmp_path):
    (row,) = layer(343, tmp_path, vllm(PREFILL, DECODE), "_C::merge_attn_states").attention
    assert (row.flops, row.packed) == (None, None)


def test_a_graph_pads_the_tokens_of_its_step(tmp_path):
    (row,) = layer(8, tmp_path, vllm([], [(1, 100)] * 5)).attention
    assert (row.packed.sequences, row.flops) == (5, 4 * 16 * 64 * 5 * 100)


FA, VARLEN = "flash_attn::_flash_attn_varlen_forward", "aiter::mha_varlen_fwd"


@pytest.mark.parametrize(
    ("operator", "q", "k", "bounds", "longest", "want"),
    [
        (FA, [900, 8, 64], [900, 8, 64], 2, ("900", "900"), (1, 900, 900)),  # one sequence
        (FA, [900, 8, 64], [77, 8, 64], 2, ("900", "77"), (1, 900, 77)),
        (FA, [900, 8, 64], [900, 8, 64], 4, ("300", "300"), (3, 300, 300)),  # as many as three of the longest
        (FA, [900, 8, 64], [900, 8, 64], 4, ("500", "500"), None),
        (FA, [900, 8, 64], [900, 8, 64], 4, ("", ""), None),
        (VARLEN, [64, 8, 64], [64, 2, 64], 3, ("32", "32"), (2, 32, 32)),
        ("aten::_flash_attention_forward", [900, 8, 64], [900, 8, 64], 3, ("450", "450"), (2, 450, 450)),
        ("aten::_flash_attention_forward", [900, 8, 64], [900, 8, 64], 3, ("899", "899"), None),
    ],
)
def test_recorded_lengths(tmp_path, operator, q, k, bounds, longest, want):
    dims = [q, k, k, [bounds], [bounds], [], []]
    run = attended(
        tmp_path, operator, dims, [BF16] * 3 + [INT, INT, "Scalar", "Scalar"], [""] * 5 + [*longest], None, "f"
    )
    (row,) = run.attention
    assert (row.batch, row.query_len, row.key_len) == (want or (0, 0, 0))
    assert row.flops == (4 * 8 * 64 * want[0] * want[1] * want[2] if want else None)


@pytest.mark.parametrize(
    ("listed", "want"),
    [("[0, 100, 350, 900]", [100, 250, 550]), ("[0, 100, 350]", None), ("[100, 900]", None), ("", None)],
)
def test_boundaries_as_a_list_tell_every_length(tmp_path, listed, want):
    q, types = [900, 8, 64], [BF16] * 3 + ["ScalarList"] * 2
    (row,) = attended(tmp_path, FA, [q, q, q, [], []], types, ["", "", "", listed, listed]).attention
    assert row.flops == (4 * 8 * 64 * sum(n * n for n in want) if want else None)
    assert row.packed.sequences == (len(want) if want else None)


def test_a_block_diagonal_of_xformers_is_no_full_square(tmp_path):
    q = [1, 900, 8, 64]
    dims, types = [q, q, q, [], [4], [4], [], []], [BF16] * 3 + ["", INT, INT, "Scalar", "Scalar"]
    name = "xformers::efficient_attention_forward_cutlass"
    (row,) = attended(tmp_path, name, dims, types, [""] * 6 + ["500", "500"], None, "fmha_cutlassF").attention
    assert row.flops is None
    (row,) = attended(tmp_path, name, dims, types, [""] * 6 + ["300", "300"], None, "fmha_cutlassF").attention
    assert row.flops == 4 * 8 * 64 * 3 * 300 * 300


@pytest.mark.parametrize(
    ("operator", "dims", "types"),
    [
        ("_C::paged_attention_v1", [[8, 16, 128], [8, 16, 128], [900, 4, 16, 16, 8], [900, 4, 128, 16]], [BF16] * 4),
        ("flash_attn::fwd_kvcache", [[8, 1, 16, 64], [8, 4096, 4, 64], [8, 4096, 4, 64], [8]], [BF16] * 3 + [INT]),
        ("aiter::mla_decode_fwd", [[8, 16, 576], [900, 1, 1, 576], [8, 16, 512]], [BF16] * 3),
        (
            "aiter::mha_batch_prefill",
            [[90, 32, 128], [8000, 8, 128], [8000, 8, 128], [4], [4], [99]],
            [BF16] * 3 + [INT] * 3,
        ),
        ("vllm::unified_mla_attention_with_output", [[90, 16, 192], [90, 512], [90, 1, 64], [90, 2048]], [BF16] * 4),
    ],
)
def test_the_pool_is_not_the_keys(tmp_path, operator, dims, types):
    run = attended(tmp_path, operator, dims, types)
    (row,) = run.attention
    assert (row.flops, row.bytes, row.key_len) == (None, None, 0)
    assert (run.operators[0].bytes, run.operators[0].share_of_peak) == (None, None)


def test_a_window_has_no_limit(tmp_path):
    """Which of the full rectangles a window leaves is not counted: no share of the peak follows."""
    q, types = [900, 8, 64], [BF16] * 3 + [INT, INT] + ["Scalar"] * 7
    for window, least in (("-1", 900 * 901 // 2), ("127", None)):
        concrete = [""] * 5 + ["900", "900", "0.", "0.125", "True", window, "0"]
        run = attended(tmp_path, FA, [q, q, q, [2], [2], *[[]] * 7], types, concrete)
        (row,) = run.attention
        assert (run.operators[0].share_of_peak is None) == (least is None)
        assert (row.flops, row.packed.least_pairs) == (4 * 8 * 64 * 900 * 900, least)
        assert (row.executed_flops is None) == (least is None)


def test_grouped_heads_of_xformers(tmp_path):
    q, k, name = [1, 900, 2, 4, 64], [1, 900, 2, 4, 64], "xformers::efficient_attention_forward_cutlass"
    dims, types = [q, k, k, [], [2], [2], [], []], [BF16] * 3 + ["", INT, INT, "Scalar", "Scalar"]
    (row,) = attended(tmp_path, name, dims, types, [""] * 6 + ["900", "900"]).attention
    assert (row.heads, row.flops, row.bytes) == (8, 4 * 8 * 64 * 900 * 900, 2 * 64 * 2 * 900 * (8 + 2))


@pytest.mark.parametrize("cache", [[900, 16, 4, 64], [900, 4, 16, 64]])
def test_a_cache_of_unknown_layout_has_no_bytes(tmp_path, cache):
    note = vllm([], DECODE)
    dims = [[3, 16, 64], cache, cache]
    (row,) = attended(tmp_path, "my::paged_attention_decode", dims, [BF16] * 3, note=note).attention
    assert (row.flops, row.bytes) == (4 * 16 * 64 * 997, None)


def test_a_cache_whose_step_is_known(tmp_path):
    """Latent attention: keys of 576 and values of 512 are one tensor, read once by all heads."""
    dims = [[3, 16, 576], [9000, 1, 1, 576], [3, 16, 512]]
    (row,) = attended(tmp_path, "aiter::mla_decode_fwd", dims, [BF16] * 3, note=vllm(PREFILL, DECODE)).attention
    assert row.flops == 2 * 16 * (576 + 512) * (900 + 33 + 64)
    assert row.bytes == 2 * (3 * 16 * (576 + 512) + (900 + 33 + 64) * 576)


def test_keys_kept_in_eight_bits_count_one_byte(tmp_path):
    t = Made(**H100)
    t.note(vllm([], DECODE), 1_000, 100_000)
    new = [3, 4, 64]
    types = [BF16, BF16, "unsigned char", "unsigned char"]
    t.one("_C_cache_ops::reshape_and_cache_flash", 10_000, 900, "store", [new, new, POOL, POOL], types)
    q = [3, 16, 64]
    t.one(UNIFIED, 20_000, 50_000, "kernel_unified_attention_3d", [q, new, new, q], [BF16] * 4)
    (row,) = t.run(tmp_path).attention
    assert row.bytes == 2 * 64 * 2 * 16 * 3 + 64 * 2 * 4 * 997


@pytest.mark.parametrize(
    ("name", "want"),
    [
        (vllm(PREFILL, DECODE), ((2, 340, 800, 91600, 110000), (3, 3, 997, 3, 997))),
        ("step[EXTEND bs=2 toks=9 c_sq=340 c_sqsq=91600 c_sqsk=110000 c_sk=800]", ((2, 340, 800, 91600, 110000), None)),
        ("step[DECODE bs=3 g_sq=3 g_sqsq=3 g_sqsk=997 g_sk=997]", (None, (3, 3, 997, 3, 997))),
        (
            "step[MIXED bs=2 c=1 g=1 c_sq=5 c_sk=8 c_sqsq=25 c_sqsk=40 g_sq=1 g_sk=12 g_sqsq=1 g_sqsk=12]",
            ((1, 5, 8, 25, 40), (1, 1, 12, 1, 12)),
        ),
        ("prefill[bs=2 tok=340 ctx=[300, 40] sqsq=91600 sqsk=110000 sk=800]", ((2, 340, 800, 91600, 110000), None)),
        ("decode[bs=3/4 tok=3 d=3 sqsq=3 sqsk=997 sk=997]", (None, (3, 3, 997, 3, 997))),
        ("step[MIXED bs=2]", None),
        ("step[DECODE bs=1 g_sq=1 g_sqsq=1 g_sqsk=999999999999 g_sk=999999999999]", None),
        ("execute_64_context_0(sq0sk0sqsq0sqsk0)_generation_0(sq0sk0sqsq0sqsk0)", None),
        ("ProfilerStep#3", None),
    ],
)
def test_annotations_of_serving_engines(name, want):
    found = lengths_in(name)
    parts = found and [p and (p.sequences, p.q, p.k, p.qq, p.qk) for p in (found.context, found.generation)]
    assert parts == (list(want) if want else None)


def test_a_packed_prefill_of_vllm(shared):
    """64 heads of 64 over sum(q k) = 7,671,310 + 34,489 in each of 4 layers."""
    run = analyze(shared / "cases/traces/vllm_packed_prefill.json")
    assert sum(row.flops for row in run.attention) == 4 * 4 * 64 * 64 * (7_671_310 + 34_489)
