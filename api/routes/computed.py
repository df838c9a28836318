"""Routes for computed channels: formulas of an organization, constants of its devices, and the standard list."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Query, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description, preconditions
from api.http.answers import JsonOnly, Table
from api.http.bodies import described, order
from api.http.description import raw
from api.http.parameters import DeviceName, ListParameters, NoParameters, ReasonParameter
from api.http.preconditions import ExpectedByHeader, IfMatch
from api.problems import BadParameter
from api.queries import computed as queries
from api.queries.computed import ComputedOrder
from api.routes import Router
from api.shapes import computed as shapes
from api.shapes.computed import ComputedDefinition, NewConstants, SavedComputedAnswer, StandardComputedAnswer
from api.shapes.standard_computed import STANDARD_COMPUTED, StandardComputed
from schema.channels import LONGEST_NAME, wrong_in_name

router = Router("computed channels")

READ = [allow(Role.VIEWER, Scope.DEVICES_READ)]
CHANGE = [allow(Role.ENGINEER, Scope.DEVICES_WRITE)]
ComputedName = Annotated[
    str,
    Path(description="name of a computed channel, percent-encoded", examples=["our"], max_length=LONGEST_NAME),
]


async def _change(member: Member, asked: Annotated[ReasonParameter, Query()]) -> ComputedOrder:
    return ComputedOrder(member.who, asked.why)


Changing = Annotated[ComputedOrder, Depends(_change)]


def _standard(one: StandardComputed) -> StandardComputedAnswer:
    what = one.definition
    return StandardComputedAnswer(
        channel=one.name,
        title=what.title or one.name,
        unit=what.unit,
        formula=what.formula,
        assumptions=one.assumptions,
        source=what.source or "",
        definition=raw(what.model_dump_json()),
    )


DEFINED = Table(
    name="channels",
    title="ComputedChannels",
    of=SavedComputedAnswer,
    item=queries.item,
    key={"channel": cursors.device},
    first=("",),
)
STANDARD_LIST = Table(name="channels", title="StandardComputedChannels", of=StandardComputedAnswer, item=_standard)


@router.table(
    "/standard-computed-channels",
    dependencies=READ,
    summary="The standard list: formulas for OUR, CER, RQ, kLa, growth and feeds, with what they assume",
    description="`definition` is the body with which PUT takes one over.",
    responses=description.DATABASE
    | STANDARD_LIST.described(
        {name: shapes.SAVED[name] for name in ("channel", "title", "unit", "formula", "source", "definition")}
        | {"assumptions": "Optical density is proportional to biomass."}
    ),
)
async def standard(request: Request, asked: Annotated[NoParameters, Query()]) -> Response:
    return STANDARD_LIST.answer(request, answers.chosen(request, asked.format), STANDARD_COMPUTED)


@router.table(
    "/computed-channels",
    dependencies=READ,
    summary="Computed channels of the organization by name",
    responses=description.DATABASE | DEFINED.described(shapes.SAVED),
)
async def page(request: Request, database: Db, asked: Annotated[ListParameters, Query()]) -> Response:
    return await DEFINED.page(request, asked, lambda after, limit: queries.page(database, after[0], limit))


@router.get(
    "/computed-channels/{computed}",
    dependencies=READ,
    summary="One computed channel",
    responses=description.THING | description.versioned(shapes.ComputedDetail, channel=shapes.DETAIL),
)
async def one(database: Db, computed: ComputedName, _: JsonOnly) -> Response:
    return preconditions.tagged(await queries.detail(database, computed))


@router.put(
    "/computed-channels/{computed}",
    dependencies=CHANGE,
    summary="Define a channel by a formula, or change it",
    description="The body is the whole definition; docs/computed.md says what a formula can be. Every device that has "
    "sent all inputs has the channel at once, for all of time: it is computed when it is read. A name that a device "
    "sends is refused. With `If-Match` it is only changed if nobody has changed it meanwhile; with `If-None-Match: *` "
    "it is only made.",
    responses=description.CHANGE | description.saved(shapes.ComputedDetail, channel=shapes.DETAIL),
    openapi_extra=described(ComputedDefinition),
)
async def put(
    request: Request, database: Db, computed: ComputedName, expected: ExpectedByHeader, change: Changing
) -> Response:
    if wrong := wrong_in_name(computed):
        raise BadParameter("computed", wrong)
    given = await order(request, ComputedDefinition)
    item, is_new = await queries.put(database, computed, given, expected, change)
    return preconditions.tagged(item, 201 if is_new else 200)


@router.delete(
    "/computed-channels/{computed}",
    dependencies=CHANGE,
    summary="Remove a computed channel",
    description="Nothing of what devices have sent is removed.",
    responses=description.THING
    | description.CHANGED
    | description.ok(shapes.SavedComputedAnswer, channel=shapes.SAVED),
)
async def remove(database: Db, computed: ComputedName, change: Changing, if_match: IfMatch = None) -> Response:
    return answers.json(await queries.remove(database, computed, preconditions.wanted(if_match), change))


@router.get(
    "/devices/{device}/constants",
    dependencies=READ,
    summary="Constants of a device for computed channels, and which are missing",
    responses=description.DEVICE | description.versioned(shapes.DeviceConstants, constants=shapes.CONSTANTS),
)
async def constants(database: Db, device: DeviceName, _: JsonOnly) -> Response:
    return preconditions.tagged(await queries.constants(database, device))


@router.patch(
    "/devices/{device}/constants",
    dependencies=CHANGE,
    summary="Say constants of a device: working volume, start of a total, and others",
    description="A constant counts in every formula that names it, in place of what its definition says. What is left "
    "out stays; what is null is taken back. With If-Match it is only done if nobody has changed it meanwhile.",
    responses=description.CHANGE
    | description.CHANGED
    | description.versioned(shapes.DeviceConstants, constants=shapes.CONSTANTS),
    openapi_extra=described(NewConstants),
)
async def set_constants(
    request: Request, database: Db, member: Member, device: DeviceName, if_match: IfMatch = None
) -> Response:
    given = await order(request, NewConstants)
    version = preconditions.wanted(if_match)
    return preconditions.tagged(await queries.set_constants(database, device, given, version, member.who))
