"""Tells what happened in the vessels of a fleet, as events of their controllers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from device_sim.process import states as s
from device_sim.process.grid import HOUR, TruthGrid
from device_sim.process.organism import Organism
from device_sim.process.trajectory import Happening
from device_sim.vessels import mixed, normal

RUN_STATES = {"setup": "running", "cleaning": "complete"}
"""The phases with which a run starts and ends, and its state from then on (ISA-88)."""
ASSAY_ERROR = 0.01
"""The part by which an assay is off."""


class PlantEvent(NamedTuple):
    row: int
    t: int
    """ms since 1970."""
    type: str
    """phase, run, sample, dosing, addition or calibration."""
    data: Mapping[str, Any]


class Leg(NamedTuple):
    """A vessel follows a run from `begin` on; the run's hour 0 is at `origin`. Both are ms since 1970."""

    begin: float
    origin: float
    grid: TruthGrid


class Diary:
    def __init__(self, names: Sequence[str], litres: Sequence[float], keys: Sequence[int], start: float) -> None:
        self._names, self._litres, self._keys = names, litres, keys
        self._told = np.full(len(names), float(start))
        self._phase: list[str | None] = [None] * len(names)
        self._noted: list[PlantEvent] = []
        self.wake = np.full(len(names), float(start))
        """When something may have happened next in each vessel."""

    def note(self, row: int, legs: Sequence[Leg], now: float) -> None:
        """Keep what happened until now for the next reading, before a vessel leaves its run."""
        self._noted += self.read(row, legs, now)

    def read(self, row: int, legs: Sequence[Leg], now: float) -> list[PlantEvent]:
        """Return what happened in a vessel until now and was not told; its runs are solved until then."""
        events = [event for event in self._noted if event.row == row]
        self._noted = [event for event in self._noted if event.row != row]
        since = self._told[row]
        for i, leg in enumerate(legs):
            end = min(now, legs[i + 1].begin if i + 1 < len(legs) else now)
            if end < since or leg.begin > now:
                continue
            if self._phase[row] is None:
                events += self._first(row, leg, since)
            for it in leg.grid.trajectory.happenings:
                at = leg.origin + it.hour * HOUR
                is_new = since < at <= now if at > leg.begin else at == leg.begin > since
                if is_new and at >= leg.begin and (at < end or at <= end == now):
                    events += self._told_of(row, leg, it, round(at))
        self._told[row] = now
        trajectory = legs[-1].grid.trajectory
        later = [leg_time for it in trajectory.happenings if (leg_time := legs[-1].origin + it.hour * HOUR) > now]
        self.wake[row] = min([*later, max(legs[-1].origin + trajectory.solved * HOUR, now + 1.0)])
        return events

    def _first(self, row: int, leg: Leg, at: float) -> list[PlantEvent]:
        """The phase and the run that a vessel was in when it was switched on."""
        it = leg.grid.trajectory
        stretch, _ = it.present((at - leg.origin) / HOUR)
        phase = it.organism.recipe[stretch.step].phase
        run, self._phase[row] = self._run(row, leg), phase
        events = [PlantEvent(row, round(at), "phase", {"phase": phase, "previous": None, "run": run})]
        if phase not in ("cleaning", "idle"):
            data = {"run": run, "state": "running", "process": it.organism.title}
            events.append(PlantEvent(row, round(at), "run", data))
        return events

    def _run(self, row: int, leg: Leg) -> str:
        return f"{self._names[row]}-{datetime.fromtimestamp(leg.origin / 1000, UTC):%Y%m%d-%H%M}"

    def _told_of(self, row: int, leg: Leg, it: Happening, at: int) -> list[PlantEvent]:
        o, litres, run = leg.grid.trajectory.organism, self._litres[row], self._run(row, leg)
        if it.type == "dosing":
            data = {
                "what": it.data["what"],
                "channel": "feed_d_total",
                "volume_ml": round(1000 * it.data["litres"] * litres, 2),
            }
            return [PlantEvent(row, at, "dosing", data)]
        if it.type == "sample":
            taken = {"run": run, "volume_ml": round(1000 * o.sample_litres * litres, 1)}
            return [PlantEvent(row, at, "sample", taken | {"analytes": self._assay(row, o, it.data["state"], at)})]
        if it.type != "phase":
            return []
        phase = it.data["phase"]
        events = [PlantEvent(row, at, "phase", {"phase": phase, "previous": self._phase[row], "run": run})]
        self._phase[row] = phase
        if state := RUN_STATES.get(phase):
            events.append(PlantEvent(row, at, "run", {"run": run, "state": state, "process": o.title}))
        if phase == "setup":
            data = {"channel": "dissolved_oxygen", "points": [0.0, 100.0]}
            events.append(PlantEvent(row, at, "calibration", data))
        if it.data["charge"]:
            charge = {name: round(value * o.inoculum, 4) for name, value in it.data["charge"].items()}
            events.append(PlantEvent(row, at, "addition", {"what": "inoculum", "run": run, "in_broth": charge}))
        return events

    def _assay(self, row: int, o: Organism, state: Sequence[float], at: int) -> dict[str, dict[str, object]]:
        """What a laboratory finds in a sample, each value a little off."""
        cells, intruder = state[s.SPECIES + o.biomass], state[s.INTRUDER]
        found = {
            "optical_density": (o.density * cells + 2.0 * intruder, "AU"),
            "ph": (state[s.PH], "pH"),
            "dry_cell_weight": (o.cell_mass * cells + intruder, "g/L"),
        }
        for i, it in enumerate(o.species):
            if not (it.is_biomass and it.unit == "g/L"):
                found[it.name] = (max(state[s.SPECIES + i], 0.0), it.unit)
        if "viable_cells" in found:
            found["viability"] = (100 * found["viable_cells"][0] / max(cells, 1e-6), "%")
        analytes: dict[str, dict[str, object]] = {}
        for number, (name, (value, unit)) in enumerate(found.items()):
            code = np.array([(self._keys[row] + at * 31 + number) % 2**64], dtype=np.uint64)
            off = ASSAY_ERROR * float(normal(mixed(code))[0]) * (0.1 if name in ("ph", "viability") else 1.0)
            analytes[name] = {"value": float(f"{value * (1 + off):.4g}"), "unit": unit}
        return analytes
