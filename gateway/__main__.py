"""`python -m gateway`: run until SIGTERM or SIGINT, then drain.

Exit status: 0 drained, 1 failed or not everything received could be committed, 2 wrong settings, 3 another client took
over the session.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

import structlog
from pydantic import ValidationError

from gateway.broker_check import problems
from gateway.database import FAILURES, Troubles, create_pool, persistently, prepare
from gateway.errors import GatewayError, SessionTakenOver
from gateway.health import serve
from gateway.pipeline import Pipeline
from gateway.registry import Registry
from gateway.settings import REPLAY, Settings
from gateway.triage import needed, sqlstate

log = structlog.get_logger()

PROBE_TIMEOUT_S = 2.0


async def run(settings: Settings) -> None:
    """All resources in one place; they close in the reverse order."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    pipeline: Pipeline | None = None
    troubles: Troubles = {}

    async def in_the_way() -> list[str]:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await pool.fetchval("select 1")
        except FAILURES as error:
            return [f"database: {needed(error) or 'no answer'} ({sqlstate(error)}: {error})"]
        return pipeline.troubles if pipeline else ["starting", *troubles.values()]

    async def start() -> Pipeline:
        client_id, chunk_ms = await persistently(troubles, "prepare", prepare, pool, settings)
        registry = Registry(pool, settings.max_channels, settings.max_layouts)
        await persistently(troubles, "load the registry", registry.load)
        return Pipeline(settings, pool, registry, client_id, chunk_ms)

    async with (
        create_pool(settings) as pool,
        # liveness first: a database that is away is no reason to be restarted
        serve(settings.gateway_http_host, settings.gateway_http_port, in_the_way),
    ):
        starting, stopped = asyncio.ensure_future(start()), asyncio.ensure_future(stop.wait())
        await asyncio.wait([starting, stopped], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not starting.done():
            starting.cancel()
            return
        pipeline = await starting
        await pipeline.run(stop)


def broker_problems(settings: Settings) -> list[str]:
    """Limits of the broker with which we cannot work, as far as its configuration can be read."""
    if settings.broker_conf is None:
        return []
    try:
        return list(problems(settings.broker_conf.read_text(), settings))
    except (OSError, ValueError) as error:
        return [f"BIOGATE_BROKER_CONF cannot be read: {error}"]


def main() -> int:
    try:
        settings = Settings()
    except ValidationError as error:
        for problem in error.errors():
            name = "BIOGATE_" + "_".join(str(part) for part in problem["loc"]).upper()
            print(f"gateway: {name if problem['loc'] else 'settings'}: {problem['msg']}", file=sys.stderr)
        return 2
    if settings.cell == REPLAY:
        print(
            f"gateway: BIOGATE_CELL={REPLAY}: replays from quarantine are counted there; choose another",
            file=sys.stderr,
        )
        return 2
    unfit = broker_problems(settings)
    for sentence in unfit:
        print(f"gateway: {settings.broker_conf}: {sentence}", file=sys.stderr)
    if unfit:
        return 2
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.log_level.upper())),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    status = 0
    try:
        asyncio.run(run(settings))
    except* SessionTakenOver as group:
        log.error("stopped: another client took over our session", errors=[str(error) for error in group.exceptions])
        status = 3
    except* (GatewayError, OSError) as group:
        log.error("stopped", errors=[str(error) for error in group.exceptions])
        status = 1
    else:
        log.info("stopped: everything received is committed and acknowledged")
    return status


if __name__ == "__main__":
    sys.exit(main())
