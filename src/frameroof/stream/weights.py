"""Weights of files under the public names: Wan 2.1 and LongLive transformers, VAEs and the text encoder.

Names are those of github:Wan-Video/Wan2.1 (safetensors, or .pth) and of LongLive's .pt files, whose tensors lie under
"generator" or "generator_ema" and "generator_lora" with prefixes of wrappers. Nothing is read by unpickling code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from ..models.causal_wan import CausalWan

Tensors = Mapping[str, torch.Tensor]
GROUPS = ("generator", "generator_ema", "generator_lora", "model", "state_dict")  # the first that a .pt file has
WRAPPERS = re.compile(r"^(?:(?:model|module|_fsdp_wrapped_module|_orig_mod|base_model)\.)+")
MOST_NAMED = 3  # tensors that an error names


def read(path: Path, group: str | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors file, of a folder of them, or of a .pt/.pth file (its `group`, if it has several).

    Raises ValueError, a sentence, for a file that is missing, empty or of another kind.
    """
    if path.is_dir():
        files = sorted(path.glob("*.safetensors"))
        if not files:
            raise ValueError(f"{path} holds no .safetensors file.")
        return {name: tensor for file in files for name, tensor in read(file).items()}
    if not path.is_file():
        raise ValueError(f"There is no file {path}.")
    if path.suffix == ".safetensors":
        return _safetensors(path)
    if path.suffix in (".pt", ".pth"):
        return _torch(path, group)
    raise ValueError(f"{path.name} is no weights file: .safetensors, .pt and .pth are read.")


def _safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        loaded: dict[str, torch.Tensor] = load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path.name} cannot be read as safetensors: {error}.") from error
    return loaded


def _torch(path: Path, group: str | None) -> dict[str, torch.Tensor]:
    import pickle
    import zipfile

    try:
        data = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path.name} is damaged, or holds more than tensors; nothing else is read.") from error
    found = next((data[name] for name in ([group] if group else GROUPS) if name in data), None)
    if group and found is None:
        raise ValueError(f"{path.name} has no '{group}'; it has {', '.join(map(str, data))}.")
    tensors = {name: value for name, value in (found or data).items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise ValueError(f"{path.name} holds no tensors.")
    return tensors


def load(module: nn.Module, tensors: Tensors, rename: Callable[[str], str | None], what: str) -> None:
    """Copy tensors into a module. `rename` gives the module's name for one of the file's, or None to leave it out.

    Raises ValueError naming each tensor that is missing, unknown, or of another shape or kind; then nothing is copied.
    """
    own = dict(module.named_parameters())
    given: dict[str, torch.Tensor] = {}
    unknown = []
    for theirs, tensor in tensors.items():
        name = rename(unwrapped(theirs))
        if name is None:
            continue
        if name not in own:
            unknown.append(theirs)
        elif not tensor.dtype.is_floating_point:
            raise ValueError(f"{what}: {theirs} is of type {str(tensor.dtype)[6:]}; weights are floating numbers.")
        elif tensor.numel() == own[name].numel() and _squeezed(tensor) == _squeezed(own[name]):
            given[name] = tensor.reshape(own[name].shape)
        else:
            raise ValueError(
                f"{what}: {theirs} has shape {shape_of(tensor)}, but the model's has {shape_of(own[name])}."
            )
    if missing := [name for name in own if name not in given]:
        raise ValueError(f"{what}: the file lacks {_listed(missing, own)}.")
    if unknown:
        raise ValueError(f"{what}: the model has no {_listed(unknown, tensors)}.")
    with torch.no_grad():
        for name, tensor in given.items():
            own[name].copy_(tensor)


def unwrapped(name: str) -> str:
    """A tensor's name without the prefixes of the wrappers that it was saved from."""
    return WRAPPERS.sub("", name).replace("_fsdp_wrapped_module.", "").replace("_orig_mod.", "")


def load_transformer(model: CausalWan, tensors: Tensors) -> None:
    """Wan 2.1's or LongLive's transformer."""
    load(model, tensors, wan_name, "transformer")


def load_vae(vae: nn.Module, tensors: Tensors) -> None:
    """The decoder's half of Wan2.1_VAE.pth or of taew2_1.pth; the encoder's tensors are left out."""
    load(vae, tensors, lambda name: None if name.startswith(("encoder.", "conv1.")) else name, "VAE")


def load_text_encoder(model: nn.Module, tensors: Tensors) -> None:
    """umT5 under Wan 2.1's names (models_t5_umt5-xxl-enc-bf16.pth) or under transformers' own."""
    tensors = {name: t for name, t in tensors.items() if name != "encoder.embed_tokens.weight"}
    load(model, tensors, t5_name, "text encoder")


def wan_name(name: str) -> str | None:
    """Our name for Wan 2.1's: the last layer and its modulation lie one level higher."""
    if name.startswith("head."):
        return name.removeprefix("head.")
    return None if name.endswith(("img_emb", "freqs")) else name


def t5_name(name: str) -> str:
    """transformers' name of umT5's tensor for Wan 2.1's."""
    if not (found := re.match(r"blocks\.(\d+)\.(.+)", name)):
        return {"token_embedding.weight": "shared.weight", "norm.weight": "encoder.final_layer_norm.weight"}.get(
            name, name
        )
    block, rest = found.groups()
    attention, mlp = f"encoder.block.{block}.layer.0.", f"encoder.block.{block}.layer.1."
    if part := re.fullmatch(r"attn\.([qkvo])\.weight", rest):
        return f"{attention}SelfAttention.{part[1]}.weight"
    return {
        "norm1.weight": f"{attention}layer_norm.weight",
        "norm2.weight": f"{mlp}layer_norm.weight",
        "pos_embedding.embedding.weight": f"{attention}SelfAttention.relative_attention_bias.weight",
        "ffn.gate.0.weight": f"{mlp}DenseReluDense.wi_0.weight",
        "ffn.fc1.weight": f"{mlp}DenseReluDense.wi_1.weight",
        "ffn.fc2.weight": f"{mlp}DenseReluDense.wo.weight",
    }.get(rest, name)


def _squeezed(tensor: torch.Tensor) -> list[int]:
    return [size for size in tensor.shape if size != 1]


def shape_of(tensor: torch.Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a single number"


def _listed(names: list[str], tensors: Tensors) -> str:
    said = ", ".join(f"{name} ({shape_of(tensors[name])})" for name in names[:MOST_NAMED])
    return said + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")
