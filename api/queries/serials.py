"""SQL for the serials whose controllers may enroll by themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import asyncpg

from api.database import Database
from api.problems import BadParameter, BadRows, Conflict, NotFound
from api.queries import load
from api.shapes.serials import Import, Serial, SerialParameters
from schema.enrollment import fingerprint
from schema.serials import BadSerialRows, ImportRefused, NoVault, SerialBatch, SerialRow, store

SQL = load("serials")
MOST_ERRORS = 1000


async def serials(database: Database, asked: SerialParameters, after: str, limit: int) -> list[asyncpg.Record]:
    """Return serials after that one: all, or as the filters say."""
    words = None if asked.q is None else asked.q.lower()
    return await database.fetch_planned(SQL["serials"], asked.import_, after, limit, words)


async def import_(database: Database, rows: Sequence[SerialRow], batch: SerialBatch, who: str, why: str) -> Import:
    """Import all rows, or none. Raises BadRows, which names each bad one, Conflict and Forbidden."""
    with refusals():
        async with database.change() as connection:
            stored = await store(connection, rows, batch, who=who, why=why)
    not_kept = sum(row.version > 0 and row.key is not None for row in rows)
    return Import(import_=batch.name, new=stored.new, known=stored.known, keys_not_kept=not_kept)


@contextmanager
def refusals() -> Iterator[None]:
    """Raise what an import is refused for as a problem."""
    try:
        yield
    except BadSerialRows as error:
        errors = [{"parameter": f"line {line}", "detail": text} for line, text in error.problems[:MOST_ERRORS]]
        raise BadRows(f"{len(error.problems)} rows are bad, nothing was imported", errors=errors) from error
    except NoVault as error:
        raise Conflict(str(error)) from error
    except ImportRefused as error:
        raise BadParameter("body", str(error)) from error


async def block(database: Database, serial: str, blocked: bool, who: str, why: str) -> Serial:
    await database.execute(SQL["block"], serial, blocked, who, why)
    return item(await database.one(SQL["serial"], serial, absent=NotFound(f"there is no serial {serial}")))


def item(row: asyncpg.Record) -> Serial:
    key = row["identity_key"]
    return Serial.of(row, import_=row["import"], fingerprint=None if key is None else fingerprint(key))
