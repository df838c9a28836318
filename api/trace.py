"""Traces the request that is being answered: its id in the log, and where its time goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal


@dataclass(slots=True)
class Trace:
    """The id of a request, and seconds that it waited. The rest of its time is spent in this process, on the way to the
    client, or in waiting for the client's body."""

    request_id: str
    waiting: float = 0.0
    """Seconds of waiting for a connection to the database."""
    database: float = 0.0
    """Seconds of waiting for answers of the database."""
    patience: float = 0.0
    """Seconds of waiting because the client asked for it."""


CURRENT: ContextVar[Trace | None] = ContextVar("trace", default=None)


@contextmanager
def timed(share: Literal["database", "patience"]) -> Iterator[None]:
    """Add the time of the block to this share of the request that is being answered."""
    begun = time.perf_counter()
    try:
        yield
    finally:
        trace = CURRENT.get()
        if trace is not None:
            setattr(trace, share, getattr(trace, share) + time.perf_counter() - begun)
