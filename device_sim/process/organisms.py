"""The organisms of the simulator, each with its usual vessel, medium and recipe. The strains of one organism differ a
little; a further organism is one more entry."""

from __future__ import annotations

from dataclasses import replace

from device_sim.process.kinetics import Climate, Mammalian, Monod, Overflow, Penicillin
from device_sim.process.organism import Equipment, FeedProgram, Organism, Setpoints, Step, Tuning


def _end(temperature: float) -> tuple[Step, ...]:
    """The phases after a culture, which differ in nothing but how cold the harvest is to be."""
    return (
        Step("harvest", 0.5, hold=Setpoints(temperature), drains=True, gassed=False),
        Step("cleaning", 1.25, hold=Setpoints(70.0), rinses=True, gassed=False),
        Step("idle", 0.75, gassed=False),
    )


COLI = Organism(
    name="coli",
    title="E. coli, fed-batch with acetate cycling",
    kinetics=Overflow(climate=Climate((4.9, 41.3, 47.5), (4.3, 7.0, 9.2), 37.0, 7.0)),
    medium={"glucose": 4.94, "acetate": 0.0129},
    feed={"glucose": 300.0},
    recipe=(
        Step("setup", 1.0, warm=True, hold=Setpoints(37.0, 7.0, 30.0)),
        Step("inoculation", 0.1, hold=Setpoints(37.0, 7.0, 30.0), charge={"cells": 0.17}),
        Step("batch", 18.0, ("glucose", 0.05), then=1.0, hold=Setpoints(37.0, 7.0, 30.0)),
        Step("exponential feed", 4.856, feed=FeedProgram(0.00435, 0.222), hold=Setpoints(37.0, 7.0, 30.0)),
        Step("constant feed", 4.0, feed=FeedProgram(part=0.5), hold=Setpoints(37.0, 7.0, 30.0)),
        *_end(15.0),
    ),
)

YEAST = replace(
    COLI,
    name="yeast",
    title="Baker's yeast that spills over to an acid, with a DO-stat feed",
    kinetics=Overflow(
        q_s_max=1.2, k_s=0.10, p_a_max=0.9, k_ap=1.6, y_as=0.40, y_em=0.50, y_xsof=0.12, q_a_max=0.15, y_xa=0.55,
        climate=Climate((2.0, 32.0, 42.0), (2.6, 5.5, 8.2), 30.0, 5.0),
    ),
    medium={"glucose": 10.0, "acetate": 0.0},
    ph_at_start=5.3,
    temperatures=(30.0, 42.0),
    density=1.8,
    recipe=(
        Step("setup", 1.0, warm=True, hold=Setpoints(30.0, 5.0, 30.0)),
        Step("inoculation", 0.1, hold=Setpoints(30.0, 5.0, 30.0), charge={"cells": 0.4}),
        Step("batch", 20.0, ("glucose", 0.05), then=1.5, hold=Setpoints(30.0, 5.0, 30.0)),
        Step("DO-stat feed", 8.0, aeration=40.0, feed=FeedProgram(0.006, stat=20.0), hold=Setpoints(30.0, 5.0, 30.0)),
        *_end(15.0),
    ),
)  # fmt: skip

PENICILLIUM = Organism(
    name="penicillium",
    title="Penicillium chrysogenum with penicillin",
    kinetics=Penicillin(),
    medium={"glucose": 15.0},
    feed={"glucose": 600.0},
    recipe=(
        Step("setup", 1.5, warm=True, hold=Setpoints(25.0, 5.0, 50.0)),
        Step("inoculation", 0.2, hold=Setpoints(25.0, 5.0, 50.0), charge={"cells": 0.1}),
        Step("batch", 80.0, ("glucose", 0.3), hold=Setpoints(25.0, 5.0, 50.0)),
        Step("production", 356.9, feed=FeedProgram(0.00042), hold=Setpoints(25.0, 5.0, 50.0)),
        *_end(15.0),
    ),
    equipment=Equipment(
        stirrer=(150.0, 700.0), gas=(30.0, 75.0), transfer=400.0, evaporation=1.5e-5, feed_pump=0.005, tare=28.0,
        base=(20.0, 5000.0), acid=(20.0, 2000.0), ph_loop=Tuning(1500.0, 0.4, 0.03, -100.0),
    ),
    litres=10.0,
    temperatures=(25.0, 45.0),
    ph_at_start=5.3,
    conductivity=11.0,
    viscosity=6.0,
    foam=25.0,
    density=1.2,
    breath=0.05,
    sample_hours=12.0,
    sample_litres=0.0015,
    grid_seconds=60.0,
)  # fmt: skip

