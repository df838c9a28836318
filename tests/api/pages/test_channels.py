"""What is said of channels of all vessels at once, on pages."""

from __future__ import annotations

from tests.api.pages.conftest import Visitor, trail
from tests.api.pages.forms import forms
from tests.api.plant import Plant, at

CHANNEL = "off-gas/CO2"
PATH = "channels/off-gas%2FCO2"


async def vessels(plant: Plant) -> None:
    for name, model in (("br-1", "rev C"), ("br-2", "rev C"), ("br-3", "rev D")):
        device = await plant.device(name)
        await plant.sql.execute("update devices set model = $2 where device_id = $1", device, model)
        await plant.frames(device, await plant.layout(device, CHANNEL, "ph"), [(at(0), [1.0, 7.0], None)])


async def test_a_channel_is_described_for_all_vessels_for_a_model_or_for_one(
    engineer: Visitor, viewer: Visitor, plant: Plant
) -> None:
    await vessels(plant)
    for path, whose in ((PATH, "of all vessels"), (f"vessels/br-1/{PATH}", "of br-1")):
        listed = await engineer.shown(path.removesuffix("/off-gas%2FCO2"))
        assert f'href="/app/main/{path}"' in listed
        assert f"{CHANNEL} {whose}" in await engineer.words(path)
        assert forms(await viewer.shown(path), "off-gas%2FCO2") == []
    [form] = forms(await engineer.shown(PATH), PATH)
    said = form | {"why": "new analyser", "unit": "%"}
    assert await engineer.act(PATH, **said) == "/app/main/channels"
    [form] = forms(await engineer.shown(PATH), PATH)
    await engineer.act(PATH, **form | {"why": "another range", "low": "0", "high": "5", "model": "rev C"})
    rows = await plant.sql.fetch(
        "select d.name, x.low, x.high from channel_descriptions x left join devices d using (device_id)"
        " where x.low is not null order by 1"
    )
    assert [tuple(row) for row in rows] == [("br-1", 0, 5), ("br-2", 0, 5)]
    path = f"vessels/br-3/{PATH}"
    [form] = forms(await engineer.shown(path), PATH)
    assert "model" not in form
    await engineer.act(path, **form | {"why": "this one too", "title": "CO2 of the off-gas"})
    assert [why for *_, why in await trail(plant.sql)] == ["new analyser", *["another range"] * 2, "this one too"]
    assert (await engineer.refused(PATH, **form | {"why": "x", "title": "y", "model": "rev E"}))[0] == 404


async def test_channels_and_models_of_another_organization_are_not_there(
    engineer: Visitor, stranger: Visitor, plant: Plant
) -> None:
    await vessels(plant)
    assert "No vessel has sent any yet." in await stranger.words("channels")
    assert (await stranger.get(PATH)).status_code == 404
    assert "rev C" in await engineer.shown("channels/ph")
    assert "rev C" not in await stranger.shown("channels/ph")
