"""Activity on a page: what happened, newest first, by kind, device and time."""

from __future__ import annotations

import pytest

from tests.api.operators import handshake
from tests.api.pages.conftest import Visitor
from tests.api.plant import Plant, at
from tests.in_turn import in_turn


@pytest.fixture
async def happened(plant: Plant) -> None:
    device = await plant.device("br-1")
    await plant.status(device, 7, at(0), True, "2.4.1")
    await plant.event(device, at(60), "phase", {"phase": "batch"})
    await plant.event(device, at(120), "door <b>", {"open": True})
    other = await plant.device("br-2")
    await plant.status(other, 1, at(86400), False)


@pytest.mark.usefixtures("happened")
async def test_what_happened_is_listed_newest_first(viewer: Visitor) -> None:
    words = await viewer.words("activity?kind=&device=&from=&to=")
    told = [
        "presence br-2 offline boot 1",
        'event br-1 door <b> {"open":true}',
        "phase br-1 batch",
        "presence br-1 online",
    ]
    places = [words.index(one) for one in told]
    assert places == sorted(places)
    assert (await viewer.part("activity")).startswith('<div class="scroll"')


@pytest.mark.usefixtures("happened")
@in_turn(
    ("asked", "found"),
    [
        ("kind=phase", {"batch"}),
        ("device=br-2", {"offline"}),
        (f"from={at(86400).date()}", {"offline"}),
        (f"to={at(0).date()}", {"batch", "online", "door"}),
        (f"from={at(0).date()}&to={at(0).date()}&kind=presence", {"online"}),
        ("device=br-9", set()),
    ],
)
async def test_filters_choose_what_is_shown(viewer: Visitor, asked: str, found: set[str]) -> None:
    words = (await viewer.words(f"activity?{asked}")).partition("When Kind")[2]
    assert {one for one in ("batch", "offline", "online", "door") if one in words} == found


async def test_a_kind_is_for_those_who_may_read_its_list(
    viewer: Visitor, operator: Visitor, stranger: Visitor, plant: Plant
) -> None:
    await handshake(plant.sql, "S-1")
    assert "S-1" in await operator.shown("activity?kind=enrollment")
    assert "S-1" not in await viewer.shown("activity")
    assert "<option>enrollment" not in await viewer.shown("activity")
    for kind in ("enrollment", "log-in"):
        assert (await viewer.get(f"activity?kind={kind}")).status_code == 403
    assert "S-1" not in await stranger.shown("activity")
    assert (await viewer.get("activity?kind=nothing")).status_code == 422
    assert (await viewer.get("activity?from=2026-02-30")).status_code == 422
    assert (await viewer.get("activity?from=2026-03-02&to=2026-02-01")).status_code == 422


async def test_a_long_past_is_read_page_by_page(viewer: Visitor, plant: Plant) -> None:
    device = await plant.device("br-1")
    for n in range(120):
        await plant.event(device, at(n), f"step-{n:03}", {})
    found: list[str] = []
    path = "activity?kind=event"
    while path:
        page = await viewer.shown(path)
        found += [part[:8] for part in page.split('<td data-label="What">step-')[1:]]
        path = page.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
    assert [one[:3] for one in found] == [f"{n:03}" for n in reversed(range(120))]
