"""What people order and what goes wrong in one vessel, and what that makes of the recipe's knobs. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from device_sim.process.loops import AUTO, MANUAL, OFF, Knobs, LoopOrder, ProbeFault, Scalars, actions
from device_sim.process.organism import Organism, Step
from device_sim.process.readings import CHANNELS, COMPUTED
from device_sim.process.trajectory import Trajectory

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
LOOPS = {
    "temperature": "temperature",
    "ph": "ph",
    "dissolved_oxygen": "oxygen",
    "pressure": "pressure",
    "volume": "level",
    "feed_a_rate": "feed",
}
"""Channel → the knob of its loop."""
IN_LOOP = {"temperature": "temperature_probe", "ph": "ph_probe", "dissolved_oxygen": "oxygen_probe"}
"""Channels whose probe a controller acts on, and the knob of what is wrong with it."""
NO_PROBE = (*COMPUTED, "feed_a_rate", "inlet_o2", "inlet_co2")
PROBES = tuple(
    name for name in CHANNELS if not name.endswith(("_setpoint", "_output", "_mode", "_total")) and name not in NO_PROBE
)
ENDING = ("harvest", "cleaning", "idle")
"""Phases in which the recipe has the say again."""


@dataclass(frozen=True)
class Disturbance:
    """Something that goes wrong in a process or a probe. `magnitude` is in the terms of its kind:

    probe_drift: units of the channel an hour; probe_fouling: how many times slower the probe gets, with a twentieth of
    its slope lost for each (10 at most); probe_freeze, probe_failure: none; stirrer_stall, gas_loss, feed_blocked: the
    part that is lost, 1 is all; foam_out: how strongly it foams, 1 fills the exhaust; overfeed: what the feed pump
    brings, as a multiple of what it shows; contamination: g/L of the intruder at once; power_cut: 1 the controller
    goes on (UPS), 2 it is off too.
    """

    kind: DisturbanceKind
    magnitude: float = 1.0
    channel: str | None = None
    """The channel of the probe, for the four kinds that concern a probe."""

    def check(self) -> None:
        """Raise ValueError if there can be no such disturbance."""
        if self.kind.startswith("probe_") != (self.channel is not None):
            raise ValueError("a channel is given for the kinds that concern a probe, and for no other")
        if self.channel is not None and self.channel not in PROBES:
            raise ValueError(f"{self.channel} has no probe")
        if not math.isfinite(self.magnitude) or (self.magnitude < 0 and self.kind != "probe_drift"):
            raise ValueError(f"{self.magnitude:g} is no magnitude")


@dataclass
class Going:
    """A disturbance with the time (ms since 1970) in which it lasts, the hour of the run in which it began, and the
    value that a frozen probe shows."""

    it: Disturbance
    since: float
    until: float = math.inf
    hour: float = 0.0
    held: float = math.nan


@dataclass(frozen=True)
class Tweaks:
    """Orders by channel, in the units of readings.py, and what goes wrong."""

    orders: dict[str, float] = field(default_factory=dict)
    going: tuple[Going, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.orders or self.going)

    def ordered(self, channel: str, value: float) -> Tweaks:
        """Return tweaks with an order; NaN takes back all orders of its loop."""
        if math.isnan(value):
            loop = loop_of(channel)
            return replace(self, orders={it: v for it, v in self.orders.items() if loop_of(it) != loop})
        return replace(self, orders=self.orders | {channel: value})

    def change(self, knobs: Knobs, step: Step) -> Knobs:
        """Return the recipe's knobs in a step as orders and faults have them."""
        if step.phase not in ENDING:
            turned: dict[str, Any] = dict(self._loops(knobs))
            if "feed_a_rate_setpoint" in self.orders:
                turned |= {"feed_growth": 0.0, "feed_stat": 0.0}
            for channel, name in (("agitation", "stirrer"), ("gas_flow", "gas")):
                if channel in self.orders:
                    turned[name] = self.orders[channel]
            knobs = knobs._replace(**turned)
        for one in self.going:
            knobs = knobs._replace(**_wrong(one, knobs))
        return knobs

    def _loops(self, knobs: Knobs) -> Iterator[tuple[str, LoopOrder]]:
        for channel, name in LOOPS.items():
            loop: LoopOrder = getattr(knobs, name)
            mode = int(self.orders.get(f"{channel}_mode", loop.mode))
            if (
                channel == "feed_a_rate"
                and f"{channel}_setpoint" in self.orders
                and f"{channel}_mode" not in self.orders
            ):
                mode = AUTO
            setpoint = self.orders.get(f"{channel}_setpoint", loop.setpoint)
            yield name, LoopOrder(mode, setpoint, self.orders.get(f"{channel}_output", loop.output))


