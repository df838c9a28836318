"""Each disturbance shows in the channels as the alarm that an engineer expects, and a good run raises none."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import get_args

import pytest

from device_sim.plant import Plant
from device_sim.process.expected import EXPECTED, ExpectedAlarm, rules
from device_sim.process.readings import CHANNELS
from device_sim.process.tweaks import DisturbanceKind
from schema.alarms.engine import DeviceAlarms
from schema.alarms.files import load
from schema.alarms.machine import AlarmState
from schema.alarms.timeline import CommittedFrame
from schema.messages import BAD
from tests.device_sim.process.vessel import MINUTE, NOON

EVERY = 20_000
WAIT = {"setup": 20, "batch": 300, "exponential feed": 90, "constant feed": 60}
"""Minutes after the begin of a phase at which something goes wrong in it."""


@cache
def phases() -> tuple[tuple[int, str], ...]:
    """The phases of one whole run of E. coli."""
    plant = Plant(["v-1"], 1, NOON, organisms=["coli"])
    plant.advance(NOON + 48 * 60 * MINUTE)
    found = [(event.t, str(event.data["phase"])) for event in plant.events() if event.type == "phase"]
    first = next(i for i, (_, phase) in enumerate(found) if phase == "setup")
    return tuple(found[first : first + 8])


def alarms(plant: Plant, begin: int, end: int) -> dict[str, float]:
    """The rules that are raised, with the minutes until then."""
    device, raised = DeviceAlarms(load(rules())), {}
    changes: Iterator[tuple[int, str]] = iter(phases())
    change = next(changes)
    for i, row in enumerate(plant.history(0, begin, end, EVERY).tolist()):
        at = begin + i * EVERY
        while change is not None and change[0] <= at:
            device.phase(change[0] / 1000, change[1])
            change = next(changes, None)  # type: ignore[assignment]
        sent = [
            (name, *((None, BAD) if value != value else (value, 0))) for name, value in zip(CHANNELS, row, strict=True)
        ]
        made = device.frame(CommittedFrame(at / 1000, at / 1000, 1, i, sent))
        for it in made:
            if it.after is AlarmState.UNACKNOWLEDGED and it.rule not in raised:
                raised[it.rule] = (at - begin) / MINUTE
    return raised


def test_a_good_run_raises_no_alarm() -> None:
    plant = Plant(["v-1"], 1, NOON, organisms=["coli"])
    assert alarms(plant, phases()[0][0], phases()[5][0]) == {}


def name(it: ExpectedAlarm) -> str:
    return f"{it.disturbance.kind} {it.disturbance.channel or ''}"


@pytest.mark.parametrize("it", EXPECTED, ids=name)
def test_a_disturbance_raises_the_alarms_that_an_engineer_expects(it: ExpectedAlarm) -> None:
    begin = next(at for at, phase in phases() if phase == it.phase) + WAIT[it.phase] * MINUTE
    plant = Plant(["v-1"], 1, NOON, organisms=["coli"])
    plant.advance(begin)
    plant.disturb(0, it.disturbance)
    raised = alarms(plant, begin - 2 * MINUTE, begin + round(it.minutes * MINUTE))
    assert set(it.rules) <= set(raised), raised
    assert min(raised.values()) > 2


def test_every_kind_has_an_alarm() -> None:
    assert {it.disturbance.kind for it in EXPECTED} == set(get_args(DisturbanceKind))
