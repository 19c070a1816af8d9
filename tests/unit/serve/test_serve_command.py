"""`frameroof stream serve` as a process: its words, its port, its end."""

from __future__ import annotations

import json
import signal
import socket
import struct
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
from process_made import Served


def refused(words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The one sentence on standard error, with exit code 2."""
    from frameroof.cli import main

    monkeypatch.setattr(sys, "argv", ["frameroof", "stream", "serve", *words])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("frameroof: ")
    return said.err.removeprefix("frameroof: ").removesuffix("\n")


def test_a_port_in_use_is_a_sentence(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sentence = refused(("--port", str(port)), capsys, monkeypatch)
    assert sentence == f"Port {port} on 127.0.0.1 is in use; choose another with --port, or 0 for any free one."


WRONG = [
    (("--sessions", "0"), "At least 1 must be allowed of sessions, not 0."),
    (("--host", "::", "--token", "short"), "A token has at least 16 letters, digits or signs, without spaces."),
    (("--port", "70000"), "Port 70000 is none; ports are 0 (any free one) to 65535."),
    (
        ("--host", "192.0.2.1", "--port", "0"),
        "This machine has no address 192.0.2.1; 127.0.0.1 is itself, 0.0.0.0 all its addresses.",
    ),
    (("  ",), "The prompt is empty; say what the video is to show."),
    (("--port", "0", "--queue", "23"), "A queue of 23 frames is too short: two blocks of 12 must fit in it."),
    (("--port", "0", "--model", "huge"), "No stream model is called 'huge'; there are tiny, medium, longlive-1.3b."),
    (("--port", "0", "--variant", "graph"), "Variant 'graph' captures CUDA graphs, and runs on a CUDA device only."),
]


def test_a_name_that_nobody_knows_is_no_address():
    from frameroof.serve.server import _why

    with pytest.raises(OSError, match=r"known|resolution|service") as refusal:  # a resolver says it in its own words
        socket.create_server(("no such name", 0))
    assert _why("no such name", 0, refusal.value).startswith("This machine has no address no such name; 127.0.0.1 is")


@pytest.mark.parametrize(("words", "sentence"), WRONG)
def test_wrong_input_is_a_sentence(
    words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    if "graph" in words:
        words = (*words, "--device", "cpu")
    assert refused(words, capsys, monkeypatch) == sentence


HEAVY = ("fastapi", "starlette", "uvicorn", "pydantic", "websockets", "prometheus_client", "PIL", "asyncio", "torch")


def test_what_is_missing_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    from importlib import util

    real = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *rest: None if name == "uvicorn" else real(name, *rest))
    assert refused((), capsys, monkeypatch).endswith("pip install '.[serve]'")


def test_a_port_in_use_is_said_before_torch_is_loaded():
    program = """
import sys
from frameroof.cli import main
try:
    main()
except SystemExit as left:
    print(left.code, *[name for name in ("torch", "fastapi") if name in sys.modules])
"""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = ["stream", "serve", "--port", str(taken.getsockname()[1])]
        done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["2"]
    assert "in use" in done.stderr


def test_other_verbs_load_none_of_it():
    program = f"import sys, frameroof.cli.app; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""


STUCK = """
import sys, time
sys.path.insert(0, {here!r})
from serve_made import MadeSource
from frameroof.cli.serve import _serve
from frameroof.serve.limits import Limits
from frameroof.serve.server import listen
source = MadeSource()
source.gate.wait = lambda seconds: time.sleep(3600)  # one step that takes an hour, and hears nothing
_serve(source, Limits(), listen("127.0.0.1", 0), "a cat", None)
"""


def test_it_ends_though_a_step_goes_on_and_on():
    from websockets.sync.client import connect

    program = [sys.executable, "-c", STUCK.format(here=str(Path(__file__).parent))]
    with Served(program=program) as served, connect(f"ws://127.0.0.1:{served.port}/live") as page:
        page.send('{"type": "start"}')
        assert json.loads(page.recv(40))["type"] == "hello"
        code, rest = served.end(signal.SIGTERM)
    assert code == 0
    assert rest == "stopped: 1 sessions, 0 blocks, 0 frames made, 0 sent\n"


def test_it_serves_to_others_with_a_token_and_ends_at_ctrl_c():
    with Served("a cat runs", "--host", "0.0.0.0", "--decoder", "tiny") as served:
        assert "The weights are random: times are real, pictures are not." in served.said
        token = served.url.partition("?token=")[2]
        assert len(token) >= 32
        home = f"http://127.0.0.1:{served.port}"
        with urllib.request.urlopen(f"{home}/health", timeout=40) as health:
            found = json.load(health)
        assert (found["status"], found["sessions"]) == ("ok", 0)
        assert "The weights are random: times are real, pictures are not." in found["says"]
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(f"{home}/metrics", timeout=40)
        assert refusal.value.code == 401
        refusal.value.close()
        asked = urllib.request.Request(f"{home}/metrics", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(asked, timeout=40) as metrics:
            assert b"frameroof_stream_blocks_total 0.0" in metrics.read()
        watch_and_overdo(served.port, token)
        code, rest = served.end(signal.SIGINT)
        assert code == 0
    assert "Traceback" not in rest
    assert token not in rest
    assert rest.startswith("stopped: 1 sessions, ")


def watch_and_overdo(port: int, token: str) -> None:
    """A program as viewer: frames come, and a message beyond all bounds is not even read."""
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    headers = {"Authorization": f"Bearer {token}"}
    with connect(f"ws://127.0.0.1:{port}/live", additional_headers=headers) as page:
        page.send('{"type": "start"}')
        assert json.loads(page.recv(40))["type"] == "hello"
        while isinstance(message := page.recv(40), str):
            pass
        assert message[12:14] == b"\xff\xd8"  # a JPEG begins
        page.socket.sendall(struct.pack(">BBQ4x", 0x81, 0xFF, 1 << 21))  # the head of 2 MiB of text, and none of it
        with suppress(ConnectionClosed):
            while page.recv(40):
                pass
    assert page.close_code == 1009
