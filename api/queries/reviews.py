"""SQL for reviews by exception: what stands out in the trail and the data of a scope, and what was said of it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec

from api.database import Database
from api.problems import BadParameter, Conflict, NotFound
from api.queries import delivery, load, reports, signatures
from api.queries.review_kinds import classified
from api.shapes.reviews import (
    MOST_DAYS,
    MOST_EXCEPTIONS,
    NewLook,
    NewReview,
    ReviewAnswer,
    ReviewDetail,
    ReviewException,
    ReviewLook,
    ReviewParameters,
)
from schema import times
from schema.times import Span

SQL = load("reviews")
LAST_NUMBER = 2**31 - 1
MOST_ROWS = 50_000
"""Rows of the trail that one review looks through."""
AHEAD, BEHIND = timedelta(seconds=5), timedelta(minutes=1)
"""How far the clock of a device may be off."""
CLOCK = {"too-old", "too-new"}
"""Reasons for quarantine that a wrong clock gives."""


@dataclass(frozen=True, slots=True)
class ReviewScope:
    """What a review is about: a run, or devices by name (none: the organization) in a time."""

    run: str | None
    devices: list[str]
    span: Span


@dataclass(frozen=True, slots=True)
class Gathered:
    """What stands in a scope, up to the row `n` of the trail."""

    n: int
    exceptions: list[ReviewException]
    routine: dict[str, int]


async def page(database: Database, asked: ReviewParameters, before: int, limit: int) -> list[asyncpg.Record]:
    """Return reviews with numbers below `before`, newest first."""
    return await database.fetch_planned(SQL["page"], before, limit, asked.run, asked.device)


async def of_run(database: Database, run: reports.ReportedRun | None) -> list[int]:
    """Return the numbers of the reviews of a run."""
    return [] if run is None else [row["number"] for row in await database.fetch(SQL["of_run"], run.name)]


def item(row: asyncpg.Record) -> ReviewAnswer:
    return ReviewAnswer.of(row, begin=times.text(row["begins"]), end=times.text(row["ends"]))


async def make(database: Database, given: NewReview, who: str) -> ReviewDetail:
    """Gather a new review. Raises NotFound, BadParameter, Conflict."""
    scope = await _scope(database, given)
    return await _put(database, None, scope, who)


async def again(database: Database, number: int, who: str) -> ReviewDetail:
    """Gather the same scope anew: a new version where there is something new. Raises NotFound, Conflict."""
    return await _put(database, number, _scope_of(await _one(database, number)), who)


async def look(database: Database, number: int, given: NewLook, who: str) -> ReviewDetail:
    """Note that somebody looked at an exception. Raises NotFound, Conflict."""
    await database.execute(SQL["look"], number, given.key, given.note, who)
    return await detail(database, number)


async def detail(database: Database, number: int) -> ReviewDetail:
    """Return the newest version of a review, with what has changed in its scope since. Raises NotFound."""
    row = await _one(database, number)
    kept = msgspec.json.decode(row["exceptions"], type=list[ReviewException])
    now = await gathered(database, _scope_of(row))
    signed = await signatures.record(database, f"review/{number}")
    keys = {one.key for one in kept}
    return ReviewDetail.of(
        row,
        begin=times.text(row["begins"]),
        end=times.text(row["ends"]),
        exceptions=kept,
        routine=msgspec.json.decode(row["routine"]),
        digest=signed.digest,
        signatures=signed.signatures,
        looks=[ReviewLook.of(one) for one in await database.fetch(SQL["looks"], number)],
        stale=[one for one in now.exceptions if one.key not in keys],
    )


async def _one(database: Database, number: int) -> asyncpg.Record:
    return await database.one(SQL["one"], number, absent=NotFound(f"there is no review {number}"))


def _scope_of(row: asyncpg.Record) -> ReviewScope:
    return ReviewScope(row["run"], list(row["devices"]), Span(row["begins"], row["ends"]))


async def _scope(database: Database, given: NewReview) -> ReviewScope:
    now = datetime.now(UTC)
    if given.run is not None:
        found = await reports.run(database, given.run)
        if found.begins is None:
            raise Conflict(f"run {given.run} has not started: there is nothing to review yet")
        return ReviewScope(found.name, found.devices, Span(found.begins, found.ends or now))
    assert given.from_ is not None
    span = Span(given.from_, given.to or now)
    if span.begin >= span.end:
        raise BadParameter("from", f"must be before `to`, which is {times.text(span.end)}")
    if span.end - span.begin > timedelta(days=MOST_DAYS):
        raise BadParameter("from", f"must be at most {MOST_DAYS} days before `to`: review it in parts")
    for name in given.device:
        await database.one(SQL["device"], name, absent=NotFound(f"there is no device {name}"))
    return ReviewScope(None, sorted(set(given.device)), span)


async def _put(database: Database, number: int | None, scope: ReviewScope, who: str) -> ReviewDetail:
    found = await gathered(database, scope)
    said = msgspec.json.encode(found.exceptions).decode(), msgspec.json.encode(found.routine).decode()
    span = scope.span
    async with database.change() as connection:
        number = await connection.fetchval(
            SQL["put"], number, scope.run, scope.devices, span.begin, span.end, found.n, *said, who
        )
    assert number is not None
    return await detail(database, number)


async def gathered(database: Database, scope: ReviewScope) -> Gathered:
    """Look through a scope as it is now. Raises Conflict for more than a person could look at."""
    n = (await database.fetch(SQL["newest"]))[0][0]
    wanted = n, scope.devices, scope.span.begin, scope.span.end, scope.run
    rows = await database.fetch_planned(SQL["trail"], *wanted, MOST_ROWS + 1)
    if len(rows) > MOST_ROWS:
        raise Conflict(f"more than {MOST_ROWS} rows of the audit trail are in this scope: review it in parts")
    found, routine = _sorted(rows)
    found += await _of_data(database, scope)
    if len(found) > MOST_EXCEPTIONS:
        raise Conflict(
            f"there are {len(found)} exceptions, and at most {MOST_EXCEPTIONS} are shown: review it in parts"
        )
    return Gathered(n, found, routine)


def _sorted(rows: Iterable[asyncpg.Record]) -> tuple[list[ReviewException], dict[str, int]]:
    """Return the exceptions among rows of the trail, and the numbers of the others by action."""
    found, routine = [], Counter[str]()
    for row in rows:
        old, new = (None if row[name] is None else json.loads(row[name]) for name in ("old", "new"))
        kind = classified(row["action"], new)
        if kind is None or row["is_first"]:
            routine[row["action"]] += 1
            continue
        said = {"kind": kind, "at": times.text(row["at"]), "who": row["who"], "what": row["action"], "why": row["why"]}
        found.append(_exception(**said, subject=row["subject"], before=old, after=new, n=row["n"]))
    return found, dict(sorted(routine.items()))


async def _of_data(database: Database, scope: ReviewScope) -> list[ReviewException]:
    """Return what stands out in the data: gaps, quarantine, clocks."""
    found = [*await _gaps(database, scope), *await _quarantined(database, scope)]
    found += [*await _clocks(database, scope), *await _broken(database, scope)]
    return sorted(found, key=lambda one: (one.at, one.kind, one.device or ""))


async def _gaps(database: Database, scope: ReviewScope) -> list[ReviewException]:
    return [
        _exception(
            kind="gap",
            at=times.text(row["first_at"]),
            device=row["device"],
            what="frames are missing",
            after={name: row[name] for name in ("expected", "missing", "lost", "holes")},
        )
        for row in await delivery.of_span(database, scope.span)
        if (not scope.devices or row["device"] in scope.devices) and (row["missing"] or row["lost"])
    ]


async def _quarantined(database: Database, scope: ReviewScope) -> list[ReviewException]:
    rows = await database.fetch(SQL["quarantined"], scope.devices, scope.span.begin, scope.span.end)
    return [
        _exception(
            kind="clock" if row["reason"] in CLOCK else "quarantine",
            at=times.text(row["at"]),
            device=row["device"],
            what="the time of frames was wrong" if row["reason"] in CLOCK else "messages came into quarantine",
            after={name: row[name] for name in ("reason", "messages", "open")},
        )
        for row in rows
    ]


async def _clocks(database: Database, scope: ReviewScope) -> list[ReviewException]:
    rows = await database.fetch(SQL["clocks"], scope.devices, scope.span.begin, scope.span.end, AHEAD, BEHIND)
    return [
        _exception(
            kind="clock",
            at=times.text(row["at"]),
            device=row["device"],
            what="the clock was off",
            after={name: row[name] for name in ("hours", "ahead_s", "behind_s")},
        )
        for row in rows
    ]


async def _broken(database: Database, scope: ReviewScope) -> list[ReviewException]:
    rows = await database.fetch(SQL["broken"], scope.devices, scope.span.begin, scope.span.end, scope.run)
    return [
        _exception(
            kind="signature",
            at=times.text(row["at"]),
            who=row["who"],
            what="a signature is broken: what was signed was changed",
            subject=row["record"],
            after={"name": row["name"], "meaning": row["meaning"]},
        )
        for row in rows
    ]


def _exception(**said: Any) -> ReviewException:
    """Return an exception with the key of its content; a subject tells its device."""
    subject = said.get("subject") or ""
    named = subject.split("/")[1] if subject.startswith(("device/", "alarm/")) else None
    fields = dict.fromkeys(("who", "subject", "before", "after", "why", "n")) | {"device": named} | said
    content = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return ReviewException(key=hashlib.sha256(content.encode()).hexdigest()[:16], **fields)


def open_keys(review: ReviewDetail) -> Sequence[str]:
    """Return the keys of exceptions that nobody has looked at."""
    seen = {one.key for one in review.looks}
    return [one.key for one in review.exceptions if one.key not in seen]
