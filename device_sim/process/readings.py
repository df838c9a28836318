"""Turns the states of a vessel into the channels of its controller, before noise. Pure.

Volumes and flows are still those for one litre of working volume: `SIZED` says which columns grow with the vessel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from device_sim.process import states as s
from device_sim.process.loops import AUTO, Arrays, Knobs, actions
from device_sim.process.organism import Organism

CHANNELS = (
    "temperature", "temperature_setpoint", "temperature_output",
    "ph", "ph_setpoint", "ph_output",
    "dissolved_oxygen", "dissolved_oxygen_setpoint", "dissolved_oxygen_output",
    "agitation", "gas_flow", "exhaust_o2", "exhaust_co2", "otr", "ctr", "rq",
    "feed_a_rate", "feed_a_total", "volume", "torque",
    "temperature_mode", "ph_mode", "dissolved_oxygen_mode", "feed_a_rate_mode", "feed_a_rate_setpoint",
    "jacket_temperature", "inlet_o2", "feed_b_total", "feed_c_total", "feed_d_total",
    "harvest_total", "volume_setpoint", "volume_output", "optical_density", "weight",
    "pressure", "pressure_setpoint", "pressure_output", "foam", "conductivity", "inlet_co2",
)  # fmt: skip
"""Feed A is the substrate, B the base, C the acid, D the antifoam."""
COLUMN = {name: column for column, name in enumerate(CHANNELS)}
COMPUTED = ("otr", "ctr", "rq")
"""What a controller computes of its instruments."""
SIZED = np.array([
    name in ("gas_flow", "volume", "volume_setpoint", "weight", "feed_a_rate_setpoint")
    or name.endswith(("_total", "_rate"))
    for name in CHANNELS
])  # fmt: skip
HELD = np.array([name.endswith(("_setpoint", "_mode")) for name in CHANNELS])
"""Columns that jump from value to value."""
TOTALS = np.flatnonzero([name.endswith("_total") for name in CHANNELS])
MILLILITRES = 1000.0
BROTH_DENSITY = 1.02  # kg/L
SALT = 0.075
"""mS/cm of 1 mmol/L of base or acid."""


def readings(
    o: Organism, hours: npt.NDArray[np.float64], y: npt.NDArray[np.float64], k: Knobs
) -> npt.NDArray[np.float64]:
    """Return a row for each hour, and a column a channel; NaN is what the vessel does not have."""
    e, a = o.equipment, actions(Arrays, hours, list(y), k, o)
    cells = y[s.SPECIES + o.biomass]
    part = a.speed / e.stirrer[1]
    full = np.minimum(y[s.VOLUME], 1.0)
    salts = (y[s.BASE] * e.base[1] + y[s.ACID] * e.acid[1]) / np.maximum(y[s.VOLUME] + y[s.HARVESTED], 0.1)
    continuous = any(step.level for step in o.recipe)
    feed = k.feed.setpoint if k.feed_growth or k.feed_stat or k.feed.mode != AUTO else min(k.feed.setpoint, e.feed_pump)
    given: Mapping[str, Any] = {
        "temperature": a.temperature,
        "temperature_setpoint": k.temperature.setpoint,
        "temperature_output": a.temperature_output,
        "ph": a.ph,
        "ph_setpoint": k.ph.setpoint,
        "ph_output": a.ph_output,
        "dissolved_oxygen": a.oxygen,
        "dissolved_oxygen_setpoint": k.oxygen.setpoint,
        "dissolved_oxygen_output": a.oxygen_output,
        "agitation": a.speed,
        "gas_flow": a.gas,
        "exhaust_o2": 100 * y[s.GAS_O2],
        "exhaust_co2": 100 * y[s.GAS_CO2],
        "feed_a_rate": MILLILITRES * a.feed,
        "feed_a_total": MILLILITRES * y[s.FED],
        "volume": MILLILITRES * y[s.VOLUME],
        "torque": 3.0
        + (19.0 + 25e-6 * a.speed**2) * full * (part > 0)
        + o.viscosity * o.cell_mass * cells * part * full,
        "temperature_mode": k.temperature.mode,
        "ph_mode": k.ph.mode,
        "dissolved_oxygen_mode": k.oxygen.mode,
        "feed_a_rate_mode": k.feed.mode,
        "feed_a_rate_setpoint": MILLILITRES * (a.feed if k.feed_growth or k.feed_stat else feed),
        "jacket_temperature": y[s.JACKET],
        "inlet_o2": 100 * a.inlet_o2,
        "feed_b_total": MILLILITRES * y[s.BASE],
        "feed_c_total": math.nan if e.sparged_co2 else MILLILITRES * y[s.ACID],
        "feed_d_total": MILLILITRES * y[s.ANTIFOAM_TOTAL],
        "harvest_total": MILLILITRES * y[s.HARVESTED] if continuous else math.nan,
        "volume_setpoint": MILLILITRES * k.level.setpoint if continuous else math.nan,
        "volume_output": a.level_output if continuous else math.nan,
        "optical_density": o.density * cells + 2.0 * y[s.INTRUDER],
        "weight": e.tare / o.litres + BROTH_DENSITY * y[s.VOLUME],
        "pressure": y[s.PRESSURE],
        "pressure_setpoint": k.pressure.setpoint,
        "pressure_output": a.pressure_output,
        "foam": np.clip(y[s.FOAM], 0.0, 100.0),
        "conductivity": (o.conductivity + SALT * salts) * np.minimum(y[s.VOLUME] / 0.05, 1.0),
        "inlet_co2": 100 * a.inlet_co2 if e.sparged_co2 else math.nan,
    }
    shown = np.full((len(hours), len(CHANNELS)), np.nan)
    for name, value in given.items():
        shown[:, COLUMN[name]] = value
    return shown
