"""The states of a vessel, by their places, and how exactly they are solved."""

from __future__ import annotations

STATES = (
    "volume", "oxygen", "oxygen_probe", "carbonate", "ph", "ph_probe", "temperature", "jacket", "temperature_probe",
    "gas_o2", "gas_co2", "pressure", "foam", "antifoam", "vitality", "intruder", "temperature_sum", "ph_sum",
    "oxygen_sum", "pressure_sum", "level_sum", "fed", "base", "acid", "harvested", "antifoam_total",
)  # fmt: skip
"""The species of the kinetics follow."""
(
    VOLUME, OXYGEN, OXYGEN_PROBE, CARBONATE, PH, PH_PROBE, TEMPERATURE, JACKET, TEMPERATURE_PROBE,
    GAS_O2, GAS_CO2, PRESSURE, FOAM, ANTIFOAM, VITALITY, INTRUDER, TEMPERATURE_SUM, PH_SUM,
    OXYGEN_SUM, PRESSURE_SUM, LEVEL_SUM, FED, BASE, ACID, HARVESTED, ANTIFOAM_TOTAL,
) = range(len(STATES))  # fmt: skip
SPECIES = len(STATES)
TOLERANCES = (
    1e-6, 1e-4, 0.01, 1e-4, 1e-4, 1e-4, 1e-3, 1e-3, 1e-3,
    1e-5, 1e-5, 1e-4, 0.05, 1e-3, 1e-3, 1e-6, 0.05, 0.05,
    0.05, 0.05, 0.05, 1e-7, 1e-7, 1e-7, 1e-6, 1e-6,
)  # fmt: skip
"""The error that the solver may leave in each state."""
HEEL = 0.002
"""The part of the working volume that no pump reaches."""
