"""Routes for what is said of channels: units, names, ranges; of all devices of an organization, or of one."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Query, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description, preconditions
from api.http.answers import JsonOnly, Table
from api.http.bodies import described, order
from api.http.parameters import DeviceName, ListParameters, NoParameters
from api.http.preconditions import IfMatch
from api.problems import BadParameter
from api.queries import channels as queries
from api.queries import devices
from api.queries.channels import Which
from api.queries.computed import with_computed
from api.routes import Router
from api.shapes import channels as shapes
from api.shapes.channels import ChannelAnswer, ChannelChange, ModelChannelChange
from schema.channels import LONGEST_NAME, STANDARD, ChannelTerms, wrong_in_name

router = Router("channels")

READ = [allow(Role.VIEWER, Scope.DEVICES_READ)]
CHANGE = [allow(Role.ENGINEER, Scope.DEVICES_WRITE)]
ChannelName = Annotated[
    str, Path(description="name of a channel, which may have slashes", examples=["pressure"], max_length=LONGEST_NAME)
]


async def _of_device(device: DeviceName, channel: ChannelName) -> Which:
    return Which(channel, device)


OfDevice = Annotated[Which, Depends(_of_device)]
CHANGING = (
    "What is left out stays; what is null is taken back. A new unit holds from now on, or from `unit_since`: what is "
    "stored before keeps the unit that it had. With If-Match it is only done if nobody has changed it meanwhile."
)

NOTHING = "changes nothing: give unit, title, kind, low and high, decimals or step"

OF_ORGANIZATION = Table(
    name="channels",
    title="OrganizationChannels",
    of=ChannelAnswer,
    item=queries.item,
    key={"channel": cursors.device},
    first=("",),
)
OF_DEVICE = Table(name="channels", of=ChannelAnswer, item=queries.item_of_device)
STANDARD_LIST = Table(
    name="channels",
    title="StandardChannels",
    of=ChannelAnswer,
    item=lambda one: shapes.answer(
        one.name,
        ChannelTerms(
            one.unit, one.description, None, one.kind, one.low, one.high, decimals=one.decimals, step=one.step
        ),
    ),
)


@router.table(
    "/standard-channels",
    dependencies=READ,
    summary="The standard list: names of channels of which everybody knows unit and meaning",
    responses=description.DATABASE | STANDARD_LIST.described(shapes.CHANNEL | {"title": None}),
)
async def standard(request: Request, asked: Annotated[NoParameters, Query()]) -> Response:
    return STANDARD_LIST.answer(request, answers.chosen(request, asked.format), STANDARD)


@router.table(
    "/channels",
    dependencies=READ,
    summary="Channels of the organization by name: sent by devices, said something of, or computed",
    responses=description.DATABASE | OF_ORGANIZATION.described(shapes.CHANNEL),
)
async def of_organization(request: Request, database: Db, asked: Annotated[ListParameters, Query()]) -> Response:
    return await OF_ORGANIZATION.page(request, asked, lambda after, limit: queries.page(database, after[0], limit))


@router.get(
    "/channels/{channel:path}",
    dependencies=READ,
    summary="What holds of a channel for all devices of which nothing else is said",
    responses=description.THING | description.versioned(shapes.ChannelDetail, channel=shapes.DETAIL),
)
async def one(database: Db, channel: ChannelName, _: JsonOnly) -> Response:
    return preconditions.tagged(await queries.detail(database, Which(channel)))


@router.patch(
    "/channels/{channel:path}",
    dependencies=CHANGE,
    summary="Say what a channel is, for all devices of which nothing else is said",
    description=CHANGING,
    responses=description.CHANGE
    | description.CHANGED
    | description.versioned(shapes.ChannelDetail, channel=shapes.DETAIL),
    openapi_extra=described(ChannelChange),
)
async def change(
    request: Request, database: Db, member: Member, channel: ChannelName, if_match: IfMatch = None
) -> Response:
    return await _change(request, database, Which(channel), member.who, if_match)


@router.table(
    "/devices/{device}/channels",
    dependencies=READ,
    summary="Channels a device has sent or that are computed of these, with what is said of them",
    responses=description.DEVICE | OF_DEVICE.described(shapes.CHANNEL),
)
async def of_device(
    request: Request, database: Db, device: DeviceName, asked: Annotated[NoParameters, Query()]
) -> Response:
    format_ = answers.chosen(request, asked.format)
    found = await with_computed(database, [await devices.device(database, device)])
    return OF_DEVICE.answer(request, format_, found.devices[0].channels)


@router.get(
    "/devices/{device}/channels/{channel:path}",
    dependencies=READ,
    summary="What holds of a channel of a device",
    responses=description.DEVICE | description.versioned(shapes.ChannelDetail, channel=shapes.DETAIL),
)
async def one_of_device(database: Db, which: OfDevice, _: JsonOnly) -> Response:
    return preconditions.tagged(await queries.detail(database, which))


@router.patch(
    "/devices/{device}/channels/{channel:path}",
    dependencies=CHANGE,
    summary="Say what a channel of one device is",
    description=CHANGING
    + " From then on the device has a unit of its own: another one of the organization is not its.",
    responses=description.CHANGE
    | description.CHANGED
    | description.versioned(shapes.ChannelDetail, channel=shapes.DETAIL),
    openapi_extra=described(ChannelChange),
)
async def change_of_device(
    request: Request, database: Db, member: Member, which: OfDevice, if_match: IfMatch = None
) -> Response:
    return await _change(request, database, which, member.who, if_match)


@router.post(
    "/channel-changes",
    dependencies=CHANGE,
    summary="Say what a channel is, for each device of a model",
    description="It is done for all devices of the model that have sent the channel, or for none. "
    + CHANGING.partition(" With If")[0],
    responses=description.CHANGE | description.ok(shapes.ModelChannel, channel=shapes.MODEL_CHANNEL),
    openapi_extra=described(ModelChannelChange),
)
async def change_of_model(request: Request, database: Db, member: Member) -> Response:
    given = await order(request, ModelChannelChange)
    if not given.said:
        raise BadParameter("body", NOTHING)
    devices_ = await queries.describe_model(database, given.channel, given.model, given, member.who)
    return answers.json(shapes.ModelChannel(channel=given.channel, model=given.model, devices=devices_))


async def _change(request: Request, database: Db, which: Which, who: str, if_match: str | None) -> Response:
    if wrong := wrong_in_name(which.channel):
        raise BadParameter("channel", wrong)
    given = await order(request, ChannelChange)
    if not given.said:
        raise BadParameter("body", NOTHING)
    version = preconditions.wanted(if_match)
    return preconditions.tagged(await queries.describe(database, which, given, version, who))
