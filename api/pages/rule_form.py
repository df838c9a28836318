"""An alarm rule as the fields of a form, and back. The fields are made of the rule's own types, so that a new kind of
condition, or a new field of one, is in the form at once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.http.parameters import Words
from api.shapes.alarm_rules import bad_rule
from schema.alarms.rules import Condition, Definition, Part, RuleName

CONDITIONS: tuple[type[Part], ...] = get_args(get_args(Condition)[0])
LISTS = {"devices": "\n", "tags": "\n", "phases": "\n"}
"""Fields with a name a line."""
LONG = frozenset({"expression", "clear", "message", "response"})
LABELS = {
    "clear": "Returns when (formula)",
    "expression": "Formula",
    "on_delay": "Delay of the alarm, s",
    "off_delay": "Delay of the return, s",
    "stale_after": "A value is stale after, s",
    "unknown": "While it cannot be told",
    "latch": "Stays until somebody resets it",
    "response": "What to do",
    "window": "Window, s",
    "after": "After, s",
    "setpoint": "Channel of the setpoint",
}
ABOUT = {
    "expression": "like: dissolved_oxygen < 10 and agitation > 1150",
    "clear": "instead of the condition's own return",
}


FIRST = {"level": "high"}
"""What a new rule begins with where its type has no default."""


@dataclass(frozen=True, slots=True)
class RuleField:
    """A field as the form shows it."""

    name: str
    """As it is sent: `limit.deadband` is the deadband of the kind `limit`."""
    label: str
    kind: Literal["text", "lines", "number", "choice", "flag"]
    choices: list[str]
    value: str | bool
    about: str
    required: bool
    is_channel: bool


class RuleForm(BaseModel):
    """What the form sends: the fields of each kind of condition are `model_extra`, only those of `kind` count."""

    model_config = ConfigDict(extra="allow")

    name: RuleName | None = None
    version: int | None = Field(None, ge=1, lt=2**31)
    why: Words | None = None
    hours: int = Field(24, ge=1, le=744)
    devices: list[str] = []
    tags: list[str] = []
    phases: list[str] = []
    kind: str = "limit"

    def definition(self) -> Definition:
        """Raises BadRules, which names the fields."""
        given: Mapping[str, Any] = self.model_extra or {}
        found = dict(_typed(_plain(Definition), given, ""))
        found["scope"] = {name: getattr(self, name) for name in LISTS}
        when = next((kind for kind in CONDITIONS if _kind(kind) == self.kind), CONDITIONS[0])
        found["when"] = {"kind": self.kind} | dict(_typed(_plain(when), given, f"{self.kind}."))
        try:
            return Definition.model_validate_json(json.dumps(found))
        except ValidationError as error:
            raise bad_rule(error) from error


def kinds(definition: Mapping[str, Any] | None) -> dict[str, list[RuleField]]:
    """Return the fields of each kind of condition, with the values of a rule, or those to begin with."""
    when = definition["when"] if definition else {}
    return {
        _kind(kind): list(_fields(kind, when if when.get("kind") == _kind(kind) else {}, f"{_kind(kind)}."))
        for kind in CONDITIONS
    }


def general(definition: Mapping[str, Any] | None) -> dict[str, RuleField]:
    """Return the fields that every rule has, by name."""
    return {one.name: one for one in _fields(Definition, definition or {}, "")}


def said(value: Any) -> str:
    """Return a value as a field holds it: a number in full, so that saving it again changes nothing."""
    return "" if value is None else repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _kind(kind: type[Part]) -> str:
    return str(get_args(kind.model_fields["kind"].annotation)[0])


def _plain(kind: type[Part]) -> dict[str, dict[str, Any]]:
    """The fields that are neither objects nor the kind itself, each with its schema."""
    schema = kind.model_json_schema()
    found = {}
    for name, part in schema["properties"].items():
        options = [one for one in part.get("anyOf", []) if one.get("type") != "null"]
        one = part | (options[0] | {"description": part.get("description", "")} if options else {})
        if one.get("type") in {"string", "number", "integer", "boolean"} and "const" not in one:
            found[name] = one | {"required": name in schema.get("required", [])}
    return found


def _fields(kind: type[Part], values: Mapping[str, Any], prefix: str) -> Iterator[RuleField]:
    for name, part in _plain(kind).items():
        value = values.get(name, part.get("default", FIRST.get(name)))
        shape: Any = {"number": "number", "integer": "number", "boolean": "flag"}.get(part["type"], "text")
        yield RuleField(
            name=f"{prefix}{name}",
            label=LABELS.get(name, name.replace("_", " ").capitalize()),
            kind="choice" if "enum" in part else "lines" if name in LONG else shape,
            choices=part.get("enum", []),
            value=bool(value) if shape == "flag" else said(value),
            about=ABOUT.get(name, part.get("description", "")),
            required=part["required"],
            is_channel=name in {"channel", "setpoint"},
        )


def _typed(plain: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the fields that were filled in; what is no number stays a text, which the rule's own types refuse."""
    for name, part in plain.items():
        value = given.get(f"{prefix}{name}")
        if part["type"] == "boolean":
            yield name, value is not None
        elif value is not None:
            is_text = part["type"] == "string"  # browsers send line breaks as two signs
            yield name, value.replace("\r\n", "\n") if is_text else _number(value, part["type"])


def _number(text: str, kind: str) -> Any:
    try:
        return int(text) if kind == "integer" else float(text)
    except ValueError:
        return text
