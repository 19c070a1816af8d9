"""Re-make the output blocks of README.md: `python docs/readme_output.py`; with --check, only compare.

A block stands between ``<!-- output: frameroof … -->`` and ``<!-- end of output -->`` and holds what
that command prints, so that the README cannot say what the program does not.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from made import output_of

README = Path(__file__).parents[1] / "README.md"
_BLOCK = re.compile(
    r"<!-- output: (?P<command>frameroof [^\n]*?) -->\n(?P<body>.*?)<!-- end of output -->\n", re.DOTALL
)


def blocks(text: str) -> dict[str, str]:
    """Command -> the block as it stands."""
    return {match["command"]: match["body"] for match in _BLOCK.finditer(text)}


def block(command: str) -> str:
    """The block as it must be: the command's output as a code block."""
    return f"```text\n{output_of(command)}\n```\n"


def remade(text: str) -> str:
    """The README with every block made anew."""
    return _BLOCK.sub(
        lambda match: f"<!-- output: {match['command']} -->\n{block(match['command'])}<!-- end of output -->\n",
        text,
    )


def main() -> int:
    """Write README.md, or compare; exit code 1 if a block differs (or cannot be made)."""
    old = README.read_text("utf-8")
    new = remade(old)
    if "--check" in sys.argv[1:]:
        print("README.md is up to date" if new == old else "README.md differs from what the commands print")
        return int(new != old)
    README.write_text(new, "utf-8")
    print("README.md written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
