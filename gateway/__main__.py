"""`python -m gateway`: run until SIGTERM or SIGINT, then drain.

Exit status: 0 drained, 1 failed or not everything received could be committed, 2 wrong settings, 3 another client took
over the session.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from gateway import metrics
from gateway.broker import certificates
from gateway.broker.address import BrokerLogin
from gateway.broker.limits import problems, queue_bytes
from gateway.commands.dispatch import CommandDispatcher
from gateway.intake.cell import prepare
from gateway.intake.registry import Registry
from gateway.pipeline import Pipeline
from gateway.runtime import logs, process
from gateway.runtime.database import Pool, Troubles, create_pool, retry_until_it_works
from gateway.runtime.events import stop_signal, unless_stopped
from gateway.runtime.health import serve
from gateway.runtime.metric_kinds import watch_event_loop
from gateway.settings import IMPORT, REPLAY, Settings
from gateway.upkeep.clock_watch import ClockWatch
from gateway.upkeep.figures import Figures
from gateway.upkeep.retention import Retention
from gateway.upkeep.sql_logins import SqlLoginWatch
from gateway.upkeep.waiting_acts import WaitingActs
from gateway.upkeep.wide_views import WideViews
from schema.reachability import watched_database

if TYPE_CHECKING:
    from gateway.secrets import Secrets

ACCESS_CONNECTIONS = 4
"""Database connections for enrollment, administration and commands, which thus never take one of the intake's."""
GARBAGE = 5000
"""New objects until the garbage collector looks for cycles. Frames are in none: reference counts alone free them."""


async def run(settings: Settings, secrets: Secrets | None) -> None:
    """Open all resources, and run until SIGTERM or SIGINT; the resources close in the reverse order."""
    stop = stop_signal()
    pipeline: Pipeline | None = None
    troubles: Troubles = {}

    async def in_the_way() -> list[str]:
        return await process.database_troubles(pool) or (
            pipeline.troubles if pipeline else ["starting", *troubles.values()]
        )

    async def start() -> Pipeline:
        client_id, chunk_ms = await retry_until_it_works(troubles, "prepare", prepare, pool, settings)
        registry = Registry(pool, settings.max_channels, settings.max_layouts)
        await retry_until_it_works(troubles, "load the registry", registry.load)
        return Pipeline(settings, pool, registry, login(settings, secrets, client_id), chunk_ms)

    async with (
        create_pool(settings) as pool,
        create_pool(settings, ACCESS_CONNECTIONS) as access_pool,
        # /health answers before the database is reached: a database that is away is no reason for a restart
        serve(settings.gateway_http_host, settings.gateway_http_port, in_the_way),
        watched_database(str(settings.database_url), metrics.DATABASE_REACHABLE.set),
    ):
        if (pipeline := await unless_stopped(stop, start())) is None:
            return
        gc.collect()
        gc.freeze()  # objects that exist by now stay for good: no collection need look at them again
        gc.set_threshold(GARBAGE)
        async with asyncio.TaskGroup() as group:
            commands = CommandDispatcher(
                settings, login(settings, secrets, f"biogate-{token_hex(16)}"), access_pool, pipeline.leading, {}
            )
            figures = Figures(settings, access_pool, pipeline.leading)
            retention = Retention(settings, access_pool, pipeline.leading)
            watch = SqlLoginWatch(settings, access_pool, pipeline.leading)
            views = WideViews(settings, access_pool, pipeline.leading)
            clock = ClockWatch(settings, access_pool, pipeline.leading)
            acts = WaitingActs(settings, access_pool, pipeline.leading)
            beside = [
                group.create_task(persevering("commands", commands.run), name="commands"),
                group.create_task(persevering("figures", figures.run), name="figures"),
                group.create_task(persevering("retention", retention.run), name="retention"),
                group.create_task(persevering("sql logins", watch.run), name="sql logins"),
                group.create_task(persevering("wide views", views.run), name="wide views"),
                group.create_task(persevering("clock", clock.run), name="clock"),
                group.create_task(persevering("waiting acts", acts.run), name="waiting acts"),
                group.create_task(watch_event_loop(metrics.EVENT_LOOP_LAG.observe), name="event loop"),
            ]
            if settings.secrets_dir is not None:
                beside.append(group.create_task(certificates.watch(settings.secrets_dir), name="expiry"))
            if secrets is not None:
                beside.append(group.create_task(access(settings, secrets, access_pool, pipeline), name="access"))
            await pipeline.run(stop)
            for task in beside:
                task.cancel()


async def access(settings: Settings, secrets: Secrets, pool: Pool, pipeline: Pipeline) -> None:
    """Run enrollment and the administration of logins beside the intake, which goes on whatever becomes of them."""
    from gateway.enrollment.service import EnrollmentService  # noqa: PLC0415
    from gateway.logins.administration import Administration  # noqa: PLC0415  # 12 MB that a gateway without secrets saves
    from gateway.secrets import ensure_vault  # noqa: PLC0415

    troubles: Troubles = {}
    await retry_until_it_works(troubles, "open the vault", ensure_vault, pool, secrets)
    enrollment = EnrollmentService(settings, secrets, pool, troubles)
    administration = Administration(settings, secrets, pool, pipeline.leading, troubles)
    async with asyncio.TaskGroup() as group:
        group.create_task(persevering("enrollment", enrollment.run), name="enrollment")
        group.create_task(persevering("administration", administration.run), name="administration")


async def persevering(what: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` for ever beside the intake, and again after a defect, which does not end the intake."""
    await process.restart_on_defect(what, work, metrics.DEFECTS)


def load_secrets(directory: Path) -> Secrets:
    """All secrets of the directory. Raises SecretsError."""
    from gateway.secrets import Secrets  # noqa: PLC0415  # 12 MB that a process without secrets saves

    return Secrets.load(directory)


def login(settings: Settings, secrets: Secrets | None, client_id: str) -> BrokerLogin:
    """The login of the intake and of commands: from the settings, else from the secrets, else none."""
    username, password = process.broker_login(settings, secrets, "gateway")
    return BrokerLogin(client_id, username, None if password is None else password.encode())


def broker_problems(settings: Settings) -> list[str]:
    """Sentences on limits of the broker with which the gateway cannot work, if its configuration can be read."""
    if settings.broker_conf is None:
        return []
    try:
        conf = settings.broker_conf.read_text()
        if (limit := queue_bytes(conf)) is not None:
            metrics.BROKER_QUEUE_LIMIT.set(limit)
        return list(problems(conf, settings))
    except (OSError, ValueError) as error:
        return [f"BIOGATE_BROKER_CONF cannot be read: {error}"]


def main() -> int:
    if (chosen := process.set_up("gateway", load_secrets)) is None:
        return 2
    settings, secrets = chosen
    unfit = [f"{settings.broker_conf}: {sentence}" for sentence in broker_problems(settings)]
    if settings.cell in (REPLAY, IMPORT):
        unfit = [f"BIOGATE_CELL={settings.cell}: replays and imports are counted under this name; choose another"]
    for sentence in unfit:
        print(f"gateway: {sentence}", file=sys.stderr)
    if unfit:
        return 2
    logs.configure(settings.log_level)
    return process.exit_status(run(settings, secrets), "stopped: everything received is committed and acknowledged")


if __name__ == "__main__":
    sys.exit(main())
