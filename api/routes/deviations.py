"""Routes for deviations: what was found wrong, and what people do about it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Request, Response

from api.access import guard
from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description, preconditions
from api.http.answers import JsonOnly, Table
from api.http.bodies import Order, described, order
from api.http.parameters import ListParameters, ReasonParameter
from api.http.preconditions import IfMatch
from api.problems import Unsupported
from api.queries import attachments
from api.queries import deviations as queries
from api.routes import PREFIX, Router
from api.shapes import deviations as shapes
from api.shapes.deviations import (
    AttachmentParameters,
    CommentEdit,
    DeviationChange,
    DeviationClosing,
    DeviationHold,
    DeviationParameters,
    NewComment,
    NewDeviation,
    NewLink,
)
from api.shapes.pending_acts import WAITS

router = Router("deviations")

READ = [allow(Role.VIEWER, Scope.DEVICES_READ)]
WRITE = [allow(Role.OPERATOR, Scope.DEVICES_WRITE)]
DECIDE = [allow(Role.ENGINEER, Scope.DEVICES_WRITE)]
HOLDS = (Role.ADMIN, Scope.ORGANIZATION_WRITE)
DeviationNumber = Annotated[str, Path(description="number of a deviation", examples=["DEV-2026-0001"], max_length=20)]
LinkNumber = Annotated[int, Path(ge=1, le=queries.LAST_ID, description="`id` of a link", examples=[3])]
CommentNumber = Annotated[int, Path(ge=1, le=queries.LAST_ID, description="`id` of a comment", examples=[7])]
AttachmentNumber = Annotated[int, Path(ge=1, le=queries.LAST_ID, description="`id` of an attachment", examples=[5])]
DETAILED = description.versioned(shapes.DeviationDetail, deviation=shapes.DETAIL)
BINARY = {"schema": {"type": "string", "format": "binary"}, "example": "the bytes of the file"}
FILE = {"requestBody": {"required": True, "content": {"application/octet-stream": BINARY}}}

DEVIATIONS = Table(
    name="deviations",
    of=shapes.DeviationSummary,
    item=queries.item,
    without=frozenset({"members"}),
    key={"deviation_id": cursors.number},
    first=(queries.LAST_ID,),
)
COMMENTS = Table(
    name="comments",
    of=shapes.CommentAnswer,
    item=queries.comment,
    without=frozenset({"versions"}),
    key={"comment_id": cursors.number},
    first=(0,),
)


@router.table(
    "/deviations",
    dependencies=READ,
    summary="Deviations, newest first",
    responses=description.DATABASE | DEVIATIONS.described(shapes.DEVIATION),
)
async def page(
    request: Request, database: Db, member: Member, asked: Annotated[DeviationParameters, Query()]
) -> Response:
    return await DEVIATIONS.page(
        request, asked, lambda before, limit: queries.page(database, asked, member, before[0], limit)
    )


@router.post(
    "/deviations",
    dependencies=WRITE,
    status_code=201,
    summary="Open a deviation, perhaps from an alarm, a hole, a message in quarantine or a time of a device",
    description="`hold` also keeps data from being dropped, as POST /retention/holds does; that is for admins.",
    responses=description.CHANGE | description.located(shapes.DeviationDetail, deviation=shapes.DETAIL),
    openapi_extra=described(NewDeviation),
)
async def open_(request: Request, database: Db, member: Member) -> Response:
    given = await order(request, NewDeviation)
    if given.hold is not None:
        guard.require(member, *HOLDS)
    number = await queries.open_(database, given, member.who)
    answer = preconditions.tagged(await queries.detail(database, number, member), 201)
    answer.headers["Location"] = f"{PREFIX}/deviations/{number}"
    return answer


@router.get(
    "/deviations/{deviation}",
    dependencies=READ,
    summary="One deviation with its links and attachments",
    responses=description.THING | DETAILED,
)
async def one(database: Db, member: Member, deviation: DeviationNumber, _: JsonOnly) -> Response:
    return preconditions.tagged(await queries.detail(database, deviation, member))


@router.patch(
    "/deviations/{deviation}",
    dependencies=WRITE,
    summary="Change a deviation that is not closed: title, description, severity, tags, members",
    description="What is left out stays. The audit trail has what was and what is. With If-Match it is only done if "
    "nobody has changed it meanwhile.",
    responses=description.CHANGE | description.CHANGED | DETAILED,
    openapi_extra=described(DeviationChange),
)
async def change(
    request: Request, database: Db, member: Member, deviation: DeviationNumber, if_match: IfMatch = None
) -> Response:
    given = await order(request, DeviationChange)
    await queries.change(database, deviation, given, preconditions.wanted(if_match), member.who)
    return preconditions.tagged(await queries.detail(database, deviation, member))


@router.post(
    "/deviations/{deviation}/assess",
    dependencies=DECIDE,
    summary="Say that an open deviation was assessed",
    responses=description.CHANGE | description.CHANGED | DETAILED,
    openapi_extra=described(Order),
)
async def assess(
    request: Request, database: Db, member: Member, deviation: DeviationNumber, if_match: IfMatch = None
) -> Response:
    given = await order(request, Order)
    version = preconditions.wanted(if_match)
    await queries.move(database, deviation, "assessed", member.who, given.why, version=version)
    return preconditions.tagged(await queries.detail(database, deviation, member))


@router.post(
    "/deviations/{deviation}/close",
    dependencies=DECIDE,
    summary="Close a deviation that was assessed, with a reason",
    responses=description.CHANGE | description.CHANGED | WAITS | DETAILED,
    openapi_extra=described(DeviationClosing),
)
async def close(
    request: Request, database: Db, member: Member, deviation: DeviationNumber, if_match: IfMatch = None
) -> Response:
    given = await order(request, DeviationClosing)
    if given.end_hold:
        guard.require(member, *HOLDS)
    version = preconditions.wanted(if_match)
    ends = given.end_hold
    await queries.move(database, deviation, "closed", member.who, given.why, version=version, end_hold=ends)
    return preconditions.tagged(await queries.detail(database, deviation, member))


@router.post(
    "/deviations/{deviation}/reopen",
    dependencies=DECIDE,
    summary="Open a deviation again that was assessed or closed",
    responses=description.CHANGE | description.CHANGED | DETAILED,
    openapi_extra=described(Order),
)
async def reopen(
    request: Request, database: Db, member: Member, deviation: DeviationNumber, if_match: IfMatch = None
) -> Response:
    given = await order(request, Order)
    await queries.move(database, deviation, "open", member.who, given.why, version=preconditions.wanted(if_match))
    return preconditions.tagged(await queries.detail(database, deviation, member))


@router.post(
    "/deviations/{deviation}/hold",
    dependencies=[allow(*HOLDS)],
    status_code=201,
    summary="Keep data from being dropped for a deviation",
    responses=description.CHANGE | description.made(shapes.DeviationDetail, deviation=shapes.DETAIL),
    openapi_extra=described(DeviationHold),
)
async def hold(request: Request, database: Db, member: Member, deviation: DeviationNumber) -> Response:
    await queries.hold(database, deviation, await order(request, DeviationHold), member.who)
    return preconditions.tagged(await queries.detail(database, deviation, member), 201)


@router.post(
    "/deviations/{deviation}/links",
    dependencies=WRITE,
    status_code=201,
    summary="Link a deviation to a thing",
    description="A thing that is not there, or not yours, cannot be linked to.",
    responses=description.CHANGE | description.made(shapes.DeviationLinkAnswer, link=shapes.LINK),
    openapi_extra=described(NewLink),
)
async def link(request: Request, database: Db, member: Member, deviation: DeviationNumber) -> Response:
    given = await order(request, NewLink)
    if given.kind in queries.NEEDS:
        guard.require(member, *queries.NEEDS[given.kind])
    return answers.json(await queries.add_link(database, deviation, given, member), 201)


@router.delete(
    "/deviations/{deviation}/links/{link}",
    dependencies=WRITE,
    status_code=204,
    summary="Withdraw a link; the audit trail keeps it",
    responses=description.CHANGE | description.NOTHING,
)
async def unlink(
    database: Db,
    member: Member,
    deviation: DeviationNumber,
    link: LinkNumber,
    asked: Annotated[ReasonParameter, Query()],
) -> Response:
    await queries.unlink(database, deviation, link, member.who, asked.why)
    return Response(status_code=204)


@router.table(
    "/deviations/{deviation}/comments",
    dependencies=READ,
    summary="Comments on a deviation, oldest first, each with all its versions",
    responses=description.THING | COMMENTS.described(shapes.COMMENT),
)
async def comments(
    request: Request, database: Db, deviation: DeviationNumber, asked: Annotated[ListParameters, Query()]
) -> Response:
    return await COMMENTS.page(
        request, asked, lambda after, limit: queries.comments(database, deviation, after[0], limit)
    )


@router.post(
    "/deviations/{deviation}/comments",
    dependencies=WRITE,
    status_code=201,
    summary="Comment on a deviation",
    responses=description.CHANGE | description.made(shapes.CommentAnswer, comment=shapes.COMMENT),
    openapi_extra=described(NewComment),
)
async def comment(request: Request, database: Db, member: Member, deviation: DeviationNumber) -> Response:
    given = await order(request, NewComment)
    return answers.json(await queries.add_comment(database, deviation, given.text, member.who), 201)


@router.put(
    "/deviations/{deviation}/comments/{comment}",
    dependencies=WRITE,
    summary="Edit a comment of your own: that is a new version, and the others stay",
    responses=description.CHANGE | description.ok(shapes.CommentAnswer, comment=shapes.COMMENT),
    openapi_extra=described(CommentEdit),
)
async def edit(
    request: Request, database: Db, member: Member, deviation: DeviationNumber, comment: CommentNumber
) -> Response:
    given = await order(request, CommentEdit)
    return answers.json(await queries.edit_comment(database, deviation, comment, given, member.who))


@router.post(
    "/deviation-attachments",
    dependencies=WRITE,
    status_code=201,
    summary="Attach a file to a deviation",
    description="The body is the file: a picture (PNG, JPEG, GIF, WebP), PDF, CSV or text, of 8 MiB at most. What it "
    "is, its bytes tell, not its name. The audit trail has its SHA-256.",
    responses=description.CHANGE
    | description.A_FORM
    | description.made(shapes.AttachmentAnswer, attachment=shapes.ATTACHMENT),
    openapi_extra=FILE,
)
async def attach(
    request: Request, database: Db, member: Member, asked: Annotated[AttachmentParameters, Query()]
) -> Response:
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise Unsupported("the body is a form: send the file itself, as `curl --data-binary @FILE` does")
    return answers.json(await attachments.attach(database, asked, await request.body(), member.who), 201)


@router.get(
    "/deviations/{deviation}/attachments/{attachment}",
    dependencies=READ,
    summary="A file that is attached to a deviation",
    description="Browsers save it; they do not show it.",
    responses=description.THING
    | {200: {"description": "The file", "content": dict.fromkeys(attachments.KINDS, BINARY)}},
)
async def file(database: Db, deviation: DeviationNumber, attachment: AttachmentNumber) -> Response:
    return await attachments.file(database, deviation, attachment)
