"""Incidents on a device alone: what begins, what ends, and what overlaps."""

from __future__ import annotations

import pytest

from device_sim.firmware import SimulatedDevice
from device_sim.incidents import Hands, Incidents
from device_sim.plant import Plant
from device_sim.scenario import Fault
from tests.device_sim.line import Bench
from tests.device_sim.test_scenario import fault

BEGIN = 1_780_000_000_000


class Told:
    """An incident's hands, which only write down."""

    def __init__(self, *faults: Fault) -> None:
        self.said: list[object] = []
        self.device = Bench.with_device().device
        hands = Hands(self.plug, lambda _: self.said.append("cut"), lambda _: self.said.append("reboot"))
        plant = Plant(["dev"], 1, BEGIN)
        self.incidents = Incidents(faults, BEGIN, [self.device], names=["dev"], plant=plant, hands=hands)

    def plug(self, _: SimulatedDevice, plugged: bool) -> None:
        self.said.append(plugged)

    def at(self, seconds: float) -> None:
        self.incidents.until(BEGIN + seconds * 1000)


def test_each_happens_at_its_moment_and_once() -> None:
    told = Told(fault(kind="reboot", at="10s"), fault(kind="lying_sequence", at="20s", magnitude=7))
    told.at(9.999)
    assert (told.said, told.incidents.next) == ([], BEGIN + 10_000)
    told.at(15)
    told.at(15)
    assert (told.said, told.device.seq) == (["reboot"], 0)
    told.at(3600)
    assert (told.device.seq, told.incidents.next) == (7, None)


def test_shares_add_up_and_go_back() -> None:
    told = Told(
        fault(kind="duplicates", at="0", duration="30s", magnitude=0.25),
        fault(kind="malformed", at="10s", duration="10s", magnitude=0.5),
    )
    seen = []
    for seconds in (0, 10, 20, 30):
        told.at(seconds)
        seen.append((told.device.habits.duplicates, told.device.habits.poison, told.device.habits.late))
    assert seen == [(0.25, 0, 0), (0.25, 0.5, 0), (0.25, 0, 0), (0, 0, 0)]


def test_a_clock_drifts_and_is_stepped_right() -> None:
    told = Told(fault(kind="ntp_step", at="10s", duration="100s", magnitude=-20))
    seen = []
    for seconds in (5, 10, 60, 109, 110, 200):
        told.at(seconds)
        seen.append(told.device.clock)
    assert seen == [0, 0, -10_000, -19_800, 0, 0]


def test_a_device_without_power_and_network_needs_both_to_come_back() -> None:
    told = Told(
        fault(kind="network_loss", at="0", duration="60s"),
        fault(kind="power_cut", at="10s", duration="20s", magnitude=2),
    )
    told.at(15)
    assert (told.said, told.device.powered) == ([False, False], False)
    told.at(30)
    assert (told.said, told.device.powered) == ([False, False, "reboot"], True)
    told.at(60)
    assert told.said[-1] is True


def test_a_power_cut_that_the_controller_survives_leaves_it_on() -> None:
    told = Told(fault(kind="power_cut", at="0", magnitude=1))
    told.at(1)
    assert (told.said, told.device.powered) == ([], True)


def test_a_new_board_counts_from_one_and_has_no_frames() -> None:
    told = Told(fault(kind="boot_back", at="1s"))
    for seq in range(5):
        told.device.frame(BEGIN + seq, [37.0, 7.0])
    told.at(1)
    assert (told.device.boot, told.device.seq, told.device.store.total, told.said) == (1, 0, 0, ["cut"])
    assert told.device.lost == 5


def test_a_fault_that_no_vessel_can_have_is_refused() -> None:
    with pytest.raises(ValueError, match="ph_setpoint has no probe"):
        Told(fault(kind="probe_freeze", channel="ph_setpoint"))
