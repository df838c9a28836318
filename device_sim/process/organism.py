"""What an organism is to the simulator: data. A further organism is another Organism in organisms.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from device_sim.process.kinetics import Kinetics, Species

PhaseWord: TypeAlias = Literal[
    "setup",
    "inoculation",
    "batch",
    "exponential feed",
    "constant feed",
    "DO-stat feed",
    "continuous",
    "production",
    "harvest",
    "cleaning",
    "idle",
]


class Tuning(NamedTuple):
    """A PI controller: gain (% a unit), reset time and tracking time (h), bounds of its output (%)."""

    gain: float
    reset: float
    track: float
    low: float = 0.0
    high: float = 100.0


@dataclass(frozen=True)
class Equipment:
    """A vessel with its jacket, stirrer, gas and pumps, all for one litre of its working volume."""

    stirrer: tuple[float, float] = (200.0, 1200.0)
    """Least and greatest speed, rpm."""
    gas: tuple[float, float] = (30.0, 90.0)
    """Least and greatest gas flow, standard litres an hour."""
    enrichment: float = 0.6
    """The greatest part of oxygen in the gas."""
    transfer: float = 700.0
    """kLa (1/h) at the greatest speed and gas flow; it goes with speed^1.8 and flow^0.5."""
    heater: float = 110.0
    """W, as is what follows: by a degree of difference between cooling water, jacket, broth and room."""
    cooling: float = 12.0
    wall: float = 20.0
    loss: float = 0.6
    cooling_water: float = 12.0
    room: float = 22.0
    base: tuple[float, float] = (60.0, 5000.0)
    """The greatest flow of base, mmol/h, and its strength, mmol/L; the same for the acid."""
    acid: tuple[float, float] = (60.0, 2000.0)
    sparged_co2: float = 0.0
    """The greatest part of CO2 in the gas, where CO2 takes the place of the acid."""
    feed_pump: float = 0.05
    """The greatest feed, L/h."""
    harvest_pump: float = 1.5
    """The greatest harvest, L/h."""
    evaporation: float = 3e-6
    """Litres of water that a litre of gas at 37 °C takes along behind the condenser."""
    pressure: float = 0.1
    """Setpoint of the head pressure, bar above that of the room."""
    tare: float = 3.5
    """kg."""
    temperature_loop: Tuning = field(default=Tuning(16.0, 0.50, 0.12, -100.0))
    ph_loop: Tuning = field(default=Tuning(800.0, 0.25, 0.02, -100.0))
    oxygen_loop: Tuning = field(default=Tuning(0.35, 0.035, 0.02))
    pressure_loop: Tuning = field(default=Tuning(-100.0, 0.02, 0.01))
    level_loop: Tuning = field(default=Tuning(-2000.0, 0.10, 0.02))


@dataclass(frozen=True)
class FeedProgram:
    """A feed in litres an hour for a litre of working volume: `first` grows by `growth` (1/h). Without `first` it
    starts at `part` of the last one. With `stat`, `first` is the feed when DO is that far (%) above its setpoint."""

    first: float | None = None
    growth: float = 0.0
    part: float = 1.0
    stat: float = 0.0


class Setpoints(NamedTuple):
    """The setpoints of a phase; None: the loop is off."""

    temperature: float | None = None
    ph: float | None = None
    oxygen: float | None = None


@dataclass(frozen=True)
class Step:
    """A phase of a recipe. It lasts `hours`, or until a species falls below a value and `then` hours more."""

    phase: PhaseWord
    hours: float
    below: tuple[str, float] | None = None
    then: float = 0.0
    warm: bool = False
    """It ends no sooner than its temperature is reached."""
    hold: Setpoints = field(default=Setpoints())
    aeration: float | None = None
    """The output of the oxygen loop in manual, for a feed that DO tells how much."""
    feed: FeedProgram | None = None
    level: bool = False
    """The harvest pump holds the volume."""
    drains: bool = False
    rinses: bool = False
    """The vessel is rinsed with hot caustic, and empty afterwards."""
    gassed: bool = True
    charge: Mapping[str, float] | None = None
    """What is added at the beginning, as concentrations in the whole broth."""


@dataclass(frozen=True)
class Organism:
    """Kinetics with their vessel, medium and recipe. Volumes and flows are for a litre of working volume."""

    name: str
    title: str
    kinetics: Kinetics
    medium: Mapping[str, float]
    feed: Mapping[str, float]
    """Concentrations of the feed."""
    recipe: tuple[Step, ...]
    substrate: str = "glucose"
    equipment: Equipment = field(default_factory=Equipment)
    litres: float = 2.0
    """The working volume of a vessel of the usual size."""
    temperatures: tuple[float, float] = (37.0, 46.0)
    """The usual temperature, and that above which the cells die."""
    ph_at_start: float = 6.7
    buffer: float = 30.0
    """mmol/L of base for one pH."""
    carbonate: float = 0.05
    """mmol/L in the medium."""
    conductivity: float = 14.0
    oxygen_half: float = 0.05
    """% of saturation at which the cells live half as fast."""
    breath: float = 0.02
    """mmol/h of oxygen and CO2 that a unit of cells needs at least, whatever the balance leaves: from amino acids and
    the like, which no kinetics has."""
    density: float = 2.5
    """Optical density of a unit of cells."""
    cell_mass: float = 1.0
    """g of dry cells in a unit of cells."""
    viscosity: float = 0.0
    """Torque (mNm) of 1 g/L of cells at the greatest speed."""
    foam: float = 34.0
    """% of foam that 1 g/L of cells make at the greatest speed and gas flow."""
    vigour: float = 1.0
    """How fast this strain lives, and how many cells its inoculum has, as a part of the usual."""
    inoculum: float = 1.0
    probe_seconds: float = 35.0
    sample_hours: float = 4.0
    sample_litres: float = 0.004
    grid_seconds: float = 10.0

    @property
    def nominal_hours(self) -> float:
        """About how long a run takes."""
        return sum(step.hours * (0.55 if step.below else 1.0) for step in self.recipe)

    @property
    def biomass(self) -> int:
        return next(i for i, it in enumerate(self.species) if it.is_biomass)

    @property
    def species(self) -> tuple[Species, ...]:
        return self.kinetics.species

    def index(self, name: str) -> int:
        return [it.name for it in self.species].index(name)
