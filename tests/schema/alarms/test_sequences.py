"""What an alarm is after each step of a sequence, worked out by hand from docs/alarms.md and ISA-18.2.

A line is `options | time what state; …`. The rule is x > 38 (`low`: x < 38). What happens: a value (H is 39, L is 37;
with `@d` the device's clock shows d s more than ours), `nan`, a tick, a phase, or what a person does (`shelve30` for
30 s, `once30` one-shot). States: N normal, U unacknowledged, A acknowledged, R returned unacknowledged, L latched, S
shelved, D suppressed, O out of service; `?` the condition is unknown, `!` the act was refused.

A value is known for 60 s (`stale`), and a frame may be under way for 30 s more. A rule that returns with a phase is
evaluated by what is newest then, as the next frame shows. A clock that is set back ends the instant before it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from schema.alarms.engine import DeviceAlarms
from schema.alarms.machine import Action, AlarmState, Condition, NotPossible
from schema.alarms.rules import Rule
from tests.schema.alarms.lines import HIGH, LOW, T0, frame, limit, restarted, rule

SEQUENCES = """
# raised, acknowledged, returned
| 0 L N; 1 H U; 2 L R; 3 ack N
| 0 H U; 1 ack A; 2 L N
| 0 H U; 1 H U; 2 ack A; 3 H A; 4 L N; 5 H U
| 0 H U; 1 L R; 2 H U; 3 ack A; 4 L N
| 0 H U; 1 L R; 2 L R; 3 ack N; 4 ack !N
| 0 L N; 1 ack !N; 2 reset !N
| 0 H U; 1 ack A; 2 ack !A
| 0 H U; 1 reset !U; 2 ack A; 3 reset !A
| 0 38 N; 1 38.001 U; 2 38 R
low | 0 H N; 1 L U; 2 38 R; 3 ack N
low | 0 38 N; 1 37.999 U; 2 ack A; 3 38 N
| 0 H U; 1 ack A; 2 L N; 3 H U; 4 L R; 5 H U; 6 ack A; 7 L N
# deadband
dead=0.5 | 0 37.8 N; 1 H U; 2 37.8 U; 3 37.5 R; 4 ack N
dead=0.5 | 0 H U; 1 ack A; 2 37.6 A; 3 38 A; 4 37.4 N
dead=0.5 | 0 H U; 1 37.4 R; 2 37.8 R; 3 38 R; 4 38.1 U
dead=0.5 | 0 H U; 1 37.8 U; 2 ack A; 3 37.8 A; 4 H A; 5 L N
low dead=0.5 | 0 38.3 N; 1 L U; 2 38.3 U; 3 38.5 R; 4 ack N
low dead=0.5 | 0 L U; 1 ack A; 2 38.4 A; 3 38.6 N; 4 38.3 N; 5 37.9 U
dead=0.5 | 0 H U; 1 L R; 2 ack N; 3 37.9 N; 4 H U
dead=0.5 latch | 0 H U; 1 ack A; 2 37.8 A; 3 L L; 4 reset N
# delay on
on=10 | 0 H N; 9 H N; 10 H U
on=10 | 0 H N; 9 L N; 10 H N; 19 H N; 20 H U
on=10 | 0 L N; 5 H N; 14.9 H N; 15 H U; 16 ack A; 17 L N
on=10 | 0 H N; 30 H U
on=80 | 0 H N; 500 H N; 519 H N; 520 H U
on=10 | 0 H N; 5 ack !N; 10 H U
on=10 dead=0.5 | 0 H N; 5 37.8 N; 6 H N; 15 H N; 16 H U
on=10 dead=0.5 | 0 H N; 10 H U; 11 37.8 U; 12 L R; 13 37.8 R; 14 H R; 24 H U
on=10 | 0 H N; 10 H U; 11 L R; 12 H R; 21 H R; 22 H U
on=10 | 0 H N; 10 H U; 11 ack A; 12 L N; 13 H N; 22 H N; 23 H U
on=0.3 | 0 H N; 0.1 H N; 0.2 H N; 0.3 H U
low on=5 | 0 L N; 4 L N; 5 L U; 6 H R
on=100 | 0 H N; 50 H N; 100 H U
# delay off
off=10 | 0 H U; 1 L U; 10 L U; 11 L R; 12 ack N
off=10 | 0 H U; 1 ack A; 2 L A; 11 L A; 12 L N
off=10 | 0 H U; 1 L U; 5 H U; 6 L U; 15 L U; 16 L R
off=10 | 0 H U; 1 L U; 6 ack A; 11 L N
off=10 dead=0.5 | 0 H U; 1 L U; 6 37.8 U; 7 L U; 16 L U; 17 L R
on=5 off=10 | 0 H N; 5 H U; 6 L U; 16 L R; 17 H R; 21 H R; 22 H U
on=5 off=10 | 0 H N; 4 L N; 5 H N; 10 H U; 12 L U; 14 H U; 20 L U; 30 L R
off=10 | 0 L N; 1 H U; 2 L U; 12 L R; 13 H U
off=10 latch | 0 H U; 1 ack A; 2 L A; 12 L L; 13 reset N
off=80 | 0 H U; 1 L U; 501 L U; 520 L U; 521 L R
# latch
latch | 0 H U; 1 L R; 2 reset !R; 3 ack L; 4 reset N
latch | 0 H U; 1 ack A; 2 reset !A; 3 L L; 4 ack !L; 5 reset N; 6 reset !N
latch | 0 H U; 1 ack A; 2 L L; 3 H U; 4 L R; 5 ack L; 6 reset N
latch | 0 H U; 1 L R; 2 H U; 3 ack A; 4 L L; 5 L L; 6 reset N; 7 H U
latch on=5 | 0 H N; 5 H U; 6 ack A; 7 L L; 8 H L; 12 H L; 13 H U
latch | 0 L N; 1 reset !N; 2 ack !N
latch dead=0.5 | 0 H U; 1 37.8 U; 2 L R; 3 ack L; 4 37.8 L; 5 reset N; 6 37.9 N
# shelved for a time
| 0 H U; 1 shelve60 S; 2 L S; 3 H S; 60 tick S; 61 tick U
| 0 H U; 1 ack A; 2 shelve30 S; 10 H S; 32 tick U
| 0 H U; 1 shelve30 S; 5 L S; 31 tick N
| 0 L N; 1 shelve30 S; 5 H S; 31 tick U
| 0 L N; 1 shelve30 S; 5 H S; 6 L S; 31 tick N
| 0 H U; 1 shelve30 S; 2 unshelve U
| 0 H U; 1 shelve30 S; 2 L S; 3 unshelve N
| 0 H U; 1 shelve30 S; 2 ack !S; 3 reset !S; 31 tick U; 32 ack A
| 0 H U; 1 shelve30 S; 10 shelve60 S; 31 tick S; 40 H S; 69 tick S; 70 tick U
| 0 L N; 1 unshelve !N
| 0 L N; 1 shelve30 S; 2 unshelve N; 3 unshelve !N
| 0 L N; 1 shelve0 !N
latch | 0 H U; 1 ack A; 2 shelve30 S; 3 L S; 32 tick L; 33 reset N
latch | 0 H U; 1 shelve30 S; 3 L S; 31 tick R; 32 ack L; 33 reset N
latch | 0 L N; 1 shelve30 S; 2 H S; 3 L S; 31 tick N
latch | 0 L N; 1 shelve30 S; 2 H S; 31 tick U; 32 ack A; 33 L L
on=10 | 0 H N; 5 shelve30 S; 10 H S; 35 tick U
on=10 | 0 L N; 1 shelve10 S; 5 H S; 11 tick N; 14 H N; 15 H U
# shelved once
| 0 H U; 1 once60 S; 2 L N; 3 H U
| 0 L N; 1 once60 S; 2 L S; 3 H S; 4 L N; 5 H U
| 0 H U; 1 once60 S; 30 H S; 61 tick U
| 0 H U; 1 ack A; 2 once60 S; 3 L N
| 0 L N; 1 once30 S; 10 L S; 31 tick N
latch | 0 H U; 1 ack A; 2 once60 S; 3 L L; 4 reset N
latch | 0 H U; 1 once60 S; 3 L R; 4 ack L
off=10 | 0 H U; 1 once60 S; 2 L S; 11 L S; 12 L N
dead=0.5 | 0 H U; 1 once60 S; 2 37.8 S; 3 L N
| 0 H U; 1 once60 S; 2 unshelve U; 3 L R
| 0 H U; 1 once60 S; 2 shelve60 S; 3 L S; 4 H S
# suppressed by a person
| 0 H U; 1 suppress D; 2 L D; 3 unsuppress N
| 0 H U; 1 suppress D; 2 unsuppress U
| 0 L N; 1 suppress D; 2 H D; 3 unsuppress U; 4 ack A
| 0 L N; 1 unsuppress !N
| 0 H U; 1 ack A; 2 suppress D; 3 ack !D; 4 unsuppress U
| 0 H U; 1 suppress D; 2 suppress D; 3 unsuppress U
latch | 0 H U; 1 ack A; 2 L L; 3 suppress D; 4 unsuppress L; 5 reset N
latch | 0 H U; 1 suppress D; 2 L D; 3 unsuppress R; 4 ack L
on=10 | 0 H N; 5 suppress D; 10 H D; 11 unsuppress U
| 0 H U; 1 suppress D; 2 shelve30 D; 3 unsuppress S; 32 tick U
| 0 H U; 1 shelve30 S; 2 suppress D; 31 tick D; 32 unsuppress U
| 0 H U; 1 shelve30 S; 2 suppress D; 3 unsuppress S; 4 unshelve U
# out of service
| 0 H U; 1 remove O; 2 L O; 3 return N
| 0 H U; 1 ack A; 2 remove O; 3 return U
| 0 L N; 1 remove O; 2 H O; 3 return U
| 0 L N; 1 return !N
| 0 L N; 1 remove O; 2 remove !O; 3 return N
| 0 L N; 1 remove O; 2 shelve30 !O; 3 ack !O; 4 reset !O; 5 return N
| 0 H U; 1 shelve30 S; 2 remove O; 31 tick O; 32 return U
| 0 H U; 1 shelve60 S; 2 remove O; 3 return S; 4 unshelve U
| 0 H U; 1 suppress D; 2 remove O; 3 return D; 4 unsuppress U
| 0 H U; 1 remove O; 2 suppress O; 3 return D; 4 unsuppress U
latch | 0 H U; 1 ack A; 2 L L; 3 remove O; 4 return L; 5 reset N
latch | 0 H U; 1 L R; 2 remove O; 3 return R; 4 ack L
| 0 H U; 1 shelve60 S; 2 remove O; 3 unshelve O; 4 return U
on=10 | 0 H N; 2 remove O; 10 H O; 11 L O; 12 return N
# unknown, and gaps
| 0 H U; 1 nan ?U; 2 H U; 3 ack A
| 0 H U; 1 nan ?U; 2 ack ?A; 3 L N
| 0 nan ?N; 1 nan ?N; 2 H U
raise | 0 L N; 1 nan ?U; 2 L R; 3 ack N
clear | 0 H U; 1 nan ?R; 2 ack ?N; 3 H U
raise on=10 | 0 L N; 1 nan ?N; 11 nan ?U; 12 ack ?A; 13 L N
clear off=10 | 0 H U; 1 ack A; 2 nan ?A; 12 nan ?N; 13 H U
on=10 | 0 H N; 5 nan ?N; 8 H N; 12 H N; 13 H U
| 0 H U; 89 tick U; 91 tick ?U; 92 H U
stale=30 | 0 H U; 59 tick U; 61 tick ?U; 70 L R
| 0 H U; 100 L R
latch | 0 H U; 1 ack A; 2 nan ?A; 3 L L; 4 nan ?L; 5 reset ?N
| 0 H U; 1 shelve60 S; 2 nan ?S; 3 L S; 61 tick N
| 0 H U; 1 once60 S; 2 nan ?S; 3 H S; 4 L N
clear | 0 H U; 1 once60 S; 2 nan ?N; 3 H U
# phases
in=run | 0 H D; 1 phase:run N; 2 H U; 3 phase:stop D; 4 L D; 5 phase:run N; 6 L N
in=run | 0 L D; 1 phase:run N; 2 H U; 3 ack A; 4 phase:stop D; 5 phase:run N; 6 H U
in=run on=10 | 0 H D; 5 phase:run N; 6 H N; 14 H N; 15 H U
in=run | 0 H D; 1 suppress D; 2 phase:run D; 3 H D; 4 unsuppress U
in=run | 0 H D; 1 unsuppress !D; 2 phase:run N; 3 L R
in=run latch | 0 L D; 1 phase:run N; 2 H U; 3 ack A; 4 phase:stop D; 5 phase:run L; 6 L R; 7 ack L; 8 reset N
# the device's clock
on=90 | 0 H N; 5 H@3600 N; 34 H@3600 N; 35 H@3600 U
| 0 L N; 10 L N; 11 H@-3600 U; 12 ack A; 13 L@-3600 N
| 0 L N; 10 L N; 11 H@-5 N; 16 H@-5 U
on=10 | 0 H N; 5 H@-3600 N; 14 H@-3600 N; 15 H@-3600 U
"""
STATES = dict(zip("NUARLSDO", AlarmState, strict=True))
ACTS = {
    **{"ack": Action.ACKNOWLEDGE, "reset": Action.RESET, "shelve": Action.SHELVE, "once": Action.SHELVE},
    **{"unshelve": Action.UNSHELVE, "suppress": Action.SUPPRESS, "unsuppress": Action.UNSUPPRESS},
    **{"remove": Action.REMOVE, "return": Action.RETURN},
}
LINES = [line for line in SEQUENCES.strip().splitlines() if not line.startswith("#")]


def the_rule(options: str) -> Rule:
    words = dict(word.partition("=")[::2] for word in options.split())
    when = limit(level="low" if "low" in words else "high", deadband=float(words.get("dead", 0)))
    return rule(
        when,
        on_delay=float(words.get("on", 0)),
        off_delay=float(words.get("off", 0)),
        stale_after=float(words.get("stale", 60)),
        latch="latch" in words,
        unknown=next((one for one in ("raise", "clear") if one in words), "hold"),
        scope={"phases": [words["in"]] if "in" in words else []},
    )


def happens(device: DeviceAlarms, at: float, what: str, seq: int) -> None:
    """Raises NotPossible."""
    now = datetime.fromtimestamp(T0 + at, UTC)
    word = what.rstrip("0123456789")
    seconds = what.removeprefix(word)
    if what == "tick":
        device.tick(T0 + at)
    elif what.startswith("phase:"):
        device.phase(T0 + at, what.removeprefix("phase:"))
    elif word in ACTS:
        until = now + timedelta(seconds=float(seconds)) if seconds else None
        device.act("r", ACTS[word], now, until, once=word == "once")
    else:
        text, _, ahead = what.partition("@")
        step = float(ahead or 0)
        device.frame(frame(at + step, number(text), -step, 1, seq))


def number(text: str) -> float:
    return {"H": HIGH, "L": LOW}.get(text) or float(text)


@pytest.mark.parametrize("restarts", [False, True], ids=["", "restarted after each step"])
@pytest.mark.parametrize("line", LINES)
def test_an_alarm_is_what_was_worked_out_by_hand(line: str, restarts: bool) -> None:
    options, _, steps = line.partition("|")
    rules = [the_rule(options)]
    device = DeviceAlarms(rules)
    for n, step in enumerate(steps.split(";")):
        at, what, expected = step.split()
        refused = ""
        try:
            happens(device, float(at), what, n)
        except NotPossible:
            refused = "!"
        alarm = device.alarms["r"]
        unknown = "?" if alarm.condition is Condition.UNKNOWN else ""
        assert f"{refused}{unknown}{alarm.state}" == expected[:-1] + STATES[expected[-1]], step
        if restarts:
            device = restarted(device, rules)


def test_each_state_occurs_and_no_sequence_twice() -> None:
    assert len(set(LINES)) == len(LINES) >= 126
    assert {word[-1] for line in LINES for word in re.findall(r"\S+(?=;|$)", line)} == set(STATES)
