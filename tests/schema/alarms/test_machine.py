"""The state machine, against tables worked out by hand from ISA-18.2 and OPC UA part 9."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.alarms.machine import Action, Alarm, AlarmState, Condition, NotPossible, act, see, tick

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)

# Letters of the tables below: N normal, U unacknowledged, A acknowledged, R returned and unacknowledged; * is with a
# latch that is closed. Held back: S shelved, D suppressed by design, O out of service.
ALARMS = {
    "N": Alarm(),
    "U": Alarm(Condition.ACTIVE, active=True, acknowledged=False),
    "A": Alarm(Condition.ACTIVE, active=True),
    "R": Alarm(acknowledged=False),
    "U*": Alarm(Condition.ACTIVE, active=True, acknowledged=False, latched=True),
    "A*": Alarm(Condition.ACTIVE, active=True, latched=True),
    "R*": Alarm(acknowledged=False, latched=True),
    "N*": Alarm(latched=True),
}
STATES = {
    "N": AlarmState.NORMAL,
    "U": AlarmState.UNACKNOWLEDGED,
    "A": AlarmState.ACKNOWLEDGED,
    "R": AlarmState.RETURNED,
    "U*": AlarmState.UNACKNOWLEDGED,
    "A*": AlarmState.ACKNOWLEDGED,
    "R*": AlarmState.RETURNED,
    "N*": AlarmState.LATCHED,
    "S": AlarmState.SHELVED,
    "D": AlarmState.SUPPRESSED,
    "O": AlarmState.OUT_OF_SERVICE,
}


def do(action: Action, *, once: bool = False) -> Callable[[Alarm], Alarm]:
    return lambda alarm: act(alarm, action, now=NOW, until=LATER if action is Action.SHELVE else None, once=once)


def seen(condition: Condition, *, latch: bool = False) -> Callable[[Alarm], Alarm]:
    return lambda alarm: see(alarm, condition, latch=latch)


EVENTS: dict[str, Callable[[Alarm], Alarm]] = {
    "active": seen(Condition.ACTIVE),
    "active-l": seen(Condition.ACTIVE, latch=True),
    "normal": seen(Condition.NORMAL),
    "normal-l": seen(Condition.NORMAL, latch=True),
    "unknown": seen(Condition.UNKNOWN, latch=True),
    "time": lambda alarm: tick(alarm, LATER),
    "ack": do(Action.ACKNOWLEDGE),
    "reset": do(Action.RESET),
    "shelve": do(Action.SHELVE),
    "once": do(Action.SHELVE, once=True),
    "unshelve": do(Action.UNSHELVE),
    "suppress": do(Action.SUPPRESS),
    "unsuppress": do(Action.UNSUPPRESS),
    "remove": do(Action.REMOVE),
    "return": do(Action.RETURN),
}


def table(text: str) -> list[tuple[str, str, str]]:
    header, *rows = [line.split() for line in text.strip().splitlines()]
    return [(row[0], event, after) for row in rows for event, after in zip(header, row[1:], strict=True)]


# Every state and every event. "-": refused.
IN_SERVICE = """
      active active-l normal normal-l unknown time ack reset shelve once unshelve suppress unsuppress remove return
N     U      U*       N      N        N       N    -   -     S      S    -        D        -          O      -
U     U      U*       R      R*       U       U    A   -     S      S    -        D        -          O      -
A     A      A*       N      N*       A       A    -   -     S      S    -        D        -          O      -
R     U      U*       R      R        R       R    N   -     S      S    -        D        -          O      -
U*    U*     U*       R*     R*       U*      U*   A*  -     S      S    -        D        -          O      -
A*    A*     A*       N*     N*       A*      A*   -   -     S      S    -        D        -          O      -
R*    U*     U*       R*     R*       R*      R*   N*  -     S      S    -        D        -          O      -
N*    U*     U*       N*     N*       N*      N*   -   N     S      S    -        D        -          O      -
"""

# What is held back stays so, whatever the condition does, until what holds it back ends ("=": then it is as EXIT says).
HELD_BACK = """
      active active-l normal normal-l unknown time ack reset shelve once unshelve suppress unsuppress remove return
S     S      S        S      S        S       =    -   -     S      S    =        D        -          O      -
D     D      D        D      D        D       D    -   -     D      D    -        D        =          O      -
O     O      O        O      O        O       O    -   -     -      -    -        O        -          -      =
"""

# Before it was held back (rows), what was seen meanwhile (columns), what it is when released: the condition afresh.
# With a rule that latches where the row has a *. "blip": active and returned again; "odd": active, then unknown.
EXIT = """
      nothing active normal unknown blip odd
