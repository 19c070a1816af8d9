"""PSNR and SSIM of decoded frames where weights are real: against closed forms, and in quality and `tune`."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from frameroof.cli import main
from frameroof.lab.stream.parity import Checks, frames_beside
from frameroof.lab.stream.variants import Setup
from frameroof.models.causal_wan import CausalWan, random_weights
from frameroof.models.wan_vae import VAESize, WanVAE
from frameroof.stream import preset
from frameroof.stream.engine import Files

SHAPE = (1, 3, 2, 32, 48)


def test_of_flat_frames_both_have_a_closed_form() -> None:
    """Black 0.2 and 0.6 of [0, 1]: PSNR of a gap of 0.4; SSIM is its luminance term, (2ab + c) / (a² + b² + c)."""
    a, b, c = 0.2, 0.6, 0.01**2
    psnr, ssim = frames_beside(torch.full(SHAPE, 2 * a - 1), torch.full(SHAPE, 2 * b - 1))
    assert psnr == pytest.approx(-20 * math.log10(0.4), abs=1e-4)
    assert ssim == pytest.approx((2 * a * b + c) / (a * a + b * b + c), abs=1e-3)
    video = torch.rand(SHAPE) * 2 - 1
    assert frames_beside(video, video)[1] == pytest.approx(1.0)
    assert frames_beside(video, -video)[1] < 0


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A tiny transformer under Wan's names, and its decoder."""
    folder = tmp_path_factory.mktemp("weights")
    ours = random_weights(CausalWan(preset("tiny").model), 3).state_dict()
    renamed = {"head.weight": "head.head.weight", "head.bias": "head.head.bias", "modulation": "head.modulation"}
    wan = {
        renamed.get(name, name): (t[None] if name.endswith("modulation") else t).contiguous()
        for name, t in ours.items()
    }
    save_file(wan, folder / "wan.safetensors")
    vae = random_weights(WanVAE(VAESize(base=4, latent_channels=4)), 4)
    save_file({name: p.detach().contiguous() for name, p in vae.named_parameters()}, folder / "vae.safetensors")
    return Files(transformer=folder / "wan.safetensors", vae=folder / "vae.safetensors")


def test_quality_has_pictures_where_weights_are_real(files: Files) -> None:
    real = Setup(files=files, decoder="wan")
    assert real.real
    assert not Setup(files=Files(transformer=files.transformer), decoder="wan").real
    checks = Checks(real, real.engine("baseline"))
    exact, eight = (checks.of(name, real.engine(name))[1] for name in ("ring", "fp8-ffn"))
    assert exact.ssim == pytest.approx(1.0, abs=1e-4)
    assert exact.psnr_db > 80
    assert 0.3 < eight.ssim < exact.ssim
    assert 10 < eight.psnr_db < 80
    assert "SSIM" in eight.text()


def test_tune_shows_them(files: Files, monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path) -> None:
    words = ["tune", "--window", "12", "--sink", "3", "--precision", "full", "--device", "cpu"]
    weights = ["--weights", f"transformer={files.transformer}", "--weights", f"vae={files.vae}"]
    out = ["--out", str(tmp_path / "tune.json")]
    monkeypatch.setattr(sys, "argv", ["frameroof", "stream", *words, *weights, *out])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    assert "SSIM" in capsys.readouterr().out
    (point,) = json.loads((tmp_path / "tune.json").read_text())["points"]
    assert point["quality"]["ssim"] == pytest.approx(1.0, abs=1e-4)
    assert point["configuration"]["weights"] == "real"
