"""Samples from files: new ones, duplicates, what was missing, and corrections."""

from __future__ import annotations

from typing import Any

from tests.api.operators import Operator
from tests.api.plant import Plant
from tests.api.test_devices import operator
from tests.api.test_lab_samples import send

__all__ = ["operator"]

FILE = """sample;device;time;glucose [g/L];lactate [g/L]
S-1;br-1;2026-03-01 11:00;4,2;< 0,1
S-2;br-1;2026-03-01 12:00;3,9;
S-3;br-9;2026-03-01 12:00;3,9;
S-4;br-1;2026-03-01 12:00;3,9 g;
"""


async def take(caller: Operator, text: str, status: int = 200, **asked: Any) -> dict[str, Any]:
    answer = await caller.client.post(
        "/api/v1/sample-imports",
        params={"why": "HPLC of Monday", "zone": "Europe/Berlin"} | asked,
        content=text.encode(),
        headers=caller.headers,
    )
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def counts(result: dict[str, Any]) -> dict[str, int]:
    return {name: result[name] for name in ("new", "measured", "corrected", "duplicate", "refused") if result[name]}


async def test_a_dry_run_says_what_an_import_does_and_stores_nothing(plant: Plant, operator: Operator) -> None:
    await plant.device("br-1")
    told = await take(operator, FILE, dry_run=True)
    assert counts(told) == {"new": 3, "refused": 2}
    assert [(one["line"], one["heading"], one["reason"]) for one in told["refusals"]] == [
        (4, "device", "there is no device br-9"),
        (5, "glucose", "neither a number nor a reading like `< 0.1`"),
    ]
    assert await plant.sql.fetchval("select count(*) from lab_samples") == 0
    assert await plant.sql.fetchval("select count(*) from audit where action like 'sample%'") == 0
    done = await take(operator, FILE, file="monday.csv")
    assert {name: value for name, value in done.items() if name != "dry_run"} == {
        name: value for name, value in told.items() if name != "dry_run"
    }
    one = await operator.get("/samples/S-1", "LabSample")
    assert (one["taken_at"], one["source"], one["why"]) == (
        *("2026-03-01T10:00:00.000000Z", "import", "HPLC of Monday (monday.csv)"),
    )
    assert [(it["value"], it["reading"], it["unit"]) for it in one["analytes"]] == [
        *((4.2, None, "g/L"), (None, "< 0.1", "g/L")),
    ]
    assert await plant.sql.fetchval("select count(*) from audit where action = 'sample take'") == 3


async def test_duplicates_are_told_from_what_was_missing_and_from_corrections(plant: Plant, operator: Operator) -> None:
    await plant.device("br-1")
    await take(operator, FILE)
    assert counts(await take(operator, FILE)) == {"duplicate": 3, "refused": 2}
    more = "sample;device;time;glucose [g/L];lactate [g/L]\nS-1;br-1;2026-03-01 11:00;4,6;< 0,1\nS-2;;;3,9;1,5\n"
    told = await take(operator, more)
    assert counts(told) == {"measured": 1, "refused": 1}
    assert told["refusals"][0]["reason"] == "differs from what is stored: glucose 4.2 g/L → 4.6 g/L"
    assert (await operator.get("/samples/S-1"))["version"] == 1
    second = await operator.get("/samples/S-2")
    assert (second["version"], second["act"], second["analytes"][1]["value"]) == (2, "measure", 1.5)
    told = await take(operator, more, corrections=True)
    assert counts(told) == {"corrected": 1, "duplicate": 1}
    assert told["samples"][0]["changes"] == ["glucose 4.2 g/L → 4.6 g/L"]
    first = await operator.get("/samples/S-1")
    assert (first["version"], first["act"], first["analytes"][0]["value"]) == (2, "correct", 4.6)
    await send(operator, "POST", "/samples/S-1/withdraw", why="x")
    assert (await take(operator, more))["refusals"][0]["reason"] == "the sample was withdrawn"


async def test_samples_without_names_are_known_by_device_and_time(plant: Plant, operator: Operator) -> None:
    await plant.device("br-1")
    text = "time,glucose [g/L]\n2026-03-01T10:00:00Z,4.2\n2026-03-01T11:00:00Z,4.1\n"
    assert counts(await take(operator, text, device="br-1")) == {"new": 2}
    assert counts(await take(operator, text, device="br-1")) == {"duplicate": 2}
    names = [one["sample"] for one in (await operator.get("/samples"))["samples"]]
    assert names == ["br-1-s2", "br-1-s1"]


async def test_what_is_no_table_is_a_problem_with_words(plant: Plant, operator: Operator) -> None:
    problem = await take(operator, "", 422)
    assert problem["detail"] == "body: is empty: send the file"


async def test_a_file_may_be_as_large_as_the_pages_say(plant: Plant, operator: Operator) -> None:
    await plant.device("br-1")
    rows = "".join(f"L-{n};br-1;2026-03-01 11:00;4,2;{n} {'x' * 40}\n" for n in range(1500))
    told = await take(operator, f"sample;device;time;glucose [g/L];note\n{rows}", dry_run=True)
    assert counts(told) == {"new": 1500}
    await take(operator, "sample;device;time;glucose [g/L]\n" + "x" * 2**21, 413)
