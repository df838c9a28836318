"""Routes for the serials whose controllers may enroll by themselves."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import Query, Request, Response
from pydantic import Field

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description
from api.http.answers import Table
from api.http.bodies import Order, OrganizationName, body, described, order, unambiguous
from api.http.parameters import SerialNumber, StrictParameters, Words
from api.problems import BadParameter, Unsupported
from api.queries import serials as queries
from api.routes import Router
from api.shapes import serials as shapes
from schema import serials

router = Router("enrollment")

READ = [allow(Role.OPERATOR, Scope.ENROLLMENT_READ)]
DECIDE = [allow(Role.ENGINEER, Scope.ENROLLMENT_WRITE)]

SERIALS = Table(name="serials", of=shapes.Serial, item=queries.item, key={"serial": cursors.device}, first=("",))

ROWS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "text/csv": {
                "schema": {"type": "string"},
                "example": "serial,device,claim_key,version\r\nBR-2044,br-1,,1\r\n",
            },
            "application/json": {
                "schema": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["serial"],
                        "properties": {
                            "serial": {"type": "string"},
                            "device": {"type": ["string", "null"], "description": "its name; without it, the serial"},
                            "claim_key": {"type": ["string", "null"], "description": "32 bytes, hex or base64url"},
                            "version": {"type": ["integer", "null"], "description": "of the master key; 0: claim_key"},
                        },
                        "additionalProperties": False,
                    },
                },
                "example": [{"serial": "BR-2044", "device": "br-1", "version": 1}],
            },
        },
    }
}


class SerialImportParameters(StrictParameters):
    name: Words = Field(description="name of the import; a known one is extended", examples=["plant-north"])
    quota: int | None = Field(None, ge=0, lt=2**31, description="devices that may enroll with its serials")
    organization: OrganizationName | None = Field(
        None, description="owner of the devices; without it, the one that runs the installation", examples=["north"]
    )
    why: Words = Field(description="the reason", examples=["delivery 4711"])


@router.table(
    "/serials",
    dependencies=READ,
    summary="Serials whose controllers may enroll by themselves",
    responses=description.DATABASE | SERIALS.described(shapes.SERIAL),
)
async def page(request: Request, database: Db, asked: Annotated[shapes.SerialParameters, Query()]) -> Response:
    return await SERIALS.page(request, asked, lambda after, limit: queries.serials(database, asked, after[0], limit))


@router.post(
    "/serials",
    dependencies=DECIDE,
    summary="Import serials: all of them, or none if one is bad",
    description="Only the organization that runs the installation imports, also for others.",
    responses=description.CHANGE
    | description.UNSUPPORTED
    | description.ok(shapes.Import, imported={"import": "plant-north", "new": 48, "known": 2, "keys_not_kept": 0}),
    openapi_extra=ROWS,
)
async def import_(
    request: Request, database: Db, member: Member, asked: Annotated[SerialImportParameters, Query()]
) -> Response:
    with queries.refusals():
        rows = _rows(request, await body(request, serials.MOST_BYTES))
    batch = serials.SerialBatch(asked.name, asked.quota, asked.organization)
    return answers.json(await queries.import_(database, rows, batch, member.who, asked.why))


@router.post(
    "/serials/{serial}/block",
    dependencies=DECIDE,
    summary="Refuse handshakes of a serial",
    responses=description.CHANGE | description.ok(shapes.Serial, serial=shapes.SERIAL | {"blocked": True}),
    openapi_extra=described(Order),
)
async def block(request: Request, database: Db, member: Member, serial: SerialNumber) -> Response:
    given = await order(request, Order)
    return answers.json(await queries.block(database, serial, True, member.who, given.why))


@router.post(
    "/serials/{serial}/unblock",
    dependencies=DECIDE,
    summary="Let a serial enroll again",
    responses=description.CHANGE | description.ok(shapes.Serial, serial=shapes.SERIAL),
    openapi_extra=described(Order),
)
async def unblock(request: Request, database: Db, member: Member, serial: SerialNumber) -> Response:
    given = await order(request, Order)
    return answers.json(await queries.block(database, serial, False, member.who, given.why))


def _rows(request: Request, content: bytes) -> list[serials.SerialRow]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "text/csv":
            return serials.from_csv(content.decode())
        if kind == "application/json":
            unambiguous(content)
            return serials.from_items(msgspec.json.decode(content, type=list[Any]))
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise BadParameter("body", f"is not {kind}: a list of objects, or CSV in UTF-8") from error
    raise Unsupported("send the rows as application/json or text/csv, and say so in Content-Type")
