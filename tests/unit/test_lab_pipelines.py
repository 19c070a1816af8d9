"""Pipelines: reduced ones keep the full ones' sites, both attentions agree, decoding with a cache and in parallel."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("diffusers")

import torch.nn.functional as F  # noqa: E402

from frameroof.lab import decoding, pipelines  # noqa: E402
from frameroof.lab.attention import attention, baseline_attention  # noqa: E402
from frameroof.lab.characterize.memory import on_meta  # noqa: E402
from frameroof.profiler.build import make  # noqa: E402
from frameroof.study.characterize.suite import GOLDEN  # noqa: E402

SMALL = {  # the smallest that shows everything
    "llama": {"prompt_tokens": 6, "new_tokens": 3},
    "imagen": {"height": 256, "width": 256, "text_tokens": 8, "steps": 1, "sr256_steps": 1, "sr1024_steps": 1},
    "stable-diffusion": {"height": 64, "width": 64, "steps": 2},
    "muse": {"height": 64, "width": 64, "text_tokens": 8, "steps": 2, "sr_steps": 2},
    "parti": {"height": 16, "width": 16, "text_tokens": 4},
    "prod-image": {"height": 128, "width": 128, "steps": 1},
    "make-a-video": {"frames": 2, "height": 96, "width": 96, "text_tokens": 8, "steps": 1, "interpolation_steps": 1,
                     "sr256_steps": 1, "sr768_steps": 1},
    "phenaki": {"frames": 5, "height": 16, "width": 16, "text_tokens": 8, "steps": 2},
    "flux.1-dev": {"height": 32, "width": 32, "text_tokens": 8, "steps": 1},
    "sd3-medium": {"height": 32, "width": 32, "text_tokens": 8, "steps": 1},
    "llama3.2-11b-vision": {"prompt_tokens": 6, "new_tokens": 3},
    "wan2.1-t2v-1.3b": {"frames": 13, "height": 32, "width": 32, "text_tokens": 8, "steps": 1},
    "longlive-1.3b": {"blocks": 2, "height": 32, "width": 32, "text_tokens": 8, "steps": 1},
    "hunyuanvideo": {"frames": 17, "height": 32, "width": 32, "text_tokens": 8, "steps": 1},
    "cogvideox-5b": {"frames": 17, "height": 32, "width": 32, "text_tokens": 8, "steps": 1},
    "animatediff-sd15": {"frames": 2, "height": 128, "width": 128, "steps": 1},
    "svd-xt": {"frames": 2, "height": 128, "width": 128, "steps": 1},
}  # fmt: skip
LONG = {"imagen", "muse", "parti", "prod-image", "make-a-video", *list(SMALL)[8:]}
AGREE = [pytest.param(name, marks=pytest.mark.full) if "vision" in name else name for name in SMALL]
SITES = [pytest.param(name, marks=pytest.mark.full) if name in LONG else name for name in SMALL]


@cache
def built(name: str) -> Any:
    """The reduced pipeline on the processor."""
    return make(name, lambda: (pipelines.pipeline(name).build(True), (), {}), "cpu", "fp32").module


@pytest.fixture(scope="module", autouse=True)
def _forget() -> Iterator[None]:
    """Gigabytes of models are for this file alone."""
    yield
    built.cache_clear()


def ran(name: str, how: str) -> dict[str, Any]:
    """What a small run made, and the last outputs of the pipeline's parts."""
    module, found = built(name), {}

    def keep(path: str) -> Any:
        return lambda _module, _given, out: found.update({path: tensor_of(out)})

    handles = [m.register_forward_hook(keep(path)) for path, m in module.named_modules() if path.count(".") < 2]
    torch.manual_seed(3)
    with torch.inference_mode(), attention(how):
        found["made"] = module(pipelines.pipeline(name).sizes(SMALL[name], reduced=True))
    for handle in handles:
        handle.remove()
    return {path: out for path, out in found.items() if out is not None}


def tensor_of(out: Any) -> Any:
    """The floating tensor among what a module returns, if it is clear which."""
    for candidate in (out, getattr(out, "logits", None), getattr(out, "last_hidden_state", None)):
        if isinstance(candidate, torch.Tensor) and candidate.is_floating_point():
            return candidate
    return out[0] if isinstance(out, tuple) and isinstance(out[0], torch.Tensor) else None


def test_every_model_of_the_suite_has_a_pipeline():
    assert set(GOLDEN) <= set(pipelines.names()) == set(SMALL)


