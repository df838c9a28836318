"""Each fault of vessel or probe that Biogate brings raises the alarms that its scenario expects; health raises none."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import pytest

from device_sim.incidents import Hands, Incidents
from device_sim.plant import Plant
from device_sim.scenario import Fault, library
from schema.alarms.history import DryRun
from schema.alarms.timeline import CommittedFrame
from schema.messages import BAD, GOOD
from tests.device_sim.line import Bench
from tests.device_sim.rules import RULES

START, HOUR = 1_780_000_000_000, 3_600_000
EVERY, PART = 15_000, 40
WATCHED = {channel for rule in RULES.values() for channel in rule.channels}
FAULTS = [fault for scenario in library() for fault in scenario.faults if fault.kind.in_vessel]


def raised(faults: Sequence[Fault], hours: float) -> set[str]:
    """The rules that are raised over a run of a vessel with E. coli, sampled every 15 s."""
    plant = Plant(["sim-0001"], 1, START, organisms=["coli"])
    device, hands = Bench.with_device().device, Hands(lambda *_: None, lambda _: None, lambda _: None)
    incidents = Incidents(faults, START, [device], names=plant.names, plant=plant, hands=hands)
    run, found, now, last = DryRun(list(RULES.values())), set[str](), START, START + round(hours * HOUR)
    while now < last:
        incidents.until(now)
        end = min(now + PART * EVERY, last)
        if incidents.next is not None and incidents.next < end:
            end = now + max(EVERY, -int((now - incidents.next) // EVERY) * EVERY)
        powered = device.powered
        plant.advance(end - 1)
        phases = [(one.t / 1000, str(one.data["phase"])) for one in plant.events() if one.type == "phase"]
        rows = plant.history(0, now, end, EVERY).tolist() if powered else []
        frames = [committed(plant, (now + number * EVERY) / 1000, values) for number, values in enumerate(rows)]
        moments: list[tuple[float, str | CommittedFrame]] = [*phases, *((frame.time, frame) for frame in frames)]
        for time, what in sorted(moments, key=lambda moment: moment[0]):
            ended = run.frame(what) if isinstance(what, CommittedFrame) else run.phase(time, what)
            found |= {period.rule for period in ended if period.what == "active"}
        now = end
    return found | {period.rule for period in run.end(last / 1000) if period.what == "active"}


def committed(plant: Plant, time: float, values: list[float]) -> CommittedFrame:
    sent = [
        (name, None if math.isnan(value) else value, BAD if math.isnan(value) else GOOD)
        for name, value in zip(plant.channels, values, strict=True)
        if name in WATCHED
    ]
    return CommittedFrame(time, time, 1, None, sent)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.kind}-{fault.channel or fault.at}")
def test_a_fault_raises_the_alarms_that_its_scenario_expects(fault: Fault) -> None:
    hours = (fault.end_ms or fault.begin_ms + HOUR) / HOUR + 0.25
    seen = raised([msgspec.structs.replace(fault, devices=("*",))], hours)
    assert set(fault.expect.alarm) <= seen, seen
    assert fault.expect.alarm


def test_healthy_runs_raise_nothing() -> None:
    assert raised([], 36) == set()


def test_each_rule_is_expected_of_some_fault() -> None:
    expected = {name for scenario in library() for fault in scenario.faults for name in fault.expect.alarm}
    assert expected | {"ph-off-setpoint"} == set(RULES)


def test_the_faults_of_probes_and_vessels_name_channels_of_the_plant() -> None:
    assert {fault.channel for fault in FAULTS if fault.channel} <= set(Plant.channels)