def loop_of(channel: str) -> str:
    """Return the channel of the loop that a setpoint, a mode or an output belongs to."""
    for end in ("_setpoint", "_mode", "_output"):
        channel = channel.removesuffix(end)
    return channel


def _wrong(one: Going, knobs: Knobs) -> dict[str, Any]:
    """Return the knobs that a disturbance turns."""
    kind, size = one.it.kind, one.it.magnitude
    left = max(0.0, 1 - size)
    of_vessel: dict[str, dict[str, Any]] = {
        "stirrer_stall": {"stirring": knobs.stirring * left},
        "gas_loss": {"gassing": knobs.gassing * left},
        "feed_blocked": {"pumping": knobs.pumping * left},
        "overfeed": {"pumping": knobs.pumping * size},
        "foam_out": {"foaming": size},
        "power_cut": {"power": 0.0},
    }
    if one.it.channel not in IN_LOOP:
        return of_vessel.get(kind, {})
    loop: LoopOrder = getattr(knobs, LOOPS[one.it.channel])
    if kind == "probe_failure":  # the controller holds its output
        return {LOOPS[one.it.channel]: loop._replace(mode=MANUAL if loop.mode == AUTO else loop.mode, output=one.held)}
    name = IN_LOOP[one.it.channel]
    probe: ProbeFault = getattr(knobs, name)
    if kind == "probe_drift":
        probe = probe._replace(drift=probe.drift + size, since=one.hour)
    elif kind == "probe_freeze":
        probe = probe._replace(frozen=True)
    else:
        lost = 0.05 * min(size, 10.0) if one.it.channel == "dissolved_oxygen" else 0.0
        probe = probe._replace(slower=1 + size, lost=lost)
    return {name: probe}


def refusal(o: Organism, litres: float, channel: str, value: float, knobs: Knobs) -> str | None:
    """Say why an order cannot be; its value is in the unit of its channel for a vessel of `litres`."""
    loop, e = loop_of(channel), o.equipment
    limits = {
        "temperature": (0.0, 95.0),
        "ph": (2.0, 12.0),
        "dissolved_oxygen": (0.0, 150.0),
        "pressure": (0.0, 0.5),
        "volume": (200.0 * litres, 1200.0 * litres),
        "feed_a_rate": (0.0, 1000.0 * e.feed_pump * litres),
        "agitation": (0.0, e.stirrer[1]),
        "gas_flow": (0.0, e.gas[1] * litres),
    }
    if loop not in limits or (channel == loop) is (loop in LOOPS):
        return "no channel of that name can be set"
    if loop == "volume" and not any(step.level for step in o.recipe):
        return "the vessel has no level loop"
    low, high = limits[loop]
    if channel.endswith("_mode"):
        good = value in (OFF, AUTO, MANUAL) or math.isnan(value)
        return None if good else "a mode is 0 (off), 1 (auto) or 2 (manual)"
    if channel.endswith("_output"):
        if getattr(knobs, LOOPS[loop]).mode != MANUAL:
            return "the loop is not in manual"
        if loop != "feed_a_rate":
            low, high = (-100.0, 100.0) if loop in ("temperature", "ph") else (0.0, 100.0)
    return None if low <= value <= high or math.isnan(value) else f"value is not from {low:g} to {high:g}"


def output_now(trajectory: Trajectory, hour: float, channel: str) -> float:
    """Return the output that a loop has at an hour of a run: %, or the rate of a feed."""
    stretch, state = trajectory.present(hour)
    a = actions(Scalars, hour, state, stretch.knobs, trajectory.organism)
    outputs = {
        "temperature": a.temperature_output,
        "ph": a.ph_output,
        "dissolved_oxygen": a.oxygen_output,
        "pressure": a.pressure_output,
        "volume": a.level_output,
        "feed_a_rate": a.feed,
    }
    return float(outputs[channel])
