"""SQL for what happened in an organization."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import msgspec

from api.access.roles import Principal, Role, Scope
from api.database import Database
from api.queries import load
from api.shapes.activity import Happening, HappeningKind
from schema import times
from schema.times import Span

SQL = load("activity")
NEEDS: dict[HappeningKind, tuple[Role, Scope]] = {
    "alarm": (Role.VIEWER, Scope.ALARMS_READ),
    "presence": (Role.VIEWER, Scope.DEVICES_READ),
    "phase": (Role.VIEWER, Scope.TELEMETRY_READ),
    "event": (Role.VIEWER, Scope.TELEMETRY_READ),
    "command": (Role.VIEWER, Scope.COMMANDS_READ),
    "annotation": (Role.VIEWER, Scope.DEVICES_READ),
    "correction": (Role.VIEWER, Scope.TELEMETRY_READ),
    "enrollment": (Role.OPERATOR, Scope.ENROLLMENT_READ),
    "log-in": (Role.OPERATOR, Scope.AUDIT_READ),
    "deviation": (Role.VIEWER, Scope.DEVICES_READ),
    "shift": (Role.VIEWER, Scope.DEVICES_READ),
    "calibration": (Role.VIEWER, Scope.DEVICES_READ),
}
"""Who may read of which kind: as for the list that has it."""
EVER = Span(times.FIRST, times.LAST)


@dataclass(frozen=True, slots=True)
class WantedActivity:
    """What is asked for: of these kinds, of some devices or all, in a span."""

    kinds: Collection[HappeningKind]
    devices: Sequence[str] | None
    span: Span


@dataclass(frozen=True, slots=True)
class ToldHappening:
    """Something that happened, encoded as JSON."""

    id: str
    kind: str
    device: str | None
    json: bytes


def permitted(member: Principal) -> frozenset[HappeningKind]:
    """Return the kinds of which this member may read."""
    return frozenset(kind for kind, needed in NEEDS.items() if member.may(*needed))


async def page(database: Database, wanted: WantedActivity, before: Sequence[Any], limit: int) -> list[asyncpg.Record]:
    """Return what happened, after the key `before` (time, id), newest first."""
    arguments = (sorted(wanted.kinds), wanted.devices, wanted.span.begin, wanted.span.end, *before, limit)
    return await database.fetch_planned(SQL["page"], *arguments)


async def newest(database: Database, limit: int) -> list[ToldHappening]:
    """Return what happened last, of all kinds, newest first."""
    rows = await page(database, WantedActivity(NEEDS.keys(), None, EVER), (times.LAST, ""), limit)
    return [ToldHappening(row["id"], row["kind"], row["device"], msgspec.json.encode(item(row))) for row in rows]


def item(row: asyncpg.Record) -> Happening:
    return Happening.of(row, facts=msgspec.json.decode(row["facts"]))
