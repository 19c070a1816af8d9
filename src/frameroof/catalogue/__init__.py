"""Workloads shipped with the package: recorded by `frameroof count`, re-made and compared in CI."""

from __future__ import annotations

import difflib
import os
from functools import cache
from pathlib import Path

import msgspec

from ..public import Listing
from ..workload.file import load as load_file
from ..workload.records import Workload

SUFFIX = ".workload.json"
FOLDER = Path(__file__).parent

ALIASES = {
    "sd15": "stable-diffusion-1.5",
    "sd1.5": "stable-diffusion-1.5",
    "stable-diffusion": "stable-diffusion-1.5",
    "sd21": "stable-diffusion-2.1",
    "sd2.1": "stable-diffusion-2.1",
    "sdxl": "sdxl-base",
    "sd3": "sd3-medium",
    "sd3.5": "sd3.5-large",
    "flux": "flux.1-dev",
    "flux-dev": "flux.1-dev",
    "flux-schnell": "flux.1-schnell",
    "flux2": "flux.2-dev",
    "dit": "dit-xl-2",
    "pixart-sigma": "pixart-sigma-1024",
    "pixart-alpha": "pixart-alpha-1024",
    "sana": "sana-1.6b",
    "muse": "muse-3b",
    "amused": "amused-256",
    "parti": "parti-20b",
    "movie-gen": "movie-gen-30b",
    "llama-3.2-vision": "llama3.2-11b-vision",
    "llama-3.2-vision-11b": "llama3.2-11b-vision",
    "llama-3.2-vision-90b": "llama3.2-90b-vision",
    "llama2": "llama2-7b",
    "llama-2-7b": "llama2-7b",
    "llama-2-70b": "llama2-70b",
    "llama-3.1-8b": "llama3.1-8b",
    "llama-3.1-70b": "llama3.1-70b",
    "modelscope": "modelscope-t2v-1.7b",
    "animatediff": "animatediff-sd15",
    "svd": "svd-xt",
    "wan2.1": "wan2.1-t2v-14b",
    "wan2.2": "wan2.2-t2v-a14b",
    "cogvideox": "cogvideox-5b",
    "mochi": "mochi-1",
    "ltx-video": "ltx-video-13b",
    "longlive": "longlive-1.3b",
    "if": "deepfloyd-if",
}


class Entry(msgspec.Struct, frozen=True):
    """What a listing needs of one workload, without its operations: its names, what it is, and what was assumed.

    `name` and each of `aliases` can be given wherever a model is asked for; `item` is what one run makes.
    """

    name: str
    title: str = ""
    item: str = ""
    notes: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<{', '.join((self.name, *self.aliases))}: {self.title}>"


@cache
def names() -> tuple[str, ...]:
    """The catalogue's names, sorted."""
    return tuple(sorted(f.removesuffix(SUFFIX) for f in os.listdir(FOLDER) if f.endswith(SUFFIX)))


def entries() -> Listing[Entry]:
    """Every model that is known, sorted by name, with its aliases, title, assumptions and sources."""
    also: dict[str, tuple[str, ...]] = {}
    for alias, name in ALIASES.items():
        also[name] = (*also.get(name, ()), alias)
    read = (msgspec.json.decode((FOLDER / f"{name}{SUFFIX}").read_bytes(), type=Entry) for name in names())
    return Listing(msgspec.structs.replace(one, aliases=also.get(one.name, ())) for one in read)


def canonical(name: str) -> str:
    """The catalogue's name for what a user typed, also of the hub; `ValueError` with close matches if there is none."""
    if "/" in name:
        from .hub import from_hub

        name = from_hub(name) or name
    key = name.strip().lower().replace("_", "-")
    found = ALIASES.get(key, key)
    if found in names():
        return found
    near = difflib.get_close_matches(key, (*names(), *ALIASES), n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "`frameroof models` lists all"
    raise ValueError(f"unknown model {name!r}; {hint}")


def load(name: str | os.PathLike[str]) -> Workload:
    """A workload of the catalogue by name or alias, or by its name on the Hugging Face hub; or a workload file by path.

    Raises `ValueError`, a sentence, for a name that is not known and a file that cannot be read or is broken.
    """
    text = os.fspath(name)
    if "/" in text and not os.path.exists(text):
        from .hub import from_hub, near

        found = from_hub(text)
        if found is None and not text.endswith((".json", ".json.gz")) and (close := near(text)):
            raise ValueError(f"{text} is no file and no model that is known; did you mean {' or '.join(close)}?")
        text = found or text
    if text.endswith((".json", ".json.gz")) or os.sep in text:
        if Path(text).is_dir():
            raise ValueError(f"{text} is a folder: count it first, frameroof count {text} --out NAME.workload.json")
        return load_file(text)
    return load_file(FOLDER / f"{canonical(text)}{SUFFIX}")
