"""Says which channels a vessel has: of those of the fleet, some need equipment that another vessel has not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from device_sim.plant import Plant
from device_sim.process.organism import Organism

OF_ACID_PUMP = ("feed_c_total",)
OF_CARBON_DIOXIDE = ("inlet_co2",)
OF_HARVEST_PUMP = ("harvest_total", "volume_setpoint", "volume_output")


def missing(organism: Organism) -> Sequence[str]:
    """The channels that a vessel for this organism has not."""
    gas = OF_ACID_PUMP if organism.equipment.sparged_co2 else OF_CARBON_DIOXIDE
    pump = () if any(step.level for step in organism.recipe) else OF_HARVEST_PUMP
    return (*gas, *pump)


def not_fitted(plant: Plant) -> npt.NDArray[np.bool_]:
    """Whether a channel is missing: a row a vessel, a column a channel."""
    return np.array([[name in missing(organism) for name in plant.channels] for organism in plant.organisms])