def test_an_unknown_pipeline_is_named():
    with pytest.raises(ValueError, match=r"no pipeline of 'common'.*stable-diffusion"):
        pipelines.pipeline("common")


# ---- the two attentions ----


@pytest.mark.parametrize("name", AGREE)
def test_baseline_and_flash_attention_agree(name):
    baseline, flash = ran(name, "baseline"), ran(name, "flash")
    assert baseline.keys() == flash.keys()
    assert len(flash) > 2
    for path, out in flash.items():
        largest = out.abs().max().item()
        assert largest > 0, path
        torch.testing.assert_close(baseline[path], out, rtol=0, atol=1e-5 * max(1, largest), msg=f"{name}: {path}")


def test_flash_calls_the_fused_kernel_and_baseline_never():
    from torch.profiler import ProfilerActivity, profile

    for how, wanted in (("flash", True), ("baseline", False)):
        with profile(activities=[ProfilerActivity.CPU]) as recorded, torch.inference_mode(), attention(how):
            built("muse")(pipelines.pipeline("muse").sizes(SMALL["muse"], reduced=True))
        names = {event.key for event in recorded.key_averages()}
        assert any("scaled_dot_product" in name for name in names) == wanted


def test_an_attention_of_another_name_is_refused_and_the_switch_is_undone():
    before = F.scaled_dot_product_attention
    with attention("baseline"):
        assert F.scaled_dot_product_attention is baseline_attention
    with pytest.raises(ValueError, match="baseline or flash"), attention("fast"):
        pass
    with pytest.raises(TypeError), attention("baseline"):
        F.scaled_dot_product_attention()  # the baseline's, which needs arguments
    assert F.scaled_dot_product_attention is before


