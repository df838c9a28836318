"""What people do with deviations: open one, change it, decide, link, comment, attach."""

from __future__ import annotations

from typing import Literal

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from api.access import guard
from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http.bodies import Order
from api.http.multipart import file_form
from api.pages.deviations import DeviationNumber, Number
from api.pages.page import OrganizationPage, PageRouter, Version, form, validated
from api.queries import attachments
from api.queries import deviations as queries
from api.shapes.deviations import (
    MOST_ATTACHED_BYTES,
    AttachmentParameters,
    CommentEdit,
    Description,
    DeviationChange,
    DeviationClosing,
    DeviationHold,
    DeviationMember,
    DeviationTitle,
    FirstLink,
    LinkKind,
    LinkType,
    MemberRole,
    NewComment,
    NewDeviation,
    NewLink,
    Reference,
    Severity,
)
from api.shapes.devices import MOST_TAGS, Tag

router = PageRouter()
WRITE = [allow(Role.OPERATOR, Scope.DEVICES_WRITE)]
DECIDE = [allow(Role.ENGINEER, Scope.DEVICES_WRITE)]
HOLDS = (Role.ADMIN, Scope.ORGANIZATION_WRITE)
FORM = ConfigDict(extra="forbid", hide_input_in_errors=True)


class OpenForm(BaseModel):
    model_config = FORM

    title: DeviationTitle
    description: Description = ""
    severity: Severity
    tags: list[Tag] = Field([], max_length=MOST_TAGS)
    kind: LinkKind | None = None
    reference: Reference | None = None


class DeviationForm(Order):
    title: DeviationTitle
    description: Description = ""
    severity: Severity
    tags: list[Tag] = Field([], max_length=MOST_TAGS)
    version: Version


class MemberForm(Order):
    who: str = Field(max_length=254)
    role: MemberRole
    act: Literal["add", "remove"]


class LinkForm(Order):
    type: LinkType
    kind: LinkKind
    reference: Reference


class AttachForm(Order):
    deviation: DeviationNumber


@router.post("/deviations", dependencies=WRITE)
async def open_(page: OrganizationPage, database: Db) -> Response:
    given = await form(page.request, OpenForm, tags=",")
    link = None
    if given.kind is not None and given.reference is not None:
        if given.kind in queries.NEEDS:
            guard.require(page.member, *queries.NEEDS[given.kind])
        link = FirstLink(kind=given.kind, reference=given.reference)
    said = given.model_dump(include={"title", "description", "severity", "tags"})
    number = await queries.open_(database, NewDeviation(**said, link=link), page.member.who)
    return page.go(f"deviations/{number}")


@router.post("/deviations/{deviation}", dependencies=WRITE)
async def change(page: OrganizationPage, database: Db, deviation: DeviationNumber) -> Response:
    given = await form(page.request, DeviationForm, tags=",")
    changed = DeviationChange(**given.model_dump(exclude={"version"}))
    await queries.change(database, deviation, changed, given.version, page.member.who)
    return page.done("The deviation was changed.", to=f"deviations/{deviation}")


@router.post("/deviations/{deviation}/members", dependencies=WRITE)
async def member(page: OrganizationPage, database: Db, deviation: DeviationNumber) -> Response:
    given = await form(page.request, MemberForm)
    known = await queries.detail(database, deviation, page.member)
    one = validated({"who": given.who, "role": given.role}, DeviationMember)
    others = [DeviationMember(who=it.who, role=it.role) for it in known.members]
    members = [*others, one] if given.act == "add" else [it for it in others if it != one]
    order = DeviationChange(members=members, why=given.why)
    await queries.change(database, deviation, order, known.version, page.member.who)
    what = "has to do with it now" if given.act == "add" else "is no member of it any more"
    return page.done(f"{one.who} {what}.", to=f"deviations/{deviation}")


@router.post("/deviations/{deviation}/assess", dependencies=DECIDE)
async def assess(page: OrganizationPage, database: Db, deviation: DeviationNumber) -> Response:
    given = await form(page.request, Order)
    await queries.move(database, deviation, "assessed", page.member.who, given.why)
    return page.done(f"{deviation} is assessed.", to=f"deviations/{deviation}")


@router.post("/deviations/{deviation}/close", dependencies=DECIDE)
async def close(page: OrganizationPage, database: Db, deviation: DeviationNumber) -> Response:
    given = await form(page.request, DeviationClosing)
    if given.end_hold:
        guard.require(page.member, *HOLDS)
    await queries.move(database, deviation, "closed", page.member.who, given.why, end_hold=given.end_hold)
    return page.done(f"{deviation} is closed.", to=f"deviations/{deviation}")


@router.post("/deviations/{deviation}/reopen", dependencies=DECIDE)
async def reopen(page: OrganizationPage, database: Db, deviation: DeviationNumber) -> Response:
    given = await form(page.request, Order)
    await queries.move(database, deviation, "open", page.member.who, given.why)
    return page.done(f"{deviation} is open again.", to=f"deviations/{deviation}")


@router.post("/deviations/{deviation}/hold", dependencies=[allow(*HOLDS)])
async def hold(page: OrganizationPage, database: Db, deviation: DeviationNumber) -> Response:
    given = await form(page.request, DeviationHold)
    await queries.hold(database, deviation, given, page.member.who)
    return page.done("These data are kept until the hold is ended.", to=f"deviations/{deviation}")


@router.post("/deviations/{deviation}/links", dependencies=WRITE)
async def link(page: OrganizationPage, database: Db, deviation: DeviationNumber) -> Response:
    given = await form(page.request, LinkForm)
    if given.kind in queries.NEEDS:
        guard.require(page.member, *queries.NEEDS[given.kind])
    await queries.add_link(database, deviation, NewLink(**given.model_dump()), page.member)
    return page.done("The link is made.", to=f"deviations/{deviation}")


@router.post("/deviations/{deviation}/links/{link}/withdraw", dependencies=WRITE)
async def unlink(page: OrganizationPage, database: Db, deviation: DeviationNumber, link: Number) -> Response:
    given = await form(page.request, Order)
    await queries.unlink(database, deviation, link, page.member.who, given.why)
    return page.done("The link is withdrawn.", to=f"deviations/{deviation}")


@router.post("/deviations/{deviation}/comments", dependencies=WRITE)
async def comment(page: OrganizationPage, database: Db, deviation: DeviationNumber) -> Response:
    given = await form(page.request, NewComment)
    await queries.add_comment(database, deviation, given.text, page.member.who)
    return page.done("The comment is saved.", to=f"deviations/{deviation}")


@router.post("/deviations/{deviation}/comments/{comment}", dependencies=WRITE)
async def edit(page: OrganizationPage, database: Db, deviation: DeviationNumber, comment: Number) -> Response:
    given = await form(page.request, CommentEdit)
    await queries.edit_comment(database, deviation, comment, given, page.member.who)
    return page.done("The comment has a new version.", to=f"deviations/{deviation}")


@router.post("/deviation-attachments", dependencies=WRITE)
async def attach(page: OrganizationPage, database: Db) -> Response:
    fields, sent = await file_form(page.request, "file", MOST_ATTACHED_BYTES)
    given = validated(fields, AttachForm)
    said = validated(given.model_dump() | {"name": sent.name}, AttachmentParameters)
    await attachments.attach(database, said, sent.content, page.member.who)
    return page.done(f"{said.name} is attached.", to=f"deviations/{given.deviation}")
