"""A machine that is not in the catalogue: a value changed by `--set`, or a file of one's own."""

from __future__ import annotations

import msgspec
import pytest
from cli_said import run

from frameroof.hardware import device, load_devices, parse_changes, parse_node, what_if


def test_what_if_changes_what_is_asked_and_its_name():
    real = parse_node("8xH100")
    node = what_if(real, {"mem_bandwidth": 4e12, "tdp": 600, "fp4": 2e15})
    assert node.name == "8 x H100-SXM5-80GB with mem_bandwidth=4 TB/s, tdp=600 W, fp4=2 PFLOP/s"
    assert (node.device.bandwidth, node.device.tdp_w, node.device.peak("fp4")) == (4e12, 600, 2e15)
    assert node.device.peak("bf16") == real.device.peak("bf16")
    assert node.device.memory_bytes == real.device.memory_bytes
    assert list(node.device.dense_flops)[-1] == "fp4"
    assert node.device.confirmed == ()
    assert node.device.differing == ()
    assert node.device.flags[0].startswith("what-if: mem_bandwidth=4 TB/s")
    assert "bf16" not in what_if(real, {"bf16": 1.2e15}).device.sparse_flops
    assert what_if(real, {}) is real
    assert real.device is device("H100")
    assert real.device.bandwidth == 3.35e12


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("mem_bandwidth=4.0e12", "mem_bandwidth", 4e12),
        ("mem_bandwidth=4TB/s", "mem_bandwidth", 4e12),
        ("mem_bandwidth = 4000 GB/s", "mem_bandwidth", 4e12),
        ("bf16=1.2e15", "bf16", 1.2e15),
        ("BF16=1200TFLOPS", "bf16", 1.2e15),
        ("int8=1200 TOPS", "int8", 1.2e15),
        ("memory=96e9", "memory", 96e9),
        ("memory=96GB", "memory", 96e9),
        ("tdp=600", "tdp", 600),
        ("tdp=0.6kW", "tdp", 600),
        ("link=450GB/s", "link", 450e9),
    ],
)
def test_changes_read(text, key, value):
    assert parse_changes([text]) == {key: pytest.approx(value)}


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (
            ["speed=3"],
            "'speed' cannot be set; what can: mem_bandwidth, link, pcie, memory, cache, vector_fp32, tdp, fp32",
        ),
        (["tdp"], "--set takes KEY=VALUE, such as mem_bandwidth=4TB/s, not 'tdp'"),
        (["tdp=0"], "--set tdp=0: the value must be above zero and finite"),
        (["tdp=-5"], "the value must be above zero and finite"),
        (["tdp=1e999"], "the value must be above zero and finite"),
        (["tdp=nan"], "'nan' is no value; write a number in W"),
        (["tdp="], "'' is no value"),
        (["memory=4TB/s"], "'4TB/s' is no value; write a number in B, or with a unit such as TB"),
        (["bf16=4TB"], "'4TB' is no value; write a number in FLOP/s"),
        (["tdp=5", "tdp=6"], "--set tdp=6: tdp is set twice"),
    ],
)
def test_changes_refused_with_a_sentence(texts, sentence):
    with pytest.raises(ValueError, match=r"set") as caught:
        parse_changes(texts)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("changes", [{"speed": 1.0}, {"tdp": 0.0}, {"tdp": float("nan")}, {"memory": 0.1}])
def test_what_if_refuses_with_a_sentence(changes):
    with pytest.raises(ValueError, match=r"cannot be set; what can|must be"):
        what_if(parse_node("H100"), changes)


OWN = """
vendor = 'Me'
[[device]]
name = 'Dream 1'
aliases = ['dream']
kind = 'accelerator'
dense_tflops = { bf16 = 1978.8 }
memory_gb = 100
memory_gb_s = 6700
source = ['an idea']
date = '2026-11-21'
confidence = 'low'
"""


def test_own_devices_are_found_by_name(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(OWN)
    own = load_devices(path)
    assert [one.name for one in own] == ["Dream 1"]
    assert own[0].usd_per_hour is None
    node = parse_node("8xdream", own)
    assert (node.name, node.device.peak("bf16"), node.device.bandwidth) == ("8 x Dream 1", 1978.8e12, 6.7e12)
    assert parse_node("H100", own).device is device("H100")
    with pytest.raises(ValueError, match=r"no device is called 'nightmare'.*The file has: Dream 1"):
        parse_node("nightmare", own)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("source = ['an idea']\n", "", "mine.toml: Object missing required field `source`"),
        ("['an idea']", "[]", "mine.toml: Dream 1 has no source"),
        ("'Dream 1'", "'H100'", "mine.toml: the name of H100 already means H100-SXM5-80GB; give it another"),
        ("['dream']", "['h-100']", "the name of Dream 1 already means H100-SXM5-80GB"),
        ("vendor = 'Me'", "vendor =", "mine.toml: Invalid value"),
    ],
)
def test_a_bad_own_file_is_refused(tmp_path, old, new, sentence):
    path = tmp_path / "mine.toml"
    path.write_text(OWN.replace(old, new))
    with pytest.raises(ValueError, match=r"mine\.toml") as caught:
        load_devices(path)
    assert sentence in str(caught.value)


def test_an_own_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"the hardware file .*none\.toml cannot be read: .*No such file"):
        load_devices(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="cannot be read"):
        load_devices(tmp_path / "bytes.toml")


def test_predict_takes_own_devices_and_what_ifs(tmp_path, capsys, monkeypatch):
    path = tmp_path / "mine.toml"
    path.write_text(OWN)

    def total(*words: str) -> tuple[float, str]:
        status, said = run(capsys, monkeypatch, "predict", "sdxl-base", "--json", *words)
        assert status == 0, said
        data = msgspec.json.decode(said.encode())
        return data["total"]["limit_s"], data["hardware"]["name"]

    changes = ("--set", "mem_bandwidth=6.7TB/s", "--set", "bf16=1978.8TFLOPS")
    changed, name = total("--on", "H100", *changes)
    assert name == "H100-SXM5-80GB with mem_bandwidth=6.7 TB/s, bf16=1.9788 PFLOP/s"
    real, _ = total("--on", "H100")
    assert real / 2.1 < changed < real / 1.5  # both limits were doubled, vector work was not
    _, name = total("--on", "8xdream", "--hardware-file", str(path))
    assert name == "8 x Dream 1"
    for words in (("--set", "speed=1"), ("--set", "tdp=0"), ("--hardware-file", str(tmp_path / "none.toml"))):
        status, said = run(capsys, monkeypatch, "predict", "sdxl-base", *words)
        assert status != 0
        assert said.startswith("frameroof: ")
        assert "Traceback" not in said
