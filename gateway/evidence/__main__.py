"""`python -m gateway.evidence`: sign the audit trails, seal telemetry, and verify both, until SIGTERM or SIGINT.
Several may run; one of them leads.

Exit status: 0 stopped, 1 failed, 2 wrong settings.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from gateway.evidence import metrics
from gateway.evidence.check import ScheduledVerification
from gateway.evidence.directory import EvidenceDirectory
from gateway.evidence.lead import EvidenceLead
from gateway.evidence.publish import CheckpointPublisher
from gateway.evidence.seal_task import SealTask
from gateway.evidence.signer import Signer
from gateway.runtime import logs, process
from gateway.runtime.database import Troubles, check_schema, create_pool, retry_until_it_works
from gateway.runtime.events import stop_signal, unless_stopped
from gateway.runtime.health import serve
from gateway.runtime.metric_kinds import watch_event_loop
from gateway.settings import Settings
from schema.reachability import watched_database

if TYPE_CHECKING:
    from gateway.secrets import BrokerPasswords


async def run(settings: Settings, secrets: BrokerPasswords | None) -> None:
    """Enter all resources in one place, so that they close in the reverse order; run until stopped."""
    stop = stop_signal()
    troubles: Troubles = {"start": "starting"}
    directory = EvidenceDirectory(settings)
    directory.keys()

    async def in_the_way() -> list[str]:
        return await process.database_troubles(pool) or list(troubles.values())

    async def start() -> EvidenceLead:
        await retry_until_it_works(troubles, "prepare", check_schema, pool)
        del troubles["start"]
        return EvidenceLead(settings, troubles)

    async with (
        create_pool(settings, purpose="evidence") as pool,
        serve(settings.evidence_http_host, settings.evidence_http_port, in_the_way),
        watched_database(str(settings.database_url), metrics.DATABASE_REACHABLE.set),
    ):
        if (lead := await unless_stopped(stop, start())) is None:
            return
        signer = Signer(settings, pool, lead, directory, troubles=troubles)
        login = process.broker_login(settings, secrets, "evidence")
        publisher = CheckpointPublisher(settings, login, lead, signer, troubles)
        verification = ScheduledVerification(settings, lead, directory, signer, troubles)
        seals = SealTask(settings, lead.leading, troubles)

        def persevering(what: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
            return group.create_task(process.restart_on_defect(what, work, metrics.DEFECTS, stop), name=what)

        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(lead.hold(), name="lead"),
                persevering("sign", signer.run),
                persevering("publish", publisher.run),
                persevering("verify", verification.run),
                persevering("seal", seals.seal),
                persevering("verify seals", seals.verify),
                group.create_task(watch_event_loop(metrics.EVENT_LOOP_LAG.observe), name="event loop"),
            ]
            await stop.wait()
            for task in tasks:
                task.cancel()


def main() -> int:
    if (chosen := process.set_up("evidence", process.load_passwords)) is None:
        return 2
    settings, secrets = chosen
    logs.configure(settings.log_level)
    return process.exit_status(run(settings, secrets), "stopped")


if __name__ == "__main__":
    sys.exit(main())
