"""Search by words: each kind is found, by whoever may read it, and nothing of another organization."""

from __future__ import annotations

from typing import Any

import pytest

from api.access.roles import Role, Scope
from api.problems import BadParameter
from api.queries import search
from api.queries.search import parts, words
from api.shapes.search import ExcerptPart
from tests.api import alarms
from tests.api.accounts import api_key
from tests.api.operators import Operator
from tests.api.plant import Plant, at, text
from tests.api.test_deviations import opened, send
from tests.api.test_devices import north, operator

__all__ = ["north", "operator"]


@pytest.mark.parametrize(
    ("typed", "query"),
    [
        ("foam", "'foam':*"),
        (" Foam  over ", "'Foam' & 'over':*"),
        ("br-1 it's", "'br-1' & 'it''s':*"),
        ("a' | 'b\\", "'a''' & '''b':*"),
        ("& foam !", "'foam':*"),
    ],
)
def test_what_people_type_becomes_a_query(typed: str, query: str) -> None:
    assert words(typed) == query


def test_a_query_needs_a_word() -> None:
    with pytest.raises(BadParameter):
        words(" & ! ")


def test_an_excerpt_is_cut_at_its_hits() -> None:
    found = parts("the \x02pH\x03 of \x02br-1\x03")
    assert found == [
        *(ExcerptPart(text="the ", hit=False), ExcerptPart(text="pH", hit=True), ExcerptPart(text=" of ", hit=False)),
        ExcerptPart(text="br-1", hit=True),
    ]


async def write(plant: Plant, caller: Operator, device: str, word: str) -> None:
    """One text of each kind with this word, the later kinds later."""
    device_id = await plant.device(device)
    note = {"begins": text(0), "text": f"the {word} rose"}
    assert (await send(caller, "POST", f"/devices/{device}/annotations", note)).status_code == 201
    made = await opened(caller, f"Too much {word}", link={"kind": "device", "reference": device})
    path = f"/deviations/{made['deviation']}"
    await send(caller, "POST", f"{path}/comments", {"text": "nothing to see"})
    await send(caller, "PUT", f"{path}/comments/1", {"text": f"<b>{word}</b> again", "why": "new"})
    await plant.event(device_id, at(60), "antifoam", {"dose": [1, f"against {word}"]})
    await send(caller, "PATCH", f"/devices/{device}", {"title": "x", "why": f"because of {word}"})
    rule = await alarms.rule(plant.sql, "hot")
    await alarms.become(plant.sql, rule, device_id)
    await plant.sql.execute(
        "insert into alarm_acts (rule_id, device_id, organization_id, action, who, why, asked_at)"
        " values ($1, $2, 1, 'acknowledge', 'eva', $3, $4)",
        *(rule, device_id, f"{word} is normal here", at(0)),
    )
    await plant.sql.execute(
        "insert into shift_entries (organization_id, text, devices, who, at) values (1, $1, $2, 'eva', $3)",
        *(f"quiet, little {word}", [device_id], at(0)),
    )


async def found(caller: Operator, q: str, **asked: Any) -> dict[str, str]:
    """The excerpts by kind, hits in brackets."""
    answer = await caller.get("/search", "Found", q=q, **{"from": text(-3600)} | asked)
    said = (
        "".join(f"[{part['text']}]" if part["hit"] else part["text"] for part in one["excerpt"])
        for one in answer["hits"]
    )
    return {one["kind"]: words for one, words in zip(answer["hits"], said, strict=True)}


async def test_each_kind_is_found_with_the_hit_marked(plant: Plant, operator: Operator, north: Operator) -> None:
    await write(plant, operator, "br-1", "foam")
    await plant.device("br-2")
    every = await found(operator, "FOAM")
    assert every == {
        "note": "the [foam] rose",
        "deviation": "Too much [foam] ",
        "comment": " [foam]  again",
        "event": every["event"],
        "reason": every["reason"],
        "alarm": "[foam] is normal here",
        "shift": "quiet, little [foam]",
    }
    assert "against [foam]" in every["event"]
    assert "[foam]" in every["reason"]
    assert (await found(operator, "fo")).keys() == every.keys()  # the begin of a word
    assert await found(operator, "fo rose") == {}
    assert await found(operator, "rose foa") == {"note": "the [foam] [rose]"}
    assert await found(operator, "nothing") == {}  # only the newest version of a comment
    assert (await found(operator, "foam", device="br-1")).keys() == every.keys()
    assert await found(operator, "foam", device="br-2") == {}
    assert (await found(operator, "foam", kind=["note", "shift"])).keys() == {"note", "shift"}
    assert (await found(operator, "foam", to=text(30))).keys() == {"note", "alarm", "shift"}
    assert await found(north, "foam") == {}


async def test_what_was_withdrawn_is_not_found(plant: Plant, operator: Operator) -> None:
    await write(plant, operator, "br-1", "foam")
    before = await found(operator, "foam", device="br-1")
    [deviation] = (await operator.get("/deviations"))["deviations"]
    path = f"/deviations/{deviation['deviation']}"
    [link] = (await operator.get(path))["links"]
    assert (await send(operator, "DELETE", f"{path}/links/{link['id']}?why=wrong")).status_code == 204
    assert (await found(operator, "foam", device="br-1")).keys() == before.keys() - {"deviation", "comment"}
    assert (await send(operator, "DELETE", "/devices/br-1/annotations/1?why=wrong")).status_code < 300
    assert "note" not in await found(operator, "foam")


async def test_a_key_finds_only_what_it_may_read(plant: Plant, operator: Operator) -> None:
    await write(plant, operator, "br-1", "foam")
    narrow = Operator(operator.client, await api_key(plant.sql, role=Role.VIEWER, scopes=[Scope.DEVICES_READ]))
    assert (await found(narrow, "foam")).keys() == {"note", "deviation", "comment", "shift"}
    for kind in ("event", "reason", "alarm"):
        assert await narrow.not_shown("/search", q="foam", kind=kind) == 403
    viewer = Operator(operator.client, await api_key(plant.sql, role=Role.VIEWER))
    assert "reason" not in await found(viewer, "foam")


async def test_those_with_more_hits_come_first_then_the_newest(plant: Plant, operator: Operator) -> None:
    await plant.device("br-1")
    for n, note in enumerate(("foam once", "foam and foam", "foam once more")):
        await send(operator, "POST", "/devices/br-1/annotations", {"begins": text(n), "text": note})
    answer = await operator.get("/search", q="foam", kind="note", limit=2, **{"from": text(-1)})
    assert [one["id"] for one in answer["hits"]] == ["2", "3"]
    assert answer["truncated"] is True


async def test_events_are_looked_at_back_to_a_bound_and_it_is_said(
    plant: Plant, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MOST_EVENTS", 2)
    device = await plant.device("br-1")
    for n in range(3):
        await plant.event(device, at(n), "dose", {"n": n, "of": "acid"})
    answer = await operator.get("/search", q="acid", **{"from": text(-1)})
    assert ([one["time"] for one in answer["hits"]], answer["events_since"]) == ([text(2), text(1)], text(1))
    assert (await operator.get("/search", q="acid", **{"from": text(2)}))["events_since"] is None


async def test_what_cannot_be_searched_for_is_refused(operator: Operator) -> None:
    for asked in ({"q": ""}, {"q": "!&"}, {"q": "x", "from": "2010-01-01Z"}, {"q": "x", "kind": "y"}, {}):
        assert await operator.not_shown("/search", **asked) == 422, asked
