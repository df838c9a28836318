"""Where the time of the request that is being answered goes, and by which word it is found in the log."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Trace:
    """In seconds. What is neither is spent here, on the way to the client, or in waiting for the client's body."""

    request_id: str
    waiting: float = 0.0
    """For a connection to the database."""
    database: float = 0.0
    """For answers of the database."""
    patience: float = 0.0
    """Because the client asked to wait."""


CURRENT: ContextVar[Trace | None] = ContextVar("trace", default=None)
