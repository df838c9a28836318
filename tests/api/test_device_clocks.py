"""The clock of a device by hour."""

from __future__ import annotations

from datetime import timedelta

from tests.api.operators import Operator
from tests.api.plant import Plant, at, text
from tests.api.test_devices import operator

__all__ = ["operator"]


async def test_the_hours_of_a_clock_come_newest_first_in_pages(plant: Plant, operator: Operator) -> None:
    device, other = await plant.device("br-1"), await plant.device("br-2")
    for hour, least in ((0, -2.5), (1, 0.01), (2, 0.02)):
        await plant.sql.execute(
            "insert into device_clocks values ($1, $2, 3600, $3, '3 s'), ($4, $2, 1, '9 s', '9 s')",
            *(device, at(hour * 3600), timedelta(seconds=least), other),
        )
    answer = await operator.get("/devices/br-1/clock", limit=2, to=text(7200))
    assert [one["hour"] for one in answer["clock_hours"]] == [text(3600), text(0)]
    assert answer["clock_hours"][1] == {
        "hour": text(0),
        "frames": 3600,
        "least_delay_s": -2.5,
        "most_delay_s": 3.0,
        "ahead_at_least_s": 2.5,
    }
    first = await operator.get("/devices/br-1/clock", limit=2)
    rest = await operator.get("/devices/br-1/clock", limit=2, cursor=first["next"])
    assert [one["hour"] for one in [*first["clock_hours"], *rest["clock_hours"]]] == [text(7200), text(3600), text(0)]
