"""The engine: a model, a text encoder and a decoder, from which streams are prepared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..models.causal_wan import PLAIN, CausalWan, Ops, random_weights
from ..models.common import made_on
from ..models.wan_vae import TinyVAE, VAESize, WanVAE
from .compiled import strictly
from .config import StreamConfig, preset
from .decoder import Decoder
from .denoiser import Denoiser
from .graphs import CudaCapture, Graphs
from .lora import merge_lora
from .session import Session
from .text import Encode, HashedFeatures, TextEncoder, umt5
from .weights import load_text_encoder, load_transformer, load_vae, read

RANDOM = "The weights are random: times are real, pictures are not."
FULL_CHANNELS = 16  # latent channels of the released VAEs; other streams get a small one of the same shape
DECODERS = ("wan", "tiny")
LAST = {4: torch.channels_last, 5: torch.channels_last_3d}  # by dimensions
DECODING = ("frames_at_once", "channels_last", "own_stream", "compiled", "graphs")  # how to decode


@dataclass(frozen=True, kw_only=True)
class Files:
    """Where weights lie; what is None is random, and said to be."""

    transformer: Path | None = None
    lora: Path | None = None
    vae: Path | None = None
    text_encoder: Path | None = None
    tokenizer: Path | None = None

    @property
    def text(self) -> bool:
        """Whether umT5 is run; else its place-holder is, for random features say no more and umT5 takes 11 GB."""
        return bool(self.text_encoder or self.tokenizer)


class Engine:
    """What streams share: a model, a text encoder, a decoder. Made by `random` or `load`.

    Each `prepare` gives a session with its own cache, noise and decoder state.
    """

    def __init__(  # keywords with defaults
        self,
        c: StreamConfig,
        model: CausalWan,
        encode: Encode,
        *,
        decoder: Callable[[], Decoder] | None = None,
        ops: Ops = PLAIN,
        graphs: bool = False,
        says: Sequence[str] = (),
    ) -> None:
        self.c, self.encode = c, encode
        self.denoiser = Denoiser(c, model, ops)
        self._decoder, self._graphs = decoder, graphs
        if graphs:
            Graphs(self.denoiser)  # refuses here what it cannot do
        self.says = [*says, *([encode.says] if encode.says else [])]

    @classmethod
    def random(  # keywords with defaults
        cls,
        c: StreamConfig | str,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        vae: str | None = None,
        decoding: Mapping[str, Any] | None = None,
        umt5: bool = True,
        ops: Callable[[CausalWan], Ops] | None = None,
        graphs: bool = False,
    ) -> Engine:
        """An engine with seeded random weights; it says so. `c` is a configuration or the name of a preset.

        Raises `ValueError`, a sentence, for a name, device or decoder that there is none of.
        """
        c = preset(c) if isinstance(c, str) else c
        maker = Maker(c, Files(), device, dtype, seed)
        model, text, decoder = maker.transformer(), maker.text(umt5), maker.decoder(vae, decoding or {})
        made = ops(model) if ops else PLAIN
        return cls(c, model, text, decoder=decoder, ops=made, graphs=graphs, says=maker.says)

    @classmethod
    def load(  # keywords with defaults
        cls,
        c: StreamConfig | str,
        files: Files,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
        vae: str | None = "wan",
        decoding: Mapping[str, Any] | None = None,
        ops: Callable[[CausalWan], Ops] | None = None,
        graphs: bool = False,
    ) -> Engine:
        """An engine with the weights of files; the LoRA is merged. What has no file is random, and said to be.

        `c` is a configuration or the name of a preset. Raises `ValueError`, a sentence, for a file that cannot be read
        or is of another model, and for a name, device or decoder that there is none of.
        """
        c = preset(c) if isinstance(c, str) else c
        maker = Maker(c, files, device, dtype)
        model, text, decoder = maker.transformer(), maker.text(files.text), maker.decoder(vae, decoding or {})
        made = ops(model) if ops else PLAIN
        return cls(c, model, text, decoder=decoder, ops=made, graphs=graphs, says=maker.says)

    def prepare(self, prompt: str | Sequence[str], *, seed: int = 0, seeds: Sequence[int] | None = None) -> Session:
        """A stream of one prompt, or of a batch with one prompt for each sample.

        The noise of sample i comes from `seed` + i, or from `seeds[i]`. Raises `ValueError`, a sentence, for no prompt
        and for as many seeds as there are no prompts.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if not prompts:
            raise ValueError("A stream needs at least one prompt.")
        seeds = list(seeds) if seeds is not None else [seed + i for i in range(len(prompts))]
        if len(seeds) != len(prompts):
            raise ValueError(f"There are {len(seeds)} seeds for {len(prompts)} prompts; each sample needs one.")
        decoder = self._decoder() if self._decoder else None
        velocity = Graphs(self.denoiser).velocity if self._graphs else None
        return Session(self.denoiser, self.encode, prompts, seeds=seeds, decoder=decoder, velocity=velocity)


