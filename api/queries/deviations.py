"""SQL for deviations: what was found wrong, what it has to do with, and what people say of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import asyncpg

from api.access.roles import Principal, Role, Scope
from api.database import Database
from api.problems import BadParameter, Conflict, NotFound, PreconditionFailed
from api.queries import load, pending_acts
from api.queries.pending_acts import WantedAct
from api.shapes.deviations import (
    AttachmentAnswer,
    BackLink,
    CommentAnswer,
    CommentEdit,
    CommentVersion,
    DeviationChange,
    DeviationDetail,
    DeviationFilter,
    DeviationHold,
    DeviationLinkAnswer,
    DeviationMemberAnswer,
    DeviationState,
    DeviationSummary,
    Members,
    NewDeviation,
    NewLink,
)

SQL = load("deviations")
LAST_ID = 2**63 - 1
NEEDS: dict[str, tuple[Role, Scope]] = {
    "alarm": (Role.VIEWER, Scope.ALARMS_READ),
    "command": (Role.VIEWER, Scope.COMMANDS_READ),
    "sample": (Role.VIEWER, Scope.TELEMETRY_READ),
}
"""Who may read what a link leads to; all else whoever may read deviations."""


async def page(
    database: Database, wanted: DeviationFilter, member: Principal, before: int, limit: int
) -> list[asyncpg.Record]:
    """Return deviations with a smaller id than `before`, newest first."""
    mine = member.who if wanted.mine else None
    kind = wanted.kind[0] if wanted.kind else None
    filters = wanted.state or None, wanted.severity, wanted.tag or None, wanted.device, mine, kind, wanted.reference
    return await database.fetch_planned(SQL["page"], before, limit, *filters)


def item(row: asyncpg.Record) -> DeviationSummary:
    return DeviationSummary.of(row, members=_members(row))


def _members(row: asyncpg.Record) -> list[DeviationMemberAnswer]:
    return [DeviationMemberAnswer(**one) for one in json.loads(row["members"])]


def unknown(deviation: str) -> NotFound:
    return NotFound(f"there is no deviation {deviation}")


async def state(database: Database, deviation: str) -> str:
    """Return the state of one. Raises NotFound."""
    return str((await database.one(SQL["one"], deviation, absent=unknown(deviation)))["state"])


async def detail(database: Database, deviation: str, member: Principal) -> DeviationDetail:
    """Return one with its links and attachments. Raises NotFound."""
    row = await database.one(SQL["one"], deviation, absent=unknown(deviation))
    async with database.connection() as connection:
        links = await connection.fetch(SQL["links"], row["deviation_id"])
        back = await connection.fetch(SQL["linked"], "deviation", deviation)
        attached = await connection.fetch(SQL["attachments"], deviation)
    return DeviationDetail.of(
        row,
        members=_members(row),
        hold=row["hold_id"],
        links=[link(one, member) for one in links],
        linked_from=[BackLink.of(one) for one in back],
        attachments=[attachment(one) for one in attached],
    )


def link(row: asyncpg.Record, member: Principal) -> DeviationLinkAnswer:
    seen = row["kind"] not in NEEDS or member.may(*NEEDS[row["kind"]])
    return DeviationLinkAnswer.of(row, id=row["link_id"], words=row["words"] if seen else None)


def attachment(row: asyncpg.Record) -> AttachmentAnswer:
    return AttachmentAnswer.of(row, id=row["attachment_id"])


async def linked(database: Database, kind: str, reference: str) -> list[BackLink]:
    """Return the links of deviations to a thing."""
    return [BackLink.of(row) for row in await database.fetch(SQL["linked"], kind, reference)]


async def of_device(database: Database, device: str) -> list[BackLink]:
    """Return deviations that are not closed and have to do with a device, each by one of its links."""
    return [BackLink.of(row) for row in await database.fetch(SQL["linked_device"], device)]


async def of_alarm(database: Database, device: str, rule: str) -> list[BackLink]:
    """Return deviations with a link to a transition of an alarm."""
    return [BackLink.of(row) for row in await database.fetch(SQL["linked_alarm"], device, rule)]


async def target(database: Database, kind: str, reference: str) -> str:
    """Return the words of what a link would lead to. Raises NotFound."""
    absent = NotFound(f"there is no {kind} {reference} to link to")
    row = await database.one(SQL["target"], kind, reference, absent=absent)
    return str(row["words"])


async def tags(database: Database) -> list[str]:
    [row] = await database.fetch(SQL["tags"])
    return list(row[0])


async def _are_members(database: Database, members: Members) -> list[dict[str, str]]:
    """Return members as they are stored. Raises BadParameter for who is no member of the organization."""
    [row] = await database.fetch(SQL["outsiders"], [one.who for one in members])
    if row[0]:
        raise BadParameter("members", f"{', '.join(row[0])}: no member of the organization")
    pairs = sorted({(one.who, one.role) for one in members})
    return [{"who": who, "role": role} for who, role in pairs]


def _hold(given: DeviationHold | None) -> str | None:
    return None if given is None else given.model_dump_json()


async def open_(database: Database, given: NewDeviation, who: str) -> str:
    """Open a deviation; returns its number. Raises BadParameter, and NotFound for what it cannot be linked to."""
    members = json.dumps(await _are_members(database, given.members))
    link = None if given.link is None else given.link.model_dump_json()
    said = given.title, given.description, given.severity, sorted(set(given.tags))
    async with database.change() as connection:
        return str(await connection.fetchval(SQL["open"], *said, members, link, _hold(given.hold), who))


async def change(database: Database, deviation: str, given: DeviationChange, version: int | None, who: str) -> None:
    """Change what is given. Raises NotFound, PreconditionFailed, and Conflict if it is closed."""
    said: dict[str, Any] = given.model_dump(exclude_none=True, exclude={"why", "members", "tags"})
    if given.tags is not None:
        said["tags"] = sorted(set(given.tags))
    if given.members is not None:
        said["members"] = await _are_members(database, given.members)
    await database.execute(SQL["change"], deviation, json.dumps(said), version, who, given.why)


async def move(
    database: Database,
    deviation: str,
    state: DeviationState,
    who: str,
    why: str,
    *,
    version: int | None = None,
    end_hold: bool = False,
) -> None:
    """Assess, close or reopen. Raises NotFound, PreconditionFailed, Conflict if it is not in a state for this, and
    Waits where a second person has to confirm that it is closed."""
    if state == "closed" and await pending_acts.is_demanded(database, "deviations"):
        row = await database.one(SQL["one"], deviation, absent=unknown(deviation))
        if row["state"] != "assessed":
            raise Conflict(f"deviation {deviation} is {row['state']}")
        if version not in {None, row["version"]}:
            raise PreconditionFailed(f"deviation {deviation} was changed meanwhile")
        request = {"deviation": deviation, "end_hold": end_hold, "version": row["version"]}
        raise await pending_acts.ask(database, WantedAct("deviations", f"deviation/{deviation}", request, who, why))
    await database.execute(SQL["move"], deviation, state, end_hold, version, who, why)


async def hold(database: Database, deviation: str, given: DeviationHold, who: str) -> None:
    """Keep data from being dropped, for this deviation. Raises NotFound, and Conflict if it has a hold."""
    await database.execute(SQL["hold"], deviation, _hold(given), who)


async def add_link(database: Database, deviation: str, given: NewLink, member: Principal) -> DeviationLinkAnswer:
    """Link a deviation to a thing. Raises NotFound, and Conflict if it has this link."""
    async with database.change() as connection:
        asked = deviation, given.type, given.kind, given.reference, member.who, given.why
        number = await connection.fetchval(SQL["link"], *asked)
        row = await connection.fetchrow(SQL["one"], deviation)
        rows = await connection.fetch(SQL["links"], row["deviation_id"])
    return next(link(row, member) for row in rows if row["link_id"] == number)


async def unlink(database: Database, deviation: str, number: int, who: str, why: str) -> None:
    await database.execute(SQL["unlink"], deviation, number, who, why)


async def comments(database: Database, deviation: str, after: int, limit: int) -> Sequence[asyncpg.Record]:
    """Return comments, oldest first. Raises NotFound."""
    await database.one(SQL["one"], deviation, absent=unknown(deviation))
    return await database.fetch(SQL["comments"], deviation, after, limit)


def comment(row: asyncpg.Record) -> CommentAnswer:
    versions = [CommentVersion(**one) for one in json.loads(row["texts"])]
    return CommentAnswer.of(row, id=row["comment_id"], text=versions[-1].text, versions=versions)


async def add_comment(database: Database, deviation: str, text: str, who: str) -> CommentAnswer:
    async with database.change() as connection:
        number = await connection.fetchval(SQL["comment"], deviation, text, who)
        return comment(await connection.fetchrow(SQL["comments"], deviation, number - 1, 1))


async def edit_comment(database: Database, deviation: str, number: int, given: CommentEdit, who: str) -> CommentAnswer:
    """Write a new version of one's own comment. Raises NotFound, and Conflict for somebody else's."""
    async with database.change() as connection:
        await connection.execute(SQL["edit"], deviation, number, given.text, who, given.why)
        return comment(await connection.fetchrow(SQL["comments"], deviation, number - 1, 1))
