"""The command `frameroof characterize`: sizes, what does not fit, JSON, a study taken up, sentences."""

import json
import re
import sys
from types import SimpleNamespace

import polars as pl
import pytest
from html_seen import seen

from frameroof.cli import app
from frameroof.study.characterize.experiments import EXPERIMENTS
from frameroof.study.characterize.predicted import Predicted, workload_of
from frameroof.study.characterize.sized import fitting, resize

TINY = """{"format": "frameroof.workload", "version": 1, "grammar": 1, "name": "tiny",
 "params": {"batch": {"default": 1}}, "stages": [{"name": "forward",
 "tensors": ["bf16[batch,64]", "w:bf16[64,64]"],
 "ops": [{"path": "fc", "kind": "linear", "name": "linear", "reads": [0, 1], "writes": [0],
          "dims": {"b": 1, "m": "batch", "n": 64, "k": 64}}], "weights": {"bf16": 4096}}]}"""


def test_sizes_asked_for_reach_the_models_that_have_them():
    plain = Predicted("A100", ("stable-diffusion", "muse"))
    source, asked = resize(
        plain, {"steps": 10, "height": 256, "width": 256}, lambda m, s: workload_of(m, "flash").sizes(s)
    )
    assert source.sizes("stable-diffusion")["steps"] == 10
    assert asked["stable-diffusion"] == {"steps": 10, "height": 256, "width": 256}
    denoise = {
        each: work.filter(pl.col("stage") == "denoise")["flops"].sum()
        for each, work in (
            ("asked", source.work("stable-diffusion", "flash", {})),
            ("given", plain.work("stable-diffusion", "flash", {"steps": 1, "height": 256, "width": 256})),
        )
    }
    assert denoise["asked"] == 10 * denoise["given"]  # every step computes the same
    assert source.calls("stable-diffusion", "flash", {})["query_len"].max() == (256 // 8) ** 2
    assert plain.sizes("stable-diffusion")["height"] == 512  # the source given is left as it was


def test_models_that_do_not_fit_are_left_out_with_the_number():
    whole = Predicted("A100", ("stable-diffusion",))
    same, none = fitting(whole)
    assert (same.models(), none, same.assumptions) == (("stable-diffusion",), (), whole.assumptions)
    left, refused = fitting(Predicted("RTX 4090", ("stable-diffusion", "parti")))
    assert left.models() == ("stable-diffusion",)
    (sentence,) = refused
    assert re.fullmatch(r"parti: flash attention needs 4\d\.\d+ GB, and RTX 4090 has 24.00 GB: left out", sentence)
    assert f"{sentence}." in left.assumptions  # 21 billion parameters of 2 bytes, and more
    with pytest.raises(ValueError, match=r"parti: flash attention needs 4.* GB, and RTX 4090 has 24.00 GB$"):
        fitting(Predicted("RTX 4090", ("parti",)))


def test_what_fits_only_without_the_similarity_matrix_stays_and_is_noted():
    left, refused = fitting(Predicted("A100", ("wan2.1-t2v-1.3b",)))
    assert (left.models(), refused) == (("wan2.1-t2v-1.3b",), ())
    (note,) = (text for text in left.assumptions if text.startswith("wan2.1-t2v-1.3b: baseline attention needs "))
    # 12 heads of 32,760 x 32,760 scores, in fp32 where the softmax is taken, and of 2 bytes beside it
    assert float(note.split()[4]) > 12 * 32_760**2 * 6 / 1e9


def command(monkeypatch, capsys, *words):
    """(exit code, standard output, standard error) of `frameroof characterize …`."""
    monkeypatch.setattr(sys, "argv", ["frameroof", "characterize", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        app.main()
    said = capsys.readouterr()
    return stop.value.code or 0, said.out, said.err


SD = ("--predict", "--models", "sd15")


def test_json_has_experiments_with_rows_and_claims(monkeypatch, capsys):
    code, out, _ = command(monkeypatch, capsys, *SD, "--only", "figure-9,section-5a", "--json")
    data = json.loads(out)
    assert code == 0
    assert data["schema"] == "frameroof.characterize/1"
    assert data["models"] == ["stable-diffusion"]
    assert [each["id"] for each in data["experiments"]] == ["figure-9", "section-5a"]
    for each in data["experiments"]:
        assert each["rows"]
        assert {column["name"] for column in each["columns"]} >= set(each["rows"][0])
        assert all({"text", "paper", "ours", "verdict", "why"} <= set(claim) for claim in each["claims"])


def test_a_study_is_written_taken_up_and_grows(monkeypatch, capsys, tmp_path):
    out = tmp_path / "study"
    code, said, _ = command(monkeypatch, capsys, *SD, "--figure", "9", "--out", out)
    assert code == 0
    assert "differs" in said
    assert str(out / "page.html") in said
    before = (out / "figure-9.svg").stat().st_ino
    assert command(monkeypatch, capsys, *SD, "--only", "9,section-5a", "--out", out)[0] == 0
    assert (out / "figure-9.svg").stat().st_ino == before
    found = seen((out / "page.html").read_text("utf-8"))
    assert {"figure-9", "section-5a"} <= found.ids
    assert len(found.sources) == 2
    code, _, error = command(monkeypatch, capsys, *SD, "--on", "H100", "--figure", "9", "--out", out)
    assert (code, "another study" in error) == (2, True)


def test_the_terminal_has_rows_and_reasons_of_one_experiment(monkeypatch, capsys):
    _, one, _ = command(monkeypatch, capsys, *SD, "--figure", "9")
    for words in ("side px", "16,384", "why", "widened by a tenth"):
        assert words in one
    assert "3 claims: agrees 2, differs 1" in one


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--predict", "--models", "nosuchmodel"), "unknown model 'nosuchmodel'"),
        (("--predict", "--figure", "99"), "unknown figure or topic"),
        (("--predict", "--figure", "eight"), "is a number of the paper"),
        (("--predict", "--only", "atention"), "did you mean attention?"),
        (("--predict", "--on", "A1000"), "did you mean A100"),
        (("--predict", "--on", "8xA100"), "one device"),
        (("--on", "A100"), "--on needs --predict"),
        (("--suite", "silver"), "there is golden"),
        ((*SD, "--size", "height=100"), "stable-diffusion: height=100 is not admissible"),
        ((*SD, "--size", "frames=8"), "none of these models has a size 'frames'"),
        ((*SD, "--jobs", "/nowhere.csv"), "cannot be read"),
        ((*SD, "--counters", "temporal=x"), "needed twice"),
        ((*SD, "--counters", "L2"), "temporal=FILE, spatial=FILE or MODEL=FILE"),
    ],
)
def test_wrong_input_is_a_sentence(monkeypatch, capsys, words, sentence):
    code, out, error = command(monkeypatch, capsys, *words)
    assert (code, out) == (2, "")
    assert error.startswith("frameroof: ")
    assert sentence in error


def test_what_is_missing_is_said_before_anything_is_run(monkeypatch, capsys, tmp_path):
    import importlib.util

    real = importlib.util.find_spec
    for gone, words in (("torch", ("--models", "sd15")), ("matplotlib", (*SD, "--out", tmp_path / "a"))):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, gone=gone: None if name == gone else real(name))
        code, _, error = command(monkeypatch, capsys, *words)
        assert code == 2
        assert "pip install 'frameroof[" in error
    assert not list(tmp_path.iterdir())


