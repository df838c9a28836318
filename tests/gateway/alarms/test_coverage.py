"""Which rules cover which devices: worked out by hand, without a database."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.alarms.coverage import Coverage
from tests.gateway.alarms.plant import HIGH


def rule(number: int, organization_id: int = 1, **scope: Any) -> dict[str, Any]:
    definition = {"title": "high", "when": HIGH, "scope": scope}
    return {
        "rule_id": number,
        "organization_id": organization_id,
        "name": f"rule-{number}",
        "version": 1,
        "definition": json.dumps(definition),
    }


def device(number: int, organization_id: int = 1, state: str = "active", tags: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "device_id": number,
        "name": f"r{number}",
        "organization_id": organization_id,
        "tags": [*tags],
        "state": state,
        "cell": None,
    }


def covered(rules: list[dict[str, Any]], *devices: dict[str, Any]) -> dict[int, list[int]]:
    """The ids of the rules of each device."""
    return {
        number: [stored.rule_id for stored in found] for number, (_, found) in Coverage().of(rules, devices).items()
    }


@pytest.mark.parametrize(
    ("state", "is_covered"),
    [("pending", True), ("active", True), ("suspended", True), ("revoked", False), ("retired", False)],
)
def test_a_device_that_may_come_back_is_covered(state: str, is_covered: bool) -> None:
    assert covered([rule(1)], device(1, state=state)) == {1: [1] if is_covered else []}


def test_a_device_has_all_the_tags_and_is_one_of_the_devices_of_the_scope() -> None:
    rules = [
        rule(1),
        rule(2, tags=["pilot", "glass"]),
        rule(3, devices=["r1", "r9"]),
        rule(4, devices=["r1"], tags=["x"]),
    ]
    devices = device(1, tags=("pilot",)), device(2, tags=("glass", "pilot", "x")), device(3)
    assert covered(rules, *devices) == {1: [1, 3], 2: [1, 2], 3: [1]}


def test_a_rule_covers_devices_of_its_organization_alone() -> None:
    assert covered([rule(1), rule(2, 2)], device(1), device(2, 2), device(3, 3)) == {1: [1], 2: [2], 3: []}


def test_a_rule_that_cannot_be_read_is_told_and_hides_no_other() -> None:
    odd, coverage = rule(1) | {"definition": '{"when": {"kind": "moon"}}'}, Coverage()
    found = coverage.of([odd, rule(2)], [device(1)])
    assert ([stored.rule_id for stored in found[1][1]], {*coverage.unreadable}) == ([2], {1})
    found = coverage.of([rule(1) | {"version": 2}, rule(2)], [device(1)])
    assert ([stored.rule_id for stored in found[1][1]], [*coverage.unreadable]) == ([1, 2], [])
