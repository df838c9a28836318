"""What a message says: pure, of alarms as they are when it is sent."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway.alarms.notify.channel import Notice
from gateway.alarms.notify.message import NotifiedAlarm, compose
from schema.alarms.rules import Rule
from schema.alarms.wording import limit_in_words

NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)
ALARM = NotifiedAlarm(
    kind="raised",
    times=0,
    device="r1",
    device_title="Pilot 1",
    location="Hall 2/Bay 3",
    title="Temperature high",
    priority="critical",
    state="unacknowledged",
    since=NOW,
    raised_at=NOW,
    value=38.25,
    unit="°C",
    limit="temperature above 38 °C",
    detail="38.25 above 38",
    message="Cooling water?",
    response="Open valve V3.",
    who=None,
)


def told(*alarms: dict[str, Any]) -> Notice:
    return compose([replace(ALARM, **changes) for changes in alarms], ZoneInfo("UTC"), NOW)


def ended(state: str, **more: Any) -> dict[str, Any]:
    return {"kind": "ended", "state": state, **more}


def test_unit_limit_title_and_place_are_in_the_message_of_one_and_of_many() -> None:
    assert told({}).text.split("\n") == [
        "not acknowledged, since 2026-11-20 08:00:00 UTC",
        "value 38.25 °C (38.25 above 38)",
        "limit: temperature above 38 °C",
        "r1: Pilot 1, Hall 2/Bay 3",
        "Cooling water?",
        "To do: Open valve V3.",
    ]
    for changes in ({}, ended("normal"), ended("returned-unacknowledged"), {"kind": "escalated"}):
        for notice in (told(changes), told(changes, changes | {"device": "r2"})):
            for part in ("38.25 °C", "limit: temperature above 38 °C", "Pilot 1, Hall 2/Bay 3"):
                assert part in notice.text
            assert "Temperature high" in f"{notice.title}\n{notice.text}"


@pytest.mark.parametrize(
    ("alarms", "title", "tone"),
    [
        # One was acknowledged, both return: the other still waits.
        (
            [ended("normal"), ended("returned-unacknowledged", device="r2")],
            "[returned, not acknowledged] 2 alarms (1 returned, not acknowledged, 1 normal again): r2, r1",
            "failure",
        ),
        (
            [ended("normal", priority="critical"), ended("returned-unacknowledged", device="r2", priority="low")],
            "[returned, not acknowledged] 2 alarms (1 returned, not acknowledged, 1 normal again): r2, r1",
            "info",
        ),
        (
            [ended("normal"), ended("latched", device="r2")],
            "[returned, waits for a reset] 2 alarms (1 returned, waits for a reset, 1 normal again): r2, r1",
            "success",
        ),
        (
            [ended("acknowledged", who="eva"), ended("normal", device="r2")],
            "[acknowledged by eva] 2 alarms (1 acknowledged by eva, 1 normal again): r1, r2",
            "success",
        ),
        (
            [ended("normal"), {"device": "r2", "priority": "low"}, {"device": "r3"}],
            "[critical] 3 alarms (1 critical, 1 low, 1 normal again): r3, r2, r1",
            "failure",
        ),
        (
            [{"kind": "escalated"}, {"device": "r2"}],
            "[critical, escalated] 2 alarms (1 critical, escalated, 1 critical): r1, r2",
            "failure",
        ),
        ([ended("normal"), ended("normal", device="r2")], "[normal again] 2 alarms: r1, r2", "success"),
        ([{}, {"device": "r2"}], "[critical] 2 alarms: r1, r2", "failure"),
        ([ended("returned-unacknowledged")], "[returned, not acknowledged] r1: Temperature high", "failure"),
    ],
)
def test_the_title_says_the_worst_and_counts_the_rest(alarms: list[dict[str, Any]], title: str, tone: str) -> None:
    for given in (alarms, alarms[::-1]):
        notice = told(*given)
        assert (notice.title, notice.tone) == (title, tone)


LIMITS: list[tuple[dict[str, Any], str]] = [
    ({"kind": "limit", "channel": "x", "level": "high", "limit": 38.5}, "x above 38.5 °C"),
    ({"kind": "limit", "channel": "x", "level": "low-low", "limit": 3}, "x below 3 °C"),
    ({"kind": "deviation", "channel": "x", "limit": 2}, "x more than 2 °C from x_setpoint"),
    ({"kind": "deviation", "channel": "x", "limit": 2, "direction": "below"}, "x more than 2 °C below x_setpoint"),
    ({"kind": "rate", "channel": "x", "limit": 0.2}, "x changes by more than 0.2 °C a minute"),
    ({"kind": "rate", "channel": "x", "limit": 0.2, "direction": "rising"}, "x rises by more than 0.2 °C a minute"),
    ({"kind": "frozen", "channel": "x", "after": 60, "tolerance": 0.1}, "x within 0.1 °C for 60 s"),
    ({"kind": "quality", "channel": "x"}, "x is not good"),
    ({"kind": "silent", "after": 60}, "nothing for 60 s"),
    ({"kind": "gap", "frames": 3, "window": 600}, "3 frames missing within 600 s"),
    ({"kind": "skew", "limit": 30}, "the clock is off by more than 30 s"),
    ({"kind": "formula", "expression": "x > 1 and y < 2"}, "x > 1 and y < 2"),
]


@pytest.mark.parametrize(("when", "words"), LIMITS)
def test_the_limit_of_each_kind_of_rule_in_words(when: dict[str, Any], words: str) -> None:
    rule = Rule.model_validate({"name": "r", "title": "R", "when": when})
    assert limit_in_words(rule.when, "°C") == words
    assert "°C" not in limit_in_words(rule.when, None)
