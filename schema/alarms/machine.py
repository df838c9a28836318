"""The state machine of ISA-18.2 / IEC 62682 for one alarm. Pure.

Condition, acknowledgement, latch, and what holds an alarm back (shelved, suppressed by design, out of service) are
orthogonal, as in OPC UA part 9; the state that people see is computed from them. `act` and `see` make the transitions
(ISA-18.2, figure "alarm state transition diagram"); the table of all of them is in tests/schema/alarms/test_machine.py.
An alarm that is held back raises nothing and closes no latch, and holding it back opens no latch that is closed: else a
change of phase would make a latched alarm vanish. A reset comes after the return and the acknowledgement (OPC UA part
9, 5.8.5).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum


class AlarmState(StrEnum):
    """The state of an alarm after ISA-18.2, as people see it."""

    NORMAL = "normal"
    UNACKNOWLEDGED = "unacknowledged"
    """The alarm is active, and nobody has acknowledged it."""
    ACKNOWLEDGED = "acknowledged"
    RETURNED = "returned-unacknowledged"
    LATCHED = "latched"
    """The condition has returned and the alarm was acknowledged; it waits for a reset."""
    SHELVED = "shelved"
    SUPPRESSED = "suppressed"
    OUT_OF_SERVICE = "out-of-service"


class Condition(StrEnum):
    """Whether the condition of an alarm's rule holds."""

    NORMAL = "normal"
    ACTIVE = "active"
    UNKNOWN = "unknown"
    """The condition cannot be evaluated. The alarm keeps its state, and reports this."""


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
    """Raised when the alarm's state does not allow the action; the text says why."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm. `active` is the last condition that was not unknown."""

    condition: Condition = Condition.NORMAL
    active: bool = False
    acknowledged: bool = True
    latched: bool = False
    """Whether a latching rule raised the alarm: it waits for a reset, even when the condition has returned."""
    shelved_until: datetime | None = None
    shelved_once: bool = False
    suppressed: bool = False
    out_of_service: bool = False

    @property
    def held_back(self) -> bool:
        return self.out_of_service or self.suppressed or self.shelved_until is not None

    @property
    def state(self) -> AlarmState:
        """The state that people see: the strongest of what holds the alarm back comes first."""
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
    """The alarm after its condition was evaluated. While held back, the condition is only noted; a one-shot shelving
    ends when it returns."""
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
    """The alarm with a timed shelving ended, if it is over at `now`."""
    if alarm.shelved_until is not None and alarm.shelved_until <= now:
        return _released(replace(alarm, shelved_until=None, shelved_once=False))
    return alarm


def act(  # noqa: PLR0911, PLR0912 - a table of actions
    alarm: Alarm, action: Action, *, now: datetime, until: datetime | None = None, once: bool = False
) -> Alarm:
    """The alarm after an action of a person, or of the design (suppress, unsuppress). `until` ends a shelving, also a
    one-shot one. Raises NotPossible."""
    match action:
        case Action.ACKNOWLEDGE:
            if alarm.held_back or alarm.acknowledged:
                raise NotPossible(f"the alarm is {alarm.state}: there is nothing to acknowledge")
            return replace(alarm, acknowledged=True)
        case Action.RESET:
            if alarm.held_back or alarm.active or not alarm.latched:
                raise NotPossible(f"the alarm is {alarm.state}: only a latched alarm that has returned can be reset")
            if not alarm.acknowledged:
                raise NotPossible("the alarm must be acknowledged first")
            return replace(alarm, latched=False)
        case Action.SHELVE:
            if until is None or until <= now:
                raise NotPossible("shelving needs an end in the future")
            if alarm.out_of_service:
                raise NotPossible("the alarm is out of service")
            return replace(alarm, shelved_until=until, shelved_once=once)
        case Action.UNSHELVE:
            if alarm.shelved_until is None:
                raise NotPossible("the alarm is not shelved")
            return _released(replace(alarm, shelved_until=None, shelved_once=False))
        case Action.SUPPRESS:
            return replace(alarm, suppressed=True)
        case Action.UNSUPPRESS:
            if not alarm.suppressed:
                raise NotPossible("the alarm is not suppressed")
            return _released(replace(alarm, suppressed=False))
        case Action.REMOVE:
            if alarm.out_of_service:
                raise NotPossible("the alarm is out of service already")
            return replace(alarm, out_of_service=True)
        case Action.RETURN:
            if not alarm.out_of_service:
                raise NotPossible("the alarm is in service")
            return _released(replace(alarm, out_of_service=False))


def _released(alarm: Alarm) -> Alarm:
    """The alarm when nothing holds it back any more: as if the condition were seen for the first time. A latch that was
    closed stays, with its acknowledgement."""
    if alarm.held_back:
        return alarm
    return replace(alarm, acknowledged=not alarm.active and (alarm.acknowledged or not alarm.latched))
