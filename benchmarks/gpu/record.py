"""The file of a section: environment, predictions, and every sample, written again after each step."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from frameroof.profiler.environment import environment

from .limits import Machine

SCHEMA = "frameroof.benchmarks.gpu/1"
ROOT = Path(__file__).parents[2]
STATES = ("predicted", "measured", "refused")
KEPT = ("device", "torch", "size")  # what a file must share with a run that resumes it
Row = dict[str, Any]


@dataclass
class Session:
    """What every section is told. `deadline` is on `time.monotonic`; no new group of rows starts behind it."""

    device: torch.device
    size: str  # full or tiny
    out: Path
    machine: Machine
    samples: int = 20
    flush: bool = True
    resume: bool = False
    only: tuple[str, ...] = ()  # parts of the names of rows
    deadline: float = float("inf")
    seed: int = 0

    @property
    def tiny(self) -> bool:
        return self.size == "tiny"

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def late(self) -> bool:
        return time.monotonic() > self.deadline

    def wanted(self, name: str) -> bool:
        return not self.only or any(part in name for part in self.only)


@dataclass
class Log:
    """The rows of one section by name, and their file, which is whole at any moment."""

    session: Session
    section: str
    notes: tuple[str, ...]
    rows: dict[str, Row] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, session: Session, section: str, notes: tuple[str, ...] = ()) -> Log:
        """An empty log, or with `resume` what an earlier run on the same device left.

        Raises ValueError, a sentence, where a file is there that is not to be resumed or is of another machine.
        """
        log = cls(session, section, notes)
        log.about = {
            "device": str(session.machine.name),
            "torch": torch.__version__,
            "size": session.size,
            "commit": _commit(),
            "command": " ".join(sys.argv),
            "environment": environment(),
            "properties": _properties(session.device),
        }
        if log.path.exists():
            if not session.resume:
                raise ValueError(f"{log.path} exists; --resume goes on with it, or name another --out.")
            log._take(json.loads(log.path.read_text("utf-8")))
        return log

    @property
    def path(self) -> Path:
        return self.session.out / f"{self.section}.json"

    def predict(self, name: str, prediction: Row, **about: Any) -> None:
        """A row that is to be measured, and what is expected of it."""
        if not self.done(name):
            self.rows[name] = {"name": name, **about, "state": "predicted", "prediction": prediction}

    def measure(self, name: str, samples_s: list[float] | None = None, **found: Any) -> Row:
        """What a row turned out to be; with samples also their median, and its shares of the predicted times."""
        row = self.rows[name]
        row["state"] = "measured"
        if samples_s is not None:
            row["samples_s"] = samples_s
            row["median_s"] = statistics.median(samples_s)
            for share, of in (("of_limit", "limit_s"), ("of_expected", "expected_s")):
                predicted = row["prediction"].get(of)
                row[share] = predicted / row["median_s"] if predicted and row["median_s"] else None
        row |= found
        return row

    def refuse(self, name: str, error: BaseException | str) -> None:
        """Why a row could not be measured."""
        first = next(iter(str(error).strip().splitlines()), "")
        kind = f"{type(error).__name__}: " if isinstance(error, BaseException) else ""
        self.rows[name] |= {"state": "refused", "why": (kind + first)[:300]}

    def done(self, name: str) -> bool:
        return self.rows.get(name, {}).get("state") == "measured"

    def todo(self, names: list[str]) -> list[str]:
        """Those that are wanted and not finished, in order."""
        return [name for name in names if self.session.wanted(name) and not self.done(name)]

    def save(self, finished: bool = False) -> None:
        """Write the file whole: beside it first, then in its place."""
        data = {
            "schema": SCHEMA,
            "section": self.section,
            **self.about,
            "peaks": self.session.machine.to_dict(),
            "notes": list(self.notes),
            "finished": finished,
            "rows": list(self.rows.values()),
        }
        if finished:
            data["environment_after"] = environment()
        self.session.out.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".part")
        beside.write_text(json.dumps(_plain(data), indent=1, allow_nan=False) + "\n", "utf-8")
        os.replace(beside, self.path)

    def _take(self, old: dict[str, Any]) -> None:
        for name in KEPT:
            if old.get(name) != self.about[name]:
                raise ValueError(f"{self.path} was made with {name} {old.get(name)}, this is {self.about[name]}.")
        self.rows = {row["name"]: row for row in old["rows"] if row["state"] == "measured"}
        earlier = old.get("earlier", [])
        self.about["earlier"] = [*earlier, {k: old[k] for k in ("command", "commit", "environment")}]


def printed(log: Log) -> str:
    """A short table of a section's rows, for the end of the output."""
    lines = [f"== {log.section}: {log.path}"]
    for row in log.rows.values():
        if row["state"] != "measured":
            lines.append(f"{row['name']:52} {row['state']}  {row.get('why', '')[:90]}")
        elif "median_s" in row:
            predicted = row["prediction"]
            shown = [f"{row['median_s'] * 1e6:12.1f} us"]
            for name in ("expected_s", "limit_s"):
                value = predicted.get(name)
                shown.append(f"{name[:-2]} {value * 1e6:.1f}" if value else f"no {name[:-2]}")
            shown += [f"of limit {row['of_limit']:.0%}"] if row["of_limit"] else []
            lines.append(f"{row['name']:52} {'  '.join(shown)}")
        else:
            shown = [f"{key} {row[key]:.3g}" for key in ("error", "tolerance") if isinstance(row.get(key), float)]
            lines.append(f"{row['name']:52} {'ok   ' if row.get('ok') else 'WRONG'}  {'  '.join(shown)}")
    return "\n".join(lines)


def _plain(value: Any) -> Any:
    """Numbers that JSON has; what is not finite becomes its name."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return str(value)
    return value


def _commit() -> str | None:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return os.environ.get("FRAMEROOF_COMMIT")  # the working tree may travel without its history


def _properties(device: torch.device) -> dict[str, Any]:
    if device.type != "cuda":
        return {}
    found = torch.cuda.get_device_properties(device)
    names = ("name", "major", "minor", "total_memory", "multi_processor_count", "L2_cache_size")
    return {name: getattr(found, name) for name in names if hasattr(found, name)}
