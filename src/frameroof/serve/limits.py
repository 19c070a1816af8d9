"""What a visitor may ask for, and how long is waited for one. Every bound of the server is here."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_PROMPT = 10_000  # characters; the text encoder refuses more
SHORTEST_TOKEN = 16  # characters
CONTROL = 64  # messages that may wait for one viewer beside its frames


def least_message(prompt: int) -> int:
    """Bytes in which a message with a prompt of so many characters fits: 4 each in UTF-8, and what is around it."""
    return 4 * prompt + 256


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of sessions, messages, queues and waiting.

    Raises `ValueError`, a sentence, for limits under which nothing could be served.
    """

    sessions: int = 4  # at the same time, those whose viewer may come back included
    prompt: int = 1000  # characters
    message: int = 16_384  # bytes
    queue: int = 36  # frames that wait for one viewer
    in_flight: int = 8  # frames sent to one viewer that it has not said to have shown
    grace_s: float = 30.0  # in which a viewer may come back to its session
    silence_s: float = 5.0  # after which a viewer that shows nothing is taken to have vanished
    start_s: float = 10.0  # in which a connection must say what it wants

    def __post_init__(self) -> None:
        for name, what in (
            ("sessions", "sessions"),
            ("prompt", "characters of a prompt"),
            ("queue", "frames that wait"),
            ("in_flight", "frames on their way"),
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"At least 1 must be allowed of {what}, not {getattr(self, name)}.")
        if self.prompt > LONGEST_PROMPT:
            raise ValueError(f"A prompt may have at most {LONGEST_PROMPT} characters, not {self.prompt}.")
        if self.message < (least := least_message(self.prompt)):
            raise ValueError(
                f"A message of {self.message} bytes cannot hold a prompt of {self.prompt} characters; "
                f"allow at least {least}."
            )
        if not self.grace_s >= 0:
            raise ValueError(f"The time to come back cannot be {self.grace_s:g} s; it is 0 or more.")
        if not (self.silence_s > 0 and self.start_s > 0):
            raise ValueError("The times that are waited for a viewer must be above 0 s.")

    def check_message(self, size: int) -> None:
        """ValueError, a sentence, for a message of too many bytes."""
        if size > self.message:
            raise ValueError(f"The message has {size:,} bytes; at most {self.message:,} are taken.")

    def checked_prompt(self, prompt: str) -> str:
        """The prompt without spaces around it; ValueError, a sentence, where it is empty or too long."""
        prompt = prompt.strip()
        if not prompt:
            raise ValueError("The prompt is empty; say what the video is to show.")
        if len(prompt) > self.prompt:
            raise ValueError(f"The prompt has {len(prompt):,} characters; at most {self.prompt:,} are taken.")
        return prompt
