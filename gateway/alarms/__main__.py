"""`python -m gateway.alarms`: evaluate alarms, publish them and notify people, until SIGTERM or SIGINT. Several may
run; one of them leads.

Exit status: 0 stopped, 1 failed, 2 wrong settings.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from gateway.alarms import metrics
from gateway.alarms.evaluator import Evaluator
from gateway.alarms.lead import AlarmLead
from gateway.alarms.notify.notifier import Notifier
from gateway.alarms.publish import AlarmPublisher
from gateway.runtime import logs, process
from gateway.runtime.database import Troubles, check_schema, create_pool, retry_until_it_works
from gateway.runtime.events import stop_signal, unless_stopped
from gateway.runtime.health import serve
from gateway.runtime.metric_kinds import watch_event_loop
from gateway.settings import Settings
from schema.reachability import watched_database

if TYPE_CHECKING:
    from gateway.secrets import BrokerPasswords

IDLE_S = 8
"""Seconds after which the server ends the transaction of a process that hangs: it would hold up the next lead."""


async def run(settings: Settings, secrets: BrokerPasswords | None) -> None:
    """Enter all resources in one place, so that they close in the reverse order; run until stopped."""
    stop, told = stop_signal(), asyncio.Event()
    troubles: Troubles = {"start": "starting"}

    async def in_the_way() -> list[str]:
        return await process.database_troubles(pool) or list(troubles.values())

    async def start() -> AlarmLead:
        await retry_until_it_works(troubles, "prepare", check_schema, pool)
        del troubles["start"]
        return AlarmLead(settings, troubles)

    async with (
        create_pool(settings, purpose="alarms", idle_in_transaction_session_timeout=f"{IDLE_S}s") as pool,
        create_pool(settings, purpose="notify") as notify_pool,
        serve(settings.alarms_http_host, settings.alarms_http_port, in_the_way),
        watched_database(str(settings.database_url), metrics.DATABASE_REACHABLE.set),
    ):
        if (lead := await unless_stopped(stop, start())) is None:
            return
        evaluator = Evaluator(settings, pool, lead, told, troubles)
        login = process.broker_login(settings, secrets, "alarms")
        publisher = AlarmPublisher(settings, login, pool, lead, told, troubles=troubles)
        notifier = Notifier(settings, notify_pool, lead.leading)

        def persevering(what: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
            return group.create_task(process.restart_on_defect(what, work, metrics.DEFECTS, stop), name=what)

        async with asyncio.TaskGroup() as group:
            beside = [
                group.create_task(lead.hold(), name="lead"),
                persevering("publish", publisher.run),
                persevering("notify", notifier.run),
                persevering("skipped", evaluator.skipped),
                group.create_task(watch_event_loop(metrics.EVENT_LOOP_LAG.observe), name="event loop"),
            ]
            evaluation = persevering("evaluate", lambda: evaluator.run(stop))
            await stop.wait()
            await asyncio.wait([evaluation], timeout=settings.shutdown_timeout_s)
            for task in (evaluation, *beside):
                task.cancel()


def main() -> int:
    if (chosen := process.set_up("alarms", process.load_passwords)) is None:
        return 2
    settings, secrets = chosen
    logs.configure(settings.log_level)
    return process.exit_status(run(settings, secrets), "stopped")


if __name__ == "__main__":
    sys.exit(main())