class Maker:
    """Models with the weights of files or with random ones, made where they will run: no copy elsewhere.

    Raises `ValueError`, a sentence, for a device that is not here, or not the current one.
    """

    def __init__(
        self, c: StreamConfig, files: Files, device: torch.device | str, dtype: torch.dtype, seed: int = 0
    ) -> None:
        if str(device).startswith("cuda") and not torch.cuda.is_available():
            raise ValueError("No CUDA device is here; run on the CPU, or choose a machine that has one.")
        number = torch.device(device).index if str(device).startswith("cuda") else None
        if number is not None and number != torch.cuda.current_device():  # kernels and graphs go to the current one
            raise ValueError(f"{device} is not the current CUDA device; call torch.cuda.set_device({number}) first.")
        self.c, self.files, self.device, self.dtype, self.seed = c, files, device, dtype, seed
        self.says: list[str] = []

    def transformer(self) -> CausalWan:
        with made_on(self.device, self.dtype):
            model = CausalWan(self.c.model)
        if self.files.transformer:
            load_transformer(model, read(self.files.transformer))
        else:
            self._random(model, "transformer")
        if self.files.lora:
            merge_lora(model, read(self.files.lora))
        return model.eval()

    def text(self, encoder: bool) -> TextEncoder | HashedFeatures:
        """umT5, or its place-holder."""
        c = self.c
        if not encoder:
            return HashedFeatures(c.model.text_dim, c.text_tokens, self.device)
        with made_on(self.device, self.dtype):
            text = umt5(c.model.text_dim, c.text_tokens, self.files.tokenizer)
        if self.files.text_encoder:
            load_text_encoder(text.model, read(self.files.text_encoder))
        else:
            self._random(text.model, "text encoder")
        return text

    def decoder(self, kind: str | None, how: Mapping[str, Any]) -> Callable[[], Decoder] | None:
        """Makes the decoder of one stream: Wan's VAE, the tiny one, or none.

        `how` goes to `Decoder`; besides, ``compiled`` puts the VAE through torch.compile, and ``graphs`` captures it.
        Raises `ValueError`, a sentence, for a decoder or setting that there is none of, and graphs without
        CUDA.
        """
        if kind is None:
            return None
        if kind not in DECODERS:
            raise ValueError(f"No decoder is called '{kind}'; there are {', '.join(DECODERS)}.")
        channels = self.c.model.latent_channels
        full = channels == FULL_CHANNELS
        with made_on(self.device, self.dtype):
            if kind == "wan":
                vae: nn.Module = WanVAE(VAESize() if full else VAESize(base=4, latent_channels=channels))
            else:
                vae = TinyVAE(channels) if full else TinyVAE(channels, (16, 8, 8, 4))
        if self.files.vae:
            load_vae(vae, read(self.files.vae))
        else:
            self._random(vae, "decoder")
        vae.eval()
        how = dict(how)
        compiled, graphs = how.pop("compiled", False), how.pop("graphs", False)
        if unknown := sorted(set(how) - {"frames_at_once", "channels_last", "own_stream"}):
            raise ValueError(f"A decoder has no setting '{unknown[0]}'; it has {', '.join(DECODING)}.")
        if graphs and not str(self.device).startswith("cuda"):
            raise ValueError(f"Graphs need a CUDA device; the decoder is on {self.device}.")
        if how.get("channels_last"):  # convolutions want their weights so, too
            for p in vae.parameters():
                if p.dim() in LAST:
                    p.data = p.data.contiguous(memory_format=LAST[p.dim()])
        runs = strictly(vae) if compiled else vae
        Decoder(runs, **how)  # refuses here what it cannot do
        return lambda: Decoder(runs, capture=CudaCapture() if graphs else None, **how)

    def _random(self, model: nn.Module, what: str) -> None:
        random_weights(model, self.seed)
        if not any((self.files.transformer, self.files.vae, self.files.text_encoder)):
            self.says = [RANDOM]
        else:
            self.says.append(f"The {what}'s weights are random: times are real, pictures are not.")
