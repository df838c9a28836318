"""SQL for records of material. A correction is a new version of a record; what was said before stays readable."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

from api.database import Connection, Database
from api.problems import BadParameter, Conflict, NotFound, PreconditionFailed
from api.queries import load
from api.queries.run_times import PlacedQuestion
from api.shapes.lab_samples import RecordSource
from api.shapes.materials import (
    Material,
    MaterialAct,
    MaterialChange,
    MaterialParameters,
    NewMaterial,
    direction,
)
from schema import times

SQL = load("materials")
LAST_ID = 2**63 - 1
SAID = ("kind", "material", "lot", "quantity", "unit", "begins", "ends", "note", "withdrawn")
MAY_END = frozenset({"lot", "ends", "note"})
"""What a correction may take away, by null."""


class MaterialVersion(NamedTuple):
    """A version of a record that is to be stored after the one with the number `after`, 0 of a new record."""

    device: str
    number: int | None
    after: int
    act: MaterialAct
    said: dict[str, Any]
    source: RecordSource
    who: str
    why: str


async def page(
    database: Database, question: PlacedQuestion[MaterialParameters], before: Sequence[Any], limit: int
) -> list[asyncpg.Record]:
    """Return the newest versions of records after the key `before` (begins, number), those begun last first."""
    asked, span = question.asked, question.span
    filters = question.devices, span.begin, span.end, asked.kind or None, asked.withdrawn
    return await database.fetch_planned(SQL["page"], *filters, *before, limit)


async def one(database: Database, number: int) -> Material:
    """Return the newest version of a record. Raises NotFound."""
    return item(await database.one(SQL["one"], number, absent=unknown(number)))


async def versions(database: Database, number: int) -> list[asyncpg.Record]:
    """Return all versions of a record, the newest first. Raises NotFound."""
    found = await database.fetch(SQL["versions"], number)
    if not found:
        raise unknown(number)
    return found


async def add(database: Database, given: NewMaterial, who: str, source: RecordSource = "person") -> Material:
    facts = given.model_dump(exclude={"device", "why"})
    return await _put(database, MaterialVersion(given.device, None, 0, "add", facts, source, who, given.why))


async def change(database: Database, number: int, given: MaterialChange, who: str) -> Material:
    """Store a new version with what is given. Raises NotFound, Conflict, PreconditionFailed, BadParameter."""
    was = await _expected(database, number, given.version)
    new = given.model_dump(include=given.model_fields_set - {"device", "why", "version"})
    missing = next((name for name, value in new.items() if value is None and name not in MAY_END), None)
    if missing is not None:
        raise BadParameter(missing, "cannot be taken away: say what it is")
    device, facts = given.device or was.device, _document(said(was) | new)
    if device == was.device and facts == said(was):
        raise BadParameter("body", "says nothing else than what is stored")
    by = was.source, who, given.why
    return await _put(database, MaterialVersion(device, number, was.version, "correct", facts, *by))


async def withdraw(database: Database, number: int, who: str, why: str) -> Material:
    """Leave a record out of lists and sums from now on; its versions stay readable. Raises NotFound, Conflict."""
    was = await _expected(database, number, None)
    facts = said(was) | {"withdrawn": True}
    by = was.source, who, why
    return await _put(database, MaterialVersion(was.device, number, was.version, "withdraw", facts, *by))


async def put(connection: Connection | asyncpg.Connection, one: MaterialVersion) -> int:
    """Store a version in a transaction; return the number of the record. Raises BadParameter."""
    document = _document(one.said)
    if document.get("ends") is not None and document["ends"] < document["begins"]:
        raise BadParameter("ends", "must not be before `begins`")
    key = one.device, one.number, one.after, one.act
    return int(await connection.fetchval(SQL["put"], *key, json.dumps(document), one.source, one.who, one.why))


async def _put(database: Database, one: MaterialVersion) -> Material:
    async with database.change() as connection:
        number = await put(connection, one)
        return item(await connection.fetchrow(SQL["one"], number))


async def _expected(database: Database, number: int, version: int | None) -> Material:
    was = await one(database, number)
    if version is not None and version != was.version:
        raise PreconditionFailed(f"material {number} was changed meanwhile: its newest version is {was.version}")
    if was.withdrawn:
        raise Conflict(f"material {number} was withdrawn")
    return was


def _document(said: dict[str, Any]) -> dict[str, Any]:
    return {name: times.text(it) if isinstance(it, datetime) else it for name, it in said.items()}


def said(was: Material) -> dict[str, Any]:
    return {name: getattr(was, name) for name in SAID}


def unknown(number: int) -> NotFound:
    return NotFound(f"there is no record {number} of material")


def item(row: asyncpg.Record) -> Material:
    return Material.of(row, direction=direction(row["kind"]))
