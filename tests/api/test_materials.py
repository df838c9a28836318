"""Records of material, their sums, and the balance of a device."""

from __future__ import annotations

from typing import Any

import pytest

from api.queries.material_balance import counted, kilograms
from tests.api.operators import Operator
from tests.api.plant import Plant, at, text
from tests.api.test_devices import operator
from tests.api.test_lab_samples import send
from tests.api.test_lists import everything, table

__all__ = ["operator"]

FEED = {"kind": "feed", "material": "Feed A, glucose", "lot": "G-1", "quantity": 120, "unit": "mL"}


async def record(caller: Operator, seconds: float = 0, **body: Any) -> dict[str, Any]:
    answer = await send(caller, "POST", "/materials", device="br-1", begins=text(seconds), **(FEED | body))
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def test_a_record_is_corrected_in_versions_with_reasons(plant: Plant, operator: Operator) -> None:
    await plant.device("br-1")
    number = (await record(operator, ends=text(60)))["number"]
    said = await send(operator, "PATCH", f"/materials/{number}", quantity=112, lot=None, why="read again")
    assert said.status_code == 200, said.text
    assert [said.json()[name] for name in ("version", "quantity", "unit", "lot", "act", "direction")] == [
        *(2, 112.0, "mL", None, "correct", "in"),
    ]
    stale = await send(operator, "PATCH", f"/materials/{number}", version=1, quantity=1, why="x")
    assert stale.status_code == 412
    for wrong in ({"kind": None}, {"ends": text(-1)}, {"unit": "mol"}, {"quantity": -1}):
        answer = await send(operator, "PATCH", f"/materials/{number}", why="x", **wrong)
        assert answer.status_code == 422, answer.text
        assert next(iter(wrong)) in answer.json()["detail"]
    await send(operator, "POST", f"/materials/{number}/withdraw", why="of another vessel")
    assert (await operator.get("/materials"))["materials"] == []
    versions = (await operator.get(f"/materials/{number}/versions"))["versions"]
    assert [(one["version"], one["act"], one["why"]) for one in versions] == [
        *((3, "withdraw", "of another vessel"), (2, "correct", "read again"), (1, "add", "added")),
    ]
    trail = await plant.sql.fetch("select action, why from audit where subject = $1 order by n", f"material/{number}")
    assert [tuple(row) for row in trail] == [
        *(("material add", "added"), ("material correct", "read again"), ("material withdraw", "of another vessel")),
    ]


async def test_records_are_found_by_device_kind_and_time(plant: Plant, operator: Operator) -> None:
    await plant.device("br-1")
    for seconds, kind in ((0, "inoculum"), (10, "feed"), (20, "harvest")):
        await record(operator, seconds, kind=kind)

    async def found(**asked: Any) -> list[str]:
        return [it["kind"] for it in await everything(operator.client, "/materials", "materials", limit=1, **asked)]

    assert await found() == ["harvest", "feed", "inoculum"]
    assert await found(kind=["feed", "inoculum"]) == ["feed", "inoculum"]
    assert await found(**{"from": text(10), "to": text(20)}) == ["feed"]
    assert await found(device="br-2") == []
    assert [row["direction"] for row in await table(operator.client, "/materials")] == ["out", "in", "in"]


@pytest.mark.parametrize(
    ("quantity", "unit", "density", "mass"),
    [
        *((500.0, "g", 1.2, 0.5), (500.0, "mL", 1.2, 0.6), (2.0, "L", 1.0, 2.0), (3.0, "kg", 9.0, 3.0)),
        *((7.0, "µL", 1.0, 7e-6), (1.0, "pH", 1.0, None), (1.0, None, 1.0, None)),
    ],
)
def test_a_quantity_is_a_mass_by_unit_and_density(
    quantity: float, unit: str | None, density: float, mass: float | None
) -> None:
    assert kilograms(quantity, unit, density) == (None if mass is None else pytest.approx(mass))


