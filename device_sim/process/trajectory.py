"""Solves a run of a vessel ahead, stretch by stretch, from the setup to the end of its recipe. Pure.

A stretch ends where something changes at once: a phase, an off-line sample, a dose of antifoam, an order, a fault. What
is between is solved by SciPy's LSODA; conditions (sugar is gone, the broth is warm, foam is high) are its events.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.integrate import solve_ivp

from device_sim.process import states as s
from device_sim.process.balances import Balances
from device_sim.process.loops import AIR_CO2, AIR_O2, AUTO, MANUAL, OFF, Knobs, LoopOrder
from device_sim.process.organism import Organism, Step

LONGEST = 720
"""Steps of the grid that are solved at once. What is solved does not depend on how far somebody asked."""
WARM, FOAM_HIGH, DOSE, DOSE_AGAIN = 0.3, 60.0, 0.0004, 0.25
"""Kelvin off the setpoint; % of foam at which antifoam is dosed; L of it; hours until the next dose."""
RTOL = 1e-5


Change: TypeAlias = Callable[[Knobs, Step], Knobs]


class Happening(NamedTuple):
    """What happened at an hour: a phase, a sample (its state), a dose, the end."""

    hour: float
    type: str
    data: dict[str, Any]


class Stretch(NamedTuple):
    begin: float
    end: float
    knobs: Knobs
    step: int
    entered: float
    """When the step began, and when it is due to end."""
    due: float
    recipe: Knobs
    solution: Callable[[Any], npt.NDArray[np.float64]]


@dataclass
class Trajectory:
    """A run, solved as far as somebody asked. Hours are those since the setup."""

    organism: Organism
    change: Change = field(default=lambda knobs, step: knobs)
    """What orders and faults make of the recipe's knobs in a step."""
    begun: float = 0.0
    solved: float = 0.0
    ended: float | None = None
    """When the recipe ended."""
    stretches: list[Stretch] = field(default_factory=list)
    happenings: list[Happening] = field(default_factory=list)

    def __post_init__(self) -> None:
        o = self.organism
        self._balances = Balances(o)
        self._tolerances = np.array([*s.TOLERANCES, *(1e-5 for _ in o.species)])
        self._state = [0.0] * (s.SPECIES + len(o.species))
        self._step, self._entered, self._due = -1, 0.0, math.inf
        self._knobs, self._recipe, self._sample = Knobs(), Knobs(), o.sample_hours
        self._state[s.VOLUME] = s.HEEL
        for at, value in (
            *((it, o.equipment.room) for it in (s.TEMPERATURE, s.JACKET, s.TEMPERATURE_PROBE)),
            *((it, 7.0) for it in (s.PH, s.PH_PROBE)),
            *((it, 100.0) for it in (s.OXYGEN, s.OXYGEN_PROBE)),
            (s.GAS_O2, AIR_O2),
            (s.GAS_CO2, AIR_CO2),
            (s.VITALITY, 1.0),
        ):
            self._state[at] = value
        self._enter(0, 0.0)

    @property
    def step(self) -> Step:
        return self.organism.recipe[self._step]

    def fork(self, hour: float, change: Change) -> Trajectory:
        """Return a run that is this one until an hour, and goes on with other orders or faults."""
        self.solve(hour)
        at = next(it for it in reversed(self.stretches) if it.begin <= hour)
        other = copy(self)
        other.change, other.stretches, other.happenings, other.ended = change, [], [], None
        other.begun = other.solved = hour
        other._state = at.solution(hour).tolist()
        other._step, other._entered, other._due, other._recipe = at.step, at.entered, at.due, at.recipe
        other._sample = self.organism.sample_hours * (math.floor(hour / self.organism.sample_hours + 1e-6) + 1)
        other._knobs = change(other._recipe, other.step)
        return other

    def present(self, hour: float) -> tuple[Stretch, list[float]]:
        """Return the stretch and the state at an hour."""
        self.solve(hour)
        at = next(it for it in reversed(self.stretches) if it.begin <= hour)
        state: list[float] = at.solution(hour).tolist()
        return at, state

    def contaminate(self, grams: float) -> None:
        """Bring bacteria (g/L) into a run that was forked just now."""
        self._state[s.INTRUDER] += grams

    def solve(self, until: float) -> None:
        """Solve as far as an hour, and at least to the end of a stretch."""
        while self.solved <= until and self.ended is None:
            self._stretch(LONGEST * self.organism.grid_seconds / 3600)

    # One stretch

    def _stretch(self, longest: float) -> None:
        o, begin, knobs = self.organism, self.solved, self._knobs
        foams = self.step.gassed and self._state[s.FOAM] >= FOAM_HIGH - 0.1 and bool(knobs.power)
        longest = min(longest, DOSE_AGAIN) if foams else longest
        end = min(begin + longest, self._due, max(self._sample, begin + 1e-6))
        events = self._events()
        solve = partial(
            solve_ivp,
            lambda t, y: self._balances.change(t, y.tolist(), knobs),
            (begin, end),
            self._state,
            rtol=RTOL,
            atol=self._tolerances,
            events=[it for _, it in events] or None,
            dense_output=True,
        )
        try:
            found = solve(method="LSODA")
        except ValueError:  # its dense output and its step disagree, rarely, on whether an event happened
            found = solve(method="BDF")
        if not found.success:
            raise ArithmeticError(f"{o.name} at hour {begin:g}: {found.message}")
        self.solved = float(found.t[-1])
        self._state = found.y[:, -1].tolist()
        self.stretches.append(
            Stretch(begin, self.solved, knobs, self._step, self._entered, self._due, self._recipe, found.sol)
        )
        happened = [name for (name, _), times in zip(events, found.t_events or [], strict=False) if len(times)]
        if "foam" in happened or (
            foams and self._state[s.FOAM] >= FOAM_HIGH and self.solved >= begin + DOSE_AGAIN - 1e-9
        ):
            self._state[s.ANTIFOAM] += 1.0
            self._state[s.ANTIFOAM_TOTAL] += DOSE
            self._state[s.VOLUME] += DOSE
            self._say("dosing", what="antifoam", litres=DOSE)
        if "condition" in happened:
            self._due = self.solved + self.step.then
        if "warm" in happened:
            self._due = self.solved
        if self.solved >= self._sample - 1e-9:
            self._sample += o.sample_hours
            if self._state[s.VOLUME] > 0.2 and any(self._state[s.SPECIES :]):
                self._say("sample", state=list(self._state))
                self._state[s.VOLUME] -= o.sample_litres
        if self.solved >= self._due - 1e-9:
            self._next()

    def _events(self) -> list[tuple[str, Any]]:
        o, step, knobs = self.organism, self.step, self._knobs
        events: list[tuple[str, Any]] = []
        if step.gassed and self._state[s.FOAM] < FOAM_HIGH - 0.1 and knobs.power:
            events.append(("foam", lambda _, y: y[s.FOAM] - FOAM_HIGH))
        waits = self._due >= self._entered + step.hours
        if step.below and waits:
            index, value = s.SPECIES + o.index(step.below[0]), step.below[1]
            if self._state[index] > value * 1.001:
                events.append(("condition", lambda _, y: value - y[index]))
        if step.warm and math.isinf(self._due):
            target = knobs.temperature.setpoint
            events.append(("warm", lambda _, y: WARM - abs(y[s.TEMPERATURE_PROBE] - target)))
        for _, it in events:
            it.terminal, it.direction = True, 1
        return events

    def _say(self, type_: str, **data: Any) -> None:
        self.happenings.append(Happening(self.solved, type_, data))

    # Phases

    def _next(self) -> None:
        step = self.step
        if step.warm and abs(self._state[s.TEMPERATURE_PROBE] - self._knobs.temperature.setpoint) > WARM + 0.01:
            self._due = math.inf
            return
        if self._step + 1 == len(self.organism.recipe):
            self.ended = self.solved
            self._say("end")
        else:
            self._enter(self._step + 1, self.solved)

    def _enter(self, number: int, hour: float) -> None:
        o, y = self.organism, self._state
        self._step, self._entered = number, hour
        step = self.step
        self._due = hour + step.hours
        if number == 0:
            y[s.VOLUME], y[s.PH], y[s.CARBONATE] = 1.0, o.ph_at_start, o.carbonate
            y[s.TEMPERATURE] = o.equipment.room
            for i, it in enumerate(o.species):
                y[s.SPECIES + i] = o.medium.get(it.name, 0.0)
        for name, value in (step.charge or {}).items():
            y[s.SPECIES + o.index(name)] += value * o.inoculum
        if step.rinses:
            y[s.SPECIES :] = [0.0] * len(o.species)
            y[s.INTRUDER], y[s.FOAM], y[s.VOLUME], y[s.PH], y[s.CARBONATE] = 0.0, 0.0, 0.15, 12.4, 0.0
            y[s.GAS_O2], y[s.GAS_CO2], y[s.VITALITY] = AIR_O2, AIR_CO2, 1.0
        elif step.phase == "idle":
            y[s.VOLUME], y[s.PH] = s.HEEL, 7.0
        self._recipe = self._ordered(step, hour)
        self._knobs = self.change(self._recipe, step)
        self._say("phase", phase=step.phase, charge=dict(step.charge or {}))

    def _ordered(self, step: Step, hour: float) -> Knobs:
        """Return the knobs of a phase."""
        e, last = self.organism.equipment, self._recipe

        def loop(value: float | None, was: LoopOrder) -> LoopOrder:
            return LoopOrder(OFF, was.setpoint) if value is None else LoopOrder(AUTO, value)

        oxygen = loop(step.hold.oxygen, last.oxygen)
        if step.aeration is not None:
            oxygen = oxygen._replace(mode=MANUAL, output=step.aeration)
        program, feed = step.feed, LoopOrder(setpoint=0.0)
        if program is not None:
            first = program.first
            if first is None:
                first = program.part * last.feed.setpoint * math.exp(last.feed_growth * (hour - last.feed_since))
            feed = LoopOrder(AUTO, first)
        return Knobs(
            temperature=loop(step.hold.temperature, last.temperature),
            ph=loop(step.hold.ph, last.ph),
            oxygen=oxygen,
            pressure=loop(e.pressure if step.gassed else None, LoopOrder(setpoint=e.pressure)),
            level=loop(1.0 if step.level else None, LoopOrder(setpoint=1.0)),
            feed=feed,
            feed_since=hour,
            feed_growth=program.growth if program else 0.0,
            feed_stat=program.stat if program else 0.0,
            drain=3.0 if step.drains else 0.0,
            stirring=1.0 if step.gassed or step.drains else 0.0,
            gassing=1.0 if step.gassed else 0.0,
        )

    # What was solved

    def states(self, hours: npt.NDArray[np.float64]) -> list[tuple[slice, Stretch, npt.NDArray[np.float64]]]:
        """Return the states (a row each state) at hours in order, for each stretch that they fall in."""
        ends = [it.end for it in self.stretches]
        parts, first = [], 0
        for number in sorted(set(np.searchsorted(ends, hours, side="right").clip(0, len(ends) - 1).tolist())):
            stretch = self.stretches[number]
            last = number == len(ends) - 1
            past = len(hours) if last else int(np.searchsorted(hours, stretch.end, side="left"))
            parts.append((slice(first, past), stretch, stretch.solution(hours[first:past])))
            first = past
        return parts
