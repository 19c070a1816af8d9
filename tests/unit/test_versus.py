"""Why isn't it faster: two predictions by class of work."""

from __future__ import annotations

import json

import pytest
from cli_said import run

from frameroof.study.predict import meant, predict
from frameroof.study.versus import parse_versus, versus


def test_fp8_of_linear_layers_leaves_attention_as_it_is():
    found = versus(predict("wan2.1-t2v-14b", "H100"), predict("wan2.1-t2v-14b", "H100", dtype="fp8"))
    by = {c.name: c for c in found.classes}
    assert by["attention"].gain == pytest.approx(1.0)
    assert by["linear"].gain > 1.1
    assert 1.0 < found.gain < 1.3
    stuck = 1 - by["linear"].before_s / found.before.expected_s
    assert found.stuck_share == pytest.approx(stuck)
    assert sum(c.before_s for c in found.classes) == pytest.approx(found.before.expected_s)
    assert sum(c.after_s for c in found.classes) == pytest.approx(found.after.expected_s)


def test_a_host_that_decides_is_said():
    eager = predict("amused-512", "A100", software="diffusers-eager")
    found = versus(eager, predict("amused-512", "A100"))
    largest = found.classes[0]
    assert (largest.before, largest.after != "host") == ("host", True)


def test_fp8_means_linear_layers():
    assert meant("fp8") == "linear=fp8"
    assert meant("all=fp8") == "fp8"
    assert meant("fp16") == "fp16"
    assert meant("fp8,weights=int8") == "linear=fp8,weights=int8"


def test_other_choices_and_sizes():
    assert parse_versus(["on=B200", "steps=4"], {"steps": 28}) == ({"on": "B200"}, {"steps": 4})
    for bad in ("B200", "on=", "nonsense=x"):
        with pytest.raises(ValueError, match="--versus"):
            parse_versus([bad], {})


def test_the_verb_prints_both(capsys, monkeypatch):
    code, out = run(capsys, monkeypatch, "predict", "flux", "--versus", "on=B200", "--json")
    data = json.loads(out)["versus"]
    assert (code, data["hardware"]["name"]) == (0, "B200-SXM-180GB")
    assert data["gain"] > 1.5
    code, out = run(capsys, monkeypatch, "predict", "flux", "--versus", "on=B200")
    assert (code, "Why isn't it faster: versus B200-SXM-180GB" in out) == (0, True)
