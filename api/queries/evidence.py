"""Evidence about the record of an organization, as lines that anybody can check: docs/evidence.md has the formats."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from api.database import Database
from api.problems import NotFound
from api.queries import load
from api.shapes.evidence import EvidenceHead
from schema import times
from schema.times import Span

SQL = load("evidence")
FORMAT = "biogate evidence 1"
PAGE = 1000
HOUR = timedelta(hours=1)
BUNDLE, PROGRAM = "/api/v1/evidence", "/api/v1/evidence/verify.py"
Line = Mapping[str, Any]
Rows = tuple[int, int]
"""The first and the last number of rows that follow each other."""


@dataclass(frozen=True, slots=True)
class SealedSpan:
    """Hours of a device whose seals, and perhaps frames, a bundle has."""

    device: str
    device_id: int
    span: Span


async def head(database: Database, of: str = "") -> EvidenceHead:
    """Return where the trail is now; `of`: the query of the address of a bundle."""
    [row] = await database.fetch(SQL["head"])
    said = {name: row[name] for name in ("n", "hash", "signed_n")}
    return EvidenceHead(
        **said, checkpoint=row["number"], key=row["key_id"], bundle=f"{BUNDLE}{of and '?'}{of}", verify=PROGRAM
    )


async def opening(database: Database) -> asyncpg.Record:
    """Return organization, newest row and newest checkpoint."""
    [row] = await database.fetch(SQL["head"])
    return row


async def keys(database: Database) -> list[Line]:
    return [
        {
            "kind": "key",
            "text": row["text"],
            "signature": _encoded(row["signature"]),
            "signature_before": _encoded(row["signature_before"]),
        }
        for row in await database.fetch(SQL["keys"])
    ]


async def sealed_span(database: Database, device: str, span: Span) -> SealedSpan:
    """Return the hours that a time touches. Raises NotFound."""
    row = await database.one(SQL["device"], device, absent=NotFound(f"there is no device {device}"))
    end = times.floor(span.end - times.MICROSECOND, HOUR) + HOUR
    return SealedSpan(device, row["device_id"], Span(times.floor(span.begin, HOUR), end))


async def rows_of_time(database: Database, span: Span) -> list[Rows]:
    [row] = await database.fetch(SQL["of_time"], span.begin, span.end)
    return [] if row["first"] is None else [(row["first"], row["last"])]


async def rows_about(database: Database, subjects: Sequence[str], *actions: str) -> list[Rows]:
    """Return the rows about these subjects, of actions that begin so."""
    return [(row["n"], row["n"]) for row in await database.fetch(SQL["of_subjects"], subjects, actions)]


async def rows_of_seals(database: Database, of: SealedSpan) -> list[Rows]:
    """Return the rows that vouch for the seals of these hours, or tell that their frames were dropped."""
    found = await database.fetch(SQL["of_seals"], of.device_id, of.span.begin, of.span.end)
    return [(row["n"], row["n"]) for row in found]


async def signed(database: Database, wanted: Iterable[Rows]) -> list[Rows]:
    """Return wanted rows, each with those after it up to the first that a checkpoint signs, as ranges in order."""
    ends = {last for _, last in wanted}
    rows = await database.fetch(SQL["signed"], sorted(ends))
    until = {row["n"]: row["signed"] or row["n"] for row in rows}
    return merged((first, until[last]) for first, last in wanted)


def merged(ranges: Iterable[Rows]) -> list[Rows]:
    """Return ranges in order, those that touch as one."""
    found: list[Rows] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return found


async def events(database: Database, rows: Rows) -> AsyncIterator[list[Line]]:
    """Yield rows in pages; the first has the hash of the row before it."""
    first, last = rows
    before = await database.fetchrow(SQL["hash"], first - 1)
    after = first - 1
    while after < last:
        page = await database.fetch(SQL["events"], after, last, PAGE)
        if not page:
            return
        lines: list[dict[str, Any]] = [
            {"kind": "event", "n": row["n"], "text": row["text"], "hash": row["hash"].hex()} for row in page
        ]
        if after == first - 1 and before is not None:
            lines[0]["before"] = before["hash"].hex()
        yield [*lines]
        after = page[-1]["n"]


async def checkpoints(database: Database, rows: Rows) -> AsyncIterator[list[Line]]:
    """Yield the checkpoints that sign one of these rows, in pages."""
    number = 0
    while page := await database.fetch(SQL["checkpoints"], *rows, number, PAGE):
        yield [
            {
                "kind": "checkpoint",
                "text": row["text"],
                "signature": _encoded(row["signature"]),
                "key": row["key_id"],
                "token": _encoded(row["token"]),
            }
            for row in page
        ]
        number = page[-1]["number"]


async def seals(database: Database, of: SealedSpan) -> AsyncIterator[list[Line]]:
    """Yield the seals of these hours, all versions."""
    key: tuple[datetime, int] = (of.span.begin, 0)
    while page := await database.fetch(SQL["seals"], of.device_id, of.span.end, *key, PAGE):
        yield [
            {"kind": "seal", "text": row["text"], "layouts": row["layouts_text"], "pass": row["pass"]} for row in page
        ]
        key = page[-1]["hour"], page[-1]["version"]


async def frames(database: Database, of: SealedSpan) -> AsyncIterator[list[Line]]:
    """Yield the frames of these hours as they are stored."""
    key: tuple[datetime, int] = (of.span.begin, 0)
    while page := await database.fetch(SQL["frames"], of.device_id, *key, of.span.end, PAGE):
        yield [_frame(of.device, row) for row in page]
        key = page[-1]["time"], page[-1]["layout_id"]


def _frame(device: str, row: asyncpg.Record) -> Line:
    line = {
        "kind": "frame",
        "device": device,
        "time": times.text(row["time"]),
        "layout": row["layout_id"],
        "received": times.text(row["received_at"]),
        "boot": row["boot"],
        "seq": row["seq"],
        "values": row["values"],
        "quality": row["quality"],
    }
    if row["unfinished"] or row["stored"] is not None:
        line["stored"] = None if row["unfinished"] else times.text(row["stored"])
    return line


async def signatures(database: Database, rows: Rows) -> list[Line]:
    """Return the signatures that stand in these rows, with the version that was signed as it is now, and the newest."""
    found = await database.fetch(SQL["signatures"], *rows)
    return [
        {
            "kind": "signature",
            "text": row["text"],
            "content": row["signed"],
            "now": None if row["version"] is None else {"version": row["version"], "state": row["state"]},
        }
        for row in found
    ]


async def files_of_report(database: Database, report: UUID) -> list[Line]:
    """Return the names and hashes of the files of a report. Raises NotFound."""
    row = await database.one(SQL["report"], report, absent=NotFound(f"there is no report {report}"))
    return [
        {"kind": "file", "name": f"report-{report}.{form}", "bytes": row[f"{form}_bytes"], "sha256": row[form]}
        for form in ("json", "html", "pdf")
        if row[form] is not None
    ]


def lines(found: Iterable[Line]) -> bytes:
    """Return lines as they stand in a bundle."""
    return b"".join(msgspec.json.encode(one) + b"\n" for one in found)


def _encoded(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode()
