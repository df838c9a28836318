"""Routes for commands to devices. A gateway publishes them to the device; see docs/asyncapi.json."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Path, Query, Request, Response
from pydantic import AfterValidator, Field

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description
from api.http.answers import Table
from api.http.bodies import Order, described, order
from api.http.parameters import DeviceName, Duration, ListParameters, NoParameters
from api.problems import BadParameter, TooMany
from api.queries import commands as queries
from api.queries import devices
from api.routes import PREFIX, Router
from api.services import App
from api.shapes import commands as shapes
from api.shapes.commands import CommandOrder
from api.shapes.pending_acts import WAITS
from schema import times

router = Router("commands")

READ = [allow(Role.VIEWER, Scope.COMMANDS_READ)]
WRITE = [allow(Role.ENGINEER, Scope.COMMANDS_WRITE)]
COMMANDS = Table(
    name="commands",
    of=shapes.CommandAnswer,
    item=queries.item,
    key={"requested_at": cursors.instant, "command_id": UUID},
    first=(times.LAST, queries.LAST_ID),
)
KEY = "Idempotency-Key"
KEY_PATTERN = "^[!-~]{1,200}$"
MOST_PATIENCE = timedelta(seconds=60)


class CommandParameters(ListParameters):
    state: list[shapes.CommandState] = Field([], description="only in these states; may be repeated; without it all")


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
ANSWER = description.ok(shapes.CommandAnswer, command=shapes.COMMAND)[200]
EITHER = {
    "schema": {"oneOf": [part["content"]["application/json"]["schema"] for part in (ANSWER, WAITS[202])]},
    "examples": {
        name: one
        for part in (ANSWER, WAITS[202])
        for name, one in part["content"]["application/json"]["examples"].items()
    },
}
LOCATION = {"Location": {"description": "where the command is", "schema": {"type": "string"}}}
REPLAYED = {"Idempotency-Replayed": {"description": "true", "schema": {"type": "string"}}}


@router.post(
    "/devices/{device}/commands",
    dependencies=WRITE,
    status_code=202,
    summary="Send a command to a device, once",
    description="The answer comes before the device has it: see `state` at the address in Location, with `wait=30s`. "
    "Without an answer (a broken connection), repeat the request with the same Idempotency-Key.",
    responses=description.CHANGE
    | {
        200: ANSWER | {"description": "This was asked for before: the same command", "headers": LOCATION | REPLAYED},
        202: {
            "description": "It waits for a gateway; or, a setpoint, for a second person if the organization wants one",
            "headers": LOCATION,
            "content": {"application/json": EITHER},
        },
        **description.NOT_AS_EXPECTED,
    },
    openapi_extra=ASK,
)
async def ask(request: Request, database: Db, member: Member, device: DeviceName) -> Response:
    key = _key(request)
    given = await order(request, CommandOrder)
    found, is_new = await queries.request(database, device, given, member.who, key)
    answer = answers.json(found)
    answer.headers["Location"] = f"{PREFIX}/commands/{found.id}"
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


@router.table(
    "/devices/{device}/commands",
    dependencies=READ,
    summary="Commands to a device, newest first",
    responses=description.DEVICE | COMMANDS.described(shapes.ENDED),
)
async def page(
    request: Request, database: Db, device: DeviceName, asked: Annotated[CommandParameters, Query()]
) -> Response:
    async def rows(before: list[Any], limit: int) -> Sequence[Any]:
        number = await devices.device_id(database, device)
        return await queries.page(database, number, asked.state or None, before, limit)

    return await COMMANDS.page(request, asked, rows)


@router.get(
    "/commands/{command}",
    dependencies=READ,
    summary="One command, with its state and result",
    responses=description.THING | description.ok(shapes.CommandAnswer, command=shapes.ENDED),
)
async def one(
    request: Request,
    app: App,
    database: Db,
    member: Member,
    *,
    command: CommandId,
    asked: Annotated[OneParameters, Query()],
) -> Response:
    answers.json_only(request, asked.format)
    if asked.wait is None:
        return answers.json(await queries.one(database, command))
    if app.waiting.is_full(member.organization_id):
        raise TooMany("too many requests wait already: ask without wait", headers={"Retry-After": "5"})
    with app.waiting.one_more(member.organization_id):
        return answers.json(await queries.ended(database, command, asked.wait, request.is_disconnected))


@router.post(
    "/commands/{command}/cancel",
    dependencies=WRITE,
    summary="Cancel a command that no gateway has sent yet",
    responses=description.CHANGE
    | description.ok(
        shapes.CommandAnswer,
        command=shapes.COMMAND | {"state": "cancelled", "ended_at": description.T, "detail": "a mistake"},
    ),
    openapi_extra=described(Order),
)
async def cancel(request: Request, database: Db, member: Member, command: CommandId) -> Response:
    given = await order(request, Order)
    return answers.json(await queries.cancel(database, command, member.who, given.why))