@pytest.mark.parametrize("options", [
    {}, {"is_causal": True}, {"scale": 0.3}, {"mask": "added"}, {"mask": "bool"}, {"kv_heads": 2, "enable_gqa": True},
], ids=str)  # fmt: skip
def test_baseline_attention_is_the_formula(options):
    rng = np.random.default_rng(0)
    options = dict(options)
    kv_heads, mask = options.pop("kv_heads", 4), options.pop("mask", None)
    q, k, v = (rng.standard_normal((2, h, n, 8)) for h, n in ((4, 5), (kv_heads, 5), (kv_heads, 5)))
    added = {None: 0.0, "added": rng.standard_normal((5, 5)), "bool": np.where(np.eye(5) > 0, 0, -np.inf)}[mask]
    if mask:
        options["attn_mask"] = torch.from_numpy(np.eye(5) > 0 if mask == "bool" else np.asarray(added))
    wide = [np.repeat(x, 4 // kv_heads, axis=1) for x in (k, v)]
    scores = q @ wide[0].swapaxes(-1, -2) * options.get("scale", 1 / math.sqrt(8)) + added
    if options.get("is_causal"):
        scores = np.where(np.tril(np.ones((5, 5))) > 0, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    expected = weights / weights.sum(-1, keepdims=True) @ wide[1]
    got = baseline_attention(*map(torch.from_numpy, (q, k, v)), **options)
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-6)


# ---- reduced and full ----


def sites(name: str, reduced: bool) -> dict[str, Any]:
    """What must not differ: attention sites, kinds of block, resolutions, all without numbers of identical layers."""
    module, which = on_meta(pipelines.pipeline(name), reduced), pipelines.pipeline(name)
    calls, real, where = [], F.scaled_dot_product_attention, []

    def note(*args: Any, **kwargs: Any) -> Any:
        q, k = args[:2] if args else (kwargs["query"], kwargs["key"])
        calls.append((alike(where[-1]), q.shape[-2], k.shape[-2]))
        return real(*args, **kwargs)

    def enter(path: str) -> Any:
        return lambda *_: where.append(path)

    def leave(*_: Any) -> None:
        where.pop()

    for path, inner in module.named_modules():
        inner.register_forward_pre_hook(enter(path))
        inner.register_forward_hook(leave)
    F.scaled_dot_product_attention = note
    try:
        with torch.inference_mode():
            module({**which.sizes(SMALL[name], reduced)})
    finally:
        F.scaled_dot_product_attention = real
    kinds = {(alike(path), type(inner).__name__) for path, inner in module.named_modules()}
    return {"attention": set(calls), "kinds": kinds}


def alike(path: str) -> str:
    """A module's path without the numbers of layers that are all the same (of U-Nets all are kept)."""
    if re.search(r"unet|vae|videos|image\.|stages", path):
        return path
    path = re.sub(r"block\.0\.", "block.first.", path)  # T5's first layer makes the position bias
    return re.sub(r"((?:layers|blocks|block|temporal|spatial))\.\d+", r"\1.*", path).replace("block.first", "block.0")


@pytest.mark.parametrize("name", SITES)
def test_a_reduced_model_keeps_every_block_resolution_and_attention(name):
    full, reduced = sites(name, reduced=False), sites(name, reduced=True)
    assert reduced["kinds"] == full["kinds"]
    assert reduced["attention"] == full["attention"]
    assert full["attention"]


@pytest.mark.parametrize("name", SMALL)
def test_a_reduced_model_is_at_most_eight_times_narrower(name):
    full, reduced = (on_meta(pipelines.pipeline(name), size) for size in (False, True))
    wide = {alike(path): tuple(p.shape) for path, p in full.named_parameters()}
    narrow = {alike(path): tuple(p.shape) for path, p in reduced.named_parameters()}
    assert narrow.keys() == wide.keys()
    ratios = [w / n for path, shape in narrow.items() for n, w in zip(shape, wide[path], strict=True)]
    assert 4 < max(ratios) <= 8
    assert min(ratios) >= 1


@pytest.mark.parametrize("name", SMALL)
def test_a_full_pipeline_holds_the_parameters_that_its_workload_counts(name):
    from frameroof import catalogue
    from frameroof.estimate.memory import resident_bytes

    which = pipelines.pipeline(name)
    counted = resident_bytes(catalogue.load(which.workload))
    weights = {id(p): p.numel() for p in on_meta(which, reduced=False).parameters()}
    assert 2 * sum(weights.values()) == pytest.approx(counted, rel=0.002)


@pytest.mark.parametrize(("name", "part", "published", "within"), [
    ("svd-xt", "unet", 1.5e9, 0.02),  # Stability-AI/generative-models
    ("animatediff-sd15", "unet", 859.5e6 + 417e6, 0.001),  # SD 1.5 and the motion modules
    ("cogvideox-5b", "transformer", 5e9, 0.12),  # its name; the weights hold 5.57 billion
    ("hunyuanvideo", "transformer", 13e9, 0.02),  # "over 13 billion", its README
    ("longlive-1.3b", "transformer", 1.3e9, 0.1),  # its name; Wan's small transformer holds 1.42 billion
])  # fmt: skip
def test_a_full_generator_is_as_large_as_published(name, part, published, within):
    generator = getattr(on_meta(pipelines.pipeline(name), reduced=False), part)
    assert sum(p.numel() for p in generator.parameters()) == pytest.approx(published, rel=within)


# ---- decoding ----


def test_llama_decoding_equals_a_full_recompute():
    module = built("llama")
    torch.manual_seed(0)
    ids = torch.randint(0, 4000, (2, 7))
    with torch.inference_mode():
        logits = module.generate(ids, 5)
        tokens = torch.cat([ids, logits.argmax(-1)[:, :-1]], dim=1)
        whole = module.language_model(tokens, use_cache=False).logits[:, 6:]
    torch.testing.assert_close(logits, whole, rtol=0, atol=1e-5)


def test_parti_decoding_equals_a_full_recompute():
    """Without a cache: all tokens at once under a causal mask, from the same weights."""
    module = built("parti")
    torch.manual_seed(0)
    with torch.inference_mode():
        states = torch.randn(4, 3, 512)
        text = [block.text_keys_values(states) for block in module.decoder.blocks]
        codes, logits = module.generate(text, tokens=6, guidance=2)
        given = torch.cat([torch.full((2, 1), 1024), codes[:, :-1]], dim=1).repeat(2, 1)
        whole = recomputed(module.decoder, given, states)
    expected = whole[2:] + decoding.SCALE * (whole[:2] - whole[2:])
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)


def recomputed(decoder: Any, codes: Any, states: Any) -> Any:
    def heads(x: Any) -> Any:
        return x.unflatten(-1, (8, 64)).transpose(1, 2)

    x = decoder.embed(codes) + decoder.position[: codes.shape[1]]
    for block in decoder.blocks:
        for attn, norm, given in ((block.attn, block.attn_norm, None), (block.cross_attn, block.cross_norm, states)):
            y = norm(x)
            source = y if given is None else given
            q, k, v = heads(attn.wq(y)), heads(attn.wk(source)), heads(attn.wv(source))
            scores = q @ k.transpose(-1, -2) / 8
            if given is None:
                scores = scores + torch.full(scores.shape[-2:], float("-inf")).triu(1)
            x = x + attn.wo((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        x = x + block.ff(block.ff_norm(x))
    return decoder.head(decoder.norm(x))


def test_the_mask_schedule_is_the_cosine():
    steps, tokens = 8, 256
    expected = [256 * math.cos(math.pi * t / 16) for t in range(1, 8)]
    found = decoding.schedule(steps, tokens)
    assert found == [*map(math.floor, expected), 0]
    assert found[0] == 251  # 256 cos(pi/16) = 251.08


@pytest.mark.parametrize(("steps", "tokens"), [(1, 5), (4, 3), (24, 256), (10, 4)])
def test_every_step_reveals_until_nothing_is_masked(steps, tokens):
    left = [tokens, *decoding.schedule(steps, tokens)]
    assert len(left) == steps + 1
    assert left[-1] == 0
    assert all(after < before or before == 0 for before, after in pairwise(left))


def test_the_surest_guesses_are_kept_and_never_change():
    mask, torch_logits = 3, torch.full((1, 6, 3), -20.0)
    best = [0, 1, 2, 0, 1, 2]
    sure = [0.5, 3.0, 1.0, 2.0, 0.1, 4.0]  # how far the best code stands out at each token
    for token, (code, height) in enumerate(zip(best, sure, strict=True)):
        torch_logits[0, token, code] = 20.0 * height
    torch_logits[0, 4] = torch.tensor([0.0, 0.5, 0.0])  # unsure: the only one that may fall to chance
    torch_logits[0, 0] = torch.tensor([1.5, 0.0, 0.0])
    codes = torch.full((1, 6), mask)
    first = decoding.reveal(codes, torch_logits, masked=2, mask=mask)
    assert (first == mask).nonzero()[:, 1].tolist() == [0, 4]
    assert first[0, [1, 2, 3, 5]].tolist() == [1, 2, 0, 2]
    last = decoding.reveal(first, -torch_logits, masked=0, mask=mask)  # what is kept does not listen any more
    assert (last[0, [1, 2, 3, 5]] == first[0, [1, 2, 3, 5]]).all()
    assert (last != mask).all()


def test_parallel_decoding_runs_the_model_once_a_step_on_what_is_known():
    seen, stages = [], []

    def model(codes: Any, text: Any) -> Any:
        seen.append((codes == 5).sum(dim=1).tolist())
        return torch.randn(codes.shape[0], codes.shape[1], 5)

    from contextlib import nullcontext

    from frameroof.profiler.marks import opening

    with opening(lambda name: stages.append(name) or nullcontext()):
        out = decoding.parallel_decode("base", model, torch.full((1, 16), 5), torch.zeros(2, 1, 1), steps=4, guidance=2)
    assert seen == [[n, n] for n in [16, *decoding.schedule(4, 16)[:-1]]]
    assert stages == ["base", "base_sampler"] * 4
    assert int(out.max()) < 5


def test_guidance_moves_away_from_the_forward_without_a_prompt():
    given, nothing = torch.tensor([[2.0]]), torch.tensor([[1.0]])
    assert decoding.guided(torch.cat([given, nothing]), 2).item() == 1 + decoding.SCALE * (2 - 1)
    assert decoding.guided(given, 1) is given


# ---- a stream as a pipeline ----


def test_longlive_makes_the_blocks_that_a_stream_makes(monkeypatch):
    """The pipeline's loop against the streaming engine's session, from the same text and noise."""
    from frameroof.lab.pipelines import longlive_1_3b
    from frameroof.stream.denoiser import Denoiser
    from frameroof.stream.session import Session

    module = built("longlive-1.3b")
    settings = module.settings({"height": 32, "width": 32, "steps": 2, "window": 6, "text_tokens": 8})
    text = torch.randn(1, 8, 512)
    session = Session(Denoiser(settings, module.transformer), lambda prompts: text, ["a cat"], seeds=[5])
    expected = [block.latents for block in session.run(3)]

    same = torch.Generator().manual_seed(5)
    shape = settings.latent_shape(1)[1:]
    drawn = [x for _ in range(3) for x in torch.randn((2, *shape), generator=same)]
    monkeypatch.setattr(longlive_1_3b, "noise", lambda *_: drawn.pop(0).unsqueeze(0))
    stream = Denoiser(settings, module.transformer)
    cache, texts = stream.cache(1), stream.text(text)
    with torch.inference_mode():
        found = [module.block(stream, cache, texts, at * settings.block) for at in range(3)]  # the third evicts
    assert not drawn
    for got, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-5)
