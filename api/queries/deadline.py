"""The moment by which all samples of an answer must have been read."""

from __future__ import annotations

import time

from api.problems import TooLong

MOST_READING_S = 30.0
"""How long the samples of one answer may be read."""


class Deadline:
    """The moment by which all samples of an answer must have been read."""

    def __init__(self, seconds: float = MOST_READING_S) -> None:
        self._at = time.monotonic() + seconds

    def check(self) -> None:
        """Raise TooLong if the moment has passed."""
        if time.monotonic() > self._at:
            raise TooLong("ask for a shorter time, fewer channels or fewer devices")
