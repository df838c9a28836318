"""Rules by which alarms are raised: one by one, and all of them as a file in YAML."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import Field

from api import answers, cursors, problems, versions
from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.bodies import alarms as bodies
from api.bodies.orders import MOST_TAGS, Words, body, inlined
from api.models import alarms as shapes
from api.models import common as models
from api.parameters import Cursor, Known, NoParameters, Parameters, RuleName, once
from api.problems import BadParameter, BadRules
from api.queries import alarm_rules as rules
from api.queries.alarm_rules import Change
from api.routes import PREFIX
from schema.alarms import files
from schema.alarms.rules import Definition, Name, Priority

router = APIRouter(prefix=PREFIX, tags=["alarm rules"], dependencies=[Depends(once)])

READ = [allow(Role.VIEWER, Scope.ALARMS_READ)]
WRITE = [allow(Role.ENGINEER, Scope.RULES_WRITE)]
COLUMNS = tuple(shapes.RULE)
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
ETAG = {"ETag": {"description": "its version", "schema": {"type": "string"}}}
SAVED = models.ok(shapes.RuleDetail, None, rule=shapes.RULE | {"warnings": []})[200]

IfMatch = Annotated[str | None, Header(description="the ETag that it must have", examples=['"3"'])]


async def _before(
    if_match: IfMatch = None,
    if_none_match: Annotated[str | None, Header(description="*: only if there is no such rule")] = None,
) -> rules.Before:
    if if_match is not None and if_none_match is not None:
        raise BadParameter("If-Match", "and If-None-Match together: send one of them")
    if if_none_match is not None:
        return rules.Before(versions.only_new(if_none_match))
    if if_match is None:
        return rules.Before()
    version = versions.wanted(if_match)
    return rules.Before(version, there=version is None)


Before = Annotated[rules.Before, Depends(_before)]


class ListParameters(Parameters):
    enabled: bool | None = Field(None, description="only those that are, or only those that are not")
    tag: list[Name] = Field(
        [], max_length=MOST_TAGS, description="only those whose scope names this tag; repeated: all of these tags"
    )
    channel: Name | None = Field(None, description="only those that read this channel, in a formula, too")
    priority: list[Priority] = Field([], description="only of these; may be repeated")
    limit: int = Field(100, ge=1, le=1000, description="most rules on a page")
    cursor: Cursor = None

    def filter(self) -> rules.Filter:
        return rules.Filter(self.enabled, self.tag or None, self.priority or None, self.channel)


class Reason(Known):
    why: Words = Field(description="the reason, for the audit trail", examples=["as agreed on 3 November"])


async def _change(member: Member, asked: Annotated[Reason, Query()]) -> Change:
    return Change(member.who, asked.why)


Changing = Annotated[Change, Depends(_change)]


class ImportParameters(Reason):
    dry_run: bool = Field(False, description="true: change nothing, and say what would be changed")
    remove: bool = Field(False, description="true: remove the rules that are not in the file")


@router.get("/alarm-rules.csv", include_in_schema=False, dependencies=READ)
@router.get(
    "/alarm-rules",
    dependencies=READ,
    summary="Rules by name",
    responses=problems.DATABASE
    | models.ok(
        shapes.Rules,
        "rule,version,title,priority,…\r\ntemperature-high,3,Temperature high,high,…\r\n",
        rules={"rules": [shapes.RULE], **models.PAGE},
    ),
)
async def page(request: Request, database: Db, asked: Annotated[ListParameters, Query()]) -> Response:
    format_ = answers.chosen(request, asked.format)
    [after] = [""] if asked.cursor is None else cursors.decode(request, asked.cursor, cursors.device)
    items = await rules.page(database, asked.filter(), after, asked.limit + 1)
    shown, following = items[: asked.limit], None
    if len(items) > asked.limit:
        following = cursors.encode(request, shown[-1]["rule"])
    return answers.listing(request, format_, "rules", shown, COLUMNS, following=following)


@router.get(
    "/alarm-rules.yaml",
    dependencies=READ,
    summary="All rules as a file",
    description="To import it changes nothing.",
    responses=problems.DATABASE
    | {
        200: {
            "description": "A file in YAML",
            "content": FILE,
        },
        409: problems.CHANGE[409],
    },
)
async def export(database: Db, asked: Annotated[Known, Query()]) -> Response:
    found = await rules.everything(database)
    text = await asyncio.to_thread(files.dump, found)  # a second for a thousand
    headers = {"Content-Disposition": 'attachment; filename="alarm-rules.yaml"'}
    return Response(text, headers=headers, media_type=YAML)


@router.post(
    "/alarm-rules.yaml",
    dependencies=WRITE,
    summary="Make the rules those of a file: all of them, or none if one is bad",
    description=f"At most {files.MAX_BYTES} bytes and {files.MAX_RULES} rules. What is wrong is told with its line.",
    responses=problems.CHANGE | {412: problems.CHANGED} | models.ok(shapes.Imported, None, imported=shapes.IMPORTED),
    openapi_extra={"requestBody": {"required": True, "content": FILE}},
)
async def import_(
    request: Request, database: Db, member: Member, asked: Annotated[ImportParameters, Query()]
) -> Response:
    content = await body(request, files.MAX_BYTES)
    try:
        given = await asyncio.to_thread(files.load, content)
    except files.BadFile as error:
        faults = [
            {"line": one.line, "rule": one.rule, "parameter": one.field or "body", "detail": one.problem}
            for one in error.problems
        ]
        raise BadRules(str(error), errors=faults) from error
    change = Change(member.who, asked.why)
    return answers.json(await rules.import_(database, given, change, remove=asked.remove, dry_run=asked.dry_run))


@router.get(
    "/alarm-rules/{rule}",
    dependencies=READ,
    summary="One rule",
    responses=problems.THING | {200: SAVED | {"headers": ETAG}},
)
async def one(request: Request, database: Db, rule: RuleName, asked: Annotated[NoParameters, Query()]) -> Response:
    answers.json_only(request, asked.format)
    return versions.tagged(await rules.detail(database, rule))


@router.put(
    "/alarm-rules/{rule}",
    dependencies=WRITE,
    summary="Make a rule, or change it",
    description="The body is the whole rule, without its name. It holds as soon as it is saved: try it before. With "
    "`If-Match` it is only changed if nobody has changed it meanwhile; with `If-None-Match: *` it is only made.",
    responses=problems.CHANGE
    | {
        200: SAVED | {"description": "Changed, or as it was", "headers": ETAG},
        201: SAVED | {"description": "Made", "headers": ETAG},
        412: problems.CHANGED,
    },
    openapi_extra=SAYS,
)
async def put(request: Request, database: Db, rule: RuleName, before: Before, change: Changing) -> Response:
    given = await bodies.definition(request)
    item, is_new = await rules.put(database, rule, given, before, change)
    return versions.tagged(item, 201 if is_new else 200)


@router.delete(
    "/alarm-rules/{rule}",
    dependencies=WRITE,
    summary="Remove a rule",
    description="Its alarms end; their history stays.",
    responses=problems.THING | {412: problems.CHANGED} | models.ok(shapes.Rule, None, rule=shapes.RULE),
)
async def remove(database: Db, rule: RuleName, change: Changing, if_match: IfMatch = None) -> Response:
    version = None if if_match is None else versions.wanted(if_match)
    return answers.json(await rules.remove(database, rule, version, change))
