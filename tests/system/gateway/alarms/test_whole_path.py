"""A table worked out by hand: what a device sends and people do, and the state of its alarm after each. Every line goes
the whole way: a device publishes, the gateway stores, the process evaluates, the API is asked."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any

import aiomqtt
import pytest

from api.access.roles import Role
from gateway.broker.client import MqttClient
from tests.api import alarms as rules
from tests.api.accounts import api_key, serving
from tests.api.operators import Operator
from tests.conftest import Broker
from tests.gateway.alarms.plant import Plant
from tests.processes import AlarmsProcess, GatewayProcess

# A line is an input, and the state after it, and so on. Inputs are
#   12, 12/1, null, y:12   a frame with a value of x (after the slash its quality; no value; of another channel), one
#                          second of the device after the one before; @9:12 is nine seconds after, @-60:12 a clock that
#                          was set back, #5:12 skips five numbers
#   in:cip                 the run comes into a phase
#   time                   it is waited until the state is so
#   ack, reset, shelve, brief, once, unshelve, suppress, unsuppress, remove, return
#                          what people do; `brief` and `once` are shelvings, for six seconds, and until it returns
# and states
#   N normal, U unacknowledged, A acknowledged, R returned and unacknowledged, L latched, S shelved, D suppressed by
#   design, O out of service; with a "?" the condition cannot be told; N>U is one after the other at once; "=" the act
#   was refused, and all is as before.
HIGH: dict[str, Any] = {"kind": "limit", "channel": "x", "level": "high", "limit": 10.0}
BAND = HIGH | {"deadband": 2.0}
OFF: dict[str, Any] = {"kind": "deviation", "channel": "x", "setpoint": "y", "limit": 2.0}
RATE: dict[str, Any] = {"kind": "rate", "channel": "x", "limit": 60.0, "window": 2.4}
BOTH: dict[str, Any] = {"kind": "formula", "expression": "x > 10 and y < 5"}
PLAIN: dict[str, Any] = {"when": HIGH}
LATCH = {"when": HIGH, "latch": True}
IN_BATCH = {"when": HIGH, "scope": {"phases": ["batch"]}}
Row = tuple[str, Mapping[str, Any], str]
ROWS: list[Row] = [
    # In service.
    ("condition, acknowledged, return", PLAIN, "9 N  11 U  ack A  12 A  9 N  11 U"),
    ("return before anybody saw it", PLAIN, "9 N  11 U  9 R  ack N"),
    ("again before anybody saw it", PLAIN, "11 U  9 R  11 U  ack A  9 N"),
    ("nothing to acknowledge", PLAIN, "9 N  ack =  11 U  ack A  ack =  reset ="),
    # With a latch.
    ("latched until reset", LATCH, "11 U  ack A  9 L  reset N  9 N  11 U"),
    ("latched, acknowledged after the return", LATCH, "11 U  9 R  reset =  ack L  reset N"),
    ("latched, and again", LATCH, "11 U  ack A  reset =  9 L  ack =  11 U  ack A  9 L  reset N"),
    # Shelved, from each state, and what it is at the end.
    ("shelved while normal", PLAIN, "9 N  shelve S  11 S  ack =  unshelve U"),
    ("shelved while normal, all is well", PLAIN, "9 N  shelve S  11 S  9 S  unshelve N  unshelve ="),
    ("shelved while unacknowledged", PLAIN, "11 U  shelve S  unshelve U"),
    ("shelved while acknowledged", PLAIN, "11 U  ack A  shelve S  unshelve U"),
    ("shelved, and returns meanwhile", PLAIN, "11 U  ack A  shelve S  9 S  unshelve N"),
    ("shelved while returned", PLAIN, "11 U  9 R  shelve S  unshelve N"),
    ("shelved while latched", LATCH, "11 U  ack A  9 L  shelve S  unshelve L  reset N"),
    ("a time ends", PLAIN, "11 U  brief S  time U"),
    ("a time ends, all is well", PLAIN, "11 U  brief S  9 S  time N"),
    ("once: until it returns", PLAIN, "11 U  once S  12 S  9 N  11 U"),
    ("once, while normal: the next one", PLAIN, "9 N  once S  11 S  9 N  11 U"),
    # Suppressed, by a person and by the phase.
    ("suppressed", PLAIN, "9 N  suppress D  11 D  ack =  unsuppress U  unsuppress ="),
    ("suppressed while acknowledged", PLAIN, "11 U  ack A  suppress D  9 D  unsuppress N"),
    ("suppressed while latched", LATCH, "11 U  ack A  9 L  suppress D  unsuppress L"),
    ("no phase, a phase", IN_BATCH, "11 D  in:batch N>U  ack A  12 A  in:cip D  12 D  in:batch N>U  12 U"),
    ("a phase ends and all is well", IN_BATCH, "9 D  in:batch N  11 U  in:cip D  9 D  in:batch N  9 N"),
    ("suppressed by a person within its phase", IN_BATCH, "9 D  in:batch N  suppress D  11 D  unsuppress U"),
    # Out of service.
    ("out of service", PLAIN, "9 N  remove O  11 O  remove =  shelve =  ack =  return U  return ="),
    ("out of service while acknowledged", PLAIN, "11 U  ack A  remove O  return U"),
    ("out of service, and returns meanwhile", PLAIN, "11 U  remove O  9 O  return N"),
    ("out of service while returned", PLAIN, "11 U  9 R  remove O  return N"),
    ("out of service while latched", LATCH, "11 U  ack A  9 L  remove O  return L"),
    # Held back twice: the strongest is seen, and all must end.
    ("shelved and out of service", PLAIN, "11 U  shelve S  remove O  return S  unshelve U"),
    ("shelved and suppressed", PLAIN, "11 U  shelve S  suppress D  unsuppress S  9 S  unshelve N"),
    # Deadband and delays.
    ("deadband", {"when": BAND}, "10 N  10.1 U  9 U  8.1 U  8 R"),
    ("low, with a deadband", {"when": BAND | {"level": "low"}}, "10 N  9.9 U  11 U  11.9 U  12 R"),
    ("on-delay", {"when": HIGH, "on_delay": 3}, "11 N  11 N  9 N  11 N  11 N  11 N  11 U"),
    ("off-delay", {"when": HIGH, "off_delay": 2}, "11 U  9 U  11 U  9 U  9 U  9 R"),
    ("another condition for the return", {"when": HIGH, "clear": "x < 5"}, "11 U  9 U  5 U  4 R"),
    # What cannot be told.
    ("unknown: as it is", PLAIN, "9 N  20/1 N?  11 U  9/3 U?  null U?  9 R"),
    ("an uncertain value is a value", PLAIN, "9 N  11/2 U  9/2 R"),
    ("unknown: raises", {"when": HIGH, "unknown": "raise"}, "9 N  9/1 U?  ack A?  9 N"),
    ("unknown: clears", {"when": HIGH, "unknown": "clear"}, "11 U  11/1 R?  11 U"),
    ("a value is stale", {"when": HIGH, "stale_after": 3}, "11 U  y:1 U  @5:y:1 U?  9 R"),
    # The other kinds.
    ("deviation", {"when": OFF}, "7+y:5 N  8+y:5 U  7+y:5 R  2+y:5 U  3+y:5 R"),
    ("rate", {"when": RATE}, "0 N?  0.5 N?  1 N  9 U  9.5 U  10 R"),
    ("frozen", {"when": {"kind": "frozen", "channel": "x", "after": 2}}, "5 N  5 N  5 U  5 U  6 R"),
    ("quality", {"when": {"kind": "quality", "channel": "x"}}, "5 N  5/1 U  5 R  null U  5 R"),
    ("silent", {"when": {"kind": "silent", "after": 6}}, "5 N  time U  5 R"),
    ("gap", {"when": {"kind": "gap", "frames": 2, "window": 4}}, "5 N  #1:5 N  #1:5 U  5 U  @4:5 R"),
    ("skew", {"when": {"kind": "skew", "limit": 100}}, "@200:5 U  5 U  @-200:5 R"),
    ("a clock that was wrong for a while", PLAIN, "5 N  @100:5 N  @-99:5 N  @190:11 U  9 R"),
    ("formula", {"when": BOTH}, "11+y:9 N  12+y:4 U  9+y:4 R"),
    ("formula: false and unknown is false", {"when": BOTH}, "9 N  11 N?  11+y:1 U"),
]
STATES = {
    **{"N": "normal", "U": "unacknowledged", "A": "acknowledged", "R": "returned-unacknowledged", "L": "latched"},
    **{"S": "shelved", "D": "suppressed", "O": "out-of-service"},
}
ACTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{"ack": ("acknowledge", {}), "remove": ("remove-from-service", {}), "return": ("return-to-service", {})},
    **{action: (action, {}) for action in ("reset", "unshelve", "suppress", "unsuppress")},
    **{"shelve": ("shelve", {"duration_s": 3600}), "brief": ("shelve", {"duration_s": 6})},
    "once": ("shelve", {"duration_s": 3600, "once": True}),
}
FRAME = re.compile(r"(@(?P<after>-?\d+):)?(#(?P<skipped>\d+):)?(?P<values>.*)")
WITNESS = {
    "name": "every-frame",
    "title": "Every frame",
    "when": {"kind": "limit", "channel": "w", "level": "high", "limit": 0.5},
}
"""Each frame is one transition of this rule, stored together with what it did to the other one."""
Seen = dict[tuple[str, str], dict[str, Any]]


class Alarms:
    """Of all devices, by device and rule, as the API has them."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self._seen: Seen = {}
        self._asked = self._shown = 0
        self._changed = asyncio.Condition()

    async def follow(self) -> None:
        while True:
            self._asked += 1
            found = (await self.operator.get("/alarms", limit=1000))["alarms"]
            async with self._changed:
                self._seen = {(one["device"], one["rule"]): one for one in found}
                self._shown = self._asked
                self._changed.notify_all()
            await asyncio.sleep(0.05)

    async def until(self, device: str, holds: Callable[[Seen], bool], what: str) -> str:
        """The state of its alarm then, as a letter; with a "?" it cannot be told. Of what is asked for from now on."""
        asked = self._asked
        try:
            async with asyncio.timeout(60), self._changed:
                await self._changed.wait_for(lambda: self._shown > asked and holds(self._seen))
        except TimeoutError:
            pytest.fail(f"{what}: it is {self._letter(device)}")
        return self._letter(device)

    async def becomes(self, device: str, state: str, what: str) -> None:
        await self.until(device, lambda _: self._letter(device) == state, what)

    def _letter(self, device: str) -> str:
        return letter(self._seen.get((device, device), {"state": "normal", "condition": "normal"}))


