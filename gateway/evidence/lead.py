"""One process signs (gateway/runtime/lead.py); the others stand by, and take over within seconds."""

from __future__ import annotations

from gateway.evidence import metrics
from gateway.runtime.database import Troubles
from gateway.runtime.lead import Lead
from gateway.settings import Settings

COUNT = "update evidence_lead set epoch = epoch + 1 returning epoch"
READ = "select epoch from evidence_lead"
HELD = "select epoch from evidence_lead for share"
"""Read in each transaction that signs: nobody takes the lead until it ends."""


class EvidenceLead(Lead):
    """The lead in signing. Nothing is signed while the table evidence_lead has another `epoch`."""

    def __init__(self, settings: Settings, troubles: Troubles) -> None:
        super().__init__(
            settings, troubles, metrics.LEADER, metrics.LEADERS_FROZEN, what="evidence", count=COUNT, read=READ
        )
