"""A stream written to a video file: H.264 through PyAV where it has an encoder for it, MPEG-4 where not.

Shapes: H rows, W columns; a frame of the stream is (3, H, W) in [-1, 1].
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

from ...stream import Block, Session
from ...written import naming

CODECS = {"libx264": "H.264", "h264": "H.264", "libopenh264": "H.264", "mpeg4": "MPEG-4 part 2"}
MISSING = "Writing a video needs PyAV: pip install 'frameroof[video]'."


def codec() -> str:
    """The encoder that is used; ValueError, a sentence, without PyAV or without any of them."""
    av = _av()
    for name in CODECS:
        try:
            av.Codec(name, "w")
        except (av.FFmpegError, ValueError):
            continue
        return name
    raise ValueError(f"This PyAV has none of the encoders {', '.join(CODECS)}.")


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise ValueError(MISSING) from error
    return av


def pixels(frame: torch.Tensor) -> np.ndarray[Any, Any]:
    """A frame (3, H, W) in [-1, 1] as bytes (H, W, 3)."""
    scaled = frame.detach().float().clamp(-1, 1).add(1).mul(127.5).round()
    found: np.ndarray[Any, Any] = scaled.permute(1, 2, 0).to("cpu", torch.uint8).contiguous().numpy()
    return found


class Clip:
    """A video file that is there whole when the block has ended well, and not at all otherwise.

    Raises `ValueError`, a sentence, where the file cannot be written there: no folder, no .mp4, or a file that is kept.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: int, force: bool = False) -> None:
        """`size` is (height, width), both even."""
        if path.exists() and not force:
            raise ValueError(f"{path} exists; --force overwrites it.")
        if path.suffix != ".mp4":
            raise ValueError(f"{path.name} is no video file's name here; it ends in .mp4.")
        if not path.parent.is_dir():
            raise ValueError(f"There is no folder {path.parent} to write {path.name} to.")
        self.path, self.size, self.fps, self.codec = path, size, fps, codec()
        self.frames = 0
        self._beside = path.with_name(f".{path.name[:40]}.{os.getpid()}.mp4")

    @property
    def kind(self) -> str:
        return CODECS[self.codec]

    @property
    def says(self) -> tuple[str, ...]:
        """What must be said of the file: whether it is no H.264."""
        return () if self.kind == "H.264" else (f"PyAV has no encoder for H.264 here; the clip is {self.kind}.",)

    def __enter__(self) -> Clip:
        with naming(self.path):
            self._container = _av().open(str(self._beside), "w")
        stream = self._container.add_stream(self.codec, rate=Fraction(self.fps))
        stream.height, stream.width = self.size
        stream.pix_fmt = "yuv420p"
        self._stream = stream
        return self

    def add(self, frame: torch.Tensor) -> None:
        """The next frame, (3, H, W) in [-1, 1]."""
        with naming(self.path):
            self._container.mux(self._stream.encode(_av().VideoFrame.from_ndarray(pixels(frame), format="rgb24")))
        self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with naming(self.path):
                    self._container.mux(self._stream.encode())
                    self._container.close()
                    os.replace(self._beside, self.path)
        finally:
            self._container.close()
            self._beside.unlink(missing_ok=True)


@dataclass(frozen=True)
class Made:
    """What a run made, and how long it took: seconds of generation and of decoding."""

    blocks: int
    frames: int
    generate_s: float
    decode_s: float
    switches: tuple[tuple[int, int, str], ...]  # block, first frame, prompt


def make(
    session: Session,
    blocks: int,
    switches: Mapping[int, str],
    clip: Clip,
    told: Callable[[Block, torch.Tensor], None] = lambda block, video: None,
) -> Made:
    """Generate, decode and write so many blocks; `told` gets each block with its video (3, frames, H, W)."""
    stream = session.run(blocks, switches)  # refuses a switch beyond the end before anything is made
    generate = decode = 0.0
    start = time.perf_counter()
    for block in stream:
        _settle(block.latents)
        made = time.perf_counter()
        video = session.decode(block)[0]
        _settle(video)
        done = time.perf_counter()
        generate, decode = generate + made - start, decode + done - made
        for frame in video.unbind(1):
            clip.add(frame)
        told(block, video)
        start = time.perf_counter()
    placed = tuple((at, session.c.pixel_frames(at), prompt) for at, prompt in sorted(switches.items()))
    return Made(blocks, clip.frames, generate, decode, placed)


def _settle(x: torch.Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
