"""Plants: the same for the same seed, whatever is asked and in which order; as untidy as real ones; events in order."""

from __future__ import annotations

import time
from collections import Counter
from functools import cache

import numpy as np
import pytest

from device_sim.plant import Disturbance, Plant, PlantEvent
from device_sim.process.grid import HOUR
from device_sim.process.organisms import ORGANISMS
from device_sim.process.readings import CHANNELS, COLUMN
from device_sim.vessels import DESCRIBED, Floats
from schema.channels import STANDARD
from tests.device_sim.process.vessel import MINUTE, NOON

NAMES = [f"sim-{number:04}" for number in range(1, 31)]
DAY = 24 * 60 * MINUTE


@cache
def day(seed: int = 1) -> Floats:
    """One row a vessel, minute and channel."""
    plant = Plant(NAMES, seed, NOON)
    return np.array([plant.history(row, NOON, NOON + DAY, MINUTE) for row in range(len(NAMES))])


def test_the_same_seed_gives_the_same_values_and_another_seed_others() -> None:
    plant = Plant(NAMES[:3], 1, NOON)
    again = [plant.history(row, NOON, NOON + DAY, MINUTE) for row in range(3)]
    assert np.array_equal(day()[:3], again, equal_nan=True)
    other = Plant(NAMES[:3], 2, NOON).history(0, NOON, NOON + DAY, MINUTE)
    assert not np.array_equal(day()[0], other, equal_nan=True)


def test_samples_and_history_say_the_same() -> None:
    plant = Plant(NAMES, 1, NOON)
    for minutes in (0, 7, 700, 1439):
        plant.advance(NOON + minutes * MINUTE)
        assert np.array_equal(plant.sample().values, day()[:, minutes], equal_nan=True)
    plant = Plant(NAMES, 1, NOON)
    plant.advance(NOON + 1439 * MINUTE)
    assert np.array_equal(plant.sample(slice(10, 20)).values, day()[10:20, 1439], equal_nan=True)


def test_orders_and_faults_do_not_depend_on_when_somebody_looks() -> None:
    def values(looks: int) -> list[Floats]:
        plant = Plant(NAMES[:2], 1, NOON)
        for minute in range(0, 121, looks):
            plant.advance(NOON + minute * MINUTE)
            plant.sample()
            if minute == 30:
                plant.order(0, "temperature_setpoint", 33.0)
                plant.disturb(1, Disturbance("gas_loss"))
        return [plant.history(row, NOON, NOON + 120 * MINUTE, MINUTE) for row in range(2)]

    assert np.array_equal(values(10), values(30), equal_nan=True)


def test_a_vessel_shows_the_same_whatever_else_the_fleet_has() -> None:
    kind = Plant(NAMES, 1, NOON).organisms[7].name
    alone, among = Plant(NAMES[7:8], 1, NOON, organisms=[kind]), Plant(NAMES, 1, NOON)
    assert np.array_equal(alone.sample().values[0], among.sample().values[7], equal_nan=True)
    assert alone.events()[0].data == next(one for one in among.events() if one.row == 7).data


def test_each_vessel_has_twenty_to_forty_channels() -> None:
    for values in day():
        assert 20 <= (~np.isnan(values)).any(axis=0).sum() <= 40
    assert {it.name for it in STANDARD} | set(DESCRIBED) >= set(CHANNELS), "a channel that nobody knows"


