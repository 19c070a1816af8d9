"""The three lines that a report begins with, so that a reader who stops there knows what to do."""

from __future__ import annotations

import msgspec


class FirstLines(msgspec.Struct):
    """Where the time went, why, and what to change first: a sentence each, whose numbers are in the tables.

    Empty in a run that was saved before there were any, and in one that holds no work.
    """

    where: str = ""
    why: str = ""
    change: str = ""
