"""Seals hours as they come due, and verifies once a day what was sealed since, in the evidence process that leads."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import structlog

from gateway.evidence import seal_metrics
from gateway.evidence.seal_findings import Fault, SealedDevice, Verified, together
from gateway.evidence.seal_verification import verify_device
from gateway.evidence.sealed_passes import SealedPasses
from gateway.evidence.sealing import FILLING, WHO, Sealing
from gateway.runtime.database import FAILURES, Trouble, Troubles, connect
from gateway.runtime.lead import pause_while
from gateway.settings import Settings
from schema import times
from schema.evidence.seals import HOUR
from schema.times import Span

log = structlog.get_logger()

EVERY_S = 60.0
OF_THE_LEADER = (seal_metrics.SEALED_UNTIL, seal_metrics.VERIFIED_AT, seal_metrics.FAULTS)
DAY = timedelta(days=1)
MOST_TOLD = 20
NOW = "select now()"
UNTIL = "select min(until) from seals_until"
VERIFIED = (
    "select checked_at, ends, jsonb_array_length(faults) as faults from seal_checks order by check_id desc limit 1"
)
DEVICES = """
select device_id, name, organization_id from devices d
 where exists (select from seals s where s.device_id = d.device_id and s.hour >= $1 and s.hour < $2) order by name"""
SOME_DAY = """
select hour from seals where hour < $1 offset floor(random() * (select count(*) from seals where hour < $1)) limit 1"""
CHECKED = """
insert into seal_checks (begins, ends, hours, frames, faults) values ($1, $2, $3, $4, $5) returning checked_at"""
TELL = """
insert into audit (organization_id, who, action, subject, new, why)
values ($1, $2, 'seal fault', 'seals', $3, 'what is stored is not what was sealed')"""
KEPT_FOR = timedelta(days=1100)
FORGET_CLOCKS = "delete from device_clocks where hour < $1"


class SealTask:
    """Runs in every evidence process, and works in the one that leads."""

    def __init__(self, settings: Settings, leading: asyncio.Event, troubles: Troubles) -> None:
        self._settings, self._leading, self._troubles = settings, leading, troubles

    async def seal(self) -> None:
        """Seal what is due, every minute while leading. Never returns."""
        await self._work("seal telemetry", self._seal_all, EVERY_S)

    async def verify(self) -> None:
        """Verify what was sealed, once a day while leading. Never returns."""
        await self._work("verify seals", self._verify_due, EVERY_S)

    async def _work(
        self, what: str, work: Callable[[asyncpg.Connection], Coroutine[Any, Any, None]], every_s: float
    ) -> None:
        trouble = Trouble(self._troubles, what)
        while True:
            if not self._leading.is_set():
                for figure in OF_THE_LEADER:
                    figure.forget()
                await self._leading.wait()
            try:
                connection = await connect(self._settings, what, plan_cache_mode="force_custom_plan")
                try:
                    await work(connection)
                finally:
                    await connection.close(timeout=5)
            except FAILURES as error:
                await asyncio.sleep(trouble.failed(error))
                continue
            trouble.reset()
            await pause_while(self._leading, every_s, self._settings.timing.look_s)

    async def _seal_all(self, connection: asyncpg.Connection) -> None:
        sealing = Sealing(connection)
        while self._leading.is_set() and await sealing.seal(await connection.fetchval(NOW)):
            pass
        if (until := await connection.fetchval(UNTIL)) is not None:
            seal_metrics.SEALED_UNTIL.set(until.timestamp())

    async def _verify_due(self, connection: asyncpg.Connection) -> None:
        now, last = await connection.fetchval(NOW), await connection.fetchrow(VERIFIED)
        begin, end = _due(now, last and last["ends"])
        if end - begin >= DAY:
            await verify_span(connection, Span(begin, end))
            if (some := await connection.fetchval(SOME_DAY, begin)) is not None:
                await verify_span(connection, Span(some, some + HOUR))
            await connection.execute(FORGET_CLOCKS, now - KEPT_FOR)
        elif last is not None:
            _export(last["checked_at"], last["faults"])


def _due(now: datetime, verified_until: datetime | None) -> tuple[datetime, datetime]:
    """What to verify next: what has been sealed since the last time. The hours of a device may be sealed a day late."""
    end = times.floor(now - 2 * HOUR - FILLING, HOUR)
    return (end - DAY if verified_until is None else verified_until), end


async def verify_span(connection: asyncpg.Connection, span: Span) -> Verified:
    """Verify the sealed hours of all devices in that time; tell what does not hold, also the audit trail."""
    found, passes = Verified(), SealedPasses({})
    faults: dict[int, list[Fault]] = defaultdict(list)
    for row in await connection.fetch(DEVICES, span.begin, span.end):
        device = SealedDevice(*row)
        one = await verify_device(connection, device, span, passes)
        faults[device.organization_id] += one.faults
        found.add(one)
    said = _said(found.faults)
    async with connection.transaction():
        key = span.begin, span.end, found.hours, found.frames, json.dumps(said)
        checked_at = await connection.fetchval(CHECKED, *key)
        for organization_id, of_it in faults.items():
            if of_it:
                await connection.execute(TELL, organization_id, WHO, json.dumps({"faults": _said(of_it)}))
    for fault in said:
        log.error("stored frames are not what was sealed", **fault)
    _export(checked_at, len(said))
    return found


def _said(faults: list[Fault]) -> list[dict[str, Any]]:
    return [
        {"device": fault.device, "from": times.text(fault.hour), "hours": hours, "what": fault.what}
        for fault, hours in together(faults)[:MOST_TOLD]
    ]


def _export(at: datetime, faults: int) -> None:
    seal_metrics.VERIFIED_AT.set(at.timestamp())
    seal_metrics.FAULTS.set(faults)