def test_every_key_of_the_json_is_documented(monkeypatch, capsys, root):
    data = json.loads(command(monkeypatch, capsys, *SD, "--figure", "9", "--size", "steps=5", "--json")[1])
    text = (root / "docs" / "reference" / "characterize-json.rst").read_text("utf-8")
    named = set(re.findall(r"``(\w+)``", text))
    (experiment,) = data["experiments"]
    assert data["sizes"] == {"stable-diffusion": {"steps": 5}}
    for each in (data, experiment, experiment["columns"][0], experiment["claims"][0]):
        assert set(each) <= named
    assert data["schema"] in text


def test_an_interrupted_measurement_says_how_to_go_on(monkeypatch, capsys, tmp_path):
    class Stopped(Predicted):
        runs = SimpleNamespace(sizes=lambda model, sizes: sizes)
        steps = 0

        def fit(self):
            return ()

        def prepare(self):
            self.steps += 1
            if self.steps > 1:
                raise KeyboardInterrupt

    source = Stopped("A100", ("stable-diffusion",))
    monkeypatch.setattr("frameroof.lab.characterize.measured_source", lambda *_: source)
    words = ("--models", "sd15", "--only", "figure-9,figure-7", "--out", tmp_path / "study")
    assert command(monkeypatch, capsys, "--models", "sd15", "--figure", "9", "--out", tmp_path / "study")[0] == 0
    assert source.steps == 0  # figure 9 needs one attention only
    assert command(monkeypatch, capsys, *words)[0] == 0
    code, _, error = command(monkeypatch, capsys, *words)
    assert (code, "the same command goes on" in error) == (130, True)


def test_a_study_that_is_stopped_before_its_folder_is_made_keeps_nothing(monkeypatch, capsys, tmp_path):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("frameroof.report.study.open_folder", stopped)
    code, _, error = command(monkeypatch, capsys, *SD, "--figure", "9", "--out", tmp_path / "study")
    assert (code, error) == (130, "frameroof: interrupted; nothing was written\n")


def test_a_workload_file_without_attention_ends_no_experiment(monkeypatch, capsys, tmp_path):
    path = tmp_path / "tiny.workload.json"
    path.write_text(TINY, "utf-8")
    code, out, error = command(monkeypatch, capsys, "--predict", "--models", path, "--json")
    assert (code, error) == (0, "")
    assert {each["id"] for each in json.loads(out)["experiments"]} == set(EXPERIMENTS)
