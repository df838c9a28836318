"""The quarantine: rejected messages with their bytes, to be taken in again or thrown away."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

from fastapi import Path, Query, Response
from pydantic import Field

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http import cursors
from api.http.run_times import RunAsked
from api.pages import payload
from api.pages.listing import PageSpan, part
from api.pages.page import OrganizationPage, PageRouter, form
from api.queries import deviations, jobs, run_times
from api.queries import quarantine as queries
from api.shapes.jobs import JobParameters
from api.shapes.quarantine import QuarantineOrder, QuarantineParameters, QuarantineState
from schema import times
from schema.reasons import Reason

router = PageRouter()

READ = [allow(Role.VIEWER, Scope.DEVICES_READ)]
SETTLE = [allow(Role.ENGINEER, Scope.DEVICES_WRITE)]
KEY = {"received_at": cursors.instant, "quarantine_id": cursors.number}
FEW = 5
"""Replays that the list tells of."""


class QuarantinePageParameters(PageSpan):
    device: str | None = Field(None, max_length=2000)
    reason: Reason | None = None
    state: QuarantineState = "open"
    run: RunAsked = None


class SettleForm(QuarantineOrder):
    act: Literal["replay", "discard"]


@router.get("/delivery/quarantine", dependencies=READ)
async def listed(page: OrganizationPage, database: Db, asked: Annotated[QuarantinePageParameters, Query()]) -> Response:
    wanted = QuarantineParameters.model_validate(
        {"device": asked.device, "reason": [asked.reason] if asked.reason else [], "state": [asked.state]}
        | {"run": asked.run, **asked.said()}
    )
    question = await run_times.placed(database, wanted, asked.device)
    found = await part(
        page.request,
        asked.cursor,
        KEY,
        (question.span.end, queries.LAST_ID),
        lambda before, limit: queries.quarantine(database, question, before, limit),
    )
    replays = None
    if page.may("viewer", "telemetry:read"):
        rows = await jobs.page(database, JobParameters(kind="replay"), (times.LAST, jobs.LAST_ID), FEW)
        replays = [jobs.item(row) for row in rows]
    values: dict[str, Any] = {
        "messages": [queries.item(row) for row in found.rows],
        "following": found.following,
        "asked": asked,
        "reasons": list(Reason),
        "replays": replays,
    }
    return page.show("pages/quarantine.html", here="delivery", tab="quarantine", **values)


@router.post("/delivery/quarantine", dependencies=SETTLE)
async def settle(page: OrganizationPage, database: Db) -> Response:
    given = await form(page.request, SettleForm, messages=",")
    who, number = page.member.who, len(set(given.messages))
    what = "1 message" if number == 1 else f"{number} messages"
    if given.act == "replay":
        await queries.replay(database, given.messages, who, given.why)
        return page.done(f"The worker takes {what} in again: see what comes out below.", to="delivery/quarantine")
    await queries.discard(database, given.messages, who, given.why)
    return page.done(f"{what} discarded.", to="delivery/quarantine")


@router.get("/delivery/quarantine/{number}", dependencies=READ)
async def one(page: OrganizationPage, database: Db, number: Annotated[int, Path(ge=1, le=queries.LAST_ID)]) -> Response:
    found = await queries.quarantined(database, number)
    content = None if found.payload is None else base64.b64decode(found.payload)
    values: dict[str, Any] = {
        "one": found,
        "linked_deviations": await deviations.linked(database, "quarantine", str(number)),
        "text": None if content is None else payload.text(content),
        "hexadecimal": None if content is None else payload.hexadecimal(content),
        "shown": payload.SHOWN,
    }
    return page.show("pages/quarantined.html", here="delivery", **values)
