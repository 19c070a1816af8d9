"""Names that people type, for machines and for models."""

from __future__ import annotations

import pytest

from frameroof import catalogue
from frameroof.catalogue.hub import HUB
from frameroof.hardware import devices, parse_node


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
        ("8 H100", 8, "H100-SXM5-80GB"),
        ("2 RTX 4090", 2, "RTX 4090"),
        ("2 4090", 2, "RTX 4090"),
        ("8 NVIDIA A100 80GB PCIe", 8, "A100-PCIe-80GB"),
        ("8xNVIDIA H100 80GB HBM3", 8, "H100-SXM5-80GB"),
        ("(8x) H100", 8, "H100-SXM5-80GB"),
        ("H100 80GB SXM5", 1, "H100-SXM5-80GB"),
        ("NVIDIA H100 Tensor Core GPU", 1, "H100-SXM5-80GB"),
        ("A100 80GB NVLink", 1, "A100-SXM4-80GB"),
        ("RTX 4090 24GB", 1, "RTX 4090"),
        ("rtx 3080 12g", 1, "RTX 3080 12GB"),
        ("B200 192GB", 1, "B200-SXM-180GB"),  # what the chip has, of which a board leaves 180
        ("MI300X 192 GB", 1, "MI300X"),
        ("MI250", 1, "MI250 (2 GCDs)"),
        ("GH200", 1, "GH200 144GB"),
        ("GB200 NVL72", 1, "GB200 (per GPU)"),
    ],
)
def test_machines(text, count, name):
    node = parse_node(text)
    assert (node.count, node.device.name) == (count, name)