CHO = Organism(
    name="cho",
    title="CHO cells with an antibody",
    kinetics=Mammalian(
        lactate_most=2.0, reuse_width=0.4, climate=Climate((26.0, 37.0, 42.0), (6.2, 7.1, 8.1), 37.0, 7.1)
    ),
    medium={"glucose": 40.0, "glutamine": 10.0},
    feed={"glucose": 150.0, "glutamine": 10.0},
    recipe=(
        Step("setup", 2.0, warm=True, hold=Setpoints(37.0, 7.1, 40.0)),
        Step("inoculation", 0.2, hold=Setpoints(37.0, 7.1, 40.0), charge={"viable_cells": 3.0, "cells": 3.0}),
        Step("batch", 71.8, hold=Setpoints(37.0, 7.1, 40.0)),
        Step("production", 72.0, feed=FeedProgram(0.0042), hold=Setpoints(37.0, 7.1, 40.0)),
        *_end(18.0),
    ),
    equipment=Equipment(
        stirrer=(60.0, 260.0), gas=(1.5, 6.0), enrichment=0.9, transfer=25.0, heater=60.0, cooling=4.0,
        base=(4.0, 500.0), sparged_co2=0.2, feed_pump=0.02, pressure=0.03, evaporation=1e-6, tare=3.2,
        temperature_loop=Tuning(22.0, 0.60, 0.12, -100.0), ph_loop=Tuning(1500.0, 2.0, 0.2, -100.0),
        oxygen_loop=Tuning(0.8, 0.25, 0.1),
        pressure_loop=Tuning(-200.0, 0.1, 0.05),
    ),
    litres=1.5,
    temperatures=(37.0, 42.0),
    ph_at_start=7.2,
    buffer=8.0,
    carbonate=22.0,
    conductivity=13.0,
    oxygen_half=0.1,
    breath=0.02,
    density=0.35,
    cell_mass=0.1353,
    foam=12.0,
    probe_seconds=45.0,
    sample_hours=24.0,
    sample_litres=0.004,
    grid_seconds=60.0,
)  # fmt: skip

CHEMOSTAT = Organism(
    name="chemostat",
    title="A chemostat at D = 0.15 /h",
    kinetics=Monod(climate=Climate((4.9, 41.3, 47.5), (4.3, 7.0, 9.2), 37.0, 7.0)),
    medium={"glucose": 10.0},
    feed={"glucose": 10.0},
    recipe=(
        Step("setup", 1.0, warm=True, hold=Setpoints(37.0, 7.0, 40.0)),
        Step("inoculation", 0.1, hold=Setpoints(37.0, 7.0, 40.0), charge={"cells": 0.2}),
        Step("batch", 18.0, ("glucose", 0.1), hold=Setpoints(37.0, 7.0, 40.0)),
        Step("continuous", 150.0, feed=FeedProgram(0.15), level=True, hold=Setpoints(37.0, 7.0, 40.0)),
        *_end(15.0),
    ),
    equipment=Equipment(feed_pump=0.6, evaporation=1e-6),
    litres=1.0,
    sample_hours=8.0,
    grid_seconds=30.0,
)

ORGANISMS = {it.name: it for it in (COLI, YEAST, PENICILLIUM, CHO, CHEMOSTAT)}


def strain(organism: Organism, number: int) -> Organism:
    """Return one of STRAINS strains of an organism, with its luck; number 0 is the usual one."""
    vigour, inoculum, foam, start = STRAINS[number]
    return replace(
        organism,
        vigour=organism.vigour * vigour,
        inoculum=organism.inoculum * inoculum,
        foam=organism.foam * foam,
        ph_at_start=organism.ph_at_start + start,
    )


STRAINS = ((1.0, 1.0, 1.0, 0.0), (0.95, 1.15, 1.25, 0.06), (1.04, 0.85, 0.85, -0.05))
"""Vigour, inoculum and foam as parts of the usual, and pH of the medium beside it."""
