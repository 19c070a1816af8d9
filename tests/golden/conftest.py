"""The made traces and what makes them, for the golden tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "traces"))