def letter(alarm: Mapping[str, Any], state: str = "state") -> str:
    letters = {name: one for one, name in STATES.items()}
    return letters[alarm[state]] + ("?" if alarm["condition"] == "unknown" else "")


class Line:
    """One line of the table, on a device of its own."""

    def __init__(self, device: str, row: Row, alarms: Alarms, broker: aiomqtt.Client) -> None:
        self._device = device
        self._title, _, text = row
        tokens = text.split()
        self._steps = list(zip(tokens[::2], tokens[1::2], strict=True))
        self._alarms = alarms
        self._broker = broker
        self._at = int(time.time()) - 1
        self._seq, self._frames = -1, 0

    async def play(self) -> None:
        states = ["N"]
        for n, (given, expected) in enumerate(self._steps):
            step = f"{self._title!r}, step {n + 1}, {given}"
            if expected == "=":
                status, _ = await self._alarms.operator.refused(self._act(given), **ACTS[given][1])
                assert status == 409, step
                continue
            if given in ACTS:
                answer = await self._alarms.operator.post(self._act(given), **ACTS[given][1])
                assert letter(answer) == expected, step
            elif given == "time" or given.startswith("in:"):
                if given != "time":
                    await self._publish("event", {"type": "phase", "data": {"phase": given.removeprefix("in:")}})
                await self._alarms.becomes(self._device, expected.rpartition(">")[2], step)
            else:
                await self._frame(given)
                seen = await self._alarms.until(self._device, self._is_evaluated, step)
                assert seen == expected, step
            states += expected.split(">")
        # and nothing in between
        found = await self._alarms.operator.get("/alarms/history", device=self._device, rule=self._device)
        came = ["N", *(letter(one, "after") for one in reversed(found["transitions"]))]
        assert [one for one, _ in groupby(came)] == [one for one, _ in groupby(states)], self._title

    def _is_evaluated(self, seen: Seen) -> bool:
        """The newest frame is, and with it all that follows from it."""
        witness = seen.get((self._device, "every-frame"))
        return witness is not None and bool(witness["n"] == self._frames)

    def _act(self, given: str) -> str:
        return f"/alarms/{self._device}/{self._device}/{ACTS[given][0]}"

    async def _publish(self, kind: str, content: Mapping[str, Any]) -> None:
        message = json.dumps({"boot": 1, "t": 1000 * self._at, **content})
        await self._broker.publish(f"bioreactors/{self._device}/{kind}", message, qos=1)

    async def _frame(self, given: str) -> None:
        found = FRAME.fullmatch(given)
        assert found is not None
        self._frames += 1
        self._at += int(found["after"] or 1)
        self._seq += 1 + int(found["skipped"] or 0)
        values: dict[str, float | None] = {"w": self._frames % 2}
        quality = {}
        for one in found["values"].split("+"):
            channel, _, value = one.rpartition(":")
            value, _, bad = value.partition("/")
            values[channel or "x"] = None if value == "null" else float(value)
            if bad:
                quality[channel or "x"] = int(bad)
        await self._publish("telemetry", {"seq": self._seq, "v": values, "q": quality})


