"""Lets requests wait until something is done: it bounds how many wait at a time, and looks whether it is done."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from api.trace import timed

MOST_WAITING, MOST_OF_ONE = 100, 50
"""Requests that may wait at a time, each of which looks five times a second; and those of one organization."""
LOOK_S = 0.2
"""The longest time between two looks."""
Seen = TypeVar("Seen")


class Waiting:
    """Counts the requests of each organization that wait."""

    def __init__(self) -> None:
        self._of: Counter[int | None] = Counter()

    def is_full(self, organization_id: int | None) -> bool:
        return self._of.total() >= MOST_WAITING or self._of[organization_id] >= MOST_OF_ONE

    @contextmanager
    def one_more(self, organization_id: int | None) -> Iterator[None]:
        """Count a request while the block runs."""
        self._of[organization_id] += 1
        try:
            yield
        finally:
            self._of.subtract([organization_id])


async def seen(
    look: Callable[[], Awaitable[Seen]],
    is_over: Callable[[Seen], bool],
    patience: float,
    gone: Callable[[], Awaitable[bool]],
    pause: float = LOOK_S,
) -> Seen:
    """Call `look` until `is_over` says so, `patience` (in s) has ended or the client has gone; return what it saw last.

    `pause` is the time in s before the second look; it grows from look to look. No connection is held meanwhile.
    """
    deadline = time.monotonic() + patience
    while True:
        found = await look()
        left = deadline - time.monotonic()
        if is_over(found) or left <= 0 or await gone():
            return found
        with timed("patience"):
            await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, LOOK_S)
