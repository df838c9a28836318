"""Devices with hours of frames, some of them sealed, and what somebody does to them as the owner of the tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import asyncpg

from gateway.evidence.seal_findings import SealedDevice, Verified
from gateway.evidence.seal_verification import verify_device
from gateway.evidence.sealed_passes import SealedPasses
from gateway.evidence.sealing import Sealing
from schema.evidence.seals import HOUR
from schema.times import Span
from tests.api.plant import Plant

BEGIN = datetime(2026, 3, 1, 10, tzinfo=UTC)
HOURS = 4
END = BEGIN + HOURS * HOUR
NOW = END + 3 * HOUR
EVERY = timedelta(minutes=5)
CHANNELS = ("ph", "temperature", "dissolved_oxygen")


class SealedPlant(Plant):
    """`devices` are ids by name; their frames have the layout `layout`."""

    def __init__(self, connection: asyncpg.Connection, sealer: asyncpg.Connection | None = None) -> None:
        """`sealer` seals and verifies; without one the owner of the tables does."""
        super().__init__(connection)
        self._sealer = sealer
        self.devices: dict[str, int] = {}
        self.layout_id = 0

    async def fill(self, *names: str) -> None:
        for name in names:
            self.devices[name] = device = await self.device(name)
            self.layout_id = await self.layout(device, *CHANNELS)
            rows = [(BEGIN + n * EVERY, [7.0 + n, 36.5, None if n % 7 == 0 else 40.0]) for n in range(HOURS * 12)]
            await self.store(name, [(at, values, [0, 2, 1] if values[2] is None else None) for at, values in rows])

    async def store(
        self,
        name: str,
        rows: Sequence[tuple[datetime, Sequence[float | None], Sequence[int | None] | None]],
        *,
        after: timedelta = timedelta(milliseconds=80),
        late: bool = False,
    ) -> None:
        """Store frames that were received `after` their time; `late`: with the marks of the gateway."""
        device = self.devices[name]
        await self.sql.copy_records_to_table(
            "frames",
            columns=["time", "device_id", "layout_id", "boot", "seq", "received_at", "values", "quality"],
            records=[
                (at, device, self.layout_id, 1, int(at.timestamp()), at + after, values, quality)
                for at, values, quality in rows
            ],
        )
        if late:
            hours = {at.replace(minute=0, second=0, microsecond=0) for at, _, _ in rows}
            await self.sql.execute(
                "insert into plot_hours_stale (device_id, hour) select $1, unnest($2::timestamptz[])", device, [*hours]
            )

    async def tamper(self, statement: str, *arguments: object) -> None:
        """Do what triggers refuse: they do not hold back who owns the tables and means to."""
        await self.sql.execute("set session_replication_role = replica")
        await self.sql.execute(statement, *arguments)
        await self.sql.execute("set session_replication_role = origin")

    async def seal(self, now: datetime = NOW) -> None:
        """Seal all that is due then."""
        while await Sealing(self._sealer or self.sql).seal(now):
            pass

    async def verified(self, *names: str) -> Verified:
        """What a verification of these devices, or of all, finds."""
        found, passes = Verified(), SealedPasses({1: 10**9})
        for name in names or self.devices:
            device = SealedDevice(self.devices[name], name, 1)
            found.add(await verify_device(self._sealer or self.sql, device, Span(BEGIN - HOUR, END + HOUR), passes))
        return found

    async def mark_time(self, now: datetime) -> None:
        """Have all marks be of that time."""
        await self.sql.execute("update seals_stale set marked_at = $1", now)
