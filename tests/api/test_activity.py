"""What happened in an organization, in one list and live, and the numbers of a dashboard."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from websockets.exceptions import InvalidStatus

from api.access.roles import Role, Scope
from api.live import activity as live_activity
from api.live import hub
from api.shapes.activity import Happening
from api.shapes.summary import SummaryAnswer
from tests.api.accounts import Served, api_key, bearer, organization, user
from tests.api.conform import conforms
from tests.api.live import ENOUGH_S, Events, Floor, listening, message, opened
from tests.api.plant import Plant

PATH = "/api/v1/ws/activity"
T = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)


class Story:
    """Something of each kind, at a minute of its own, from the oldest to the newest."""

    KINDS = ("presence", "phase", "event", "command", "annotation", "enrollment", "log-in", "alarm")

    def __init__(self, plant: Plant, floor: Floor) -> None:
        self.plant, self.floor = plant, floor

    async def tell(self) -> None:
        sql, device = self.plant.sql, self.floor.device
        await self.plant.status(device, 7, self.at(0), True, "2.4.1")
        await self.plant.event(device, self.at(1), "phase", {"from": "batch", "to": "fed-batch"})
        await self.plant.event(device, self.at(2), "dosing", {"ml": 5})
        await sql.execute(
            """insert into commands (organization_id, device_id, name, requested_by, why, requested_at, expires_at)
               values (1, $1, 'identify', 'eva', 'to find it', $2::timestamptz, $2::timestamptz + interval '1 hour')""",
            *(device, self.at(3)),
        )
        await sql.execute(
            "insert into annotations (device_id, begins, text, who, created_at) values ($1, $2, 'antifoam', 'eva', $3)",
            *(device, self.at(-60), self.at(4)),
        )
        await sql.execute("insert into cells (cell, client_id) values ('main', 'secret')")
        await sql.execute("insert into claim_imports (name) values ('delivery')")
        await sql.execute("insert into serials (serial, device, import_id) values ('S-1', 'br-9', 1)")
        await sql.execute(
            """insert into enrollments (txn, cell, serial, identity_key, claim_version, state, hello, challenge,
                                        transcript, keys, proof, created_at, changed_at)
               values (repeat('a', 32), 'main', 'S-1', sha256('x'), 1, 'awaiting', 'h', 'c', 't', 'k', 'p', $1, $1)""",
            self.at(5),
        )
        await user(sql, "eva@example.org", "main")

    async def finish(self, client: httpx2.AsyncClient) -> None:
        """What has the time at which it happens."""
        wrong = {"email": "eva@example.org", "password": "wrong wrong wrong"}
        await client.post("/api/v1/auth/login", json=wrong)
        await self.floor.raised()

    def at(self, minutes: float) -> datetime:
        return T + timedelta(minutes=minutes)


@pytest.fixture
async def story(plant: Plant, floor: Floor) -> Story:
    it = Story(plant, floor)
    await it.tell()
    return it


async def test_everything_is_in_one_list_newest_first_and_in_pages(story: Story, client: Served) -> None:
    await story.finish(client)
    content = (await client.get("/api/v1/activity")).json()
    found = content["activity"]
    for one in found:
        conforms(Happening, one)
    assert [one["kind"] for one in found] == [*reversed(Story.KINDS)]
    assert [one["time"] for one in found] == sorted((one["time"] for one in found), reverse=True)
    titles = {one["kind"]: (one["device"], one["title"], one["who"]) for one in found}
    assert titles == {
        "presence": ("br-1", "online", None),
        "phase": ("br-1", "fed-batch", None),
        "event": ("br-1", "dosing", None),
        "command": ("br-1", "identify: waiting", "eva"),
        "annotation": ("br-1", "antifoam", "eva"),
        "enrollment": ("br-9", "awaiting", None),
        "log-in": (None, "log-in failed", "eva@example.org"),
        "alarm": ("br-1", "Temperature high: unacknowledged", None),
    }
    paged: list[Any] = []
    query = "limit=3"
    while query:
        page = (await client.get(f"/api/v1/activity?{query}")).json()
        paged += page["activity"]
        query = page["next"] and f"limit=3&cursor={page['next']}"
    assert paged == found
    csv = (await client.get("/api/v1/activity.csv?kind=phase&kind=event")).text.splitlines()
    assert [line.split(",")[2] for line in csv] == ["kind", "event", "phase"]
    begin, end = (story.at(n).strftime("%Y-%m-%dT%H:%M:%SZ") for n in (1, 3))
    some = (await client.get(f"/api/v1/activity?from={begin}&to={end}&device=br-1")).json()["activity"]
    assert [one["kind"] for one in some] == ["event", "phase"]
    assert (await client.get("/api/v1/activity?device=br-9")).json()["activity"][0]["kind"] == "enrollment"
    assert (await client.get("/api/v1/activity?kind=audit")).status_code == 422


async def test_versions_of_samples_and_material_are_told(plant: Plant, floor: Floor, client: Served) -> None:
    taken = {"sample": "S-7", "device": "br-1", "taken_at": "2026-03-01T10:00:00Z"}
    assert (await client.post("/api/v1/samples", json=taken)).status_code == 201
    measured = {"why": "HPLC", "analytes": [{"analyte": "glucose", "value": 4.2}]}
    assert (await client.patch("/api/v1/samples/S-7", json=measured)).status_code == 200
    fed = {"device": "br-1", "kind": "feed", "material": "glucose", "quantity": 120, "unit": "mL", "begins": "now"}
    assert (await client.post("/api/v1/materials", json=fed)).status_code == 201
    asked = "/api/v1/activity?kind=sample&kind=material&device=br-1&limit=2"
    page = (await client.get(asked)).json()
    rest = (await client.get(f"{asked}&cursor={page['next']}")).json()
    found = [*page["activity"], *rest["activity"]]
    assert [(one["kind"], one["title"]) for one in found] == [
        *(("material", "feed glucose: add"), ("sample", "S-7: measure"), ("sample", "S-7: take")),
    ]
    assert (found[1]["facts"]["version"], found[1]["facts"]["why"]) == (2, "HPLC")


async def test_equal_times_are_told_once_each(plant: Plant, floor: Floor, client: Served) -> None:
    for number in range(7):
        await plant.event(floor.device, T, "dosing", {"n": number})
        await plant.status(floor.device, number, T, True)
    ids: list[str] = []
    query = "limit=3"
    while query:
        page = (await client.get(f"/api/v1/activity?{query}")).json()
        ids += [one["id"] for one in page["activity"]]
        query = page["next"] and f"limit=3&cursor={page['next']}"
    assert len(ids) == len(set(ids)) == 14


async def test_who_may_not_read_a_kind_does_not_see_it(story: Story, client: Served) -> None:
    await story.finish(client)
    sql = story.plant.sql
    everything = frozenset(Scope)
    cases = {
        (Role.OPERATOR, everything): set(Story.KINDS),
        (Role.VIEWER, everything): set(Story.KINDS) - {"log-in", "enrollment"},
        (Role.ADMIN, everything - {Scope.AUDIT_READ}): set(Story.KINDS) - {"log-in"},
        (Role.ADMIN, frozenset({Scope.DEVICES_READ})): {"presence", "annotation"},
        (Role.ADMIN, frozenset({Scope.DEVICES_READ, Scope.ALARMS_READ})): {"presence", "annotation", "alarm"},
    }
    for (role, scopes), kinds in cases.items():
        headers = bearer(await api_key(sql, role=role, scopes=scopes))
        answer = await client.get("/api/v1/activity", headers=headers)
        assert {one["kind"] for one in answer.json()["activity"]} == kinds
        for kind in Story.KINDS:
            status = (await client.get(f"/api/v1/activity?kind={kind}", headers=headers)).status_code
            assert status == (200 if kind in kinds else 403), (role, kind)


async def test_what_happens_is_told_live_to_who_may_know_it(
    database_url: str, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "LOOK_S", 0.2)
    monkeypatch.setattr(live_activity.ActivityFeed, "PAUSE_S", 0.05)
    sql, device = story.plant.sql, story.floor.device
    north = await organization(sql, "north")
    theirs = await sql.fetchval(
        "insert into devices (name, organization_id) values ('n-1', $1) returning device_id", north
    )
    all_of_it = bearer(await api_key(sql))
    few = bearer(await api_key(sql, role=Role.VIEWER, scopes=[Scope.DEVICES_READ]))
    async with (
        listening(database_url) as (address, _),
        opened(address, all_of_it, path=PATH) as one,
        opened(address, few, path="/ws/activity") as other,
        httpx2.AsyncClient(base_url=f"http://{address}", headers=all_of_it, timeout=ENOUGH_S) as client,
        client.stream("GET", "/api/v1/activity/stream?kind=command") as answer,
    ):
        events = Events(answer)
        snapshot = await message(one)
        assert [it["kind"] for it in snapshot["activity"]] == [*reversed(Story.KINDS[:6])]
        assert [it["kind"] for it in (await message(other))["activity"]] == ["annotation", "presence"]
        _, _, commands = await events.next()
        assert [it["title"] for it in commands["activity"]] == ["identify: waiting"]
        await story.plant.status(theirs, 1, T, True)
        await story.plant.event(theirs, T, "phase", {"to": "secret"})
        await story.finish(client)
        told: list[Any] = []
        while len(told) < 2:
            told += (await message(one))["activity"]
        assert [it["kind"] for it in told] == ["log-in", "alarm"]
        await sql.execute("update commands set state = 'sent', sent_at = now()")
        [changed] = (await message(one))["activity"]
        assert (changed["id"], changed["title"]) == (commands["activity"][0]["id"], "identify: sent")
        assert (await events.next())[2]["activity"] == [changed]
        await story.plant.status(device, 8, datetime.now(UTC), False)
        [gone] = (await message(other))["activity"]
        assert (gone["kind"], gone["title"], gone["facts"]["boot"]) == ("presence", "offline", 8)
        with pytest.raises(InvalidStatus) as refused:
            await opened(address, few, "?kind=log-in", PATH)
        assert refused.value.response.status_code == 403


async def test_the_numbers_are_those_of_the_lists(story: Story, client: Served, database_url: str) -> None:
    await story.finish(client)
    sql, device = story.plant.sql, story.floor.device
    layout = await story.plant.layout(device, "ph")
    now = datetime.now(UTC)
    await story.plant.frames(device, layout, [(now - timedelta(seconds=n / 2), [7.0], None) for n in range(60)])
    await story.plant.quarantine(now, "br-1", "malformed", b"x")
    await sql.execute(
        "insert into device_streams (device_id, boot, received, lost) values ($1, 7, '{[3,90),[95,100)}', '{[80,92)}')",
        device,
    )
    north = await organization(sql, "north")
    await sql.execute("insert into devices (name, organization_id) values ('n-1', $1)", north)
    summary = conforms(SummaryAnswer, (await client.get("/api/v1/summary")).json())
    devices, alarms, delivery = summary.devices, summary.alarms, summary.delivery
    assert (devices.total, devices.online, devices.offline, devices.unknown, devices.silent) == (1, 1, 0, 0, 1)
    assert alarms is not None
    assert (alarms.high, alarms.critical, alarms.unacknowledged, alarms.not_evaluated) == (1, 0, 1, 0)
    assert summary.frames_per_second is not None
    assert 0.8 <= summary.frames_per_second <= 1.0
    assert (delivery.expected, delivery.received, delivery.lost, delivery.missing) == (100, 92, 2, 6)
    assert (summary.quarantined, summary.enrollments_waiting) == (1, 1)
    few = bearer(await api_key(sql, role=Role.VIEWER, scopes=[Scope.DEVICES_READ]))
    less = conforms(SummaryAnswer, (await client.get("/api/v1/summary", headers=few)).json())
    assert (less.alarms, less.frames_per_second, less.enrollments_waiting) == (None, None, None)
    theirs = bearer(await api_key(sql, "north"))
    other = conforms(SummaryAnswer, (await client.get("/api/v1/summary", headers=theirs)).json())
    assert (other.devices.total, other.delivery.expected, other.quarantined, other.enrollments_waiting) == (1, 0, 0, 0)


async def test_what_comes_late_is_told_without_a_gap(database_url: str, story: Story) -> None:
    """An event has the time of its device: this one is older than all that was told."""
    headers = bearer(await api_key(story.plant.sql))
    async with listening(database_url) as (address, _), opened(address, headers, path=PATH) as one:
        await message(one)
        await story.plant.event(story.floor.device, story.at(-120), "dosing", {"ml": 1})
        told = await message(one)
    assert ([it["facts"]["data"] for it in told["activity"]], "gap" in told) == ([{"ml": 1}], False)


async def test_more_than_a_look_reads_is_told_as_a_gap(
    database_url: str, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_activity, "LOOKED_AT", 3)
    monkeypatch.setattr(hub, "LOOK_S", 3600.0)
    headers, sql, device = bearer(await api_key(story.plant.sql)), story.plant.sql, story.floor.device
    async with listening(database_url) as (address, _), opened(address, headers, path=PATH) as one:
        await message(one)
        for events, gap in ((2, False), (4, True)):
            async with sql.transaction():
                for n in range(events):
                    await story.plant.event(device, datetime.now(UTC), "dosing", {"ml": 10 * events + n})
                await sql.execute("select notice_send('biogate_commands', '')")
            told = await message(one)
            assert (len(told["activity"]), told.get("gap", False)) == (min(events, 3), gap)
