"""The message that tells MQTT subscribers the newest state of an alarm."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from schema.alarms.machine import AlarmState, Condition
from schema.alarms.rules import Priority

Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class RetainedAlarm(msgspec.Struct, frozen=True):
    """The newest state of an alarm, with the fields that the API gives; times are RFC 3339 in UTC. As JSON."""

    device: str
    rule: str
    title: str
    state: AlarmState
    condition: Condition
    priority: Priority
    since: Instant
    """When the alarm came into its state."""
    raised_at: Instant | None
    """When the alarm became active last; null: never yet."""
    value: float | None
    """The value that was compared last."""
    detail: str
    """A description of the comparison."""
    shelved_until: Instant | None
    message: str
    response: str
    """The instruction for the operator."""
    n: int
    """Counts the alarm's transitions."""
