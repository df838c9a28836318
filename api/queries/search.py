"""SQL for search by words, in what people and devices have written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import asyncpg

from api.access.roles import Principal, Role, Scope
from api.database import Database
from api.http.parameters import recent
from api.problems import BadParameter
from api.queries import load
from api.shapes.search import ExcerptPart, Found, SearchFilter, SearchHit, SearchKind
from schema import times

SQL = load("search")
NEEDS: Mapping[SearchKind, tuple[Role, Scope]] = {
    "note": (Role.VIEWER, Scope.DEVICES_READ),
    "deviation": (Role.VIEWER, Scope.DEVICES_READ),
    "comment": (Role.VIEWER, Scope.DEVICES_READ),
    "shift": (Role.VIEWER, Scope.DEVICES_READ),
    "event": (Role.VIEWER, Scope.TELEMETRY_READ),
    "alarm": (Role.VIEWER, Scope.ALARMS_READ),
    "reason": (Role.OPERATOR, Scope.AUDIT_READ),
}
"""Who may search in what: as for the list that has it."""
YEAR = timedelta(days=366)
LONGEST = timedelta(days=3660)
MOST_EVENTS = 2000
"""The newest events of each device, of the time, that are looked at: they have no index of words."""
MOST_RANKED = 2000
"""The newest texts of each kind that have the words, of which those with more hits come first."""
BEGIN, END = "\x02", "\x03"


def permitted(member: Principal) -> list[SearchKind]:
    """Return the kinds in which this member may search."""
    return [kind for kind in get_args(SearchKind) if member.may(*NEEDS[kind])]


def words(text: str) -> str:
    """Return what people type as a query of PostgreSQL: all words, the last one as the begin of a word. Raises
    BadParameter if there is no letter and no digit."""
    found = [word for word in text.split() if any(sign.isalnum() for sign in word)]
    if not found:
        raise BadParameter("q", "has no word: give letters or digits")
    quoted = ["'" + word.replace("\\", "").replace("'", "''") + "'" for word in found]
    return " & ".join(quoted) + ":*"


def letters(text: str) -> list[str]:
    """Return a pattern for each word: what has the word has its letters, which are told faster than words are."""
    runs = (re.findall(r"[^\W_]+", word.lower()) for word in text.split())
    return [f"%{max(some, key=len)}%" for some in runs if some]


async def search(
    database: Database, asked: SearchFilter, kinds: Sequence[SearchKind], limit: int, now: datetime | None = None
) -> Found:
    """Return what has the words, of these kinds. Raises BadParameter."""
    query = words(asked.q)
    span = recent(asked.from_, asked.to or (now or datetime.now(UTC)), YEAR, LONGEST)
    async with database.connection() as connection:
        query = await connection.fetchval("select to_tsquery('simple', $1)::text", query)
        if not query:
            raise BadParameter("q", "has no word: give letters or digits")
        arguments = query, list(kinds), asked.device, span.begin, span.end, limit + 1
        rows = await connection.fetch_planned(SQL["texts"], *arguments, MOST_RANKED)
        events: list[asyncpg.Record] = []
        if "event" in kinds:
            events = await connection.fetch_planned(SQL["events"], *arguments, MOST_EVENTS, letters(asked.q))
    hits = [*rows, *(row for row in events if row["kind"] is not None and row["time"] is not None)]
    hits.sort(key=lambda row: (-row["rank"], -row["time"].timestamp()))
    since = events[0]["since"] if events else None
    return Found(
        hits=[hit(row) for row in hits[:limit]],
        truncated=len(hits) > limit,
        events_since=None if since is None else times.text(since),
    )


def hit(row: asyncpg.Record) -> SearchHit:
    return SearchHit.of(row, excerpt=parts(row["excerpt"]))


def parts(excerpt: str) -> list[ExcerptPart]:
    """Return an excerpt in parts, of which each is a hit or none is."""
    found: list[Any] = []
    for n, piece in enumerate(excerpt.split(BEGIN)):
        marked, end, rest = piece.partition(END) if n else ("", "", piece)
        found += [ExcerptPart(text=marked, hit=True)] if end else []
        text = rest if end or not n else piece
        found += [ExcerptPart(text=text, hit=False)] if text else []
    return found
