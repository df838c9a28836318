"""Signals: the standard channels, the same for the same seed, and as untidy as real ones."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np

import schema
from device_sim.vessels import CHANNELS, COLUMN, Floats, take_sample, vessels

NOON = 1_750_000_000_000
MINUTE = 60_000
NAMES = [f"sim-{number:04}" for number in range(1, 31)]


def a_day(seed: int = 1) -> Floats:
    """One row a minute, device and channel."""
    fleet = vessels(NAMES, seed)
    return np.array([take_sample(fleet, NOON + i * MINUTE, speed=1.0).values for i in range(24 * 60)])


@cache
def day() -> Floats:
    """The one of seed 1, for all cases."""
    return a_day()


def test_the_channels_are_the_first_standard_ones_in_order() -> None:
    sql = (Path(schema.__file__).parent / "migrations" / "0002_standard_channels.sql").read_text()
    assert tuple(re.findall(r"^ {4}\('(\w+)'", sql, re.MULTILINE)[: len(CHANNELS)]) == CHANNELS


def test_the_same_seed_gives_the_same_values_and_another_seed_others() -> None:
    assert np.array_equal(day(), a_day(), equal_nan=True)
    assert not np.array_equal(day(), a_day(seed=2), equal_nan=True)


def test_a_device_shows_the_same_whatever_else_the_fleet_has() -> None:
    alone, among = vessels(NAMES[7:8], 1), vessels(NAMES, 1)
    one, many = take_sample(alone, NOON, 1.0), take_sample(among, NOON, 1.0)
    assert np.array_equal(one.values[0], many.values[7], equal_nan=True)
    assert np.array_equal(take_sample(among[7:9], NOON, 1.0).values[0], one.values[0], equal_nan=True)


def test_values_stay_within_what_instruments_show() -> None:
    for channel, low, high in (
        ("temperature", 10, 75),
        ("ph", 6.4, 7.4),
        ("dissolved_oxygen", 0, 105),
        ("agitation", 0, 1210),
        ("gas_flow", 0, 190),
        ("exhaust_o2", 15, 21.2),
        ("exhaust_co2", -0.1, 5),
        ("otr", -10, 110),
        ("ctr", -10, 110),
        ("volume", 900, 3300),
        ("torque", 20, 60),
    ):
        shown = day()[:, :, COLUMN[channel]]
        assert np.nanmin(shown) >= low, channel
        assert np.nanmax(shown) <= high, channel
    for output in ("temperature_output", "ph_output", "dissolved_oxygen_output"):
        assert np.nanmax(np.abs(day()[:, :, COLUMN[output]])) <= 100


def test_signals_are_untidy_as_in_real_records() -> None:
    otr, rq = day()[:, :, COLUMN["otr"]], day()[:, :, COLUMN["rq"]]
    assert (otr < 0).any()
    assert np.nanmax(np.abs(rq)) > 2
    assert np.isnan(rq).any()
    assert 0 < np.isnan(day()[:, :, COLUMN["ph"]]).mean() < 0.01


def test_the_quotient_is_near_one_where_gas_is_exchanged() -> None:
    busy = day()[:, :, COLUMN["otr"]] > 20
    assert abs(np.nanmedian(day()[:, :, COLUMN["rq"]][busy]) - 1.04) < 0.02


def test_a_feed_total_only_grows_within_a_run() -> None:
    steps = np.diff(day()[:, :, COLUMN["feed_a_total"]], axis=0)
    assert ((steps >= 0) | (steps < -50)).all()
    assert (steps > 0).any()


def test_a_faster_process_reaches_every_phase_in_minutes() -> None:
    fleet = vessels(NAMES[:1], 1)
    phases = {int(take_sample(fleet, NOON + i * 1000, speed=300).phase[0]) for i in range(320)}
    assert phases == set(range(8))
