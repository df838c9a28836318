"""What devices are asked to do, and what became of it. A gateway takes it to the device; see docs/asyncapi.json."""

from __future__ import annotations

import json
import math
from collections import Counter
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema

from api import answers, cursors, problems, times
from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.bodies.orders import Order, described, order
from api.models import commands as shapes
from api.models import common as models
from api.parameters import Cursor, DeviceName, Duration, NoParameters, Parameters, once
from api.problems import BadParameter, TooMany
from api.queries import commands, devices
from api.routes import PREFIX

router = APIRouter(prefix=PREFIX, tags=["commands"], dependencies=[Depends(once)])

READ = [allow(Role.VIEWER, Scope.COMMANDS_READ)]
WRITE = [allow(Role.ENGINEER, Scope.COMMANDS_WRITE)]
COLUMNS = tuple(shapes.COMMAND)
KEY = "Idempotency-Key"
KEY_PATTERN = "^[!-~]{1,200}$"
SHORTEST, LONGEST = timedelta(seconds=1), timedelta(days=1)
MOST_PARAMETERS = 8192
"""Bytes: controllers are small."""
MOST_PATIENCE = timedelta(seconds=60)
MOST_WAITING, MOST_OF_ONE = 100, 50
"""Requests with `wait`, each of which looks five times a second; and those of one organization."""


def _expressible(value: Any) -> Any:
    """Only what JSON, PostgreSQL and a controller in C all take for the same."""
    if isinstance(value, str) and "\0" in value:
        raise ValueError("holds a NUL character")
    if isinstance(value, int) and abs(value) > 2**53:
        raise ValueError("a whole number is larger than 2^53, from where on floating point has not all of them")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is too large, or none")
    if isinstance(value, dict):
        for pair in value.items():
            _expressible(list(pair))
    elif isinstance(value, list):
        for item in value:
            _expressible(item)
    return value


def _small(parameters: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(parameters)) > MOST_PARAMETERS:
        raise ValueError(f"more than {MOST_PARAMETERS} bytes")
    return parameters


def _lifetime(given: timedelta) -> timedelta:
    if not SHORTEST <= given <= LONGEST:
        raise ValueError("must be 1s to 1d")
    return given


