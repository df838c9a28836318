"""Records of material from files: new ones, duplicates, corrections, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from api.files.material_table import read_material
from api.problems import BadParameter
from api.shapes.sample_imports import ImportOptions
from tests.api.operators import Operator
from tests.api.plant import Plant
from tests.api.test_devices import operator
from tests.api.test_sample_imports import counts

__all__ = ["operator"]

FILE = """Device;Time;End;Kind;Material;Lot;Quantity [mL];Balance
br-1;01.03.2026 11:00;01.03.2026 12:00;Feed;glucose 500 g/L;G-1;120,5;B7
br-1;01.03.2026 15:00;;harvest;broth;;900;B7
br-9;01.03.2026 11:00;;base;NaOH;;3;B7
br-1;01.03.2026 16:00;;base;NaOH;;3.5;B7
br-1;01.03.2026 16:00;;bases;NaOH;;3,5;B7
br-1;01.03.2026 16:00;01.03.2026 15:00;base;NaOH;;3,5;B7
br-1;01.03.2026 15:00;;harvest;broth;;800;B7
"""

KINDS = "inoculum, medium, feed, base, acid, antifoam, additive, sampling, harvest, bleed, waste"


async def take(caller: Operator, text: str, status: int = 200, **asked: Any) -> dict[str, Any]:
    answer = await caller.client.post(
        "/api/v1/material-imports",
        params={"why": "sheet of Monday", "zone": "Europe/Berlin"} | asked,
        content=text.encode(),
        headers=caller.headers,
    )
    assert answer.status_code == status, answer.text
    return dict(answer.json())


async def test_a_dry_run_says_what_an_import_does_and_stores_nothing(plant: Plant, operator: Operator) -> None:
    await plant.device("br-1")
    told = await take(operator, FILE, dry_run=True)
    assert counts(told | {"measured": 0}) == {"new": 2, "refused": 5}
    assert [(one["line"], one["heading"], one["reason"]) for one in told["refusals"]] == [
        (4, "device", "there is no device br-9"),
        (5, "quantity", "not a number: the decimal sign is ','"),
        (
            6,
            "kind",
            f"no such kind; did you mean base? there are {KINDS}",
        ),
        (7, "ends", "must not be before the begin"),
        (8, "", "line 3 has the same device, begin, kind and material"),
    ]
    assert [one["meaning"] for one in told["columns"]][-2:] == ["quantity", "ignored"]
    assert await plant.sql.fetchval("select count(*) from materials") == 0
    done = await take(operator, FILE, file="monday.csv")
    assert done == told | {"dry_run": False}
    harvest, feed = (await operator.get("/materials", "Materials"))["materials"]
    assert (feed["begins"], feed["ends"], feed["quantity"], feed["unit"], feed["lot"]) == (
        *("2026-03-01T10:00:00.000000Z", "2026-03-01T11:00:00.000000Z", 120.5, "mL", "G-1"),
    )
    assert (harvest["direction"], harvest["source"], harvest["why"]) == (
        *("out", "import", "sheet of Monday (monday.csv)"),
    )
    assert await plant.sql.fetchval("select count(*) from audit where action = 'material add'") == 2


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("Fed", f"no such kind; did you mean feed? there are {KINDS}"),
        ("buffer", f"no such kind; there are {KINDS}"),
        ("", f"is missing; there are {KINDS}"),
    ],
)
async def test_a_wrong_kind_is_refused_with_the_nearest_and_all_there_are(
    plant: Plant, operator: Operator, kind: str, reason: str
) -> None:
    await plant.device("br-1")
    told = await take(operator, f"device;time;kind;material;amount [mL]\nbr-1;2026-03-01T10:00Z;{kind};x;1\n")
    assert [(one["heading"], one["text"], one["reason"]) for one in told["refusals"]] == [("kind", kind, reason)]


async def test_duplicates_are_told_from_corrections(plant: Plant, operator: Operator) -> None:
    await plant.device("br-1")
    head, feed, harvest, *_ = FILE.splitlines()
    await take(operator, f"{head}\n{feed}\n{harvest}\n")
    assert counts(await take(operator, f"{head}\n{feed}\n{harvest}\n") | {"measured": 0}) == {"duplicate": 2}
    other = f"{head}\n{feed.replace('120,5', '112')}\n"
    number = (await operator.get("/materials"))["materials"][-1]["number"]
    told = await take(operator, other)
    assert told["refusals"][0]["reason"] == f"differs from record {number}: quantity 120.5 → 112.0"
    done = await take(operator, other, corrections=True)
    assert [(one["number"], one["outcome"], one["changes"]) for one in done["records"]] == [
        (number, "corrected", ["quantity 120.5 → 112.0"])
    ]
    one = await operator.get(f"/materials/{number}", "Material")
    assert (one["version"], one["quantity"], one["lot"], one["act"]) == (2, 112.0, "G-1", "correct")


async def test_what_was_withdrawn_does_not_come_back_by_a_file(plant: Plant, operator: Operator) -> None:
    await plant.device("br-1")
    head, feed, *_ = FILE.splitlines()
    await take(operator, f"{head}\n{feed}\n")
    [one] = (await operator.get("/materials"))["materials"]
    await operator.client.post(
        f"/api/v1/materials/{one['number']}/withdraw", json={"why": "of another plant"}, headers=operator.headers
    )
    told = await take(operator, f"{head}\n{feed}\n")
    assert told["refusals"][0]["reason"] == f"record {one['number']} of it was withdrawn"


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "is empty: send the file"),
        ("device;time;kind\n", "has no column for material, quantity: name it so in the first line"),
        ("time;from;kind;material;quantity\n", "several columns mean begins"),
        ("time;kind;material;quantity\n", "the file has no column `device`: say the device"),
    ],
)
def test_what_is_no_table_of_material_is_refused_with_what_to_say(text: str, detail: str) -> None:
    with pytest.raises(BadParameter, match=detail.replace("`", ".")):
        read_material(text.encode(), ImportOptions())


def test_a_row_without_a_unit_is_refused_with_its_column() -> None:
    row = "br-1;2026-03-01T10:00Z;feed;x;1;"
    rows = f"device;time;kind;material;quantity;unit\n{row}\n{row}oz\n"
    refused = read_material(rows.encode(), ImportOptions()).refused
    assert [(one.line, one.heading, one.reason) for one in refused] == [
        (2, "unit", "is missing"),
        (3, "unit", "must be one of mg, g, kg, µL, mL, L"),
    ]
