"""How long `frameroof characterize --suite golden` takes here: `python benchmarks/golden.py [--out FILE.json]`.

One fresh process that measures the paper's eight models at the sizes for this machine and makes every table, figure and
the page. Measured: wall time of the whole process, and the most that it and its children hold in memory at once.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from datetime import date
from pathlib import Path

from traces import measure


def main() -> None:
    """Run it once, print the figures, and write them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    before = os.getloadavg()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = [sys.executable, "-m", "frameroof", "characterize", "--suite", "golden", "--out", str(folder / "study")]
        sample = measure(words, folder)
        made = sorted(path.name for path in (folder / "study").glob("*.json"))
    result = {
        "date": date.today().isoformat(),
        "command": " ".join(["python", *sys.argv]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "threads": os.environ.get("OMP_NUM_THREADS", "as torch chooses"),
        "load_at_start": before,
        **sample,
        "made": made,
    }
    print(json.dumps(result, indent=1))
    if given.out:
        given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
