"""Routes for the rules that raise alarms: one by one, and all of them as a YAML file."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import answers, cursors, description, preconditions
from api.http.answers import JsonOnly, Table
from api.http.bodies import body, inlined
from api.http.parameters import ReasonParameter, RuleName, StrictParameters
from api.http.preconditions import ExpectedByHeader, IfMatch
from api.queries import alarm_rules as queries
from api.queries.alarm_rules import RuleOrder
from api.routes import Router
from api.shapes import alarm_rules as shapes
from api.shapes.pending_acts import WAITS
from schema.alarms import files
from schema.alarms.rules import Definition

router = Router("alarm rules")

READ = [allow(Role.VIEWER, Scope.ALARMS_READ)]
WRITE = [allow(Role.ENGINEER, Scope.RULES_WRITE)]
RULES = Table(name="rules", of=shapes.SavedRule, item=queries.item, key={"name": cursors.device}, first=("",))
YAML = "application/yaml"
SAYS = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": inlined(Definition.model_json_schema()), "example": shapes.DEFINITION}
        },
    }
}
FILE: dict[str, Any] = {
    YAML: {
        "schema": {
            "type": "object",
            "properties": {"rules": {"type": "array", "items": {"type": "object"}}},
            "required": ["rules"],
            "additionalProperties": False,
        },
        "example": {"rules": [{"name": "temperature-high", **shapes.DEFINITION}]},
    }
}


async def _change(member: Member, asked: Annotated[ReasonParameter, Query()]) -> RuleOrder:
    return RuleOrder(member.who, asked.why)


Changing = Annotated[RuleOrder, Depends(_change)]


@router.table(
    "/alarm-rules",
    dependencies=READ,
    summary="Alarm rules by name",
    responses=description.DATABASE | RULES.described(shapes.RULE),
)
async def page(request: Request, database: Db, asked: Annotated[shapes.RuleParameters, Query()]) -> Response:
    return await RULES.page(request, asked, lambda after, limit: queries.page(database, asked, after[0], limit))


@router.get(
    "/alarm-rules.yaml",
    dependencies=READ,
    summary="All rules as a file",
    description="Importing this file changes nothing.",
    responses=description.DATABASE
    | {200: {"description": "A file in YAML", "content": FILE}, 409: description.CHANGE[409]},
)
async def export(database: Db, asked: Annotated[StrictParameters, Query()]) -> Response:
    found = await queries.everything(database)
    text = await asyncio.to_thread(files.dump, found)  # a second for a thousand
    headers = {"Content-Disposition": 'attachment; filename="alarm-rules.yaml"'}
    return Response(text, headers=headers, media_type=YAML)


@router.post(
    "/alarm-rules.yaml",
    dependencies=WRITE,
    summary="Import rules from a file: all of them, or none if one is bad",
    description=f"At most {files.MAX_BYTES} bytes and {files.MAX_RULES} rules. What is wrong is told with its line.",
    responses=description.CHANGE
    | description.CHANGED
    | WAITS
    | description.ok(shapes.Imported, imported=shapes.IMPORTED),
    openapi_extra={"requestBody": {"required": True, "content": FILE}},
)
async def import_(
    request: Request, database: Db, member: Member, asked: Annotated[shapes.RuleImportParameters, Query()]
) -> Response:
    content = await body(request, files.MAX_BYTES)
    given = await asyncio.to_thread(shapes.rules_of, content)
    change = RuleOrder(member.who, asked.why)
    return answers.json(await queries.import_(database, given, change, remove=asked.remove, dry_run=asked.dry_run))


@router.get(
    "/alarm-rules/{rule}",
    dependencies=READ,
    summary="One rule",
    responses=description.THING | description.versioned(shapes.RuleDetail, rule=shapes.DETAIL),
)
async def one(database: Db, rule: RuleName, _: JsonOnly) -> Response:
    return preconditions.tagged(await queries.detail(database, rule))


@router.put(
    "/alarm-rules/{rule}",
    dependencies=WRITE,
    summary="Make a rule, or change it",
    description="The body is the whole rule, without its name. It holds as soon as it is saved: try it before. With "
    "`If-Match` it is only changed if nobody has changed it meanwhile; with `If-None-Match: *` it is only made.",
    responses=description.CHANGE | WAITS | description.saved(shapes.RuleDetail, rule=shapes.DETAIL),
    openapi_extra=SAYS,
)
async def put(request: Request, database: Db, rule: RuleName, expected: ExpectedByHeader, change: Changing) -> Response:
    given = await shapes.definition(request)
    item, is_new = await queries.put(database, rule, given, expected, change)
    return preconditions.tagged(item, 201 if is_new else 200)


@router.delete(
    "/alarm-rules/{rule}",
    dependencies=WRITE,
    summary="Remove a rule",
    description="Its alarms end; their history stays.",
    responses=description.THING
    | description.CHANGED
    | WAITS
    | {409: description.CHANGE[409]}
    | description.ok(shapes.SavedRule, rule=shapes.RULE),
)
async def remove(database: Db, rule: RuleName, change: Changing, if_match: IfMatch = None) -> Response:
    return answers.json(await queries.remove(database, rule, preconditions.wanted(if_match), change))
