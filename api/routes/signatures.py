"""Routes for signatures of records: reports, samples, deviations, alarm rules, acts that wait for a second person."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from api.access.guard import Db, Member, Person, allow, require
from api.access.roles import Role, Scope
from api.http import answers, description
from api.http.bodies import described, order
from api.queries import signatures as queries
from api.routes import Router
from api.services import App
from api.shapes import signatures as shapes
from api.shapes.signatures import NewSignature, RecordParameters
from api.signing import Signer

router = Router("signatures")


@router.get(
    "/signatures",
    dependencies=[allow(Role.VIEWER, Scope.DEVICES_READ)],
    summary="A record as it is signed, and its signatures",
    description="Who may read the record may read this. `digest` is what POST /signatures takes. A signature of a "
    "record that was changed since is broken: `intact` is false.",
    responses=description.THING | description.ok(shapes.SignedRecord, record=shapes.SIGNED),
)
async def record(database: Db, member: Member, asked: Annotated[RecordParameters, Query()]) -> Response:
    require(member, *queries.kind_of(asked.record).needs)
    return answers.json(await queries.record(database, asked.record))


@router.post(
    "/signatures",
    dependencies=[allow(Role.OPERATOR, Scope.DEVICES_WRITE)],
    status_code=201,
    summary="Sign a record",
    description="People alone sign, each signature with the password, the first of a session also with the e-mail "
    "address. `approved` and `rejected` are for engineers. What was changed since you read it is not signed: 412.",
    responses=description.CHANGE
    | description.CHANGED
    | description.made(shapes.SignatureAnswer, signature=shapes.SIGNATURE),
    openapi_extra=described(NewSignature),
)
async def sign(request: Request, app: App, database: Db, person: Person) -> Response:
    return answers.json(await Signer(request, app, database, person).sign(await order(request, NewSignature)), 201)
