"""Limits, messages, and when frames are due: each by hand count."""

from __future__ import annotations

import json
import struct

import pytest
from serve_made import FACTS, facts

from frameroof.serve.limits import Limits
from frameroof.serve.measured import Measured
from frameroof.serve.picture import jpeg
from frameroof.serve.playout import Playout
from frameroof.serve.protocol import Pause, Play, Shown, Start, Switch, Switched, picture_of, text_of, understood
from frameroof.serve.source import Made

# ------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"sessions": 0}, "At least 1 must be allowed of sessions, not 0."),
        ({"prompt": 10_001, "message": 10**6}, "at most 10000 characters, not 10001"),
        ({"prompt": 100, "message": 655}, "cannot hold a prompt of 100 characters; allow at least 656"),
        ({"grace_s": -1.0}, "cannot be -1 s"),
        ({"silence_s": 0.0}, "must be above 0 s"),
    ],
)
def test_limits_that_cannot_hold_are_refused(changed: dict[str, float], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        Limits(**changed)


def test_a_prompt_may_not_be_longer_than_the_text_encoder_takes():
    from frameroof.serve import limits
    from frameroof.stream import text

    assert limits.LONGEST_PROMPT == text.LONGEST_PROMPT


def test_a_prompt_is_cut_of_spaces_and_measured():
    limits = Limits(prompt=5, message=276)
    assert limits.checked_prompt("  a fox ") == "a fox"
    with pytest.raises(ValueError, match="has 6 characters; at most 5 are taken"):
        limits.checked_prompt("foxes!")
    with pytest.raises(ValueError, match="empty"):
        limits.checked_prompt(" \n ")


def test_a_prompt_of_the_longest_signs_fits_into_a_message():
    limits = Limits(prompt=100, message=656)
    said = json.dumps({"type": "switch", "prompt": "\N{FOX FACE}" * 100, "id": 2**40}, ensure_ascii=False)
    limits.check_message(len(said.encode()))
    with pytest.raises(ValueError, match="has 657 bytes; at most 656"):
        limits.check_message(657)


# ----------------------------------------------------------------------------------- messages


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"type": "start"}', Start()),
        ('{"type": "start", "prompt": "a", "session": "b"}', Start(prompt="a", session="b")),
        ('{"type": "switch", "prompt": "a", "id": 3}', Switch(prompt="a", id=3)),
        ('{"type": "shown", "frame": 4}', Shown(frame=4)),
        ('{"type": "pause"}', Pause()),
        ('{"type": "play"}', Play()),
    ],
)
def test_messages_of_a_page_are_understood(text: str, message: object):
    assert understood(text) == message


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", '{"type": "jump"}', '{"prompt": "a"}', '{"type": "switch"}', '{"type": "shown", "frame": "1"}',
     '{"type": "pause", "for": 3}', '{"type": "hello"}', "[" * 100_000, '{"type": "switch", "prompt": "\\ud800"}'],
)  # fmt: skip
def test_anything_else_is_a_sentence(text: str):
    with pytest.raises(ValueError, match=r"^The message was not understood: .*\.$"):
        understood(text)


def test_a_message_of_the_server_says_what_it_is():
    assert json.loads(text_of(Switched(id=1, prompt="a", block=7))) == {
        "type": "switched", "id": 1, "prompt": "a", "block": 7,
    }  # fmt: skip


def test_a_picture_has_a_head_of_twelve_bytes_and_is_a_jpeg_of_its_pixels():
    from io import BytesIO

    import numpy as np
    from PIL import Image

    colors = np.zeros((16, 32, 3), np.uint8)
    colors[:, :16] = (250, 20, 20)
    colors[:, 16:] = (20, 20, 250)
    message = picture_of(258, 70_000, jpeg(colors))
    assert struct.unpack("<BBHII", message[:12]) == (1, 1, 0, 258, 70_000)
    with Image.open(BytesIO(message[12:])) as picture:
        assert (picture.format, picture.size) == ("JPEG", (32, 16))
        found = np.asarray(picture).astype(int)
    assert np.abs(found - colors).max() <= 6  # at quality 90; without chroma subsampling the edge stays sharp too


# ----------------------------------------------------------------------------------- the clock


def test_frames_are_due_in_real_time_from_the_first_on():
    playout = Playout(fps=8)
    playout.add(8, now=10.0)
    assert [playout.due(i) for i in (0, 1, 8)] == [10.0, 10.125, 11.0]
    assert playout.ahead_s(10.25) == 0.75
    playout.add(8, now=10.5)  # in time: nothing moves
    assert (playout.due(8), playout.stalls) == (11.0, 0)


def test_a_maker_that_is_late_moves_the_clock_and_is_counted():
    playout = Playout(fps=8)
    playout.add(8, now=10.0)
    playout.add(8, now=11.5)  # half a second too late
    assert (playout.due(8), playout.due(12), playout.stalls) == (11.5, 12.0, 1)


def test_what_waited_for_a_viewer_is_due_when_it_comes_back():
    playout = Playout(fps=8)
    playout.add(8, now=10.0)
    playout.rebase(4, now=60.0)
    assert (playout.due(4), playout.due(7)) == (60.0, 60.375)
    playout.rebase(8, now=80.0)  # nothing waits: the next block starts the clock, and that is no stall
    assert playout.ahead_s(80.0) == 0
    playout.add(8, now=90.0)
    assert (playout.due(8), playout.stalls) == (90.0, 0)


# ------------------------------------------------------------------------------------- figures


def test_figures_follow_the_definitions_of_the_report():
    import numpy as np

    measured = Measured(facts(latent_frames=2, block_frames=8, window_blocks=2, fps=8))
    assert set(measured.figures().values()) == {None}
    video = np.zeros((8, 1, 1, 3), np.uint8)
    # blocks 0 and 1 fill the window; 4 follows a switch: neither is steady
    for number, generate in enumerate((1.0, 2.0, 0.5, 0.25, 0.75)):
        measured.add(Made(number, video, generate, 0.125), switched=number == 4)
    found = measured.figures()
    assert found["inter_frame_s"] == (0.5 + 0.25) / 2 / 2
    assert found["fps_engine"] == 8 / (0.375 + 0.125)
    assert found["real_time_factor"] == 2.0
    assert found["switch_s"] == 0.75 - 0.25
    assert (found["block_s"], found["decode_s"]) == (0.75, 0.125)
    assert FACTS.window_blocks == 2
