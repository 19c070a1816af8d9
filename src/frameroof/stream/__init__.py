"""A streaming video engine: blocks of frames beside a KV cache, prompts switched in flight, frames as they come."""

from .config import PRESETS, StreamConfig, preset
from .engine import Engine, Files
from .session import Block, Session, Switch

__all__ = ["PRESETS", "Block", "Engine", "Files", "Session", "StreamConfig", "Switch", "preset"]
