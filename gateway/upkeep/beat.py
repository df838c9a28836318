"""Tells the database up to when the intake of the cell has stored all that reached it, and since when without a gap.

Silence of a device says something only while that is so: the evaluator of alarms asks for it. A gateway that is frozen,
has no broker, or cannot store writes no beat.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from gateway.items import moment
from gateway.runtime.database import FAILURES, Pool, Trouble
from gateway.settings import Settings

# After a stop of 5 s silence counts anew: messages that wait in the broker or a socket are not received yet.
BEAT = """
insert into intake_beats as b (cell, settled_until, well_since) values ($1, $2, $2)
    on conflict (cell) do update
   set beat_at = clock_timestamp(), settled_until = excluded.settled_until,
       well_since = case when excluded.settled_until <= b.settled_until + interval '5 seconds' then b.well_since
                         else excluded.settled_until end
 where excluded.settled_until > b.settled_until"""


class IntakeBeat:
    def __init__(self, settings: Settings, pool: Pool, is_idle: Callable[[], bool]) -> None:
        """`is_idle`: whether messages can be received, and all that were are committed."""
        self._pool, self._cell, self._every_s = pool, settings.cell, settings.timing.beat_s
        self._is_idle = is_idle
        self._committed_ms = self._told_ms = 0.0

    def committed(self, received_ms: float) -> None:
        """Note that everything that was received until then is committed."""
        self._committed_ms = received_ms

    async def run(self) -> None:
        """Write a beat at an interval. Never returns."""
        trouble = Trouble({}, "tell that the intake is well")
        while True:
            await asyncio.sleep(self._every_s)
            settled = time.time() * 1000 if self._is_idle() else self._committed_ms
            if settled <= self._told_ms:
                continue
            try:
                await self._pool.execute(BEAT, self._cell, moment(settled))
            except FAILURES as error:
                await asyncio.sleep(trouble.failed(error))
            else:
                self._told_ms = settled
                trouble.reset()