def test_vessels_differ() -> None:
    plant = Plant(NAMES, 1, NOON)
    assert {it.name for it in plant.organisms} == set(ORGANISMS)
    assert len(set(plant.litres)) == len(NAMES)
    coli = [row for row, it in enumerate(plant.organisms) if it.name == "coli"]
    ends = [one.t for one in events_of(3) if one.type == "phase" and one.data["phase"] == "harvest" and one.row in coli]
    assert len({t // MINUTE for t in ends}) > len(coli) * 0.9


def test_values_stay_within_what_instruments_show() -> None:
    for channel, low, high in (
        ("temperature", 8, 75), ("ph", 4.5, 13), ("dissolved_oxygen", 0, 115), ("agitation", 0, 1210),
        ("exhaust_o2", 14, 60), ("exhaust_co2", -0.1, 12), ("otr", -30, 160), ("volume", 0, 20_000),
        ("torque", 0, 160), ("optical_density", 0, 60), ("weight", 2, 60), ("pressure", -0.02, 0.3),
        ("foam", 0, 100), ("conductivity", 0, 60), ("jacket_temperature", 5, 100), ("inlet_o2", 15, 95),
    ):  # fmt: skip
        shown = day()[:, :, COLUMN[channel]]
        assert np.nanmin(shown) >= low, channel
        assert np.nanmax(shown) <= high, channel
    for channel in CHANNELS:
        if channel.endswith("_output"):
            assert np.nanmax(np.abs(day()[:, :, COLUMN[channel]])) <= 100


def test_signals_are_untidy_as_in_real_records() -> None:
    otr, rq = day()[:, :, COLUMN["otr"]], day()[:, :, COLUMN["rq"]]
    assert (otr < 0).any()
    assert np.nanmax(np.abs(rq)) > 2
    assert np.isnan(rq).any()
    assert 0 < np.isnan(day()[:, :, COLUMN["ph"]]).mean() < 0.01


def test_totals_only_grow_within_a_run() -> None:
    for channel in ("feed_a_total", "feed_b_total", "feed_d_total"):
        steps = np.diff(day()[:, :, COLUMN[channel]], axis=1)
        assert ((steps >= 0) | (steps < -0.3)).all(), channel
        assert (steps > 0).any()


@cache
def events_of(days: int) -> list[PlantEvent]:
    plant = Plant(NAMES, 1, NOON)
    plant.advance(NOON + days * DAY)
    return plant.events()


def test_a_run_starts_grows_and_ends_in_isa_88s_words() -> None:
    coli = next(row for row, it in enumerate(Plant(NAMES, 1, NOON).organisms) if it.name == "coli")
    mine = [one for one in events_of(3) if one.row == coli]
    first = next(i for i, one in enumerate(mine) if one.data.get("phase") == "setup")
    words = [one.data["phase"] for one in mine[first:] if one.type == "phase"][:8]
    assert words == [
        "setup", "inoculation", "batch", "exponential feed", "constant feed", "harvest", "cleaning", "idle",
    ]  # fmt: skip
    states = [(one.data["run"], one.data["state"]) for one in mine if one.type == "run" and one.t >= mine[first].t]
    assert [state for _, state in states[:4]] == ["running", "complete", "running", "complete"]
    assert states[0][0] == states[1][0] != states[2][0]
    inoculated = next(one for one in mine[first:] if one.type == "addition")
    assert inoculated.data["what"] == "inoculum"


def test_samples_have_analytes_with_units() -> None:
    kinds = {row: it.name for row, it in enumerate(Plant(NAMES, 1, NOON).organisms)}
    wanted = {"coli": ("acetate", "g/L"), "cho": ("antibody", "mg/L"), "penicillium": ("penicillin", "g/L")}
    for kind, (analyte, unit) in wanted.items():
        taken = [one for one in events_of(3) if one.type == "sample" and kinds[one.row] == kind]
        assert taken, kind
        for one in taken:
            assert one.data["analytes"][analyte]["unit"] == unit
            assert one.data["analytes"]["dry_cell_weight"]["value"] >= 0
            assert one.data["volume_ml"] > 0


def test_events_come_once_in_order_and_no_matter_how_often_somebody_asks() -> None:
    plant, found = Plant(NAMES, 1, NOON), []
    for hour in range(0, 73, 2):
        plant.advance(NOON + round(hour * HOUR))
        batch = plant.events()
        assert [one.t for one in batch] == sorted(one.t for one in batch)
        found += batch

    def key(one: PlantEvent) -> tuple[int, int, str, str]:
        return one.t, one.row, one.type, str(one.data)

    assert sorted(map(key, found)) == sorted(map(key, events_of(3)))
    assert max(Counter(map(key, found)).values()) == 1


def test_the_phases_are_those_of_the_events() -> None:
    plant = Plant(NAMES, 1, NOON)
    plant.advance(NOON + 3 * DAY)
    last = {one.row: one.data["phase"] for one in events_of(3) if one.type == "phase"}
    assert plant.phases() == [last[row] for row in range(len(NAMES))]


def test_an_order_holds_until_the_harvest_and_the_next_run_knows_nothing_of_it() -> None:
    plant = Plant(["a"], 1, NOON, organisms=["coli"])
    plant.order(0, "temperature_setpoint", 33.0)
    plant.advance(NOON + 2 * DAY)
    changes = [one for one in plant.events() if one.type == "phase"]
    harvest = next(one.t for one in changes if one.data["phase"] == "harvest")
    setups = [one.t for one in changes if one.data["phase"] == "setup"]
    shown = {
        t: plant.history(0, t, t + 1, 1)[0, COLUMN["temperature_setpoint"]]
        for t in (harvest - MINUTE, harvest + MINUTE)
    }
    assert list(shown.values()) == [33.0, 15.0]
    assert plant.history(0, setups[0] + MINUTE, setups[0] + MINUTE + 1, 1)[0, COLUMN["temperature_setpoint"]] == 37.0


def test_an_unknown_organism_is_an_error() -> None:
    with pytest.raises(ValueError, match="no such organism: unicorn"):
        Plant(["a"], 1, NOON, organisms=["unicorn"])


def test_a_large_plant_is_made_at_once_and_sampled_quickly() -> None:
    begin = time.process_time()
    plant = Plant([f"sim-{number:04}" for number in range(2000)], 1, NOON)
    made = time.process_time() - begin
    slots = [slice(first, first + 100) for first in range(0, 2000, 100)]
    for part in slots:
        plant.sample(part)
    begin = time.process_time()
    for second in range(3):
        plant.advance(NOON + second * 1000)
        for part in slots:
            plant.sample(part)
        plant.events()
    assert made < 0.5
    assert (time.process_time() - begin) / 6000 < 60e-6, "seconds of CPU for a frame"
