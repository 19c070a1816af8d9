"""Language, vision-language and paper-only models against counted facts, published sizes, hand formulas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from meta_device import bf16_on_meta, fact_of, part_of  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from frameroof.models import (  # noqa: E402
    imagen,
    llama,
    make_a_video,
    mllama,
    movie_gen,
    muse,
    parti,
    phenaki,
    vlm,
)
from frameroof.workload.expr import expr  # noqa: E402
from frameroof.workload.recipe import Part, Recipe  # noqa: E402

FAMILIES = (llama, mllama, movie_gen, muse, parti, imagen, make_a_video, phenaki, vlm)
RECIPES = {recipe.name: recipe for family in FAMILIES for recipe in family.recipes()}


def on_meta(build: Callable[..., Any], **sizes: int) -> Any:
    """What the builder returns, made as the recorder makes it."""
    with bf16_on_meta():
        return build(**sizes)


def parameters(build: Callable[..., Any]) -> int:
    return sum(p.numel() for p in on_meta(build)[0].parameters())


def flops(build: Callable[..., Any], **sizes: int) -> dict[str, int]:
    """FLOPs by module path ("Global" is the whole), of one forward on meta."""
    module, args, kwargs = on_meta(build, **sizes)
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(*args, **kwargs)
    counts = counter.get_flop_counts()
    return {path.split(".", 1)[-1]: sum(by_op.values()) for path, by_op in counts.items()}


def part(recipe: str, name: str) -> Part:
    return part_of(RECIPES[recipe], name)


# ---- recipes as data ----


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_stage_gets_admissible_sizes(recipe: Recipe) -> None:
    values = {name: size.default for name, size in recipe.params.items()}
    for stage in recipe.parts:
        count = int(expr(stage.loop[1])(values)) if stage.loop else 1
        assert int(expr(stage.repeat)(values)) >= 1
        for i in {0, count - 1}:
            inner = {**values, **({stage.loop[0]: i} if stage.loop else {})}
            for name, size in stage.build.__frameroof_sizes__.sizes.items():
                text = stage.sizes.get(name, name if name in values else str(size.default))
                size.check(f"{stage.name}.{name}", int(expr(text)(inner)))


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_recipe_says_where_it_comes_from(recipe: Recipe) -> None:
    assert recipe.notes
    assert recipe.source


def test_steps_of_an_answer_read_one_entry_more_each() -> None:
    decode = part("llama2-7b", "decode")
    assert decode.loop is not None
    values = {"prompt_tokens": 2048, "new_tokens": 128}
    assert int(expr(decode.loop[1])(values)) == 127
    assert [int(expr(decode.sizes["kv"])({**values, "i": i})) for i in (0, 126)] == [2049, 2175]


# ---- language models ----


@pytest.mark.parametrize(
    "name",
    [
        "llama2-7b",
        "llama3.1-8b",
        *(pytest.param(n, marks=pytest.mark.full) for n in llama.TITLES if "0b" in n),
    ],
)
def test_llama_prefill_counts_what_the_facts_count(name: str) -> None:
    expected = fact_of(name, "decoder")
    prefill = part(name, "prefill").build
    assert parameters(prefill) == expected["params_counted"]
    if expected["flops_counted_per_forward"]:
        assert flops(prefill)["Global"] == expected["flops_counted_per_forward"]


def test_llama_decodes_one_token_against_the_entries_in_use() -> None:
    layers, dim, hidden, vocabulary, kv = 32, 4096, 11008, 32000, 2049
    expected = 2 * (layers * (4 * dim**2 + 3 * dim * hidden) + dim * vocabulary) + 4 * layers * kv * dim
    assert flops(part("llama2-7b", "decode").build, kv=kv)["Global"] == expected


def test_the_cache_is_written_in_place_and_read_in_part() -> None:
    from frameroof.models.kv_cache import InPlaceLayer

    layer = InPlaceLayer(torch.zeros(1, 2, 8, 4), torch.zeros(1, 2, 8, 4), seen=3)
    keys, values = layer.update(torch.ones(1, 2, 1, 4), torch.full((1, 2, 1, 4), 2.0))
    assert keys.shape == values.shape == (1, 2, 4, 4)
    assert keys.data_ptr() == layer.keys.data_ptr()
    assert keys[..., 3, :].eq(1).all()
    assert values[..., 3, :].eq(2).all()
    assert keys[..., :3, :].eq(0).all()
    assert layer.get_seq_length() == 3, "a pass can be run again and does the same work"


def test_the_cache_gives_the_answers_of_transformers_own() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    from frameroof.models.kv_cache import in_place_cache

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=64,
    )
    model = LlamaForCausalLM(config).eval()
    ids = torch.randint(0, 64, (1, 6))
    with torch.no_grad():
        expected = model(ids).logits[:, -1]
        cache = in_place_cache(config, batch=1, entries=6, seen=0)
        model(ids[:, :5], past_key_values=cache)
        for layer in cache.layers:
            layer.seen = 5
        got = model(ids[:, 5:], past_key_values=cache).logits[:, -1]
    torch.testing.assert_close(got, expected)


# ---- vision-language models ----


def test_llama_vision_layer_is_the_seeds() -> None:
    counts = flops(part("llama3.2-11b-vision-448", "vision_encoder").build)
    assert counts["transformer.layers.0"] == 249_566_330_880
    assert counts["global_transformer.layers.7"] == 249_566_330_880


@pytest.mark.parametrize("name", ["llama3.2-11b-vision", pytest.param("llama3.2-90b-vision", marks=pytest.mark.full)])
def test_llama_vision_stages_hold_the_whole_model(name: str) -> None:
    stages = [part(name, stage).build for stage in ("vision_encoder", "projector", "prefill")]
    assert sum(map(parameters, stages)) == fact_of(name, "full model")["params_counted"]
    expected = fact_of(name, "vision encoder 560px")["flops_counted_per_forward"]
    assert flops(stages[0])["Global"] == expected


def test_llama_vision_decoding_reads_the_image_without_projecting_it() -> None:
    counts = flops(part("llama3.2-11b-vision", "decode").build, kv=2049)
    crossing = counts["model.language_model.layers.3.cross_attn"]
    assert crossing == 2 * 2 * 4096**2 + 4 * (4 * 1601) * 4096


def test_llava_stages_hold_the_whole_model() -> None:
    stages = [part("llava-1.5-7b", stage).build for stage in ("vision_encoder", "projector", "prefill")]
    assert sum(map(parameters, stages)) == fact_of("llava-1.5-7b", "full model")["params_counted"]
    assert flops(stages[0])["Global"] == fact_of("llava-1.5-7b", "vision tower")["flops_counted_per_forward"]


# ---- models that exist as papers ----


def test_movie_gen_block_is_the_seeds_table() -> None:
    counts = flops(part("movie-gen-30b", "denoise").build)
    block, tokens, dim = "blocks.7.", 73_728, 6144
    for name in ("wq", "wk", "wv", "wo"):
        assert round(counts[f"{block}attn.{name}"] / 1e9, 2) == 5566.28
    for name in ("w1", "w3", "w2"):
        assert round(counts[f"{block}ff.{name}"] / 1e9, 2) == 14843.41
    products = counts[f"{block}attn"] - 4 * counts[f"{block}attn.wq"]
    assert products == 4 * tokens**2 * dim  # scores and attn_out, 66,795.33 GFLOP each
    assert round(products / 2e9, 2) == 66795.33
    assert counts["Global"] == pytest.approx(
        fact_of("movie-gen-30b", "transformer")["flops_counted_per_forward"], rel=0.01
    )


def test_muse_base_counts_near_the_open_reimplementation() -> None:
    expected = fact_of("muse-3b", "base transformer")
    base = part("muse-3b", "base").build
    assert flops(base)["Global"] == pytest.approx(expected["flops_counted_per_forward"], rel=1e-3)
    assert parameters(base) == pytest.approx(expected["params_counted"], rel=0.02)


def test_parti_reads_every_decoder_weight_for_one_token() -> None:
    dim, hidden, layers, kv, text = 4096, 16384, 64, 1000, 128
    products = layers * (6 * dim**2 + 2 * dim * hidden) + dim * 8192
    expected = 2 * products + 4 * layers * (kv + text) * dim
    assert flops(part("parti-20b", "decode").build, kv=kv)["Global"] == expected


PUBLISHED = {  # billions; stated by the papers (make-a-video: as recalled)
    ("movie-gen-30b", "denoise"): 30,
    ("movie-gen-30b", "upsampler"): 7,
    ("imagen", "denoise"): 2,
    ("imagen", "super_resolution_256"): 0.6,
    ("imagen", "super_resolution_1024"): 0.4,
    ("parti-20b", "vq_decode"): 0.6,
    ("make-a-video", "denoise"): 3.1,
    ("make-a-video", "interpolate"): 3.1,
    ("make-a-video", "super_resolution_256"): 1.4,
    ("make-a-video", "super_resolution_768"): 0.7,
    ("phenaki", "decode"): 1.8,
}


@pytest.mark.parametrize(("recipe", "stage"), PUBLISHED, ids="/".join)
def test_parameters_come_near_the_published(recipe: str, stage: str) -> None:
    assert parameters(part(recipe, stage).build) / 1e9 == pytest.approx(PUBLISHED[recipe, stage], rel=0.1)


def test_parti_layers_hold_what_the_facts_count() -> None:
    encoder, _, _ = on_meta(part("parti-20b", "text_encoder").build)
    decoder, _, _ = on_meta(part("parti-20b", "decode").build)
    matrices = [p for m in (encoder, decoder) for p in m.blocks.parameters() if p.dim() == 2]
    assert sum(p.numel() for p in matrices) == fact_of("parti-20b", "encoder+decoder")["params_counted"]


OWN = ("movie-gen-30b", "muse-3b", "parti-20b", "imagen", "make-a-video", "phenaki")


@pytest.mark.full
@pytest.mark.parametrize(("recipe", "stage"), [(n, p.name) for n in OWN for p in RECIPES[n].parts], ids="/".join)
def test_every_stage_of_a_paper_runs(recipe: str, stage: str) -> None:
    assert flops(part(recipe, stage).build)["Global"] > 0


def test_video_becomes_pixels_of_the_right_shape() -> None:
    decoder, args, _ = on_meta(movie_gen.tae_decode, frames=16, height=64, width=96)
    assert decoder(*args).shape == (1, 3, 16, 64, 96)
    unet, args, _ = on_meta(part("make-a-video", "denoise").build, frames=4, height=16, width=24)
    assert unet(*args).shape == (1, 3, 4, 16, 24)
    tokens, args, _ = on_meta(phenaki.c_vivit_decode, frames=11, height=64, width=32)
    first, later = tokens(*args)
    assert (first.shape, later.shape) == ((1, 1, 3, 64, 32), (1, 5, 6, 64, 32))
