"""Weights under the public names: shapes written by hand from the released files, and what a wrong file is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from frameroof.models.causal_wan import CausalWan, random_weights
from frameroof.models.wan_vae import TinyVAE, VAESize, WanVAE
from frameroof.stream import Engine, preset
from frameroof.stream.engine import Files
from frameroof.stream.lora import attach_lora, merge_lora, random_lora
from frameroof.stream.text import umt5
from frameroof.stream.weights import load_text_encoder, load_transformer, load_vae, read

SIZE = preset("tiny").model
C, FFN = SIZE.dim, SIZE.ffn


def wan_shapes() -> dict[str, tuple[int, ...]]:
    """Wan2.1-T2V's names and shapes, with this model's widths."""
    shapes: dict[str, tuple[int, ...]] = {
        "patch_embedding.weight": (C, 4, 1, 2, 2),
        "patch_embedding.bias": (C,),
        "text_embedding.0.weight": (C, 24),
        "text_embedding.0.bias": (C,),
        "text_embedding.2.weight": (C, C),
        "text_embedding.2.bias": (C,),
        "time_embedding.0.weight": (C, 16),
        "time_embedding.0.bias": (C,),
        "time_embedding.2.weight": (C, C),
        "time_embedding.2.bias": (C,),
        "time_projection.1.weight": (6 * C, C),
        "time_projection.1.bias": (6 * C,),
        "head.head.weight": (16, C),
        "head.head.bias": (16,),
        "head.modulation": (1, 2, C),
    }
    for block in range(SIZE.layers):
        own = {"modulation": (1, 6, C), "norm3.weight": (C,), "norm3.bias": (C,)}
        own |= {"ffn.0.weight": (FFN, C), "ffn.0.bias": (FFN,), "ffn.2.weight": (C, FFN), "ffn.2.bias": (C,)}
        for attention in ("self_attn", "cross_attn"):
            own |= {f"{attention}.{each}.weight": (C, C) for each in "qkvo"}
            own |= {f"{attention}.{each}.bias": (C,) for each in "qkvo"}
            own |= {f"{attention}.norm_{each}.weight": (C,) for each in "qk"}
        shapes |= {f"blocks.{block}.{name}": shape for name, shape in own.items()}
    return shapes


def made(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def test_wan_safetensors_load_whole(tmp_path) -> None:
    tensors = made(wan_shapes())
    names = list(tensors)
    save_file({name: tensors[name] for name in names[::2]}, tmp_path / "a-00001-of-00002.safetensors")
    save_file({name: tensors[name] for name in names[1::2]}, tmp_path / "a-00002-of-00002.safetensors")
    model = CausalWan(SIZE)
    load_transformer(model, read(tmp_path))
    assert torch.equal(model.blocks[1].cross_attn.k.weight, tensors["blocks.1.cross_attn.k.weight"])
    assert torch.equal(model.head.weight, tensors["head.head.weight"])
    assert torch.equal(model.modulation, tensors["head.modulation"][0])
    assert torch.equal(model.blocks[0].modulation, tensors["blocks.0.modulation"][0])


@pytest.mark.parametrize("prefix", ["model.", "model._fsdp_wrapped_module.", "_orig_mod.model."])
def test_longlive_files_load_from_their_group(tmp_path, prefix: str) -> None:
    tensors = made(wan_shapes())
    other = {prefix + name: torch.zeros_like(t) for name, t in tensors.items()}
    torch.save({"generator": {prefix + n: t for n, t in tensors.items()}, "critic": other}, tmp_path / "base.pt")
    model = CausalWan(SIZE)
    load_transformer(model, read(tmp_path / "base.pt"))
    assert torch.equal(model.blocks[0].ffn[0].weight, tensors["blocks.0.ffn.0.weight"])
    with pytest.raises(ValueError, match="has no 'ema'; it has generator, critic"):
        read(tmp_path / "base.pt", group="ema")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.pop("blocks.1.ffn.2.weight"), r"the file lacks blocks.1.ffn.2.weight \(32 x 64\)"),
        (
            lambda t: t.update({"blocks.0.self_attn.q.weight": torch.zeros(32, 16)}),
            "blocks.0.self_attn.q.weight has shape 32 x 16, but the model's has 32 x 32",
        ),
        (
            lambda t: t.update({"blocks.0.self_attn.q.weight": torch.zeros(32, 32, dtype=torch.int64)}),
            "blocks.0.self_attn.q.weight is of type int64; weights are floating numbers",
        ),
        (lambda t: t.update({"blocks.2.norm3.weight": torch.zeros(32)}), r"has no blocks.2.norm3.weight \(32\)"),
        (lambda t: [t.pop(n) for n in list(t) if n.startswith("blocks.1")], "and 24 more"),
    ],
)
def test_a_wrong_file_is_told_which_tensor_and_changes_nothing(change, sentence: str) -> None:
    tensors = made(wan_shapes())
    change(tensors)
    model = random_weights(CausalWan(SIZE))
    before = {name: p.clone() for name, p in model.named_parameters()}
    with pytest.raises(ValueError, match=sentence):
        load_transformer(model, tensors)
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())


def test_files_that_are_none(tmp_path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"not tensors")
    (tmp_path / "a.pt").write_bytes(b"not tensors")
    (tmp_path / "a.txt").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for name, sentence in {
        "a.safetensors": "cannot be read as safetensors",
        "a.pt": "is damaged, or holds more than tensors",
        "a.txt": "is no weights file",
        "none.pt": "There is no file",
        "empty": "holds no .safetensors",
    }.items():
        with pytest.raises(ValueError, match=sentence):
            read(tmp_path / name)


def test_a_pickle_with_code_is_not_run(tmp_path) -> None:
    torch.save({"generator": {"x": torch.zeros(1)}, "args": replace}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="is damaged, or holds more than tensors"):
        read(tmp_path / "evil.pt")


def test_a_merged_lora_equals_the_layer_beside_it() -> None:
    model, rank = random_weights(CausalWan(SIZE)), 3
    x = torch.randn(2, C)
    layer = model.blocks[1].cross_attn.v
    plain = layer(x)
    down, up = torch.randn(rank, C), torch.randn(C, rank)
    prefix = "base_model.model.blocks.1.cross_attn.v"
    count = merge_lora(model, {f"{prefix}.lora_A.weight": down, f"{prefix}.lora_B.weight": up}, alpha=6.0)
    assert count == 1
    assert torch.allclose(layer(x), plain + 2 * (x @ down.T) @ up.T, atol=1e-4)
    again = random_weights(CausalWan(SIZE))
    halves = {"blocks.1.cross_attn.v.lora_down.weight": down, "blocks.1.cross_attn.v.lora_up.weight": up}
    merge_lora(again, {**halves, "blocks.1.cross_attn.v.alpha": torch.tensor(6.0)})
    assert torch.equal(again.blocks[1].cross_attn.v.weight, layer.weight)


def test_a_lora_beside_the_weights_equals_a_merged_one() -> None:
    """Every linear of every block, as LongLive's: ten a block."""
    lora = random_lora(random_weights(CausalWan(SIZE)), rank=4)
    streams = []
    for put in (attach_lora, merge_lora, None):
        engine = Engine.random(preset("tiny", "tabulated"), umt5=False)
        if put:
            assert put(engine.denoiser.model, lora) == 10 * SIZE.layers
        streams.append(torch.stack([block.latents for block in engine.prepare("a cat").run(5)]))
    beside, merged, without = streams
    assert torch.allclose(beside, merged, atol=1e-5)
    assert (merged - without).abs().max() > 0.01


