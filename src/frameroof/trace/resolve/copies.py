"""Which way a copy goes, by what its writer calls it: CUDA's DtoH, HIP's DeviceToHost, Level Zero's D2M.

Level Zero calls the host's memory M and memory that both share S, which may be on either side.
"""

from __future__ import annotations

import re

TO_HOST = re.compile(r"DtoH|Device ?(?:->|To) ?Host|\bD2[HM]\b")
"""Names of copies from a device to the host."""
TO_DEVICE = re.compile(r"HtoD|Host ?(?:->|To) ?Device|\b[HM]2D\b")
"""Names of copies from the host to a device."""
WITHIN = re.compile(r"DtoD|Device ?(?:->|To) ?Device|\bD2D\b")
"""Names of copies within the memory of a device, or between those of two."""
