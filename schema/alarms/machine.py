"""The state machine of ISA-18.2 / IEC 62682, pure. Condition, acknowledgement, latch, and what holds an alarm back
(shelved, suppressed by design, out of service) are orthogonal, as in OPC UA part 9; the state that people see is made
of them.

Transitions (ISA-18.2, figure "alarm state transition diagram"): see `act` and `see`; the table that covers all of them
is in tests/schema/alarms/test_machine.py. What is held back raises nothing and closes no latch, and holding back opens
no latch that is closed: else a change of phase would make a latched alarm vanish. A reset comes after the return and
the acknowledgement (OPC UA part 9, 5.8.5).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum


class AlarmState(StrEnum):
    NORMAL = "normal"
    UNACKNOWLEDGED = "unacknowledged"
    """Active, and nobody has acknowledged it."""
    ACKNOWLEDGED = "acknowledged"
    RETURNED = "returned-unacknowledged"
    LATCHED = "latched"
    """The condition has returned and it was acknowledged; it waits for a reset."""
    SHELVED = "shelved"
    SUPPRESSED = "suppressed"
    OUT_OF_SERVICE = "out-of-service"


class Condition(StrEnum):
    NORMAL = "normal"
    ACTIVE = "active"
    UNKNOWN = "unknown"
    """It cannot be told. The alarm stays as it is, and says so."""


class Action(StrEnum):
    ACKNOWLEDGE = "acknowledge"
    RESET = "reset"
    SHELVE = "shelve"
    UNSHELVE = "unshelve"
    SUPPRESS = "suppress"
    UNSUPPRESS = "unsuppress"
    REMOVE = "remove-from-service"
    RETURN = "return-to-service"


class NotPossible(Exception):
    """The alarm is not in a state for this; says why."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm. `active` is what the condition said last that was not unknown."""

    condition: Condition = Condition.NORMAL
    active: bool = False
    acknowledged: bool = True
    latched: bool = False
    """It was raised by a rule that latches, and waits for a reset, whether or not the condition has returned."""
    shelved_until: datetime | None = None
    shelved_once: bool = False
    suppressed: bool = False
    out_of_service: bool = False

    @property
    def held_back(self) -> bool:
        return self.out_of_service or self.suppressed or self.shelved_until is not None

    @property
    def state(self) -> AlarmState:
        """What people see: what holds it back first, the strongest of it."""
        if self.out_of_service:
            return AlarmState.OUT_OF_SERVICE
        if self.suppressed:
            return AlarmState.SUPPRESSED
        if self.shelved_until is not None:
            return AlarmState.SHELVED
        if self.active:
            return AlarmState.ACKNOWLEDGED if self.acknowledged else AlarmState.UNACKNOWLEDGED
        if not self.acknowledged:
            return AlarmState.RETURNED
        return AlarmState.LATCHED if self.latched else AlarmState.NORMAL


def see(alarm: Alarm, condition: Condition, *, latch: bool = False) -> Alarm:
    """The condition was evaluated. Held back, it is only noted; a one-shot shelving ends when it returns."""
    if condition is Condition.UNKNOWN:
        return replace(alarm, condition=condition)
    was, now = alarm.active, condition is Condition.ACTIVE
    alarm = replace(alarm, condition=condition, active=now)
    if alarm.held_back:
        ends = alarm.shelved_once and was and not now
        return _released(replace(alarm, shelved_until=None, shelved_once=False)) if ends else alarm
    return replace(
        alarm,
        acknowledged=alarm.acknowledged and (was or not now),
        latched=alarm.latched or (latch and (was or now)),
    )


def tick(alarm: Alarm, now: datetime) -> Alarm:
    """A timed shelving ends."""
    if alarm.shelved_until is not None and alarm.shelved_until <= now:
        return _released(replace(alarm, shelved_until=None, shelved_once=False))
    return alarm


def act(  # noqa: PLR0911, PLR0912 - a table of actions
    alarm: Alarm, action: Action, *, now: datetime, until: datetime | None = None, once: bool = False
) -> Alarm:
    """What a person does, or the design (suppress, unsuppress). `until` ends a shelving, also a one-shot one.

    Raises NotPossible.
    """
    match action:
        case Action.ACKNOWLEDGE:
            if alarm.held_back or alarm.acknowledged:
                raise NotPossible(f"it is {alarm.state}: there is nothing to acknowledge")
            return replace(alarm, acknowledged=True)
        case Action.RESET:
            if alarm.held_back or alarm.active or not alarm.latched:
                raise NotPossible(f"it is {alarm.state}: only one that is latched and has returned can be reset")
            if not alarm.acknowledged:
                raise NotPossible("it is to be acknowledged first")
            return replace(alarm, latched=False)
        case Action.SHELVE:
            if until is None or until <= now:
                raise NotPossible("shelving has an end, in the future")
            if alarm.out_of_service:
                raise NotPossible("it is out of service")
            return replace(alarm, shelved_until=until, shelved_once=once)
        case Action.UNSHELVE:
            if alarm.shelved_until is None:
                raise NotPossible("it is not shelved")
            return _released(replace(alarm, shelved_until=None, shelved_once=False))
        case Action.SUPPRESS:
            return replace(alarm, suppressed=True)
        case Action.UNSUPPRESS:
            if not alarm.suppressed:
                raise NotPossible("it is not suppressed")
            return _released(replace(alarm, suppressed=False))
        case Action.REMOVE:
            if alarm.out_of_service:
                raise NotPossible("it is out of service already")
            return replace(alarm, out_of_service=True)
        case Action.RETURN:
            if not alarm.out_of_service:
                raise NotPossible("it is in service")
            return _released(replace(alarm, out_of_service=False))


def _released(alarm: Alarm) -> Alarm:
    """Nothing may hold it back any more: then it is as if the condition were seen for the first time. A latch that was
    closed before stays, acknowledged or not as it was."""
    if alarm.held_back:
        return alarm
    return replace(alarm, acknowledged=not alarm.active and (alarm.acknowledged or not alarm.latched))