DRIVERS = """
Tesla V100-SXM2-16GB = V100-SXM2-16GB; Tesla V100-SXM2-32GB = V100-SXM2-32GB; Tesla V100-PCIE-16GB = V100-PCIe-16GB
Tesla V100-PCIE-32GB = V100-PCIe-32GB; Tesla T4 = T4; Quadro RTX 6000 = Quadro RTX 6000; NVIDIA TITAN RTX = TITAN RTX
NVIDIA A100-SXM4-40GB = A100-SXM4-40GB; NVIDIA A100-SXM4-80GB = A100-SXM4-80GB; NVIDIA A100-PCIE-40GB = A100-PCIe-40GB
NVIDIA A100 80GB PCIe = A100-PCIe-80GB; NVIDIA A800-SXM4-80GB = A800-SXM4-80GB; NVIDIA A800 80GB PCIe = A800-PCIe-80GB
NVIDIA A2 = A2; NVIDIA A10 = A10; NVIDIA A10G = A10G; NVIDIA A30 = A30; NVIDIA A40 = A40; NVIDIA RTX A6000 = RTX A6000
NVIDIA RTX A4000 = RTX A4000; NVIDIA RTX A4500 = RTX A4500; NVIDIA RTX A5000 = RTX A5000; NVIDIA RTX A5500 = RTX A5500
NVIDIA H100 80GB HBM3 = H100-SXM5-80GB; NVIDIA H100 PCIe = H100-PCIe-80GB; NVIDIA H100 NVL = H100-NVL-94GB
NVIDIA H200 = H200-SXM-141GB; NVIDIA H200 NVL = H200-NVL-141GB; NVIDIA H20 = H20-96GB; NVIDIA H800 = H800-80GB
NVIDIA H800 PCIe = H800-PCIe-80GB; NVIDIA GH200 120GB = GH200 96GB; NVIDIA GH200 480GB = GH200 96GB
NVIDIA GH200 144G HBM3e = GH200 144GB; NVIDIA B200 = B200-SXM-180GB; NVIDIA B300 SXM6 AC = B300-SXM (HGX, 270-288GB)
NVIDIA GB200 = GB200 (per GPU); NVIDIA GB300 = GB300 (per GPU); NVIDIA GB10 = DGX Spark GB10
NVIDIA L2 = L2; NVIDIA L4 = L4; NVIDIA L20 = L20; NVIDIA L40 = L40; NVIDIA L40S = L40S
NVIDIA RTX 2000 Ada Generation = RTX 2000 Ada; NVIDIA RTX 4000 Ada Generation = RTX 4000 Ada
NVIDIA RTX 4500 Ada Generation = RTX 4500 Ada; NVIDIA RTX 5000 Ada Generation = RTX 5000 Ada
NVIDIA RTX 6000 Ada Generation = RTX 6000 Ada; NVIDIA GeForce RTX 2080 Ti = RTX 2080 Ti
NVIDIA GeForce RTX 3060 = RTX 3060 12GB; NVIDIA GeForce RTX 3060 Ti = RTX 3060 Ti; NVIDIA GeForce RTX 3070 = RTX 3070
NVIDIA GeForce RTX 3070 Ti = RTX 3070 Ti; NVIDIA GeForce RTX 3080 = RTX 3080 10GB; NVIDIA GeForce RTX 3090 = RTX 3090
NVIDIA GeForce RTX 3080 Ti = RTX 3080 Ti; NVIDIA GeForce RTX 3090 Ti = RTX 3090 Ti; NVIDIA GeForce RTX 4060 = RTX 4060
NVIDIA GeForce RTX 4060 Ti = RTX 4060 Ti 16GB; NVIDIA GeForce RTX 4070 = RTX 4070; NVIDIA GeForce RTX 4080 = RTX 4080
NVIDIA GeForce RTX 4070 SUPER = RTX 4070 SUPER; NVIDIA GeForce RTX 4070 Ti = RTX 4070 Ti
NVIDIA GeForce RTX 4070 Ti SUPER = RTX 4070 Ti SUPER; NVIDIA GeForce RTX 4080 SUPER = RTX 4080 SUPER
NVIDIA GeForce RTX 4090 = RTX 4090; NVIDIA GeForce RTX 4090 D = RTX 4090 D; NVIDIA GeForce RTX 5070 = RTX 5070
NVIDIA GeForce RTX 5060 Ti = RTX 5060 Ti 16GB; NVIDIA GeForce RTX 5070 Ti = RTX 5070 Ti
NVIDIA GeForce RTX 5080 = RTX 5080; NVIDIA GeForce RTX 5090 = RTX 5090
NVIDIA RTX PRO 6000 Blackwell Workstation Edition = RTX PRO 6000 Blackwell (Workstation)
NVIDIA RTX PRO 6000 Blackwell Server Edition = RTX PRO 6000 Blackwell Server Edition
NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition = RTX PRO 6000 Blackwell Max-Q
Orin = Jetson AGX Orin 64GB; NVIDIA Thor = Jetson Thor T5000 128GB
AMD Instinct MI210 = MI210; AMD Instinct MI250X / MI250 = MI250X (2 GCDs); AMD Instinct MI300X = MI300X
AMD Instinct MI325X = MI325X; AMD Instinct MI350X = MI350X; AMD Instinct MI355X = MI355X
AMD Radeon RX 7900 XT = RX 7900 XT; AMD Radeon RX 7900 XTX = RX 7900 XTX; AMD Radeon PRO W7900 = Radeon PRO W7900
"""
"""What torch.cuda.get_device_name and nvidia-smi print (the table of products in NVIDIA's driver notes), and whose."""


def test_every_gpu_is_found_by_the_name_that_its_driver_gives_it():
    named = [line.split(" = ") for line in DRIVERS.strip().replace("; ", "\n").splitlines()]
    assert {name for _, name in named} == {one.name for one in devices() if one.vendor in ("NVIDIA", "AMD")} - {
        "MI250 (2 GCDs)",
        "RTX 3080 12GB",
        "Quadro RTX 8000",
    }
    for typed, name in named:
        assert parse_node(typed).name == name, typed
        assert parse_node(f"8x {typed}").device.name == name, typed


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("910B", "Ascend 910B (376T variant, Atlas 800 A2)"),  # one of three
        ("RTX 4090 48GB", "RTX 4090"),  # not that memory
        ("H100 64GB", "H100-SXM5-80GB"),
        ("MI308X", "MI300X"),
        ("8 H1000", "H100-SXM5-80GB"),
    ],
)
def test_a_near_name_is_a_hint_and_no_guess(text, hint):
    with pytest.raises(ValueError, match="no device is called") as caught:
        parse_node(text)
    assert hint in str(caught.value)


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
