"""SQL for annotations. An annotation is never changed: people withdraw it and make another one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg

from api.database import Database
from api.problems import BadParameter, NotFound
from api.queries import load
from api.shapes.annotations import Annotation
from schema.times import Span

SQL = load("annotations")
LAST_ID = 2**63 - 1


async def page(
    database: Database, device_id: int, span: Span, before: Sequence[Any], limit: int
) -> list[asyncpg.Record]:
    """Return annotations that overlap with the span, after the key `before` (begins, id), newest first."""
    return await database.fetch(SQL["page"], device_id, span.begin, span.end, *before, limit)


async def add(
    database: Database, device: str, span: tuple[datetime, datetime | None], text: str, who: str
) -> Annotation:
    begins, ends = span
    if ends is not None and ends < begins:
        raise BadParameter("ends", "must not be before `begins`")
    async with database.change() as connection:
        number = await connection.fetchval(SQL["add"], device, begins, ends, text, who)
        return item(await connection.fetchrow(SQL["one"], number))


async def one(database: Database, device: str, number: int) -> Annotation:
    """Return one annotation of a device. Raises NotFound."""
    absent = NotFound(f"there is no annotation {number} of device {device}")
    return item(await database.one(SQL["one_of"], number, device, absent=absent))


async def withdraw(database: Database, device: str, number: int, who: str, why: str) -> Annotation:
    async with database.change() as connection:
        await connection.execute(SQL["withdraw"], device, number, who, why)
        return item(await connection.fetchrow(SQL["one"], number))


def item(row: asyncpg.Record) -> Annotation:
    return Annotation.of(row, id=row["annotation_id"])