async def test_a_balance_names_what_weight_and_feeds_say_otherwise(plant: Plant, operator: Operator) -> None:
    device = await plant.device("br-1")
    layout = await plant.layout(device, "weight", "feed_a_total", "feed_a_weight", "base_total")
    await plant.sql.execute("update channels set unit = 'g' where name = 'feed_a_weight'")
    order = [
        row[0]
        for row in await plant.sql.fetch(
            "select name from channels where name = any ($1) order by channel_id",
            ["weight", "feed_a_total", "feed_a_weight", "base_total"],
        )
    ]
    first = {"weight": 2.0, "feed_a_total": 0.0, "feed_a_weight": 900.0, "base_total": 50.0}
    last = {"weight": 2.1, "feed_a_total": 120.0, "feed_a_weight": 784.0, "base_total": 10.0}
    await plant.sql.execute("update channels set unit = 'mL' where name = 'base_total'")
    await plant.frames(
        device, layout, [(at(n), [row[it] for it in order], None) for n, row in ((0, first), (3590, last))]
    )
    await record(operator, 100, ends=text(3600))
    await record(operator, 200, kind="sampling", material="broth", quantity=0.02, unit="kg")
    await record(operator, 5000)  # after the end
    query = {"from": text(0), "to": text(3600)}
    said = await operator.get("/devices/br-1/material-balance", "MaterialBalance", **query)
    assert (said["went_in"], said["went_out"]) == (pytest.approx(0.12), pytest.approx(0.02))
    assert said["weight"]["mass"] == pytest.approx(0.1)
    assert said["residue"] == pytest.approx(0.0)
    base, feed = sorted(said["feeds"], key=lambda one: one["feed"])
    assert feed["counted"]["mass"] == pytest.approx(0.12)
    assert feed["weighed"]["mass"] == pytest.approx(0.116)
    assert feed["counted_minus_weighed"] == pytest.approx(0.004)
    assert (feed["recorded"], feed["counted_minus_recorded"]) == (pytest.approx(0.12), pytest.approx(0.0))
    assert (base["counted"]["mass"], base["counted"]["set_back"], base["recorded"]) == (pytest.approx(0.01), 1, None)
    assert "volumes are taken for masses by 1 kg/L" in said["assumptions"]
    assert "base_total was set back, 1 times: it is taken to have counted on from 0" in said["assumptions"]
    assert not [note for note in said["assumptions"] if "go on after the end" in note]
    denser = await operator.get("/devices/br-1/material-balance", **query, density=1.25)
    assert (denser["went_in"], denser["went_out"]) == (pytest.approx(0.15), pytest.approx(0.02))
    assert await operator.not_shown("/devices/br-1/material-balance", **query, weight="scale") == 422
    further = last | {"feed_a_total": 121.0}
    later = [(3600, last), (3700, first), (7190, further)]  # it was set back, and has counted further than before
    await plant.frames(device, layout, [(at(n), [row[it] for it in order], None) for n, row in later])
    said = await operator.get(
        "/devices/br-1/material-balance", "MaterialBalance", **{"from": text(3600), "to": text(7200)}
    )
    assert {one["feed"]: one["counted"]["mass"] for one in said["feeds"]} == pytest.approx(
        {"base": 0.05, "feed_a": 0.121}
    )
    assert "feed_a_total was set back, 1 times: it is taken to have counted on from 0" in said["assumptions"]
    sums = (await operator.get("/material-sums", "MaterialSums", **query, device="br-1"))["sums"]
    assert [(one["kind"], one["material"], one["records"], one["mass"]) for one in sums] == [
        *(("feed", "Feed A, glucose", 1, pytest.approx(0.12)), ("sampling", "broth", 1, 0.02)),
    ]
    assert [row["mass"] for row in await table(operator.client, "/material-sums", to=text(3600))] == ["0.12", "0.02"]


@pytest.mark.parametrize(
    ("first", "last", "minutes", "wanted"),
    [
        (5, 25, [(5, 10), (10, 25)], (20, 0)),
        (5, 4.9, [(5, 5.2), (4.9, 5.1)], (-0.1, 0)),  # noise is no setting back
        (80, 3, [(80, 90), (0, 1), (1, 3)], (13, 1)),
        (80, 3, [(80, 85), (0, 90), (1, 3)], (13, 1)),  # within a minute
        (0, 2, [(0, 10), (0, 7), (7, 8), (0.5, 2)], (20, 2)),
        (4, 9, [], (5, 0)),
    ],
)
def test_a_total_counts_on_from_zero_where_it_was_set_back(
    first: float, last: float, minutes: list[tuple[float, float]], wanted: tuple[float, int]
) -> None:
    assert counted(first, last, minutes) == pytest.approx(wanted)
