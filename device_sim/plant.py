"""The vessels of a fleet in simulated time: what a controller's firmware sees of its process. Pure: no clock, no I/O.

The same seed, names and times give the same values, to the byte. A row is a vessel, in the order of the names; a column
is a channel of `Plant.channels`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from device_sim.culture import Phase
from device_sim.vessels import CHANNELS, Floats, VesselSample, take_sample, vessels

DisturbanceKind: TypeAlias = Literal[
    "probe_drift",
    "probe_freeze",
    "probe_failure",
    "probe_fouling",
    "foam_out",
    "stirrer_stall",
    "gas_loss",
    "feed_blocked",
    "overfeed",
    "contamination",
    "power_cut",
]
SETPOINTS = {"temperature": (0.0, 100.0), "ph": (2.0, 12.0), "dissolved_oxygen": (0.0, 100.0)}


@dataclass(frozen=True)
class Disturbance:
    """Something that goes wrong in a process or a probe. `magnitude` is in the terms of its kind:

    probe_drift: units of the channel an hour; probe_fouling: the probe's time constant grows so many times;
    probe_freeze, probe_failure, stirrer_stall, gas_loss, feed_blocked: the part that is lost, 1 is all;
    foam_out: how strongly it foams, 1 reaches the exhaust; overfeed: the feed pump's flow as a multiple of what is asked;
    contamination: g/L of the intruder at once; power_cut: 1 the controller goes on (UPS), 2 it is off too.
    """

    kind: DisturbanceKind
    magnitude: float = 1.0
    channel: str | None = None
    """The channel of the probe, for the four kinds that concern a probe."""


class PlantEvent(NamedTuple):
    row: int
    t: int
    """ms since 1970."""
    type: str
    """phase, sample, dosing, calibration or addition."""
    data: Mapping[str, Any]


class Plant:
    """All vessels of a fleet in simulated time."""

    channels: tuple[str, ...] = CHANNELS

    def __init__(
        self, names: Sequence[str], seed: int, start_ms: int, *, organisms: Sequence[str | None] | None = None
    ) -> None:
        """Make the vessels as they are at `start_ms`, each somewhere in a run. `organisms` has a name a vessel (the keys of
        device_sim.process.ORGANISMS), None where the seed chooses. Nothing is solved before it is needed."""
        self.now = start_ms
        self._vessels = vessels(list(names), seed)
        self._phases = np.full(len(names), -1)
        self._doses = np.zeros(len(names), dtype=np.int64)
        self._events: list[PlantEvent] = []

    def advance(self, to_ms: int) -> None:
        """Move simulated time on to `to_ms` (ms since 1970); it never goes back."""
        self.now = max(self.now, to_ms)

    def sample(self, rows: slice = slice(None)) -> VesselSample:
        """Return what the instruments of some vessels show at the present simulated time: `values` (NaN: no value), and
        `fault_channel` and `fault_quality` of the one channel that is not good, or -1. Take nothing else from it."""
        sample = take_sample(self._vessels[rows], self.now, 1.0)
        numbers = range(len(self._phases))[rows]
        for row, phase, doses in zip(numbers, sample.phase.tolist(), sample.dosing.tolist(), strict=True):
            if phase != self._phases[row]:
                was = Phase(self._phases[row]).text if self._phases[row] >= 0 else None
                data = {"phase": Phase(phase).text, "previous": was}
                self._events.append(PlantEvent(row, self.now, "phase", data))
            if doses > self._doses[row] and self._phases[row] >= 0:
                self._events.append(PlantEvent(row, self.now, "dosing", {"what": "antifoam", "volume_ml": 0.5}))
            self._phases[row], self._doses[row] = phase, doses
        return sample

    def history(self, row: int, from_ms: int, to_ms: int, every_ms: int) -> Floats:
        """Return what the instruments of a vessel show at from_ms, from_ms + every_ms, … before to_ms: a row each. What
        was ordered or disturbed is in it from then on. The present time does not move."""
        part = self._vessels[row : row + 1]
        times = range(from_ms, to_ms, every_ms)
        return np.array([take_sample(part, t, 1.0).values[0] for t in times]).reshape(-1, len(self.channels))

    def order(self, row: int, channel: str, value: float) -> str | None:
        """Set a setpoint, a mode (`…_mode`: 0 off, 1 auto, 2 manual) or, in manual, an output (`…_output`) from the
        present time on, in the unit of its channel. Returns why that is refused, or None. An order holds until the next
        one or the end of the run; NaN returns the loop to the recipe."""
        limits = SETPOINTS.get(channel.removesuffix("_setpoint"))
        if limits is None:
            return "no channel of that name can be set"
        low, high = limits
        return None if np.isnan(value) or low <= value <= high else f"value is not from {low:g} to {high:g}"

    def disturb(self, row: int, disturbance: Disturbance) -> None:
        """Let something go wrong from the present time on, until it is mended. Raises ValueError for a channel that has
        no probe."""

    def mend(self, row: int, disturbance: Disturbance) -> None:
        """End a disturbance at the present time; what it did to the culture stays done."""

    def phases(self) -> list[str]:
        """Return the phase of the run of each vessel at the present time, in the words of its events."""
        return [Phase(phase).text for phase in take_sample(self._vessels, self.now, 1.0).phase.tolist()]

    def events(self) -> list[PlantEvent]:
        """Return what has happened until the present time since the last call, in order of time: phases, off-line
        samples (`sample`: analytes with value and unit), `dosing` of antifoam, `calibration`, `addition` (inoculum)."""
        events, self._events = self._events, []
        return sorted(events, key=lambda event: event.t)
