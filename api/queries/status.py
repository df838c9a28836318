"""SQL for the status of a device: presence, lag, and how much of the last hour has arrived."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from api.database import Connection, Database
from api.queries import load
from api.queries.devices import unknown
from api.shapes.status import Completeness, StatusAnswer
from schema import times

SQL = load("status")
HOUR = timedelta(hours=1)
MILLISECOND = timedelta(milliseconds=1)


async def status(database: Database, name: str) -> StatusAnswer:
    async with database.connection() as connection:
        now = datetime.now(UTC)
        row = await connection.fetchrow(SQL["status"], name, now - HOUR)
        if row is not None and row["time"] is None:
            row = await connection.fetchrow(SQL["status"], name, times.FIRST)
        if row is None:
            raise unknown(name)
        complete = await _completeness(connection, row["device_id"], now)
    seen = max((at for at in (row["status_received_at"], row["received_at"]) if at is not None), default=None)
    silent = row["time"] is None
    return StatusAnswer.of(
        row,
        device=name,
        last_seen=seen,
        last_frame_at=row["time"],
        lag_ms=None if silent else (row["received_at"] - row["time"]) / MILLISECOND,
        clock_set_back=row["set_back"],
        age_ms=None if silent else (now - row["time"]) / MILLISECOND,
        completeness=complete,
    )


async def _completeness(connection: Connection, device_id: int, now: datetime) -> Completeness:
    row = await connection.fetchrow(SQL["completeness"], device_id, now - HOUR, now)
    known = bool(row["numbered"])
    stored = int(row["numbered"] if known else row["unnumbered"] or 0)
    return Completeness(
        from_=times.text(now - HOUR),
        to=times.text(now),
        expected=int(row["expected"]) if known else None,
        stored=stored,
        missing=int(row["expected"]) - stored if known else None,
        lost=int(row["lost"] or 0) if known else None,
    )
