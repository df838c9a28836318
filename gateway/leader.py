"""One gateway of a cell leads: it alone connects to the broker with the cell's client id.

The others stand by, and take over (gateway/runtime/lead.py). A leader that loses the lead leaves the broker.
"""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from gateway import metrics
from gateway.broker.session import Session
from gateway.errors import LeadLost, SessionTakenOver
from gateway.runtime.database import Troubles
from gateway.runtime.lead import Lead
from gateway.settings import Settings

log = structlog.get_logger()

COUNT = "update cells set epoch = epoch + 1 where cell = $1 returning epoch"
READ = "select epoch from cells where cell = $1"


class Leader:
    def __init__(self, settings: Settings, troubles: Troubles) -> None:
        self._cell = settings.cell
        self._prove_s = settings.timing.prove_s
        self._lead = Lead(
            settings, troubles, what=f"cell {settings.cell}", count=COUNT, read=READ, arguments=(settings.cell,)
        )
        self.leading = asyncio.Event()
        """Set while this gateway leads: for work that needs one owner in the cell."""

    async def run(self, session: Session) -> None:
        """Wait for the lead, let `session` connect while it lasts, and again. Raises SessionTakenOver."""
        try:
            while True:
                await self._lead.take()
                metrics.LEADER.set(1)
                log.info("leading", cell=self._cell, epoch=self._lead.epoch)
                session.lead()
                self.leading.set()
                try:
                    await self._hold(session)
                except LeadLost as lost:
                    log.warning("not leading any more", cell=self._cell, reason=str(lost))
                metrics.LEADER.set(0)
                self.leading.clear()
                await session.stand_down()
        finally:
            self._lead.drop()

    async def _hold(self, session: Session) -> None:
        """Until LeadLost."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(session.taken_over.wait(), self._prove_s)
            if await self._lead.prove() and session.taken_over.is_set():
                raise SessionTakenOver(f"a client that does not lead connected as the gateway of {self._cell}")
