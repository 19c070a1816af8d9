"""The server as a process of its own, on any free port, ended whatever happens."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

PROGRAM = [sys.executable, "-c", "from frameroof.cli import main; main()", "stream", "serve"]


class Served:
    """`frameroof stream serve` with these words; `said` is what it printed until it was ready."""

    def __init__(self, *words: str, program: Sequence[str] = ()) -> None:
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        command = [*(program or (*PROGRAM, "--port", "0")), *words]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
        limit = threading.Timer(180, self._process.kill)
        limit.start()
        self.said, self.url = "", ""
        for line in self._process.stdout or ():
            self.said += line
            if found := re.match(r"open  (\S+)", line):
                self.url = found[1]
            if line.startswith("stop"):
                break
        limit.cancel()
        assert self.url, self.said
        self.port = int(re.search(r":(\d+)/", self.url)[1])  # type: ignore[index]

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Ask it to end; its exit code, and what else it printed."""
        self._process.send_signal(number)
        rest, _ = self._process.communicate(timeout=60)
        return self._process.returncode, rest

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate(timeout=30)
