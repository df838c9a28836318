"""Rows as the gateway would have written them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg

from schema.jobs import ClaimedJob

T0 = datetime(2026, 3, 1, 10, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def text(seconds: float) -> str:
    return at(seconds).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Plant:
    def __init__(self, connection: asyncpg.Connection) -> None:
        self.sql = connection

    async def device(self, name: str) -> int:
        return int(await self.sql.fetchval("insert into devices (name) values ($1) returning device_id", name))

    async def layout(self, device: int, *channels: str) -> int:
        """A layout of these channels for the device; the values of its frames go in the order of channel_id."""
        await self.sql.executemany(
            "insert into channels (name) values ($1) on conflict (name) do nothing", [[name] for name in channels]
        )
        layout = await self.sql.fetchval(
            """
            with ids as (select array_agg(channel_id order by channel_id) as ids from channels where name = any ($1)),
            added as (insert into layouts (channel_ids) select ids from ids on conflict do nothing returning layout_id)
            select layout_id from added
            union all select layout_id from layouts, ids where channel_ids = ids limit 1
            """,
            list(channels),
        )
        await self.sql.execute(
            "insert into device_layouts select $1, count(*) + 1, $2 from device_layouts where device_id = $1",
            device,
            layout,
        )
        return int(layout)

    async def frames(
        self,
        device: int,
        layout: int,
        rows: Sequence[tuple[datetime, list[float | None], list[int | None] | None]],
    ) -> None:
        await self.sql.copy_records_to_table(
            "frames",
            columns=["time", "device_id", "layout_id", "received_at", "values", "quality"],
            records=[(time, device, layout, time, values, quality) for time, values, quality in rows],
        )

    async def imported(self, device: int, layout: int, moments: Sequence[datetime]) -> None:
        """Frames of one value from a file, as an import stores them."""
        received_at = await self.sql.fetchval(
            """with made as (insert into imports (organization_id, name, sha256, plan, who, finished_at)
                             select organization_id, 'a.csv', '', '', 'eva', now() from devices where device_id = $1
                             returning import_id, received_at)
               insert into imported_devices select $1, received_at, import_id from made returning received_at""",
            device,
        )
        rows = [(time, device, layout, received_at, [1.0]) for time in moments]
        columns = ["time", "device_id", "layout_id", "received_at", "values"]
        await self.sql.copy_records_to_table("frames", columns=columns, records=rows)

    async def status(self, device: int, boot: int, time: datetime, online: bool, firmware: str | None = None) -> None:
        await self.sql.execute(
            "insert into statuses values ($1, $2, $3, $4, $3, 0, $5)", device, boot, time, online, firmware
        )

    async def event(self, device: int, time: datetime, kind: str, data: dict[str, Any]) -> None:
        content = json.dumps(data)
        digest = hashlib.sha256(f"{kind}{content}".encode()).digest()
        await self.sql.execute(
            "insert into device_events values ($1, $2, $3, $4, 1, $1, $5)", time, device, kind, content, digest
        )

    async def quarantine(self, time: datetime, device: str | None, reason: str, payload: bytes) -> int:
        return int(
            await self.sql.fetchval(
                "insert into quarantine (received_at, device, topic, reason, detail, payload, sha256)"
                " values ($1, $2, $3, $4, 'because', $5, $6) returning quarantine_id",
                time,
                device,
                f"bioreactors/{device}/telemetry",
                reason,
                payload,
                hashlib.sha256(f"{time}{device}".encode() + payload).digest(),
            )
        )


async def claimed_export(url: str, request: dict[str, Any], organization: int = 1) -> ClaimedJob:
    """A job for an export, as its worker gets it."""
    job = ClaimedJob(uuid4(), organization, "eva", "export", request, None, 1)
    sql = await asyncpg.connect(url, server_settings={"default_transaction_read_only": "off"})
    await sql.execute(
        "insert into jobs (job_id, organization_id, who, kind, request, state, holder, beat_at)"
        " values ($1, $2, 'eva', 'export', $3, 'running', 'w', now())",
        *(job.job_id, organization, json.dumps(request)),
    )
    await sql.close()
    return job


class LivePlant(Plant):
    """Frames of this minute, of which the database tells as the gateway does."""

    def __init__(self, sql: asyncpg.Connection) -> None:
        super().__init__(sql)
        self.now = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=30)
        self.devices: dict[str, tuple[int, int]] = {}

    async def vessel(self, name: str, organization_id: int = 1) -> None:
        device = await self.device(name)
        await self.sql.execute("update devices set organization_id = $2 where device_id = $1", device, organization_id)
        self.devices[name] = device, await self.layout(device, "ph", "do")

    async def commit(self, name: str, seconds: float, *values: float | None, tell: bool = True) -> str:
        """A frame so many seconds after the begin; its time as a text."""
        at = self.now + timedelta(seconds=seconds)
        await self.frames(*self.devices[name], [(at, list(values or (seconds, 50.0)), None)])
        if tell:
            await self.tell()
        return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    async def tell(self, kinds: str = '["frame"]') -> None:
        said = f'{{"cell":"main","commit":1,"at":{time.time() * 1000},"kinds":{kinds}}}'
        await self.sql.execute("select notice_send('biogate_commits', $1)", said)
