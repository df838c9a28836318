"""SQL for the numbers that a dashboard shows."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

from api.access.roles import Principal, Role, Scope
from api.database import Database
from api.queries import device_status, load
from api.shapes.summary import AlarmNumbers, DeliveryNumbers, DeviceNumbers, SummaryAnswer
from schema import times

SQL = load("summary")
MINUTE = timedelta(minutes=1)
MOST_FRAMES = 6_000
"""Counted of a device in a minute: 100 a second."""


async def summary(database: Database, member: Principal) -> SummaryAnswer:
    """Return the numbers; those that this member may not read are None."""
    now = datetime.now(UTC)
    devices, delivery, quarantined = await asyncio.gather(
        _devices(database), _delivery(database), _count(database, "quarantine")
    )
    waiting = await _count(database, "enrollments") if member.may(Role.OPERATOR, Scope.ENROLLMENT_READ) else None
    return SummaryAnswer(
        time=times.text(now),
        devices=devices,
        alarms=await _alarms(database) if member.may(Role.VIEWER, Scope.ALARMS_READ) else None,
        frames_per_second=await _frames(database, now) if member.may(Role.VIEWER, Scope.TELEMETRY_READ) else None,
        delivery=delivery,
        quarantined=quarantined,
        enrollments_waiting=waiting,
    )


async def _devices(database: Database) -> DeviceNumbers:
    found = await device_status.presence(database, None)
    online = Counter(one.online for one in found)
    silent = sum(bool(one.online) and one.freshness == "silent" for one in found)
    return DeviceNumbers(
        total=len(found), online=online[True], offline=online[False], unknown=online[None], silent=silent
    )


async def _alarms(database: Database) -> AlarmNumbers:
    rows = {row["priority"]: row for row in await database.fetch(SQL["alarms"])}
    standing = {name: rows[name]["standing"] if name in rows else 0 for name in ("critical", "high", "medium", "low")}
    return AlarmNumbers(
        **standing,
        unacknowledged=sum(row["unacknowledged"] for row in rows.values()),
        not_evaluated=sum(row["not_evaluated"] for row in rows.values()),
    )


async def _frames(database: Database, now: datetime) -> float:
    [row] = await database.fetch(SQL["frames"], now - MINUTE, now, MOST_FRAMES)
    return round(int(row["frames"]) / MINUTE.total_seconds(), 2)


async def _delivery(database: Database) -> DeliveryNumbers:
    [row] = await database.fetch(SQL["delivery"])
    received, lost, missing = row["received"], row["lost"], row["missing"]
    return DeliveryNumbers(expected=received + lost + missing, received=received, lost=lost, missing=missing)


async def _count(database: Database, name: str) -> int:
    [row] = await database.fetch(SQL[name])
    return int(row["count"])