def test_a_lora_of_longlive_s_size_is_a_quarter_more_linear_work() -> None:
    """94.5 GFLOP more in a layer of 4680 tokens (facts/streaming.md); keys and values of the text are made once."""
    with torch.device("meta"):
        model = CausalWan(replace(preset("longlive-1.3b").model, layers=1))
        lora = random_lora(model)
    tokens_seen = [t for name, t in lora.items() if "cross_attn.k" not in name and "cross_attn.v" not in name]
    assert len(lora) == 2 * 10
    assert sum(2 * 4680 * t.numel() for t in tokens_seen) == pytest.approx(94.5e9, rel=1e-3)


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({"blocks.0.ffn.0.lora_A.weight": (2, C)}, "blocks.0.ffn.0 lacks its up half"),
        ({"blocks.9.ffn.0.lora_A.weight": (2, C), "blocks.9.ffn.0.lora_B.weight": (FFN, 2)}, "no layer blocks.9.ffn.0"),
        (
            {"blocks.0.ffn.0.lora_A.weight": (2, C), "blocks.0.ffn.0.lora_B.weight": (C, 2)},
            "halves of 32 x 2 and 2 x 32, which do not make 64 x 32",
        ),
        ({"blocks.0.ffn.0.weight": (2, C)}, "is no half of a LoRA"),
    ],
)
def test_a_wrong_lora_is_told_which_layer(tensors: dict[str, tuple[int, ...]], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        merge_lora(CausalWan(SIZE), made(tensors))


@pytest.mark.parametrize("vae", [WanVAE(VAESize(base=4, latent_channels=4)), TinyVAE(4, (8, 8, 8, 4))])
def test_vaes_load_without_their_encoders(vae: torch.nn.Module) -> None:
    tensors = {name: torch.randn_like(p) for name, p in vae.named_parameters()}
    load_vae(vae, {**tensors, "encoder.conv1.weight": torch.zeros(1), "conv1.weight": torch.zeros(1)})
    assert all(torch.equal(tensors[name], p) for name, p in vae.named_parameters())


def test_the_released_vae_has_these_names() -> None:
    """A few of Wan2.1_VAE.pth and taew2_1.pth, written down by hand."""
    with torch.device("meta"):
        wan = {name: tuple(p.shape) for name, p in WanVAE().named_parameters()}
        tiny = {name: tuple(p.shape) for name, p in TinyVAE().named_parameters()}
    assert wan["conv2.weight"] == (16, 16, 1, 1, 1)
    assert wan["decoder.conv1.weight"] == (384, 16, 3, 3, 3)
    assert wan["decoder.middle.1.to_qkv.weight"] == (1152, 384, 1, 1)
    assert wan["decoder.upsamples.3.time_conv.weight"] == (768, 384, 3, 1, 1)
    assert wan["decoder.upsamples.4.shortcut.weight"] == (384, 192, 1, 1, 1)
    assert wan["decoder.upsamples.14.residual.6.weight"] == (96, 96, 3, 3, 3)
    assert wan["decoder.head.2.weight"] == (3, 96, 3, 3, 3)
    assert tiny["decoder.1.weight"] == (256, 16, 3, 3)
    assert tiny["decoder.3.conv.0.weight"] == (256, 512, 3, 3)
    assert tiny["decoder.13.conv.weight"] == (256, 128, 1, 1)
    assert tiny["decoder.22.weight"] == (3, 64, 3, 3)


def test_umt5_loads_under_wan_s_names() -> None:
    model = umt5(24, 8).model
    shapes = {"token_embedding.weight": (512, 24), "norm.weight": (24,)}
    for block in range(2):
        own = {f"attn.{each}.weight": (24, 24) for each in "qkvo"} | {"norm1.weight": (24,), "norm2.weight": (24,)}
        own |= {"pos_embedding.embedding.weight": (32, 3), "ffn.gate.0.weight": (32, 24)}
        own |= {"ffn.fc1.weight": (32, 24), "ffn.fc2.weight": (24, 32)}
        shapes |= {f"blocks.{block}.{name}": shape for name, shape in own.items()}
    tensors = made(shapes)
    load_text_encoder(model, tensors)
    layer = model.encoder.block[1].layer
    assert torch.equal(layer[0].SelfAttention.q.weight, tensors["blocks.1.attn.q.weight"])
    assert torch.equal(layer[1].DenseReluDense.wi_0.weight, tensors["blocks.1.ffn.gate.0.weight"])


def test_an_engine_of_files_streams_with_their_weights_and_says_what_is_random(tmp_path) -> None:
    tensors = made(wan_shapes())
    save_file(tensors, tmp_path / "wan.safetensors")
    halves = {"lora_A.weight": torch.randn(2, C), "lora_B.weight": torch.randn(C, 2)}
    save_file({f"blocks.0.self_attn.q.{name}": t for name, t in halves.items()}, tmp_path / "lora.safetensors")
    files = Files(transformer=tmp_path / "wan.safetensors", lora=tmp_path / "lora.safetensors")
    engine = Engine.load(preset("tiny", "fold"), files, dtype=torch.float32, vae="tiny")
    merged = tensors["blocks.0.self_attn.q.weight"] + halves["lora_B.weight"] @ halves["lora_A.weight"]
    assert torch.allclose(engine.denoiser.model.blocks[0].self_attn.q.weight, merged, atol=1e-5)
    said = " ".join(engine.says)
    assert "no text encoder is run" in said
    assert "decoder's weights are random" in said
    assert "transformer's" not in said
    assert len(list(engine.prepare("a cat").frames(1))) == 9

    encoder = umt5(preset("tiny").model.text_dim, preset("tiny").text_tokens).model
    save_file({name: torch.randn_like(t) for name, t in encoder.state_dict().items()}, tmp_path / "umt5.safetensors")
    files = Files(transformer=tmp_path / "wan.safetensors", text_encoder=tmp_path / "umt5.safetensors")
    engine = Engine.load(preset("tiny", "fold"), files, dtype=torch.float32, vae=None)
    assert not any("text encoder" in sentence for sentence in engine.says)
    assert torch.equal(engine.encode.model.shared.weight, read(tmp_path / "umt5.safetensors")["shared.weight"])
