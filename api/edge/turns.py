"""Measures how late the event loop gives a task its turn: so long every request waits beside its own work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api import metrics

EVERY_S = 0.5


@asynccontextmanager
async def watched() -> AsyncIterator[None]:
    """Measure while the block runs."""
    task = asyncio.create_task(_watch(), name="event loop")
    try:
        yield
    finally:
        task.cancel()


async def _watch() -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + EVERY_S
        await asyncio.sleep(EVERY_S)
        metrics.EVENT_LOOP_LAG.observe(max(0.0, loop.time() - due))
