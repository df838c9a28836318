"""Computed channels in the live feed of telemetry: the same as telemetry says, and told anew once they are others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from api.live import hub
from api.live.computed import LiveSample, newest
from api.queries.devices import Channel, Computed
from api.series import formula
from api.series.computed import Computation
from api.series.shown import ShownUnit, Stretch
from schema import units
from schema.channels import ChannelTerms
from tests.api.live import listening, message, opened
from tests.api.operators import Operator
from tests.api.plant import LivePlant, Plant
from tests.api.test_computed import define, say
from tests.api.test_devices import operator
from tests.api.test_live_data import PATH, changes

__all__ = ["operator"]
T0, T1, T9 = (f"2026-11-20T07:45:0{second}.000000Z" for second in (0, 1, 9))
TERMS = ChannelTerms(None, None, None, None, None, None, None, step=False)
MBAR = ShownUnit("mbar", (Stretch(-(2**62), units.conversion("bar", "mbar")),))


def computed(text: str, shown: Mapping[str, ShownUnit] | None = None) -> Channel:
    inputs = tuple(Channel(n, name, TERMS, 1, {}, shown=(shown or {}).get(name)) for n, name in enumerate("ab", 1))
    what = Computation(formula.compile(text), ("a", "b"), frozenset(), {"k": 2.0}, {}, 5_000_000)
    return Channel(-1, "made", TERMS, 0, {}, computed=Computed(text, None, what, inputs, ()))


@pytest.mark.parametrize(
    ("text", "a", "b", "expected"),
    [
        ("a + k * b", (1.0, 0, T0), (2.0, 0, T1), (5.0, 0, T1)),
        ("a + b", (1.0, 2, T1), (2.0, 1, T0), (3.0, 1, T1)),
        ("a + b", (1.0, 0, T0), (2.0, 0, T9), (None, 1, T9)),
        ("a + b", (None, None, None), (2.0, 0, T1), (None, 1, T1)),
        ("a if known(a) else b", (None, 1, T1), (2.0, 0, T0), (2.0, 1, T1)),
        ("a / (b - b)", (1.0, 0, T0), (2.0, 0, T0), (None, 1, T0)),
        ("a", (None, None, None), (None, None, None), (None, None, None)),
    ],
    ids=["later", "worst quality", "too old", "missing", "no value", "no result", "nothing"],
)
def test_the_newest_sample_is_of_the_last_instant_of_an_input(
    text: str, a: Sequence[Any], b: Sequence[Any], expected: Sequence[Any]
) -> None:
    assert newest(computed(text), {"a": LiveSample(*a), "b": LiveSample(*b)}) == LiveSample(*expected)


def test_inputs_are_taken_in_the_units_of_the_formula() -> None:
    samples = {"a": LiveSample(1.5, 0, T0), "b": LiveSample(None, 1, T0), "c": LiveSample(9.0, 0, T9)}
    assert newest(computed("a", {"a": MBAR}), samples) == LiveSample(1500.0, 1, T0)
    other = ShownUnit("mbar", (Stretch(-(2**62), None),))
    assert newest(computed("a", {"a": other}), samples) == LiveSample(None, 1, T0)
    assert newest(computed("b", {"a": other, "b": other}), samples) == LiveSample(None, None, None)


@pytest.fixture
async def vessels(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> LivePlant:
    """Looked at as often as tests want."""
    monkeypatch.setattr("api.live.boards.LOOK_S", 0.2)
    monkeypatch.setattr(hub, "LOOK_S", 0.2)
    it = LivePlant(plant.sql)
    await it.vessel("br-1")
    await it.vessel("br-2")
    return it


async def of_one(client: ClientConnection) -> dict[str, Any]:
    told: dict[str, Any] = (await changes(client))["br-1"]
    return told


async def test_a_computed_channel_comes_to_who_names_it_as_telemetry_has_it(
    database_url: str, vessels: LivePlant, operator: Operator
) -> None:
    await define(
        operator, "mixed", {"formula": "ph * k + do", "inputs": {"ph": "pH", "do": None}, "constants": {"k": 2}}
    )
    await define(operator, "slope", {"formula": 'rate(ph, "1h") + do', "inputs": {"ph": "pH", "do": None}})
    await define(operator, "absent", {"formula": "temperature", "inputs": {"temperature": None}})
    was = await vessels.commit("br-1", 1, 7.0, 50.0)
    async with (
        listening(database_url) as (address, _),
        opened(address, operator.headers, "?device=br-1&channels=mixed,do,slope,absent", PATH) as named,
        opened(address, operator.headers, "?device=br-1", PATH) as plain,
    ):
        [device] = (await message(named))["devices"]
        assert device == {
            **{"device": "br-1", "time": was, "values": {"do": 50.0, "mixed": 64.0}, "computed": ["mixed"]},
            "units": {"do": None, "mixed": None},
        }
        latest = await operator.get("/devices/br-1/latest", channel=["mixed", "do"])
        assert {it["channel"]: it["value"] for it in latest["values"]} == device["values"]
        [device] = (await message(plain))["devices"]
        assert (device["values"], "computed" in device) == ({"ph": 7.0, "do": 50.0}, False)

        at = await vessels.commit("br-1", 2, 8.0, None)
        assert await of_one(named) == {
            **{"device": "br-1", "time": at, "values": {"do": 50.0, "mixed": 66.0}, "times": {"do": was}},
        }
        assert (await of_one(plain))["values"] == {"ph": 8.0, "do": 50.0}

        await say(operator, "br-1", k=3)
        assert (await of_one(named))["values"]["mixed"] == 74.0
        definition = {"formula": "ph - do", "inputs": {"ph": "pH", "do": None}, "unit": "mV"}
        await define(operator, "mixed", definition)
        told = await of_one(named)
        assert (told["values"]["mixed"], told["units"]["mixed"]) == (-42.0, "mV")
        device_id, _ = vessels.devices["br-1"]
        other = await vessels.layout(device_id, "temperature")
        await vessels.frames(device_id, other, [(vessels.now + timedelta(seconds=3), [37.0], None)])
        await vessels.tell()
        while "absent" not in (told := await of_one(named))["values"]:
            assert told["values"]["mixed"] == -42.0
        assert (told["values"]["absent"], told["computed"]) == (37.0, ["absent", "mixed"])
        for name in ("mixed", "absent"):
            await operator.client.delete(
                f"/api/v1/computed-channels/{name}", params={"why": "as the test says"}, headers=operator.headers
            )
        while set((await of_one(named))["values"]) != {"do"}:
            pass
