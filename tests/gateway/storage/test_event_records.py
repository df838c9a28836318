"""What devices say in events becomes samples and records of material, once, and is refused never."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import pytest

from gateway.intake.registry import Registry
from gateway.items import Device, DeviceEvent, TopicRoute
from gateway.runtime.database import Pool
from gateway.storage.event_records import records
from gateway.storage.transaction import store
from schema.topics import Kind, topic
from tests.gateway.material import NOW_MS, admitted
from tests.roles import forced

AT = "2023-11-14T22:13:20.000000Z"


def event(type_: str, data: object) -> DeviceEvent:
    route = TopicRoute(topic("r1", Kind.EVENT), Kind.EVENT, Device(1, "r1"))
    return DeviceEvent(route, 1_700_000_000_000, type_, json.dumps(data), 1, NOW_MS)


def material(kind: str, name: str, quantity: float, unit: str) -> dict[str, Any]:
    return {
        "type": "material",
        "said": {"kind": kind, "material": name, "begins": AT, "lot": None, "quantity": quantity, "unit": unit},
    }


@pytest.mark.parametrize(
    ("type_", "data", "expected"),
    [
        ("dosing", {"what": "antifoam", "volume_ml": 0.5}, [material("antifoam", "antifoam", 0.5, "mL")]),
        ("dosing", {"what": "NaOH", "kind": "base", "quantity": 2, "unit": "l"}, [material("base", "NaOH", 2.0, "L")]),
        ("addition", {"what": "inoculum", "litres": 0.2}, [material("inoculum", "inoculum", 0.2, "L")]),
        ("harvest", {"mass_kg": 1.5}, [material("harvest", "harvest", 1.5, "kg")]),
        ("dosing", {"what": "antifoam"}, []),
        ("dosing", {"what": ["antifoam"], "kind": {}, "volume_ml": "0.5"}, []),
        ("dosing", {"volume_ml": -1}, []),
        ("dosing", {"quantity": 1, "unit": "mol"}, []),
        ("dosing", {"quantity": True, "unit": "g"}, []),
        ("dosing", [1], []),
    ],
)
def test_material_is_made_of_an_event_that_says_enough(type_: str, data: object, expected: list[Any]) -> None:
    assert list(records(event(type_, data))) == expected


@pytest.mark.parametrize(
    ("analytes", "expected"),
    [
        ({"glucose": {"value": 4.2, "unit": "g/l"}}, [("glucose", 4.2, None, "g/l", "measured")]),
        (
            {"glucose": 4, "lactate": "< 0.1"},
            [("glucose", 4.0, None, None, "measured"), ("lactate", None, "< 0.1", None, "measured")],
        ),
        ([{"name": "glucose", "unit": "g/L"}], [("glucose", None, None, "g/L", "taken")]),
        (
            [{"analyte": "x" * 65, "value": 1}, {"value": 1}, 7, {"analyte": "ok\n", "value": 1e305}],
            [("ok", None, None, None, "taken")],
        ),
        ("glucose", []),
    ],
)
def test_a_sample_is_made_of_what_an_event_says_of_it(analytes: object, expected: list[Any]) -> None:
    [made] = records(event("sample", {"sample": "S 7", "analytes": analytes}))
    assert made["sample"] is None, "it is no name"
    assert [tuple(one[it] for it in ("analyte", "value", "reading", "unit", "status")) for one in made["analytes"]] == (
        expected
    )


async def test_an_event_makes_its_records_once_as_the_device_s(
    pool: Pool, registry: Registry, database: asyncpg.Connection
) -> None:
    taken = {"t": NOW_MS - 5000, "type": "sample", "boot": 1}
    said = {"sample": "S-1", "volume_ml": 5, "analytes": {"glucose": {"value": 4.2, "unit": "g/L"}}}
    dosed = {"t": NOW_MS - 4000, "type": "dosing", "boot": 1, "data": {"what": "antifoam", "volume_ml": 0.5}}
    messages = [taken | {"data": said}, dosed, dosed, dosed | {"n": 2}, taken | {"data": said | {"volume_ml": 6}}]
    for attempt in range(3):
        if attempt == 2:
            await forced(database, "delete from device_events")  # as retention does; then a device sends again
        items = await admitted(registry, Kind.EVENT, *messages)
        await store(pool, registry, "main", items, conflicting=False)
    samples = await database.fetch("select sample, source, who, status from lab_samples order by lab_sample_id")
    assert [tuple(row) for row in samples] == [
        ("S-1", "device", "device r1", "measured"),
        ("r1-s2", "device", "device r1", "measured"),  # its name is taken
    ]
    found = await database.fetch("select kind, quantity, unit, source, who from materials order by kind, number")
    assert [tuple(row) for row in found] == [
        *[("antifoam", 0.5, "mL", "device", "device r1")] * 2,
        *(("sampling", volume, "mL", "device", "device r1") for volume in (5.0, 6.0)),
    ]
    actions = await database.fetch("select action, who from audit where subject ~ '^(sample|material)/' order by n")
    assert {tuple(row) for row in actions} == {("sample take", "device r1"), ("material add", "device r1")}
    assert len(actions) == 6
    assert await database.fetchval("select count(*) from quarantine") == 0