N     N       U      N      N       N    U
U     U       U      N      U       N    U
A     U       U      N      U       N    U
R     N       U      N      N       N    U
U*    U*      U*     R*     U*      R*   U*
A*    U*      U*     N*     U*      N*   U*
R*    R*      U*     R*     R*      R*   U*
N*    N*      U*     N*     N*      N*   U*
"""
MEANWHILE = {
    "nothing": [],
    "active": [Condition.ACTIVE],
    "normal": [Condition.NORMAL],
    "unknown": [Condition.UNKNOWN],
    "blip": [Condition.ACTIVE, Condition.NORMAL],
    "odd": [Condition.ACTIVE, Condition.UNKNOWN],
}
HOLDS = {
    "shelve": ("S", ["unshelve", "time"]),
    "suppress": ("D", ["unsuppress"]),
    "remove": ("O", ["return"]),
}


def same(alarm: Alarm, letters: str) -> bool:
    """But for the condition, which says `unknown` where that was seen last."""
    return replace(alarm, condition=ALARMS[letters].condition) == ALARMS[letters]


@pytest.mark.parametrize(("before", "event", "after"), table(IN_SERVICE))
def test_each_event_in_each_state(before: str, event: str, after: str) -> None:
    alarm = ALARMS[before]
    assert alarm.state is STATES[before]
    if after == "-":
        with pytest.raises(NotPossible):
            EVENTS[event](alarm)
        return
    result = EVENTS[event](alarm)
    assert result.state is STATES[after]
    if after in ALARMS:
        assert same(result, after)
        assert result.condition is (Condition.UNKNOWN if event == "unknown" else ALARMS[after].condition)
    else:
        assert (result.condition, result.active, result.acknowledged, result.latched) == (
            alarm.condition,
            alarm.active,
            alarm.acknowledged,
            alarm.latched,
        )


@pytest.mark.parametrize("before", ALARMS)
@pytest.mark.parametrize(("held", "event", "after"), table(HELD_BACK))
def test_each_event_while_held_back(before: str, held: str, event: str, after: str) -> None:
    hold = next(name for name, (letter, _) in HOLDS.items() if letter == held)
    alarm = EVENTS[hold](ALARMS[before])
    assert alarm.state is STATES[held]
    if after == "-":
        with pytest.raises(NotPossible):
            EVENTS[event](alarm)
        return
    result = EVENTS[event](alarm)
    if after == "=":
        expected = next(after for row, column, after in table(EXIT) if (row, column) == (before, "nothing"))
        assert same(result, expected)
    else:
        assert result.state is STATES[after]
        assert (result.acknowledged, result.latched) == (alarm.acknowledged, alarm.latched)


@pytest.mark.parametrize(("hold", "end"), [(hold, end) for hold, (_, ends) in HOLDS.items() for end in ends])
@pytest.mark.parametrize(("before", "meanwhile", "after"), table(EXIT))
def test_on_leaving_the_condition_is_seen_afresh(before: str, meanwhile: str, after: str, hold: str, end: str) -> None:
    latch = "*" in before
    alarm = EVENTS[hold](ALARMS[before])
    for condition in MEANWHILE[meanwhile]:
        alarm = see(alarm, condition, latch=latch)
        assert alarm.held_back
    alarm = EVENTS[end](alarm)
    assert not alarm.held_back
    assert same(alarm, after)


def test_what_a_latching_rule_raises_on_leaving_latches_with_its_next_sight() -> None:
    for condition, after in ((Condition.ACTIVE, "U*"), (Condition.NORMAL, "R*")):
        alarm = EVENTS["suppress"](ALARMS["N"])
        alarm = EVENTS["unsuppress"](see(alarm, Condition.ACTIVE, latch=True))
        assert same(alarm, "U")
        assert same(see(alarm, condition, latch=True), after)


def play(alarm: Alarm, text: str) -> str:
    """The states that the events lead through, by their letters."""
    letters = []
    for event in text.split():
        try:
            alarm = EVENTS[event](alarm)
        except NotPossible:
            letters.append("-")
        else:
            held = {AlarmState.SHELVED: "S", AlarmState.SUPPRESSED: "D", AlarmState.OUT_OF_SERVICE: "O"}.get(
                alarm.state
            )
            letters.append(held or next(name for name in ALARMS if same(alarm, name)))
    return " ".join(letters)


@pytest.mark.parametrize(
    ("events", "states"),
    [
        ("active ack normal", "U A N"),
        ("active normal ack", "U R N"),
        ("active normal active ack active normal", "U R U A A N"),
        # A latch: acknowledged before and after the return, active again, never reset too early.
        ("active-l ack normal-l reset", "U* A* N* N"),
        ("active-l normal-l reset ack reset", "U* R* - N* N"),
        ("active-l ack reset normal-l active-l reset ack normal-l reset", "U* A* - N* U* - A* N* N"),
        # The rule stops latching: what is latched stays so until it is reset.
        ("active-l ack normal reset active ack normal", "U* A* N* N U A N"),
        # The rule begins to latch while its alarm stands.
        ("active ack normal-l reset", "U A N* N"),
        # Two hold it back: both have to end.
        ("active shelve suppress unshelve unsuppress", "U S D D U"),
        ("active shelve suppress unsuppress unshelve", "U S D S U"),
        ("active shelve suppress remove return unsuppress time", "U S D O D S U"),
        ("active shelve remove time return", "U S O O U"),
        ("active shelve remove normal return unshelve", "U S O O S N"),
        ("suppress active suppress normal unsuppress", "D D D D N"),
        ("remove shelve suppress return unsuppress", "O - O D N"),
        # One-shot: it ends with the next return, or its time.
        ("active once normal active", "U S N U"),
        ("active once time", "U S U"),
        ("active once unknown normal", "U S S N"),
        ("once normal active active normal active", "S S S S N U"),
        ("active normal once normal active normal", "U R S S S N"),
        ("active once suppress normal active unsuppress", "U S D D D U"),
        ("active-l once normal-l ack reset", "U* S R* N* N"),
        # Shelved again, the newer shelving counts.
        ("active once shelve normal active time", "U S S S S U"),
        ("active shelve once normal", "U S S N"),
        # Unknown: nothing moves.
        ("active unknown ack unknown normal", "U U A A N"),
        ("active unknown shelve unknown unshelve", "U U S S U"),
        ("unknown active", "N U"),
    ],
)
def test_sequences(events: str, states: str) -> None:
    assert play(Alarm(), events) == states


def test_shelving_has_an_end_in_the_future_and_ends_then_and_not_before() -> None:
    for until in (None, NOW, NOW - timedelta(seconds=1)):
        with pytest.raises(NotPossible, match="an end in the future"):
            act(ALARMS["U"], Action.SHELVE, now=NOW, until=until)
    shelved = act(ALARMS["U"], Action.SHELVE, now=NOW, until=LATER)
    assert tick(shelved, LATER - timedelta(microseconds=1)) is shelved
    assert same(tick(shelved, LATER), "U")
    assert same(tick(shelved, LATER + timedelta(days=1)), "U")


@pytest.mark.parametrize(
    ("before", "event", "why"),
    [
        ("N", "ack", "the alarm is normal: there is nothing to acknowledge"),
        ("A", "ack", "the alarm is acknowledged: there is nothing to acknowledge"),
        ("U*", "reset", "the alarm is unacknowledged: only a latched alarm that has returned can be reset"),
        ("R", "reset", "only a latched alarm"),
        ("R*", "reset", "the alarm must be acknowledged first"),
        ("N", "unshelve", "the alarm is not shelved"),
        ("N", "unsuppress", "the alarm is not suppressed"),
        ("N", "return", "the alarm is in service"),
    ],
)
def test_a_refusal_says_why(before: str, event: str, why: str) -> None:
    with pytest.raises(NotPossible, match=why):
        EVENTS[event](ALARMS[before])


HOLD_FIELDS = {"shelved_until", "shelved_once", "suppressed", "out_of_service"}
MAY_CHANGE = {
    "ack": {"acknowledged"},
    "reset": {"latched"},
    "shelve": {"shelved_until", "shelved_once"},
    "once": {"shelved_until", "shelved_once"},
    "suppress": {"suppressed"},
    "remove": {"out_of_service"},
    "unshelve": {"shelved_until", "shelved_once", "acknowledged"},
    "time": {"shelved_until", "shelved_once", "acknowledged"},
    "unsuppress": {"suppressed", "acknowledged"},
    "return": {"out_of_service", "acknowledged"},
    "unknown": {"condition"},
    "active": (active := {"condition", "active", "acknowledged", "latched"}),
    "active-l": active,
    # Of what holds it back, a sight ends a one-shot shelving alone.
    "normal": (normal := active | {"shelved_until", "shelved_once"}),
    "normal-l": normal,
}


def fields(alarm: Alarm) -> dict[str, object]:
    return {name: getattr(alarm, name) for name in Alarm.__dataclass_fields__}


@given(st.lists(st.sampled_from(list(EVENTS)), max_size=30))
def test_whatever_happens(events: list[str]) -> None:
    alarm = Alarm()
    last = False
    for event in events:
        before = alarm
        try:
            alarm = EVENTS[event](alarm)
        except NotPossible:
            continue
        was, now = fields(before), fields(alarm)
        changed = {name for name in now if now[name] != was[name]}
        assert changed <= MAY_CHANGE[event]
        assert alarm.state in AlarmState
        assert alarm.held_back == (
            alarm.state in {AlarmState.SHELVED, AlarmState.SUPPRESSED, AlarmState.OUT_OF_SERVICE}
        )
        assert alarm.shelved_until is not None or not alarm.shelved_once
        if event == "unknown":
            assert alarm.state is before.state
        elif event.startswith(("active", "normal")):
            last = event.startswith("active")
            assert EVENTS[event](alarm) == alarm
            assert changed.isdisjoint(HOLD_FIELDS) or before.shelved_once
        assert alarm.active == last
        if before.latched and not alarm.latched:
            assert event == "reset"
        if before.held_back and alarm.held_back:
            assert (alarm.acknowledged, alarm.latched) == (before.acknowledged, before.latched)
        if alarm.acknowledged and not before.acknowledged:
            assert event == "ack" or (before.held_back and not alarm.held_back and not alarm.active)
