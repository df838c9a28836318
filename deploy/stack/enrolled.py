"""Reads from the database how many controllers have enrolled, and how many are on their way, about once a second."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import asyncpg

TIMEOUT_S = 2
COUNT = """
select (select count(*) from serials s where s.device_id is null and not s.blocked and not exists (
            select from enrollments e
             where e.serial = s.serial and e.state not in ('active', 'rejected', 'expired'))) as absent,
       (select count(distinct device_id) from credentials
         where activated_at is not null and wanted = 'present' and not by_hand) as enrolled,
       (select count(*) from enrollments where state in ('challenged', 'approved', 'provisioning', 'granted')) as busy,
       (select count(*) from enrollments where state = 'awaiting') as awaiting"""


@dataclass(frozen=True)
class EnrollmentProgress:
    """Controllers that have used a login; are in a handshake; wait for an operator; are known but never seen."""

    enrolled: int
    busy: int
    awaiting: int
    absent: int

    def __str__(self) -> str:
        more = {"in a handshake": self.busy, "awaiting approval": self.awaiting, "not seen yet": self.absent}
        return ", ".join([f"{self.enrolled} enrolled", *(f"{count} {what}" for what, count in more.items() if count)])


class ProgressReader:
    """Reads the progress of enrollment over one connection, which it makes again when it is lost."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._runner = asyncio.Runner()
        self._connection: asyncpg.Connection | None = None

    def read(self) -> EnrollmentProgress | None:
        """The progress, or None while the database does not answer."""
        try:
            return self._runner.run(self._read())
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._connection = None
            return None

    async def _read(self) -> EnrollmentProgress:
        if self._connection is None:
            self._connection = await asyncpg.connect(self._url, timeout=TIMEOUT_S)
        row = await self._connection.fetchrow(COUNT, timeout=TIMEOUT_S)
        return EnrollmentProgress(row["enrolled"], row["busy"], row["awaiting"], row["absent"])
