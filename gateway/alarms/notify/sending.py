"""What the notifier tells a process that sends messages. Apart from sender.py, which loads 20 MB of libraries."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

READY = b"ready\n"
BAD_ANSWER = "the service's answer is too large, or cannot be read"


@dataclass(frozen=True, slots=True)
class Sending:
    """One message for one service."""

    url: str
    title: str
    text: str
    tone: str
    private: bool
    """Whether addresses that are not public are allowed."""
    timeout_s: float
    """After so many seconds this process ends itself, if nobody else has ended it."""

    def line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"