async def test_what_is_published_and_done_and_the_state_after_each(
    database_url: str,
    plant: Plant,
    broker: Broker,
    gateway: GatewayProcess,
    alarms: AlarmsProcess,
) -> None:
    lines = {f"line-{n}": row for n, row in enumerate(ROWS, 1)}
    await plant.devices(*lines)
    gateway.start(ready=False)
    alarms.start()
    gateway.wait_ready()
    given = [
        {"name": name, "title": title, **rule, "scope": rule.get("scope", {}) | {"devices": [name]}}
        for name, (title, rule, _) in lines.items()
    ]
    key = await api_key(plant.database, role=Role.ENGINEER)
    async with (
        serving(database_url, api_rate=0, api_act_patience=60) as client,
        MqttClient(broker.host, broker.port) as device,
    ):
        operator = Operator(client, key)
        answer = await client.post(
            "/api/v1/alarm-rules.yaml",
            content=rules.file(WITNESS, *given),
            params={"why": "to try them"},
            headers=operator.headers,
        )
        assert answer.status_code == 200, answer.text
        seen = Alarms(operator)
        following = asyncio.create_task(seen.follow())
        played = (Line(name, row, seen, device).play() for name, row in lines.items())
        outcomes = await asyncio.gather(*played, return_exceptions=True)
        following.cancel()
    wrong = [outcome for outcome in outcomes if outcome is not None]
    assert not wrong, "\n".join(map(str, wrong))
