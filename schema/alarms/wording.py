"""Says in words what a rule compares with. Pure."""

from __future__ import annotations

from typing import assert_never

from schema.alarms.rules import (
    Condition,
    Deviation,
    Formula,
    Frozen,
    Limit,
    Quality,
    RateOfChange,
    SequenceGap,
    Silent,
    Skew,
)


def limit_in_words(when: Condition, unit: str | None) -> str:  # noqa: PLR0911 - a table of kinds
    """The limit of a condition, with the unit of its channel."""
    of = f" {unit}" if unit else ""
    match when:
        case Limit():
            return f"{when.channel} {'above' if when.is_high else 'below'} {when.limit:g}{of}"
        case Deviation():
            side = {"both": "from", "above": "above", "below": "below"}[when.direction]
            return f"{when.channel} more than {when.limit:g}{of} {side} {when.setpoint_channel}"
        case RateOfChange():
            way = {"both": "changes", "rising": "rises", "falling": "falls"}[when.direction]
            return f"{when.channel} {way} by more than {when.limit:g}{of} a minute"
        case Frozen():
            return f"{when.channel} within {when.tolerance:g}{of} for {when.after:g} s"
        case Quality():
            return f"{when.channel} is not good"
        case Silent():
            return f"nothing for {when.after:g} s"
        case SequenceGap():
            return f"{when.frames} frames missing within {when.window:g} s"
        case Skew():
            return f"the clock is off by more than {when.limit:g} s"
        case Formula():
            return when.expression
    assert_never(when)
