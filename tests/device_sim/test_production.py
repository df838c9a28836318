"""Fleets that tell a past, without a broker: what the journal has."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from device_sim.clock import AS_FAST_AS_POSSIBLE, wall_ms
from device_sim.connection import Broker
from device_sim.fleet import Fleet, Plan
from device_sim.journal import Lost, Produced, Stepped, read
from device_sim.plant import Plant
from device_sim.plant_memory import PlantMemory
from tests.device_sim.subscriber import say_nothing
from tests.device_sim.test_scenario import fault

MINUTE = 60_000
NOWHERE = Broker("127.0.0.1", 1, None, None, None)
NAMES = ["sim-0001", "sim-0002", "sim-0003"]


def past(tmp_path: Path, word: str, **more: object) -> Plan:
    given: dict[str, object] = {
        "names": NAMES, "boots": [7] * 3, "broker": NOWHERE, "journal": tmp_path / word, "frames": 400,
        "begin": 1_780_000_000_000, "speed": AS_FAST_AS_POSSIBLE, "past": 60, "deadline": 0.0,
    }  # fmt: skip
    return Plan(**{**given, **more})  # type: ignore[arg-type]


def run(plan: Plan) -> list[Produced | Lost | Stepped]:
    asyncio.run(Fleet(plan, say_nothing).run(asyncio.Event(), say_nothing))
    assert plan.journal
    return list(read(plan.journal))


def produced(plan: Plan, name: str = NAMES[0]) -> list[Produced]:
    return [one for one in run(plan) if isinstance(one, Produced) and one.device == name]


def files(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(directory.glob("*.journal"))]


def test_a_seed_reproduces_the_journal_to_the_byte(tmp_path: Path) -> None:
    drift = fault(kind="probe_drift", channel="ph", at="1h", devices=["sim-0002"])
    for word, seed in (("one", 5), ("two", 5), ("other", 6)):
        run(past(tmp_path, word, seed=seed, scenario=[drift]))
    one, two, other = (files(tmp_path / word) for word in ("one", "two", "other"))
    assert len(one[0]) > 3 * 400 * 200
    assert one == two
    assert one != other


def test_a_past_has_each_time_once_in_order_and_no_number_is_left_out(tmp_path: Path) -> None:
    frames = produced(past(tmp_path, "journal"))
    assert [frame.t_ms for frame in frames] == [1_780_000_000_000 + n * MINUTE for n in range(400)]
    assert [(frame.boot, frame.seq) for frame in frames] == [(7, n) for n in range(400)]


def test_the_past_goes_over_into_the_present_without_a_seam(tmp_path: Path) -> None:
    now = wall_ms()
    plan = past(tmp_path, "journal", begin=now - 100 * MINUTE - 40_000, frames=101 + 350, rate=10.0)
    frames = produced(plan)
    times = [frame.t_ms for frame in frames]
    steps = [after - before for before, after in itertools.pairwise(times)]
    assert steps[:100] == [MINUTE] * 100
    assert {round(step) for step in steps[101:]} == {100}
    assert 0 < steps[100] <= MINUTE
    assert times[-1] <= wall_ms()
    assert [frame.seq for frame in frames] == list(range(451))


def test_a_plant_that_starts_again_goes_on_where_it_stopped(tmp_path: Path) -> None:
    begin, state = 1_780_000_000_000, tmp_path / "state"
    first = produced(past(tmp_path, "one", state=state, frames=100))
    later = produced(past(tmp_path, "two", state=state, frames=100, boots=[8] * 3))
    again = [frame for frame in later if frame.boot == 8]  # the first is in the journal of both runs
    assert (first[-1].t_ms, again[0].t_ms) == (begin + 99 * MINUTE, begin + 100 * MINUTE)
    assert (first[-1].boot, again[0].boot, again[0].seq) == (7, 8, 0)
    whole = produced(past(tmp_path, "whole", frames=200))
    assert [frame.values for frame in first + again] == [frame.values for frame in whole]


def test_a_diary_of_another_seed_is_not_of_this_plant(tmp_path: Path) -> None:
    PlantMemory(tmp_path, 1, 5000.0).note(["a"], 9000.0)
    assert (PlantMemory(tmp_path, 1, 7000.0).begin, PlantMemory(tmp_path, 1, 7000.0).until("a")) == (5000, 9000)
    assert (PlantMemory(tmp_path, 2, 7000.0).begin, PlantMemory(tmp_path, 2, 7000.0).until("a")) == (7000, 0)
    (tmp_path / "plant.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        PlantMemory(tmp_path, 1, 5000.0)


@pytest.mark.parametrize("every", [5, 10, 60])
def test_rate_and_total_agree_on_the_published_times(every: int, tmp_path: Path) -> None:
    frames = produced(past(tmp_path, "journal", past=every, frames=4000))
    rate = [frame.values["feed_a_rate"] or 0.0 for frame in frames]
    total = [frame.values["feed_a_total"] or 0.0 for frame in frames]
    fed = sum((a + b) / 2 * every / 3600 for a, b in itertools.pairwise(rate))
    climbed = sum(max(0.0, after - before) for before, after in itertools.pairwise(total))
    assert fed == pytest.approx(climbed, rel=0.03, abs=0.2)


def test_a_frame_has_the_channels_of_its_vessel(tmp_path: Path) -> None:
    """A chemostat has a harvest pump, cells of mammals get CO2 instead of acid, and E. coli has neither."""
    pump = {"harvest_total", "volume_setpoint", "volume_output"}
    for organism, without in (
        ("coli", {"inlet_co2", *pump}),
        ("cho", {"feed_c_total", *pump}),
        ("chemostat", {"inlet_co2"}),
    ):
        frames = produced(past(tmp_path, organism, frames=3, organism=organism))
        assert [set(frame.values) for frame in frames] == [set(Plant.channels) - without] * 3
