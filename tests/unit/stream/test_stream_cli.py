"""`frameroof stream run` and `bench` as a user meets them: a video that plays, and sentences for what cannot be."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from frameroof.lab.stream.clip import Clip, pixels
from frameroof.report.preview import HALF, frame_text


def command(capsys, *words: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a command in this process."""
    from frameroof.cli import main

    before, sys.argv = sys.argv, ["frameroof", "stream", *words]
    try:
        with pytest.raises(SystemExit) as stop:
            main()
    finally:
        sys.argv = before
    said = capsys.readouterr()
    return int(stop.value.code or 0), said.out, said.err


def test_every_option_has_help_and_stands_in_the_reference() -> None:
    from typer.main import get_command

    from frameroof.cli.stream import stream

    verbs = get_command(stream).commands
    assert {"predict", "run", "bench"} <= set(verbs)
    for name, verb in verbs.items():
        assert verb.help
        assert all(param.help for param in verb.params), name


def test_a_clip_plays(tmp_path: Path, capsys) -> None:
    av = pytest.importorskip("av")
    out = tmp_path / "clip.mp4"
    code, text, _ = command(capsys, "run", "a cat", "--blocks", "3", "--switch", "2:a fox", "--out", str(out))
    assert code == 0
    assert "33 frames of 48 x 32 at 16 a second" in text
    assert "switched with block 2, frame 21: a fox" in text
    assert "The weights are random" in text
    with av.open(str(out)) as clip:
        frames = [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]
        assert clip.streams.video[0].average_rate == 16
    assert len(frames) == 1 + 4 * (3 * 3 - 1)
    assert frames[0].shape == (32, 48, 3)
    assert all(frame.std() > 1 for frame in frames)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    code, _, error = command(capsys, "run", "--blocks", "1", "--out", str(out))
    assert (code, error) == (2, f"frameroof: {out} exists; --force overwrites it.\n")


