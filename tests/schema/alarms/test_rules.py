"""Rules: what is taken, what contradicts itself, and that refusals are in words for people."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from pydantic import ValidationError

from schema.alarms.rules import Rule

LIMIT = {"kind": "limit", "channel": "temperature", "level": "high", "limit": 38}
FORMULA = {"kind": "formula", "expression": "temperature > 38 and ph < 6.8"}


def rule(**more: Any) -> Rule:
    return Rule.model_validate({"name": "a", "title": "A", "when": LIMIT} | more)


def problem(**more: Any) -> str:
    """Return where the rule is wrong and our own words for it or, where the words are pydantic's, its code for them."""
    with pytest.raises(ValidationError) as caught:
        rule(**more)
    [error] = caught.value.errors()
    return ".".join(map(str, error["loc"])) + ": " + str(error.get("ctx", {}).get("error") or error["type"])


@pytest.mark.parametrize(
    ("when", "channels"),
    [
        (LIMIT, {"temperature"}),
        (LIMIT | {"level": "low-low", "limit": -3.5, "deadband": 0.5}, {"temperature"}),
        ({"kind": "deviation", "channel": "ph", "limit": 0.2, "deadband": 0.1}, {"ph", "ph_setpoint"}),
        ({"kind": "deviation", "channel": "ph", "setpoint": "pH SP", "limit": 0.2}, {"ph", "pH SP"}),
        ({"kind": "rate", "channel": "ph", "limit": 0.2, "direction": "falling"}, {"ph"}),
        ({"kind": "frozen", "channel": "ph", "after": 600}, {"ph"}),
        ({"kind": "quality", "channel": "ph"}, {"ph"}),
        ({"kind": "silent", "after": 30}, set()),
        ({"kind": "gap", "frames": 3}, set()),
        ({"kind": "skew", "limit": 30}, set()),
        (FORMULA, {"temperature", "ph"}),
    ],
)
def test_a_rule_of_each_kind_is_taken_and_says_which_channels_it_reads(
    when: dict[str, Any], channels: set[str]
) -> None:
    taken = rule(when=when)
    assert taken.channels == channels
    assert Rule.model_validate(json.loads(taken.model_dump_json())) == taken
    assert Rule.model_validate_json(taken.model_dump_json()) == taken


def test_the_channels_of_the_clear_condition_are_read_too() -> None:
    assert rule(clear="agitation > 100").channels == {"temperature", "agitation"}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        # Formulas.
        ({"when": FORMULA | {"expression": "temperature >> 3"}}, "when.formula.expression: column 1: temperature >> 3"),
        ({"when": FORMULA | {"expression": "temperature"}}, "when.formula.expression: column 1: this is a number"),
        ({"when": FORMULA | {"expression": "1 > 0"}}, "when.formula.expression: the formula reads no channel"),
        ({"clear": "temperature <"}, "clear: column 14: the formula cannot be read"),
        ({"clear": ""}, "clear: string_too_short"),
        # What contradicts itself.
        ({"when": LIMIT | {"deadband": 40}}, "deadband is larger than the limit: the alarm would return only at -2"),
        ({"when": LIMIT | {"level": "low", "limit": -5, "deadband": 6}}, "when.limit: the deadband is larger"),
        ({"when": {"kind": "deviation", "channel": "a", "limit": 1, "deadband": 1}}, "the deadband is not smaller"),
        ({"when": {"kind": "rate", "channel": "a", "limit": 1, "deadband": 2}}, "the deadband is not smaller"),
        ({"when": {"kind": "deviation", "channel": "a", "setpoint": "a", "limit": 1}}, "setpoint are the same"),
        ({"when": {"kind": "deviation", "channel": "a" * 60, "limit": 1}}, "name the setpoint"),
        ({"when": LIMIT | {"deadband": 1}, "clear": "temperature < 36"}, ": `clear` and a deadband both say"),
        ({"when": FORMULA, "clear": FORMULA["expression"]}, ": `clear` is the condition itself"),
        ({"when": {"kind": "silent", "after": 30}, "clear": "a > 1"}, ": `clear` is not allowed here"),
        # Empty and doubled.
        ({"title": ""}, "title: "),
        ({"title": "  "}, "title: the text is empty"),
        ({"title": "a\nb"}, "title: control characters"),
        ({"message": "a\x00"}, "message: control characters"),
        ({"response": "a\x1b[0m"}, "response: control characters"),
        ({"when": LIMIT | {"channel": " "}}, "when.limit.channel: the text is empty"),
        ({"when": LIMIT | {"channel": "x" * 65}}, "when.limit.channel: "),
        ({"when": LIMIT | {"channel": "a\tb"}}, "when.limit.channel: control characters"),
        ({"scope": {"devices": ["br-1", "br-2", "br-1"]}}, "scope.devices: twice in the list: br-1"),
        ({"scope": {"tags": ["a", "a"]}}, "scope.tags: twice in the list: a"),
        ({"scope": {"phases": ["batch", ""]}}, "scope.phases.1: "),
        ({"scope": {"devices": ["+"]}}, "scope.devices.0: a device's name"),
        ({"scope": {"devices": [""]}}, "scope.devices.0: a device's name"),
        # Types are as they are said to be.
        ({"when": LIMIT | {"limit": True}}, "when.limit.limit: float_type"),
        ({"when": LIMIT | {"limit": "38"}}, "when.limit.limit: float_type"),
        ({"when": LIMIT | {"limit": float("nan")}}, "when.limit.limit: finite_number"),
        ({"when": {"kind": "frozen", "channel": "a", "after": float("inf")}}, "when.frozen.after: "),
        ({"when": {"kind": "gap", "frames": 1.5}}, "when.gap.frames: "),
        ({"enabled": "yes"}, "enabled: bool_type"),
        ({"when": LIMIT | {"level": "highest"}}, "when.limit.level: literal_error"),
        ({"when": {"kind": "limmit"}}, "when: union_tag_invalid"),
        ({"name": "Temperature"}, "name: "),
        ({"name": "a\n"}, "name: "),
        ({"priority": "urgent"}, "priority: "),
        ({"on_delay": -1}, "on_delay: "),
        ({"stale_after": 0}, "stale_after: "),
        ({"more": 1}, "more: extra_forbidden"),
    ],
)  # fmt: skip
def test_what_is_refused(more: dict[str, Any], why: str) -> None:
    assert re.search(re.escape(why), problem(**more))


@pytest.mark.parametrize(
    "when",
    [
        LIMIT | {"deadband": 38},
        LIMIT | {"limit": 0, "deadband": 1},
        LIMIT | {"limit": -5, "deadband": 50},
        LIMIT | {"level": "low", "limit": 1, "deadband": 50},
        LIMIT | {"level": "low", "limit": 0, "deadband": 50},
    ],
)
def test_a_deadband_within_the_side_of_its_limit_is_taken(when: dict[str, Any]) -> None:
    assert rule(when=when)


def test_texts_of_several_lines_are_taken_where_people_read_them() -> None:
    assert rule(message="Too hot.\n", response="Look at the jacket.\n\tThen call.").response.count("\n") == 1


def test_rules_do_not_share_their_lists() -> None:
    assert rule().scope is not rule().scope or rule().scope == rule().scope
    rule().scope.tags.append("x")
    assert rule().scope.tags == []


def test_a_long_list_with_one_name_twice_is_refused_at_once() -> None:
    names = [f"br-{n}" for n in range(9999)]
    assert "twice in the list: br-7" in problem(scope={"devices": [*names, "br-7"]})
