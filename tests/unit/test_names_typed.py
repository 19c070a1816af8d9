"""Names that people type, for machines and for models."""

from __future__ import annotations

import pytest

from frameroof import catalogue
from frameroof.catalogue.hub import HUB
from frameroof.hardware import parse_node


@pytest.mark.parametrize(
    ("text", "count", "name"),
    [
        ("H100x8", 8, "H100-SXM5-80GB"),
        ("H100 x 8", 8, "H100-SXM5-80GB"),
        ("8x H100", 8, "H100-SXM5-80GB"),
        ("RTX 4090", 1, "RTX 4090"),  # not 4090 of a device RT
        ("rtx4090", 1, "RTX 4090"),
        ("RTX 4090x2", 2, "RTX 4090"),
        ("4090D", 1, "RTX 4090 D"),
        ("NVIDIA GeForce RTX 3090", 1, "RTX 3090"),
        ("a100-80g", 1, "A100-SXM4-80GB"),
        ("NVIDIA H100 80GB HBM3", 1, "H100-SXM5-80GB"),
        ("L40S*4", 4, "L40S"),
        ("4090x2", 2, "RTX 4090"),  # not 4090 of a device 2
        ("2x4090", 2, "RTX 4090"),
        ("H100:8", 8, "H100-SXM5-80GB"),
        ("7900xtx", 1, "RX 7900 XTX"),  # not 7900 of a device tx
        ("AMD Radeon RX 7900 XTX", 1, "RX 7900 XTX"),
        ("3090ti", 1, "RTX 3090 Ti"),
        ("4070 ti super", 1, "RTX 4070 Ti SUPER"),
        ("NVIDIA A800 80GB PCIe", 1, "A800-PCIe-80GB"),
    ],
)
def test_machines(text, count, name):
    node = parse_node(text)
    assert (node.count, node.device.name) == (count, name)


def test_models_by_their_names_on_the_hub():
    load = catalogue.load
    assert load("black-forest-labs/FLUX.1-dev").name == "flux.1-dev"
    assert load("Wan-AI/Wan2.1-T2V-14B-Diffusers").name == "wan2.1-t2v-14b"
    assert load("https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0").name == "sdxl-base"
    assert catalogue.canonical("Qwen/Qwen-Image") == "qwen-image"
    assert set(HUB.values()) <= set(catalogue.names())
    assert all(key == key.lower() for key in HUB)
    with pytest.raises(ValueError, match="nobody/nothing"):
        load("nobody/nothing")


def test_a_name_that_is_nearly_one_of_the_hub_gets_a_hint():
    with pytest.raises(ValueError, match=r"no model that is known; did you mean black-forest-labs/flux\.1-dev"):
        catalogue.load("black-forest-labs/FLUX.1-dex")
