"""Plants small faults one at a time, each in a copy of the tree, and shows which of them no test notices.

``python tests/mutants/plant.py [NAME …]``: all faults of `faults/*.json`, or those whose name or file starts with
one of the words. A fault is one piece of text of one file, and what stands there instead. Of each, the test files
that it names run until one test fails: "caught". The exit code is 1 where a fault lived, or where its old text does
not stand in its file exactly once, as after a move: then mend its entry. It takes minutes, so that it is no part of
`pytest` or of `.ci/run`.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]
FAULTS = Path(__file__).resolve().parent / "faults"
SOURCES = "src/frameroof/"
LEFT_OUT = (".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "_build", "dist", "results")
LONGEST_S = 600
"""A fault may make a test run on and on: that is noticed too."""


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """One planted fault."""

    name: str
    file: str
    """Below `src/frameroof`."""
    old: str
    new: str
    tests: list[str]
    """Test files, or single tests of them, below the root."""


def load() -> list[Fault]:
    """Every fault; `ValueError` where two have one name."""
    found = [
        one
        for path in sorted(FAULTS.glob("*.json"))
        for one in msgspec.json.decode(path.read_bytes(), type=list[Fault])
    ]
    names = [one.name for one in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two faults are called {min(twice)}")
    return found


def chosen(faults: Iterable[Fault], words: list[str]) -> list[Fault]:
    """Those whose name or file starts with one of `words`; all where there is none."""
    return [
        one for one in faults if not words or one.name.startswith(tuple(words)) or one.file.startswith(tuple(words))
    ]


def misplaced(fault: Fault, text: str) -> str:
    """What is wrong with an entry at the text of its file; nothing where it can be planted."""
    times = text.count(fault.old)
    if times != 1:
        return f"its old text stands {times} times in {fault.file}"
    return "its new text is the old one" if fault.old == fault.new else ""


class Copy:
    """A copy of the tree in which faults are planted; the working tree is never touched."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "tree"
        shutil.copytree(ROOT, self.root, ignore=shutil.ignore_patterns(*LEFT_OUT))
        if (ROOT.parent / "shared").is_dir():
            (folder / "shared").symlink_to(ROOT.parent / "shared")
        # bytecode goes by the text of its file: two versions may have one size and one second
        compileall.compile_dir(self.root, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
        self.env = {
            **os.environ,
            "PYTHONPATH": str(self.root / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
        }
        where = self._run("-c", "import frameroof; print(frameroof.__file__)").stdout
        if not where.startswith(str(self.root)):
            raise RuntimeError(f"the tests would not import the copy, but {where.strip()}")

    def passes(self, tests: Iterable[str]) -> bool:
        """Whether these tests pass; `RuntimeError` where pytest could not run them."""
        try:
            done = self._run("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests)
        except subprocess.TimeoutExpired:
            return False
        if done.returncode not in (0, 1):
            broken = "error" in done.stdout and done.returncode == 2  # the fault broke an import or a fixture
            if not broken:
                raise RuntimeError(
                    f"pytest could not run {' '.join(tests)}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
                )
        return done.returncode == 0

    def notices(self, fault: Fault) -> bool:
        """Plant, run, take out again."""
        path = self.root / SOURCES / fault.file
        sound = path.read_text("utf-8")
        path.write_text(sound.replace(fault.old, fault.new), "utf-8")
        try:
            return not self.passes(fault.tests)
        finally:
            path.write_text(sound, "utf-8")

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *words]
        return subprocess.run(
            command, cwd=self.root, env=self.env, text=True, capture_output=True, check=False, timeout=LONGEST_S
        )


def main(words: list[str]) -> int:
    """Plant what is asked for, say how each fared, and return the exit code."""
    faults = chosen(load(), words)
    if not faults:
        print(f"no fault starts with {' or '.join(words)}")
        return 1
    moved = lived = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder))
        for tests in sorted({tuple(one.tests) for one in faults}):
            if not copy.passes(tests):  # then "caught" would say nothing
                print(f"these tests fail without a fault: {' '.join(tests)}")
                return 1
        for fault in faults:
            wrong = misplaced(fault, (ROOT / SOURCES / fault.file).read_text("utf-8"))
            if wrong:
                moved += 1
                print(f"MOVED   {fault.name}: {wrong}", flush=True)
                continue
            caught = copy.notices(fault)
            lived += not caught
            print(f"{'caught' if caught else 'LIVED '}  {fault.name}", flush=True)
    print(f"{len(faults) - moved - lived} of {len(faults)} caught, {lived} lived, {moved} moved")
    return 1 if moved or lived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