def test_a_clip_has_the_colors_that_it_was_given(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    given = torch.tensor([0.5, -0.5, 0.0]).view(3, 1, 1).expand(3, 32, 48)
    with Clip(tmp_path / "a.mp4", (32, 48), 16) as clip:
        for _ in range(5):
            clip.add(given)
    with av.open(str(tmp_path / "a.mp4")) as made:
        frames = [frame.to_ndarray(format="rgb24") for frame in made.decode(video=0)]
    assert len(frames) == 5
    assert np.abs(frames[2].reshape(-1, 3).mean(0) - [191, 64, 128]).max() < 4  # 4:2:0, 8 bits of luma and color


def test_a_clip_that_failed_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("av")
    clip = Clip(tmp_path / "a.mp4", (32, 48), 16)

    def one_frame_and_a_wrong_one() -> None:
        with clip:
            clip.add(torch.zeros(3, 32, 48))
            clip.add(torch.zeros(4, 32, 48))

    with pytest.raises(ValueError, match="shape"):
        one_frame_and_a_wrong_one()
    assert clip.frames == 1
    assert list(tmp_path.iterdir()) == []


def test_pixels_and_their_preview() -> None:
    frame = torch.full((3, 4, 6), -1.0)
    frame[0, :2] = 2.0  # above the range
    made = pixels(frame)
    assert made.dtype == np.uint8
    assert made.shape == (4, 6, 3)
    assert made[0, 0].tolist() == [255, 0, 0]
    assert made[3, 5].tolist() == [0, 0, 0]
    text = frame_text(made, columns=6)
    assert text.plain == (HALF * 6 + "\n") * 2
    first, last = text.spans[0].style, text.spans[-1].style
    assert (first.color.triplet, first.bgcolor.triplet) == ((255, 0, 0), (255, 0, 0))
    assert last.color.triplet == (0, 0, 0)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--switch 9:x", "A switch at block 9 is beyond the stream: its later blocks are 1 to 7."),
        ("--switch nine", "'nine' is no switch; write BLOCK:PROMPT"),
        ("--switch 2:a --switch 2:b", "Block 2 has two switches"),
        ("--blocks 0", "blocks is 0"),
        ("--window 2", "window is 2 frames, smaller than a block of 3."),
        ("--window 3 --sink 3", "it must hold the sink (3) and a block (3)"),
        ("--height 40", "height is 40; it must be a positive multiple of 16 pixels."),
        ("--variant graph", "runs on a CUDA device only"),
        ("--variant quick", "No variant is called 'quick'"),
        ("--model huge", "No stream model is called 'huge'; there are tiny, medium, longlive-1.3b."),
        ("--model longlive-1.3b --height 9600 --width 16640", "of memory are free on cpu"),
        ("--out clip.gif", "it ends in .mp4"),
        ("--out nowhere/clip.mp4", "There is no folder nowhere"),
        ("--weights x=y", "write PART=PATH with PART transformer, lora, vae, text_encoder, tokenizer"),
        ("--weights vae=no.pt", "There is no file no.pt."),
        ("--dtype fp8", "--dtype is fp32 or bf16"),
        ("--preview", "--preview shows frames in a terminal"),
    ],
)
def test_what_cannot_be_is_a_sentence(words: str, sentence: str, tmp_path: Path, capsys, monkeypatch) -> None:
    pytest.importorskip("av")
    monkeypatch.chdir(tmp_path)
    code, _, error = command(capsys, "run", "--device", "cpu", *words.split())
    assert code == 2
    assert error.startswith("frameroof: ")
    assert sentence in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--variant graph", "captures CUDA graphs"),
        ("--blocks 5", "blocks is 5; the window is full after 4"),
        ("--window 10", "not a multiple of the block"),
        ("--decoder vae", "No decoder is called 'vae'"),
        ("--batch one", "--batch is a number, or several such as 1,2,4; not 'one'."),
        ("--batch 0", "batch is 0; a stream has at least 1 sample."),
        ("--batch 1,0", "batch is 0; a stream has at least 1 sample."),
        ("--decoder none --variant vae-block", "Variant 'vae-block' changes decoding, and no decoder is run."),
    ],
)
def test_a_bench_that_cannot_be_is_a_sentence(words: str, sentence: str, capsys) -> None:
    code, _, error = command(capsys, "bench", "--device", "cpu", *words.split())
    assert code == 2
    assert sentence in error


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--precision fp3", "No precision is called 'fp3'"),
        ("--variant graph", "Variant 'graph' captures CUDA graphs"),
        ("--window 7", "No choice is admissible: window is 7 frames, not a multiple of the block"),
        ("--most-error -1", "--most-error is 0 or more, not -1"),
    ],
)
def test_a_tune_that_cannot_be_is_a_sentence(words: str, sentence: str, capsys) -> None:
    code, _, error = command(capsys, "tune", "--device", "cpu", *words.split())
    assert code == 2
    assert sentence in error


def test_what_would_be_overwritten_is_said_before_anything_is_measured(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("frameroof.lab.stream.variants.Setup.engine", None)  # nothing is built
    there = tmp_path / "stream.json"
    there.write_text("{}")
    for words in (("tune", "--out", str(there)), ("bench", "--variant", "ring", "--out", str(tmp_path))):
        code, _, error = command(capsys, *words)
        assert (code, error) == (2, f"frameroof: {there} exists; --force overwrites it\n")
    assert there.read_text() == "{}"


def test_an_empty_prompt_is_refused(capsys) -> None:
    code, _, error = command(capsys, "run", "  ")
    assert (code, error) == (2, "frameroof: The prompt is empty; say what the video is to show.\n")


def test_the_log_names_the_file_that_is_none(tmp_path: Path, capsys) -> None:
    (tmp_path / "a.json").write_text("{}")
    code, _, error = command(capsys, "log", str(tmp_path / "a.json"))
    assert code == 2
    assert error.startswith(f"frameroof: {tmp_path / 'a.json'} is no JSON of this version of `frameroof stream bench`")


def test_columns_of_which_nothing_is_known_are_left_out() -> None:
    from frameroof.report.stream_bench import _filled

    made = _filled(("variant", "memory peak", "switch"), [("baseline", "", ""), ("ring", "", "1 ms")])
    assert [column.header for column in made.columns] == ["variant", "switch"]
    assert list(made.columns[1].cells) == ["", "1 ms"]
