"""The vessels of a fleet in simulated time: what a controller's firmware sees of its process. Pure: no clock, no I/O.

The same seed, names and times give the same values, to the byte. A row is a vessel, in the order of the names; a column
is a channel of `Plant.channels`. Vessels share runs that are solved once, as far as they are needed, until somebody
orders something of one, or something goes wrong in it: then it goes on with a run of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from device_sim.process.diary import Diary, Leg, PlantEvent
from device_sim.process.grid import HOUR, Arena, TruthGrid
from device_sim.process.loops import MANUAL
from device_sim.process.organism import Organism
from device_sim.process.organisms import ORGANISMS, STRAINS, strain
from device_sim.process.readings import CHANNELS, COLUMN, SIZED
from device_sim.process.trajectory import Trajectory
from device_sim.process.tweaks import (
    IN_LOOP,
    Disturbance,
    DisturbanceKind,
    Going,
    Tweaks,
    loop_of,
    output_now,
    refusal,
)
from device_sim.vessels import Floats, VesselSample, faulted, instruments, mixed, name_key, shown
from schema.messages import BAD

__all__ = ["Disturbance", "DisturbanceKind", "Plant", "PlantEvent", "VesselSample"]

USUAL = ("coli", "coli", "coli", "yeast", "cho", "penicillium", "chemostat", "coli")
"""How the seed chooses an organism."""
SPREAD = 0.4
"""The vessels start somewhere in the first part of a run, as long as this of it."""


class Plant:
    """All vessels of a fleet in simulated time."""

    channels: tuple[str, ...] = CHANNELS

    def __init__(
        self, names: Sequence[str], seed: int, start_ms: int, *, organisms: Sequence[str | None] | None = None
    ) -> None:
        """Make the vessels as they are at `start_ms`, each somewhere in a run. `organisms` has a name a vessel (a key
        of device_sim.process.organisms.ORGANISMS), None where the seed chooses. Nothing is solved before it is needed.
        Raises ValueError for an unknown organism."""
        if organisms is not None and (unknown := {it for it in organisms if it} - set(ORGANISMS)):
            raise ValueError(f"no such organism: {', '.join(sorted(unknown))}; there are {', '.join(ORGANISMS)}")
        self.names, self.now, self._start = tuple(names), start_ms, start_ms
        keys = [name_key(name, seed) for name in names]
        chosen = organisms or [None] * len(names)
        self.organisms: list[Organism] = [
            ORGANISMS[name or USUAL[key % len(USUAL)]] for name, key in zip(chosen, keys, strict=True)
        ]
        self.litres = [o.litres * (0.7 + 0.6 * _part(key, 1)) for o, key in zip(self.organisms, keys, strict=True)]
        self._keys = keys
        self._instruments = instruments(names, seed)
        self._factor = np.where(SIZED, np.array(self.litres)[:, None], 1.0)
        self._arena = Arena(len(names))
        self._tweaks: dict[int, Tweaks] = {}
        self._faults: dict[int, list[Going]] = {}
        self._legs: list[list[Leg]] = [[] for _ in names]
        self._diary = Diary(self.names, self.litres, keys, start_ms)

    # Time

    def advance(self, to_ms: int) -> None:
        """Move simulated time on to `to_ms` (ms since 1970); it never goes back."""
        self.now = max(self.now, to_ms)

    def sample(self, rows: slice = slice(None)) -> VesselSample:
        """Return what the instruments of some vessels show at the present simulated time: `values` (NaN: no value), and
        `fault_channel` and `fault_quality` of the one channel that is not good, or -1."""
        first = rows.indices(len(self.names))[0]
        for row in (np.flatnonzero(self._arena.end[rows] <= self.now) + first).tolist():
            leg = self._leg(row, self.now)
            self._arena.load(row, leg.grid, leg.origin, self.now)
        times, part = np.array([self.now]), self._instruments[rows]
        values = shown(self._arena.read(rows, self.now) * self._factor[rows], part, times)
        sample = faulted(values, part, times)
        for row in self._faults:
            if first <= row < first + len(values):
                self._spoil(row, values[row - first : row - first + 1], times, sample, row - first)
        return sample

    def history(self, row: int, from_ms: int, to_ms: int, every_ms: int) -> Floats:
        """Return what the instruments of a vessel show at from_ms, from_ms + every_ms, … before to_ms: a row each. What
        was ordered or disturbed is in it from then on. The present time does not move."""
        times = np.arange(from_ms, to_ms, every_ms)
        values = np.empty((len(times), len(CHANNELS)))
        done, it = 0, self._instruments[row : row + 1]
        while done < len(times):
            at = self._leg(row, int(times[done]))
            end = self._end(row, at, to_ms)
            past = int(np.searchsorted(times, end, side="left"))
            for begin in range(done, past, 16_384):
                some = slice(begin, min(begin + 16_384, past))
                truth = at.grid.at((times[some] - at.origin).astype(np.float64)) * self._factor[row]
                values[some] = faulted(shown(truth, it, times[some]), it, times[some]).values
            done = past
        if row in self._faults:
            self._spoil(row, values, times)
        return values

    def phases(self) -> list[str]:
        """Return the phase of the run of each vessel at the present time, in the words of its events."""
        phases: list[str] = []
        for row, o in enumerate(self.organisms):
            leg = self._leg(row, self.now)
            stretch, _ = leg.grid.trajectory.present((self.now - leg.origin) / HOUR)
            phases.append(o.recipe[stretch.step].phase)
        return phases

    def events(self) -> list[PlantEvent]:
        """Return what has happened until the present time since the last call, in order of time: `phase`, `run` (its
        name and its state in the words of ISA-88), off-line `sample` (its `analytes` with value and unit), `dosing` of
        antifoam, `addition` of the inoculum, `calibration`. The first call names the phase that each vessel is in."""
        found: list[PlantEvent] = []
        for row in np.flatnonzero(self._diary.wake <= self.now).tolist():
            leg = self._leg(row, self.now)
            leg.grid.trajectory.solve((self.now - leg.origin) / HOUR)
            found += self._diary.read(row, self._legs[row], self.now)
        return sorted(found, key=lambda event: event.t)

    # What people and fate do

    def order(self, row: int, channel: str, value: float) -> str | None:
        """Set a setpoint, a mode (`…_mode`: 0 off, 1 auto, 2 manual) or, in manual, an output (`…_output`; a rate for
        the feed) from the present time on, in the unit of its channel; `agitation` and `gas_flow` are held at a value,
        apart from their cascade. Returns why that is refused, or None. An order holds until the next one or the
        harvest; NaN returns the loop to the recipe."""
        o, litres, leg = self.organisms[row], self.litres[row], self._leg(row, self.now)
        hour = (self.now - leg.origin) / HOUR
        stretch, _ = leg.grid.trajectory.present(hour)
        if why := refusal(o, litres, channel, value, stretch.knobs):
            return why
        loop = loop_of(channel)
        tweaks = self._tweaks.get(row, Tweaks())
        if channel.endswith("_mode") and value == MANUAL:
            tweaks = tweaks.ordered(f"{loop}_output", output_now(leg.grid.trajectory, hour, loop))
        elif loop in ("volume", "feed_a_rate") and not channel.endswith("_mode"):
            value /= 1000 * litres
        elif loop == "gas_flow":
            value /= litres
        self._turn(row, tweaks.ordered(channel, value))
        return None

    def disturb(self, row: int, disturbance: Disturbance) -> None:
        """Let something go wrong from the present time on, until it is mended. Raises ValueError for a channel that has
        no probe, and for a magnitude that cannot be."""
        disturbance.check()
        leg = self._leg(row, self.now)
        hour = (self.now - leg.origin) / HOUR
        one = Going(disturbance, self.now, hour=hour)
        if disturbance.kind == "probe_freeze":
            assert disturbance.channel is not None
            one.held = float(self.history(row, self.now, self.now + 1, 1)[0, COLUMN[disturbance.channel]])
        elif disturbance.kind == "probe_failure" and disturbance.channel in IN_LOOP:
            one.held = output_now(leg.grid.trajectory, hour, disturbance.channel)
        self._faults.setdefault(row, []).append(one)
        tweaks = self._tweaks.get(row, Tweaks())
        if disturbance.kind == "contamination":
            self._turn(row, tweaks, disturbance.magnitude)
        else:
            self._turn(row, replace(tweaks, going=(*tweaks.going, one)))

    def mend(self, row: int, disturbance: Disturbance) -> None:
        """End a disturbance at the present time; what it did to the culture stays done."""
        for one in self._faults.get(row, []):
            if one.it == disturbance and one.until == math.inf:
                one.until = self.now
        tweaks = self._tweaks.get(row, Tweaks())
        going = tuple(one for one in tweaks.going if one.it != disturbance)
        if going != tweaks.going:
            self._turn(row, replace(tweaks, going=going))

    # Runs

    def _leg(self, row: int, at: float) -> Leg:
        """Return the stretch of a run that a vessel is in at a time, beginning runs until there is one."""
        legs = self._legs[row]
        if not legs:
            begin = self._start - _part(self._keys[row], 2) * SPREAD * self.organisms[row].nominal_hours * HOUR
            legs.append(Leg(self._start, begin, self._grid(row, 0, begin)))
        while self._end(row, legs[-1], at) <= at:
            origin = legs[-1].origin + legs[-1].grid.end
            legs.append(Leg(origin, origin, self._grid(row, len(legs), origin)))
        return next((leg for leg in reversed(legs) if leg.begin <= at), legs[0])

    def _end(self, row: int, leg: Leg, until: float) -> float:
        """Return when a leg ends, in ms, if that is before or at a time; else infinity."""
        legs = self._legs[row]
        following = next((it for it in legs if it.begin > leg.begin), None)
        if following is not None:
            return following.begin
        leg.grid.trajectory.solve((until - leg.origin) / HOUR)
        return leg.origin + leg.grid.end

    def _grid(self, row: int, number: int, origin: float) -> TruthGrid:
        """Return a run for a vessel: one that many share, or one of its own where something is wrong that lasts."""
        o = self.organisms[row]
        variant = int(_part(self._keys[row], 100 + number) * len(STRAINS))
        tweaks = self._tweaks.get(row)
        if tweaks and tweaks.going:
            going = tuple(replace(one, hour=(one.since - origin) / HOUR) for one in tweaks.going)
            changed = Trajectory(strain(o, variant), replace(tweaks, orders={}, going=going).change)
            return TruthGrid(changed, shared=False)
        return _shared(o.name, variant)

    def _turn(self, row: int, tweaks: Tweaks, contamination: float = 0.0) -> None:
        """Let a vessel go on with a run of its own from the present time on."""
        leg = self._leg(row, self.now)
        legs = self._legs[row]
        del legs[legs.index(leg) + 1 :]
        self._diary.note(row, legs, self.now)
        fork = leg.grid.trajectory.fork((self.now - leg.origin) / HOUR, tweaks.change)
        fork.contaminate(contamination)
        if leg.begin == self.now and len(legs) > 1:
            legs.pop()
        legs.append(Leg(self.now, leg.origin, TruthGrid(fork, shared=False)))
        self._tweaks[row] = tweaks
        self._diary.wake[row] = self.now
        self._arena.drop(row)

    # Instruments

    def _spoil(
        self, row: int, values: Floats, times: np.ndarray[tuple[int], np.dtype[np.int64]],
        sample: VesselSample | None = None, place: int = 0,
    ) -> None:  # fmt: skip
        """Let instruments of a vessel show what is wrong with them; `values` has a row a time."""
        for one in self._faults[row]:
            kind, channel = one.it.kind, one.it.channel
            during = (times >= one.since) & (times < one.until)
            if not during.any():
                continue
            if kind == "power_cut" and one.it.magnitude >= 2:
                values[during] = np.nan
            if channel is None:
                continue
            column = COLUMN[channel]
            hours = (times[during] - one.since) / HOUR
            if kind == "probe_freeze":
                values[during, column] = one.held
            elif kind == "probe_failure":
                values[during, column] = np.nan
                if sample is not None:
                    sample.fault_channel[place], sample.fault_quality[place] = column, BAD
            elif kind == "probe_drift" and channel not in IN_LOOP:
                values[during, column] += one.it.magnitude * hours
            elif kind == "probe_fouling" and channel not in IN_LOOP:
                values[during, column] *= 1 - 0.05 * min(one.it.magnitude, 10.0)


def _part(key: int, number: int) -> float:
    """Return a number from 0 to 1 that a vessel has by its name."""
    return float(mixed(np.array([(key + 1000 + number) % 2**64], dtype=np.uint64))[0]) / 2.0**64


@cache
def _shared(organism: str, variant: int) -> TruthGrid:
    """Return a run that vessels share: what is solved of it is kept, and does not depend on who asked how far."""
    return TruthGrid(Trajectory(strain(ORGANISMS[organism], variant)), shared=True)