Lifetime = Annotated[Duration, AfterValidator(_lifetime)]
Boot = Annotated[int, Field(ge=0, lt=2**63)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Precondition(BaseModel):
    """What has to be true when the command is asked for. Checked against what is stored at that moment."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        json_schema_extra={"dependentRequired": {name: ["channel"] for name in ("min", "max", "within")}},
    )

    online: bool | None = Field(None, description="whether the device is connected")
    boot: Boot | None = Field(None, description="its power-up counter")
    channel: Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_expressible)] | None = (
        Field(None, description="a channel that has a good value not older than `within`")
    )
    min: Number | None = Field(None, description="which is at least this")
    max: Number | None = Field(None, description="and at most this")
    within: Lifetime | None = Field(None, description="how old that value may be; without it 1m")

    def read(self) -> commands.Precondition:
        if self.channel is None and (self.min, self.max, self.within) != (None, None, None):
            raise BadParameter("precondition", "min, max and within are about a channel: say which")
        within = self.within or timedelta(minutes=1)
        said = self.model_dump(exclude_none=True)
        if self.channel is not None:
            said["within"] = times.duration_text(within)
        return commands.Precondition(self.online, self.boot, self.channel, self.min, self.max, within, said)


class CommandOrder(Order):
    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "example": {
                **{name: shapes.COMMAND[name] for name in ("name", "parameters", "precondition", "boot", "why")},
                "expires_in": "60s",
            }
        },
    )

    name: Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9-]{0,63}$")] = Field(
        description="what the device is to do; which it knows, its maker says"
    )
    parameters: Annotated[dict[str, Any], AfterValidator(_expressible), AfterValidator(_small)] = Field(
        {}, description="for the device, as they are"
    )
    expires_in: Lifetime = Field(
        timedelta(seconds=60), description="1s to 1d: if it has not reached the device by then, it is not done"
    )
    precondition: Annotated[
        Precondition | None,
        WithJsonSchema({"anyOf": [Precondition.model_json_schema(), {"type": "null"}]}),
    ] = Field(None, description="without it: that the device is not suspended, revoked or retired")
    boot: Boot | None = Field(
        None, description="the device refuses it in any other boot: it is meant for what runs now"
    )


class ListParameters(Parameters):
    state: list[shapes.CommandState] = Field([], description="only in these states; may be repeated; without it all")
    limit: int = Field(100, ge=1, le=1000, description="most commands on a page")
    cursor: Cursor = None


def _patience(given: timedelta) -> timedelta:
    if given > MOST_PATIENCE:
        raise ValueError("must be at most 60s")
    return given


class OneParameters(NoParameters):
    wait: Annotated[Duration, AfterValidator(_patience)] | None = Field(
        None, description="answer when the command has ended, or after this time, at most 60s"
    )


CommandId = Annotated[UUID, Path(description="id of a command", examples=[shapes.COMMAND["id"]])]
ASK = described(CommandOrder) | {
    "parameters": [
        {
            "name": KEY,
            "in": "header",
            "required": True,
            "description": "1 to 200 printable characters without spaces, new for each command: a request repeated "
            "with the same key is answered with the same command, and the device does it once",
            "schema": {"type": "string", "pattern": KEY_PATTERN},
            "example": "b7f0c2f4-feeding-1",
        }
    ]
}
ANSWER = models.ok(shapes.Command, None, command=shapes.COMMAND)[200]
LOCATION = {"Location": {"description": "where the command is", "schema": {"type": "string"}}}
REPLAYED = {"Idempotency-Replayed": {"description": "true", "schema": {"type": "string"}}}


@router.post(
    "/devices/{device}/commands",
    dependencies=WRITE,
    status_code=202,
    summary="Ask a device to do something, once",
    description="The answer comes before the device has it: see `state` at the address in Location, with `wait=30s`. "
    "Without an answer (a broken connection), repeat the request with the same Idempotency-Key.",
    responses=problems.CHANGE
    | {
        200: ANSWER | {"description": "This was asked for before: the same command", "headers": LOCATION | REPLAYED},
        202: ANSWER | {"description": "It waits for a gateway", "headers": LOCATION},
        412: problems.NOT_AS_EXPECTED,
    },
    openapi_extra=ASK,
)
async def ask(request: Request, database: Db, member: Member, device: DeviceName) -> Response:
    key = _key(request)
    given = await order(request, CommandOrder)
    supposed = None if given.precondition is None else given.precondition.read()
    wish = commands.Wish(device, given.name, given.parameters, supposed, given.boot, given.expires_in, given.why)
    found, is_new = await commands.request(database, wish, member.who, key)
    answer = answers.json(found)
    answer.headers["Location"] = f"{PREFIX}/commands/{found['id']}"
    if is_new:
        answer.status_code = 202
    else:
        answer.headers["Idempotency-Replayed"] = "true"
    return answer


def _key(request: Request) -> str:
    keys = request.headers.getlist(KEY)
    if len(keys) != 1 or not 1 <= len(keys[0]) <= 200 or not all("!" <= sign <= "~" for sign in keys[0]):
        raise BadParameter(
            KEY,
            "send this header once, with 1 to 200 printable characters without spaces, new for each command: without "
            "it a request that is repeated would dose twice",
        )
    return keys[0]


@router.get("/devices/{device}/commands.csv", include_in_schema=False, dependencies=READ)
@router.get(
    "/devices/{device}/commands",
    dependencies=READ,
    summary="What a device was asked to do, newest first",
    responses=problems.DEVICE
    | models.ok(
        shapes.Commands,
        'id,device,name,parameters,…\r\n3f2b8c1e-9d4a-4f6b-8e7c-1a2b3c4d5e6f,br-1,setpoint,"{""channel"": ""ph"",…',
        commands={"commands": [shapes.ENDED], **models.PAGE},
    ),
)
async def page(
    request: Request, database: Db, device: DeviceName, asked: Annotated[ListParameters, Query()]
) -> Response:
    format_ = answers.chosen(request, asked.format)
    before = (times.LAST, commands.LAST_ID)
    if asked.cursor is not None:
        instant, number = cursors.decode(request, asked.cursor, cursors.instant, UUID)
        before = (instant, number)
    number = await devices.device_id(database, device)
    found = await commands.page(database, number, asked.state or None, before, asked.limit + 1)
    shown, following = found[: asked.limit], None
    if len(found) > asked.limit:
        following = cursors.encode(request, times.parse_instant(shown[-1]["requested_at"]), shown[-1]["id"])
    return answers.listing(request, format_, "commands", shown, COLUMNS, following=following)


@router.get(
    "/commands/{command}",
    dependencies=READ,
    summary="One command: how far it is, and its result",
    responses=problems.THING | models.ok(shapes.Command, None, command=shapes.ENDED),
)
async def one(
    request: Request, database: Db, member: Member, command: CommandId, asked: Annotated[OneParameters, Query()]
) -> Response:
    answers.json_only(request, asked.format)
    if asked.wait is None:
        return answers.json(await commands.one(database, command))
    waiting: Counter[int | None] = request.app.state.waiting
    whose = member.organization_id
    if waiting.total() >= MOST_WAITING or waiting[whose] >= MOST_OF_ONE:
        raise TooMany("too many requests wait already: ask without wait", headers={"Retry-After": "5"})
    waiting[whose] += 1
    try:
        return answers.json(await commands.ended(database, command, asked.wait, request.is_disconnected))
    finally:
        waiting.subtract([whose])


@router.post(
    "/commands/{command}/cancel",
    dependencies=WRITE,
    summary="Take a command back that no gateway has sent yet",
    responses=problems.CHANGE
    | models.ok(
        shapes.Command,
        None,
        command=shapes.COMMAND | {"state": "cancelled", "ended_at": models.T, "detail": "a mistake"},
    ),
    openapi_extra=described(Order),
)
async def cancel(request: Request, database: Db, member: Member, command: CommandId) -> Response:
    given = await order(request, Order)
    return answers.json(await commands.cancel(database, command, member.who, given.why))
