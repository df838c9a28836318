"""Reads from the database, about once a second, what became of all messages ever, and how far enrollment has come."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TypeAlias

import asyncpg

TIMEOUT_S = 2
COUNT = """
select (select count(*) from serials s where s.device_id is null and not s.blocked and not exists (
            select from enrollments e
             where e.serial = s.serial and e.state not in ('active', 'rejected', 'expired'))) as absent,
       (select count(distinct device_id) from credentials
         where activated_at is not null and wanted = 'present' and not by_hand) as enrolled,
       (select count(*) from enrollments where state in ('challenged', 'approved', 'provisioning', 'granted')) as busy,
       (select count(*) from enrollments where state = 'awaiting') as awaiting,
       (select count(*) from serials s left join devices d using (device_id)
         where s.blocked or d.state in ('suspended', 'revoked', 'retired')) as blocked"""

TOTALS = """
select kind, sum(committed)::float8 as committed, sum(duplicate)::float8 as duplicate,
       sum(quarantined)::float8 as quarantined, sum(discarded)::float8 as discarded
  from intake_totals where cell not in ('replay', 'import') group by kind"""

StoredCounts: TypeAlias = dict[tuple[str, str], float]
"""The counts of intake_totals by state and kind: they outlive gateways."""


@dataclass(frozen=True)
class EnrollmentProgress:
    """Controllers that have used a login; are in a handshake; wait for an operator; are known but never seen; may not
    enroll, as they were revoked, retired or blocked."""

    enrolled: int
    busy: int
    awaiting: int
    absent: int
    blocked: int

    def __str__(self) -> str:
        more = {
            "in a handshake": self.busy,
            "awaiting approval": self.awaiting,
            "not seen yet": self.absent,
            "blocked": self.blocked,
        }
        return ", ".join([f"{self.enrolled} enrolled", *(f"{count} {what}" for what, count in more.items() if count)])


@dataclass(frozen=True)
class DurableFigures:
    stored: StoredCounts
    progress: EnrollmentProgress


class DurableReader:
    """Reads the figures over one connection, which it makes again when it is lost."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._runner = asyncio.Runner()
        self._connection: asyncpg.Connection | None = None

    def read(self) -> DurableFigures | None:
        """The figures, or None while the database does not answer."""
        try:
            return self._runner.run(self._read())
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._connection = None
            return None

    async def _read(self) -> DurableFigures:
        if self._connection is None:
            self._connection = await asyncpg.connect(self._url, timeout=TIMEOUT_S)
        row = await self._connection.fetchrow(COUNT, timeout=TIMEOUT_S)
        totals = await self._connection.fetch(TOTALS, timeout=TIMEOUT_S)
        stored = {(state, of["kind"]): of[state] for of in totals for state in of.keys() if state != "kind"}  # noqa: SIM118 - a Record
        progress = EnrollmentProgress(row["enrolled"], row["busy"], row["awaiting"], row["absent"], row["blocked"])
        return DurableFigures(stored, progress)
