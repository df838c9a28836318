"""One process evaluates alarms (gateway/runtime/lead.py); the others stand by, and take over within seconds."""

from __future__ import annotations

from gateway.alarms import metrics
from gateway.runtime.database import Troubles
from gateway.runtime.lead import Lead
from gateway.settings import Settings

COUNT = "update alarm_lead set epoch = epoch + 1 returning epoch"
READ = "select epoch from alarm_lead"


class AlarmLead(Lead):
    """The lead in the evaluation of alarms. Nothing is written while the table alarm_lead has another `epoch`."""

    def __init__(self, settings: Settings, troubles: Troubles) -> None:
        super().__init__(
            settings, troubles, metrics.LEADER, metrics.LEADERS_FROZEN, what="alarms", count=COUNT, read=READ
        )
