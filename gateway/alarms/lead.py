"""One process evaluates alarms (gateway/runtime/lead.py); the others stand by, and take over within seconds."""

from __future__ import annotations

import asyncio

import structlog

from gateway.alarms import metrics
from gateway.errors import LeadLost
from gateway.runtime.database import Troubles
from gateway.runtime.lead import Lead
from gateway.settings import Settings

log = structlog.get_logger()

COUNT = "update alarm_lead set epoch = epoch + 1 returning epoch"
READ = "select epoch from alarm_lead"


class AlarmLead:
    def __init__(self, settings: Settings, troubles: Troubles) -> None:
        self._lead = Lead(settings, troubles, what="alarms", count=COUNT, read=READ)
        self._prove_s = settings.timing.prove_s
        self.leading = asyncio.Event()
        """Set while this process leads, as far as it knows."""

    @property
    def epoch(self) -> int:
        """Under which it leads: nothing is written while alarm_lead has another one."""
        return self._lead.epoch

    async def hold(self) -> None:
        """For ever: take the lead, and again when it is lost."""
        try:
            while True:
                await self._lead.take()
                metrics.LEADER.set(1)
                log.info("leading", epoch=self.epoch)
                self.leading.set()
                try:
                    while True:
                        await asyncio.sleep(self._prove_s)
                        await self._lead.prove()
                except LeadLost as lost:
                    log.warning("not leading any more", reason=str(lost))
                finally:
                    metrics.LEADER.set(0)
                    self.leading.clear()
        finally:
            self._lead.drop()
