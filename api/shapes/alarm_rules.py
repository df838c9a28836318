"""Alarm rules: what is taken and what is given."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Request
from msgspec import Meta, Raw
from pydantic import Field, ValidationError

from api.http.bodies import MOST_BYTES, body, unambiguous
from api.http.description import Answer, T, about, example, reference
from api.http.parameters import ListParameters, ReasonParameter
from api.problems import BadRules
from api.shapes.devices import MOST_TAGS
from schema.alarms import files
from schema.alarms.grammar import BadExpression
from schema.alarms.rules import Definition, Name, Priority, Rule

RuleDefinition = Annotated[Raw, Meta(extra_json_schema=reference(Definition))]
"""The JSON of a rule, which is sent as it is stored."""


class SavedRule(Answer):
    rule: Annotated[str, about("name of the rule")]
    version: Annotated[int, about("number of the version, one more with each change; the ETag for If-Match")]
    title: str
    priority: Priority
    enabled: bool
    created_at: str
    changed_at: str
    definition: RuleDefinition


class RuleDetail(SavedRule):
    warnings: Annotated[list[str], about("possible mistakes, like channels or phases that no device has sent")]


class RuleChange(Answer):
    rule: str
    fields: Annotated[list[str], about("fields that differ, with dots, like when.limit")]


class RuleWarnings(Answer):
    rule: str
    warnings: list[str]


class Imported(Answer):
    dry_run: Annotated[bool, about("true: nothing was changed; this is what would change")]
    created: list[str]
    changed: list[RuleChange]
    removed: list[str]
    unchanged: int
    warnings: Annotated[list[RuleWarnings], about("rules of the file with possible mistakes, also unchanged ones")]


DEFINITION: dict[str, Any] = {
    "title": "Temperature high",
    "enabled": True,
    "priority": "high",
    "scope": {"devices": [], "tags": ["pilot"], "phases": []},
    "when": {"channel": "temperature", "kind": "limit", "level": "high", "limit": 38.0, "deadband": 0.5},
    "clear": None,
    "on_delay": 10.0,
    "off_delay": 0.0,
    "stale_after": 60.0,
    "unknown": "hold",
    "latch": False,
    "message": "The culture is too warm",
    "response": "Look at the cooling water",
}
RULE: dict[str, Any] = {
    "rule": "temperature-high",
    "version": 3,
    "title": "Temperature high",
    "priority": "high",
    "enabled": True,
    "created_at": T,
    "changed_at": T,
    "definition": DEFINITION,
}
DETAIL = RULE | {"warnings": []}
IMPORTED = example(
    Imported,
    """{"dry_run": true, "created": ["ph-low"], "changed": [{"rule": "temperature-high",
 "fields": ["when.limit"]}], "removed": [], "unchanged": 12, "warnings": [{"rule": "ph-low",
 "warnings": ["no device in its scope was in the phase 'feed' lately; did you mean 'exponential feed'?"]}]}""",
)


class RuleParameters(ListParameters):
    enabled: bool | None = Field(None, description="true: only enabled rules; false: only the others")
    tag: list[Name] = Field(
        [], max_length=MOST_TAGS, description="only rules whose scope names this tag; repeated: all of these tags"
    )
    channel: Name | None = Field(None, description="only rules that read this channel, also in a formula")
    priority: list[Priority] = Field([], description="only of these; may be repeated")


class RuleImportParameters(ReasonParameter):
    dry_run: bool = Field(False, description="true: change nothing, and say what would be changed")
    remove: bool = Field(False, description="true: remove the rules that are not in the file")


async def definition(request: Request) -> Definition:
    """Read the body as a rule. Raises BadRules."""
    content = await body(request, MOST_BYTES)
    unambiguous(content)
    try:
        return Definition.model_validate_json(content)
    except ValidationError as error:
        raise bad_rule(error) from error


def bad_rule(error: ValidationError) -> BadRules:
    """Return the problem of a bad rule: each fault with its field and, in a formula, its column."""
    found = []
    for one in error.errors(include_url=False):
        # Below `when` pydantic names the kind, too: it is no field.
        place = [part for part, before in zip(one["loc"], (None, *one["loc"]), strict=False) if before != "when"]
        detail = one["msg"].removeprefix("Value error, ")
        fault = {"parameter": ".".join(map(str, place)) or "body", "detail": detail[:1].lower() + detail[1:]}
        cause = one.get("ctx", {}).get("error")
        found.append(fault | ({"column": cause.column} if isinstance(cause, BadExpression) else {}))
    return BadRules("; ".join(f"{one['parameter']}: {one['detail']}" for one in found[:10]), errors=found)


def rules_of(content: bytes) -> list[Rule]:
    """Return the rules of a file in YAML. Raises BadRules, which names the line of each fault."""
    try:
        return files.load(content)
    except files.BadFile as error:
        faults = [
            {"line": one.line, "rule": one.rule, "parameter": one.field or "body", "detail": one.problem}
            for one in error.problems
        ]
        raise BadRules(str(error), errors=faults) from error
