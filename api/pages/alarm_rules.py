"""Rules that raise alarms: the list, a form for each, the file of all, and the trial over stored data."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict, Field

from api.access.guard import Db, allow
from api.access.roles import Role, Scope
from api.http.bodies import body
from api.http.parameters import RuleName, Words
from api.http.preconditions import ABSENT, Expected
from api.jobs.question import tried
from api.pages import alarm_words as words
from api.pages import rule_form
from api.pages.filters import Filters, query
from api.pages.page import OrganizationPage, Page, PageRouter, Version, form, is_partial, parsed
from api.pages.rule_form import RuleForm
from api.pages.signatures import signature_block
from api.problems import BadParameter, PreconditionFailed
from api.queries import alarm_rules as queries
from api.queries import channels, pending_acts, plant
from api.queries.alarm_rules import RuleOrder
from api.shapes import alarm_rules as shapes
from api.shapes.alarm_rules import RuleParameters, SavedRule
from api.shapes.alarm_trials import NewTrial, Trial
from schema import times
from schema.alarms import files
from schema.alarms.rules import PRIORITIES, Definition, Limit, OfChannel

READ = [allow(Role.VIEWER, Scope.ALARMS_READ)]
WRITE = [allow(Role.ENGINEER, Scope.RULES_WRITE)]
router = PageRouter()

ON_A_PAGE = 100
CHOICES = 1000
"""Channels that the form offers."""
DRAWN = 4
"""Devices whose values are drawn with a trial."""
MOST_FILE_BYTES = 3 * files.MAX_BYTES + 4096
"""A file as a field of a form, in which many signs take three bytes."""
YAML = "application/yaml"
STALE = "What you typed is still here: open the page in another tab to see what is new"


class RuleFilters(Filters, RuleParameters):
    after: str = Field("", max_length=64)


class FileForm(BaseModel):
    model_config = ConfigDict(extra="forbid")

    yaml: str
    why: Words
    remove: bool = False
    dry_run: bool = False


class RemovalForm(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: Version
    why: Words


def _row(rule: SavedRule) -> dict[str, Any]:
    return {"rule": rule, "definition": msgspec.json.decode(rule.definition)}


@router.get("/alarms/rules", dependencies=READ)
async def rules(page: OrganizationPage, database: Db, asked: Annotated[RuleFilters, Query()]) -> Response:
    found = await queries.page(database, asked, asked.after, ON_A_PAGE + 1)
    following = query(page.request, after=found[ON_A_PAGE - 1]["name"]) if len(found) > ON_A_PAGE else None
    rows = [_row(queries.item(row)) for row in found[:ON_A_PAGE]]
    if is_partial(page.request):
        return page.show("partials/alarm_rules.html", rows=rows, following=following, words=words)
    tags, _ = await plant.choices(database)
    return page.show(
        "pages/alarm_rules.html",
        here="alarms",
        tab="alarms/rules",
        rows=rows,
        following=following,
        asked=asked,
        tags=tags,
        yaml="",
        most_bytes=files.MAX_BYTES,
        priorities=PRIORITIES[::-1],
        words=words,
    )


@router.get("/alarm-rules.yaml", dependencies=READ)
async def export(database: Db) -> Response:
    text = await asyncio.to_thread(files.dump, await queries.everything(database))
    return Response(text, headers={"Content-Disposition": 'attachment; filename="alarm-rules.yaml"'}, media_type=YAML)


@router.post("/alarm-rules.yaml", dependencies=WRITE)
async def import_(page: OrganizationPage, database: Db) -> Response:
    given = parsed(await body(page.request, MOST_FILE_BYTES), FileForm)
    found = await asyncio.to_thread(shapes.rules_of, given.yaml.encode())
    order = RuleOrder(page.member.who, given.why)
    done = await queries.import_(database, found, order, remove=given.remove, dry_run=given.dry_run)
    if not is_partial(page.request):
        values: dict[str, Any] = {"done": done, "yaml": given.yaml, "most_bytes": files.MAX_BYTES, "words": words}
        return page.show("pages/imported.html", here="alarms", tab="alarms/rules", **values)
    answer = page.show("partials/imported.html", done=done)
    if not given.dry_run:
        answer.headers["HX-Trigger"] = "changed"
    return answer


@router.get("/alarm-rules", dependencies=WRITE)
async def new(page: OrganizationPage, database: Db, like: str = "") -> Response:
    """The form of a rule that is not there yet, empty or like another one."""
    definition = msgspec.json.decode((await queries.detail(database, like)).definition) if like else None
    return page.show(
        "pages/alarm_rule.html", rule=None, signed=None, waiting=[], warnings=[], **await _form(database, definition)
    )


@router.post("/alarm-rules", dependencies=WRITE)
async def make(page: OrganizationPage, database: Db) -> Response:
    given = await form(page.request, RuleForm, **rule_form.LISTS)
    if given.name is None:
        raise BadParameter("name", "is missing: small letters, digits and hyphens")
    return await _put(page, database, given.name, given, Expected(ABSENT))


@router.get("/alarm-rules/{rule}", dependencies=READ)
async def rule(page: OrganizationPage, database: Db, rule: RuleName) -> Response:
    found = await queries.detail(database, rule)
    definition = msgspec.json.decode(found.definition)
    values = await _form(database, definition) | await signature_block(page, database, f"rule/{rule}")
    values["waiting"] = await pending_acts.waiting(database, f"alarm-rule/{rule}")
    return page.show("pages/alarm_rule.html", rule=found, warnings=found.warnings, **values)


@router.post("/alarm-rules/{rule}", dependencies=WRITE)
async def save(page: OrganizationPage, database: Db, rule: RuleName) -> Response:
    """Save a rule, if nobody has changed it since the form was shown."""
    given = await form(page.request, RuleForm, **rule_form.LISTS)
    if given.version is None:
        raise BadParameter("version", "is missing: load the page again")
    return await _put(page, database, rule, given, Expected(given.version))


@router.post("/alarm-rules/{rule}/remove", dependencies=WRITE)
async def remove(page: OrganizationPage, database: Db, rule: RuleName) -> Response:
    given = await form(page.request, RemovalForm)
    await queries.remove(database, rule, given.version, RuleOrder(page.member.who, given.why))
    return page.go("alarms/rules")


@router.post("/alarm-trials", dependencies=WRITE)
async def trial(page: OrganizationPage, database: Db) -> Response:
    """When the rule in the form would have raised an alarm; nothing is saved."""
    given = await form(page.request, RuleForm, **rule_form.LISTS)
    definition = given.definition()
    end = times.text(datetime.now(UTC))
    asked = NewTrial.model_validate({"definition": definition, "from": f"-{given.hours}h", "to": end})
    assert page.member.organization_id is not None
    found = await tried(page.app.trials, database, page.member.organization_id, asked, page.request.is_disconnected)
    values: dict[str, Any] = {
        "trial": found,
        "raised": [one for one in found.periods if one.what == "active"],
        "span": {24: "24 h", 168: "7 days", 744: "31 days"}.get(given.hours, f"{given.hours} h"),
        "drawn": _drawn(found, definition),
        "words": words,
    }
    if is_partial(page.request):
        return page.show("partials/alarm_trial.html", **values)
    return page.show("pages/alarm_trial.html", here="alarms", tab="alarms/rules", **values)


def _drawn(found: Trial, definition: Definition) -> list[dict[str, Any]]:
    """What is drawn of each device: the channel, its limits, and when the alarm would have been active."""
    names = sorted(definition.channels)
    when = definition.when
    channel = when.channel if isinstance(when, OfChannel) else names[0] if names else None
    if channel is None:
        return []
    limits: dict[str, float | None] = {"low": None, "high": None}
    if isinstance(when, Limit):
        limits["high" if when.is_high else "low"] = when.limit
    spans: dict[str, list[tuple[str, str]]] = {one.device: [] for one in found.devices}
    for one in found.periods:
        if one.what == "active":
            spans[one.device].append((one.begin, one.end or found.to))
    first = sorted(spans, key=lambda device: (-len(spans[device]), device))[:DRAWN]
    others = [name for name in names if name == f"{channel}_setpoint"]
    return [
        {"device": device, "channels": [channel, *others], "from": found.from_, "to": found.to, "spans": spans[device]}
        | limits
        for device in first
    ]


async def _put(page: Page, database: Any, name: str, given: RuleForm, expected: Expected) -> Response:
    if given.why is None:
        raise BadParameter("why", "say why, for the audit trail")
    try:
        await queries.put(database, name, given.definition(), expected, RuleOrder(page.member.who, given.why))
    except PreconditionFailed as error:
        raise PreconditionFailed(f"{error.detail}. {STALE}") from error
    return page.go(f"alarm-rules/{name}")


async def _form(database: Any, definition: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the form shows, and what it offers."""
    tags, _ = await plant.choices(database)
    sent = [row["channel"] for row in await channels.page(database, "", CHOICES)]
    return {
        "here": "alarms",
        "tab": "alarms/rules",
        "definition": definition,
        "general": rule_form.general(definition),
        "kinds": rule_form.kinds(definition),
        "offers": {"channels": sent, "tags": tags},
        "words": words,
    }
