"""Verifies all audit trails on a schedule, with what this process has signed as the measure."""

from __future__ import annotations

import asyncio
import time

import structlog

from gateway.evidence import metrics
from gateway.evidence.directory import EvidenceDirectory
from gateway.evidence.lead import EvidenceLead
from gateway.evidence.signer import Signer
from gateway.runtime.database import FAILURES, Trouble, Troubles, connect
from gateway.runtime.lead import pause_while
from gateway.settings import Settings
from schema.evidence.verification import Elsewhere, verify_chain

log = structlog.get_logger()

LEAST_PAUSE = 9.0
"""A pause is at least so many times as long as the verification before it."""
MOST_TOLD = 20
ORGANIZATIONS = "select organization_id, name from organizations order by 1"


class ScheduledVerification:
    """Verifies while the process leads."""

    def __init__(
        self,
        settings: Settings,
        lead: EvidenceLead,
        directory: EvidenceDirectory,
        signer: Signer,
        troubles: Troubles,
    ) -> None:
        self._settings, self._lead = settings, lead
        self._directory, self._signer, self._troubles = directory, signer, troubles

    async def run(self) -> None:
        """Verify every `evidence_verify_s`, for ever."""
        trouble = Trouble(self._troubles, "verify the audit trails")
        while True:
            if not self._lead.leading.is_set():
                for figure in (metrics.VERIFIED, metrics.VERIFIED_AT, metrics.FAULTS):
                    figure.forget()
                await self._lead.leading.wait()
            if not self._signer.newest:
                await asyncio.sleep(self._settings.timing.look_s)
                continue
            began = time.monotonic()
            try:
                await self.verify_all()
            except (OSError, *FAILURES) as error:
                await asyncio.sleep(trouble.failed(error))
                continue
            trouble.reset()
            took = time.monotonic() - began
            metrics.VERIFICATION.observe(took)
            pause = max(self._settings.evidence_verify_s, took * LEAST_PAUSE)
            await pause_while(self._lead.leading, pause, self._settings.timing.look_s)

    async def verify_all(self) -> None:
        """Verify the trails of all organizations one after the other, and tell what was found."""
        trusted = self._directory.keys().private.public_key()
        connection = await connect(self._settings, "audit verification")
        count = 0
        try:
            for organization, name in await connection.fetch(ORGANIZATIONS):
                file = self._signer.file.path
                elsewhere = Elsewhere(trusted, file if file.exists() else None, self._signer.newest.get(organization))
                found = await verify_chain(connection, organization, elsewhere)
                count += len(found.faults)
                for fault in found.faults[:MOST_TOLD]:
                    log.error("the audit trail is not as it was signed", organization=name, fault=fault)
        finally:
            await connection.close(timeout=5)
        metrics.VERIFIED.set(0 if count else 1)
        metrics.FAULTS.set(count)
        metrics.VERIFIED_AT.set(time.time())
