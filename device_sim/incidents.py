"""Lets the faults of a scenario happen, in vessels, controllers and network, at their times by the plant's clock."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from device_sim.firmware import SimulatedDevice
from device_sim.habits import Habits
from device_sim.plant import Disturbance, Plant
from device_sim.scenario import Fault, FaultKind

DEFAULTS: dict[FaultKind, float] = {
    FaultKind.PROBE_DRIFT: 0.5,
    FaultKind.PROBE_FOULING: 10.0,
    FaultKind.OVERFEED: 3.0,
    FaultKind.CONTAMINATION: 0.5,
    FaultKind.POWER_CUT: 2.0,
    FaultKind.SLOW: 0.2,
    FaultKind.DUPLICATES: 0.5,
    FaultKind.REORDERING: 0.5,
    FaultKind.MALFORMED: 0.2,
    FaultKind.WRONG_CLOCK: -120.0,
    FaultKind.NTP_STEP: -60.0,
    FaultKind.LYING_SEQUENCE: 1000.0,
}
"""Magnitudes of faults whose file names none; 1 for the others."""
POWER_OFF = 2.0
"""The magnitude from which on a power cut takes the controller too."""
SHARES = {FaultKind.DUPLICATES: "duplicates", FaultKind.REORDERING: "late", FaultKind.MALFORMED: "poison"}


@dataclass(frozen=True)
class Hands:
    """What an incident does to a device, beside what the device does itself."""

    plug: Callable[[SimulatedDevice, bool], None]
    """Take the device from the network, or back to it."""
    cut: Callable[[SimulatedDevice], None]
    """Cut the device's connection; it connects again."""
    reboot: Callable[[SimulatedDevice], None]
    """Take the power for a moment: the device comes up with its next boot."""


def disturbance(fault: Fault) -> Disturbance:
    """The disturbance of a vessel that a fault is."""
    assert fault.kind.in_vessel
    return Disturbance(fault.kind.value, magnitude(fault), fault.channel)  # type: ignore[arg-type]


def magnitude(fault: Fault) -> float:
    return DEFAULTS.get(fault.kind, 1.0) if fault.magnitude is None else fault.magnitude


class Incidents:
    """The faults of a run. Times are ms since 1970, by the plant's clock."""

    def __init__(
        self,
        faults: Sequence[Fault],
        begin: float,
        devices: Sequence[SimulatedDevice],
        *,
        names: Sequence[str],
        plant: Plant,
        hands: Hands,
    ) -> None:
        """`names` are those that the faults' patterns are for, one a device. Raises ValueError for a fault that no
        vessel can have."""
        self._devices, self._plant, self._hands = devices, plant, hands
        self._base = devices[0].habits if devices else Habits()
        self._running: dict[int, list[Fault]] = {}
        self._drifting: dict[int, tuple[float, float, float]] = {}
        """Position of a device → begin and end of its clock's drift, and ms that it is off at the end."""
        self._due: list[tuple[float, int, bool, Fault, list[int]]] = []
        order = itertools.count()
        for fault in faults:
            rows = fault.hits(names)
            if fault.kind.in_vessel:
                disturbance(fault).check()
            heapq.heappush(self._due, (begin + fault.begin_ms, next(order), True, fault, rows))
            if fault.end_ms is not None:
                heapq.heappush(self._due, (begin + fault.end_ms, next(order), False, fault, rows))

    @property
    def next(self) -> float | None:
        """When something begins or ends next."""
        return self._due[0][0] if self._due else None

    def until(self, time: float) -> None:
        """Let happen what is due until `time`, each at its own moment."""
        while self._due and self._due[0][0] <= time:
            moment, _, begins, fault, rows = heapq.heappop(self._due)
            self._plant.advance(int(moment))
            for row in rows:
                (self._begin if begins else self._end)(row, fault, moment)
        for row, (begin, end, off) in self._drifting.items():
            self._devices[row].clock = round(off * min(1.0, (time - begin) / (end - begin)))

    def _begin(self, row: int, fault: Fault, moment: float) -> None:
        device, size = self._devices[row], magnitude(fault)
        if fault.kind.in_vessel:
            self._plant.disturb(row, disturbance(fault))
        self._running.setdefault(row, []).append(fault)
        match fault.kind:
            case FaultKind.POWER_CUT if size >= POWER_OFF:
                device.powered = False
                self._hands.plug(device, False)
            case FaultKind.NETWORK_LOSS:
                self._hands.plug(device, False)
            case FaultKind.SLOW:
                device.outbox.pace = size
            case FaultKind.WRONG_CLOCK:
                device.step_clock(round(size * 1000))
            case FaultKind.NTP_STEP:
                end = moment + ((fault.end_ms or fault.begin_ms + 1) - fault.begin_ms)
                self._drifting[row] = (moment, end, size * 1000)
            case FaultKind.LYING_SEQUENCE:
                device.lie(device.seq + round(size))
            case FaultKind.COUNTER_WRAP:
                device.lie(0)
            case FaultKind.BOOT_BACK:
                device.new_board()
                self._hands.cut(device)
            case FaultKind.REBOOT:
                self._hands.reboot(device)
            case _:
                self._behave(row)

    def _end(self, row: int, fault: Fault, _: float) -> None:
        device = self._devices[row]
        if fault.kind.in_vessel:
            self._plant.mend(row, disturbance(fault))
        self._running[row].remove(fault)
        match fault.kind:
            case FaultKind.POWER_CUT if magnitude(fault) >= POWER_OFF:
                self._hands.reboot(device)
                device.powered = True
                self._plug_again(row)
            case FaultKind.NETWORK_LOSS:
                self._plug_again(row)
            case FaultKind.SLOW:
                device.outbox.pace = None
            case FaultKind.WRONG_CLOCK:
                device.step_clock(0)
            case FaultKind.NTP_STEP:
                del self._drifting[row]
                device.step_clock(0)
            case _:
                self._behave(row)

    def _plug_again(self, row: int) -> None:
        running = {fault.kind for fault in self._running[row]}
        if not running & {FaultKind.NETWORK_LOSS, FaultKind.POWER_CUT}:
            self._hands.plug(self._devices[row], True)

    def _behave(self, row: int) -> None:
        """Give the device the habits of all its faults."""
        shares = {SHARES[fault.kind]: magnitude(fault) for fault in self._running[row] if fault.kind in SHARES}
        self._devices[row].outbox.habits = dataclasses.replace(self._base, **shares)  # type: ignore[arg-type]
