"""The audit trail on a page: who did what, with the state before and after; and whether it is as it was written."""

from __future__ import annotations

import csv
import io

from tests.api.pages.conftest import Visitor
from tests.api.plant import Plant


async def change(plant: Plant, subject: str = "device/br-1", why: str = "moved", organization: int = 1) -> None:
    await plant.sql.execute(
        """insert into audit (organization_id, who, action, subject, old, new, why) values
           ($1, 'eva@example.org', 'device change', $2, '{"title": null, "tags": ["a"], "since": "-infinity"}',
            '{"title": "<b>", "online": true, "key": "0123456789abcdef0123456789abcdef"}', $3)""",
        *(organization, subject, why),
    )


async def test_events_are_shown_with_what_was_and_what_is(operator: Visitor, plant: Plant) -> None:
    await change(plant)
    words = await operator.words("audit")
    assert "device change device/br-1 moved tags a since always title – key 0123456789ab… title <b> online yes" in words
    assert 'href="/app/main/devices/br-1"' in await operator.shown("audit")


async def test_filters_choose_events_and_the_copy_has_the_same(operator: Visitor, plant: Plant) -> None:
    await change(plant)
    await change(plant, "device/br-2", "=1+1")
    for asked, found in (
        ("subject=device/br-2", [False, True]),
        ("action=device&who=eva@example.org&subject=", [True, True]),
        ("who=ada@example.org", [False, False]),
        ("to=2026-01-01", [False, False]),
    ):
        page = await operator.shown(f"audit?{asked}")
        assert ["device/br-1</a>" in page, "device/br-2</a>" in page] == found, asked
        link = page.partition(".csv")[2].partition('"')[0].replace("&amp;", "&")
        answer = await operator.get(f"audit.csv{link}")
        assert answer.headers["content-type"].startswith("text/csv")
        assert 'filename="audit.csv"' in answer.headers["content-disposition"]
        rows = [row["subject"] for row in csv.DictReader(io.StringIO(answer.text))]
        assert ["device/br-1" in rows, "device/br-2" in rows] == found, asked
    assert await plant.sql.fetchval("select count(*) from audit where action = 'export' and subject = 'audit'") == 1
    assert "'=1+1" in (await operator.get("audit.csv")).text


async def test_the_trail_is_verified_in_words(operator: Visitor, plant: Plant) -> None:
    await change(plant)
    assert "The trail is as it was written." in await operator.words("audit/verify")
    part = await operator.part("audit/verify")
    assert part.startswith('<div class="panel">')
    await plant.sql.execute("set session_replication_role = replica")
    await plant.sql.execute("update audit set why = 'stayed' where why = 'moved'")
    words = await operator.words("audit/verify")
    assert "The trail is not as it was written. Event 2 was changed" in words


async def test_the_trail_of_others_is_not_there(operator: Visitor, stranger: Visitor, plant: Plant) -> None:
    await change(plant, "device/kettle-7")
    for path in ("audit", "audit.csv"):
        assert "kettle-7" not in (await stranger.get(path)).text
        assert "kettle-7" in (await operator.get(path)).text
    assert "events" in await stranger.words("audit/verify")


async def test_a_long_trail_is_read_page_by_page(operator: Visitor, plant: Plant) -> None:
    for n in range(120):
        await change(plant, f"device/br-{n:03}")
    found: list[str] = []
    path = "audit?action=device"
    while path:
        page = await operator.shown(path)
        found += [part[:3] for part in page.split('">device/br-')[1:]]
        path = page.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
    assert found == [f"{n:03}" for n in reversed(range(120))]
