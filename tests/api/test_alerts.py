"""Live feeds: what stands, then every transition once and in order, whatever happens to database and clients."""

from __future__ import annotations

import asyncio
import json

import httpx2
import pytest
from websockets.exceptions import InvalidStatus

from api.database import Database
from api.live import alarms as live_alarms
from api.live import hub
from api.live.forms import SocketForm
from api.queries import alerts
from api.queries.alerts import Told
from api.shapes import alarms as shapes_alarms
from tests.api import alarms
from tests.api.accounts import api_key, bearer, organization
from tests.api.conform import conforms
from tests.api.live import ENOUGH_S, STREAM, Events, Floor, first, listening, message, numbers, opened
from tests.api.plant import Plant
from tests.faults.gateways import port_of, through
from tests.faults.proxy import Mode, Network


async def test_what_stands_comes_first_then_every_transition_as_the_lists_show_it(
    database_url: str, floor: Floor, listener: dict[str, str]
) -> None:
    was = await floor.raised()
    async with (
        listening(database_url) as (address, _),
        opened(address, listener) as socket,
        httpx2.AsyncClient(base_url=f"http://{address}", headers=listener, timeout=ENOUGH_S) as client,
        client.stream("GET", STREAM) as answer,
    ):
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert answer.headers["cache-control"] == "no-store"
        events = Events(answer)
        snapshot = await message(socket)
        assert await events.next() == ("snapshot", str(was), {k: v for k, v in snapshot.items() if k != "type"})
        assert (snapshot["cursor"], snapshot["more"]) == (was, False)
        assert snapshot["alarms"] == (await client.get("/api/v1/alarms")).json()["alarms"]
        [standing] = snapshot["alarms"]
        conforms(shapes_alarms.AlarmAnswer, standing)
        gone = await floor.normal()
        told = await message(socket)
        assert await events.next() == ("transition", str(gone), told["transitions"][0])
        assert (told["type"], told["cursor"], len(told["transitions"])) == ("transitions", gone, 1)
        assert told["transitions"] == (await client.get("/api/v1/alarms/history?limit=1")).json()["transitions"]
        conforms(shapes_alarms.TransitionAnswer, told["transitions"][0])
        last = await floor.burst(1200)
        every = await floor.sql.fetch("select transition_id from alarm_transitions where transition_id > $1", gone)
        assert await numbers(socket, last) == [row[0] for row in every]
        assert [(await events.next())[1] for _ in every] == [str(row[0]) for row in every]


async def test_one_goes_on_where_one_was_and_begins_anew_if_that_is_not_known(
    database_url: str, floor: Floor, listener: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_alarms, "RESUMABLE", 5)
    many = [await floor.raised() for _ in range(20)]
    async with listening(database_url) as (address, _):
        for missed in (0, 2, 5):
            known = many[-1 - missed]
            async with opened(address, listener) as new, opened(address, listener, f"?after={known}") as again:
                assert await first(new) == (many[-1], ["br-1/temperature-high"])
                many.append(await floor.raised())
                assert await numbers(again, many[-1]) == [one for one in many if one > known]
                assert await numbers(new, many[-1]) == many[-1:]
        for unknown in (many[-7], many[0] - 1, many[-1] + 1, 2**63 - 1):  # too long ago, never, not yet
            async with opened(address, listener, f"?after={unknown}") as client:
                assert await first(client) == (many[-1], ["br-1/temperature-high"])
        async with httpx2.AsyncClient(base_url=f"http://{address}", headers=listener) as client:
            for last, comes in ((str(many[-2]), "transition"), ("no number", "snapshot"), ("9" * 30, "snapshot")):
                async with client.stream("GET", STREAM, headers={"Last-Event-ID": last}) as answer:
                    assert (await Events(answer).next())[:2] == (comes, str(many[-1]))


async def test_filters_hold_for_what_stands_and_what_comes(
    database_url: str, floor: Floor, listener: dict[str, str], plant: Plant
) -> None:
    low = await alarms.rule(plant.sql, "ph-low", priority="low")
    other = Floor(plant.sql, low, await plant.device("br-2"))
    await floor.raised()
    await other.raised()
    queries = {
        "?priority=low": ["br-2/ph-low"],
        "?device=br-1": ["br-1/temperature-high"],
        "?device=br-2,br-1": ["br-1/temperature-high", "br-2/ph-low"],
        "?rule=ph-low&priority=low&priority=high": ["br-2/ph-low"],
        "?rule=ph-low&device=br-1": [],
    }
    async with listening(database_url) as (address, _):
        for query, wanted in queries.items():
            async with opened(address, listener, query) as client:
                assert (await first(client))[1] == wanted
                one, two = await floor.raised(), await other.raised()
                expected = [n for n, name in ((one, "br-1"), (two, "br-2")) if any(name in alarm for alarm in wanted)]
                if expected:
                    assert await numbers(client, expected[-1]) == expected
        for wrong in ("?priority=urgent", "?prio=low", "?after=-1", "?after=x", "?device=", "?rule=a&rule=b"):
            with pytest.raises(InvalidStatus) as refused:
                await opened(address, listener, wrong)
            problem = json.loads(refused.value.response.body)
            assert (refused.value.response.status_code, problem["status"]) == (422, 422)
            assert problem["errors"][0]["parameter"].startswith(wrong[1:].partition("=")[0])


async def test_a_large_snapshot_comes_in_parts(
    database_url: str, floor: Floor, listener: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_alarms, "SNAPSHOT", 2)
    await floor.raised()
    for number in range(2, 6):
        device = await floor.sql.fetchval("insert into devices (name) values ($1) returning device_id", f"br-{number}")
        last = await alarms.become(floor.sql, floor.rule, device)
        assert last == 1
    async with listening(database_url) as (address, _), opened(address, listener) as client:
        parts = [await message(client) for _ in range(3)]
        assert [(len(part["alarms"]), part["more"]) for part in parts] == [(2, True), (2, True), (1, False)]
        assert [alarm["device"] for part in parts for alarm in part["alarms"]] == [f"br-{n}" for n in range(1, 6)]
        async with (
            httpx2.AsyncClient(base_url=f"http://{address}", headers=listener) as http,
            http.stream("GET", STREAM) as answer,
        ):
            events = Events(answer)
            assert [(await events.next())[1] for _ in parts] == [None, None, str(parts[-1]["cursor"])]


async def test_nobody_hears_of_another_organization(
    database_url: str, floor: Floor, listener: dict[str, str], plant: Plant
) -> None:
    """Also while somebody there listens, in the same process."""
    north = await organization(plant.sql, "north")
    theirs = Floor(
        plant.sql,
        await alarms.rule(plant.sql, "secret", north),
        await plant.sql.fetchval(
            "insert into devices (name, organization_id) values ('n-1', $1) returning device_id", north
        ),
    )
    await theirs.raised()
    async with (
        listening(database_url) as (address, app),
        opened(address, listener) as ours,
        opened(address, bearer(await api_key(plant.sql, "north"))) as their_own,
    ):
        assert await first(ours) == (0, [])
        cursor, standing = await first(their_own)
        assert (cursor > 0, standing) == (True, ["n-1/secret"])
        secret, own = await theirs.raised(), await floor.raised()
        assert await numbers(their_own, secret) == [secret]
        assert await numbers(ours, own) == [own]
        async with opened(address, listener, f"?after={secret}") as client:  # theirs, which is none of ours
            assert (await message(client))["type"] == "snapshot"
        for query, extra in (("?organization=north", {}), ("", {"Biogate-Organization": "north"})):
            with pytest.raises(InvalidStatus) as refused:
                await opened(address, listener | extra, query)
            assert refused.value.response.status_code == 404
        assert len(app.state.services.hub._feeds) == 2


async def test_that_an_alarm_ends_with_a_device_that_is_given_away_is_told_to_who_had_it_and_to_nobody_else(
    database_url: str, floor: Floor, listener: dict[str, str], plant: Plant
) -> None:
    north = await organization(plant.sql, "north")
    await floor.raised()
    async with (
        listening(database_url) as (address, _),
        opened(address, listener) as ours,
        opened(address, bearer(await api_key(plant.sql, "north"))) as theirs,
    ):
        assert ((await first(ours))[1], (await first(theirs))[1]) == (["br-1/temperature-high"], [])
        await plant.sql.execute("update devices set organization_id = $1 where device_id = $2", north, floor.device)
        removed = await floor.normal()
        assert await numbers(ours, removed) == [removed]
        own = Floor(plant.sql, await alarms.rule(plant.sql, "temperature-high", north), floor.device)
        raised = await own.raised()
        assert await numbers(theirs, raised) == [raised]
        for headers, count in ((listener, 2), (bearer(await api_key(plant.sql, "north")), 1)):
            async with httpx2.AsyncClient(base_url=f"http://{address}", headers=headers) as client:
                history = (await client.get("/api/v1/alarms/history?device=br-1")).json()["transitions"]
            assert len(history) == count


@pytest.mark.parametrize("how", [Mode.CUT, Mode.HANG], ids=str)
async def test_through_an_outage_of_the_database_nothing_is_missed_and_it_is_said(
    database_url: str, floor: Floor, listener: dict[str, str], monkeypatch: pytest.MonkeyPatch, how: Mode
) -> None:
    monkeypatch.setattr(hub, "LOOK_S", 0.3)
    monkeypatch.setattr(hub, "PATIENCE_S", 1.0)
    with Network() as network:
        link = network.link(port_of(database_url))
        async with (
            listening(through(database_url, link), api_acquire_timeout=1) as (address, _),
            opened(address, listener) as client,
            httpx2.AsyncClient(base_url=f"http://{address}", headers=listener, timeout=ENOUGH_S) as http,
            http.stream("GET", STREAM) as answer,
        ):
            events = Events(answer)
            await first(client)
            assert (await events.next())[0] == "snapshot"
            before = await floor.raised()
            assert await numbers(client, before) == [before]
            link.set(how)
            assert (await message(client))["type"] == "trouble"
            with pytest.raises(InvalidStatus) as refused:
                await opened(address, listener)
            assert refused.value.response.status_code == 503
            missed = [await floor.raised() for _ in range(3)]
            link.set(Mode.PASS)
            assert (await message(client))["type"] == "recovered"
            after = await floor.raised()
            assert await numbers(client, after) == [*missed, after]
            told = [await events.next() for _ in range(7)]
            assert [name for name, _, _ in told if name != "transition"] == ["trouble", "recovered"]
            assert [data["id"] for name, _, data in told if name == "transition"] == [before, *missed, after]


async def test_without_notifications_it_is_late_and_not_missing(
    database_url: str, floor: Floor, listener: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "LOOK_S", 0.2)
    await floor.sql.execute("alter table alarm_transitions disable trigger alarm_transitions_notify")
    async with listening(database_url) as (address, _), opened(address, listener) as client:
        await first(client)
        silent = await floor.raised()
        assert await numbers(client, silent) == [silent]


async def test_who_comes_while_the_others_are_behind_is_told_everything_once_and_so_are_they(
    database_url: str, floor: Floor, listener: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "LOOK_S", 60.0)
    await floor.sql.execute("alter table alarm_transitions disable trigger alarm_transitions_notify")
    known = await floor.raised()
    async with listening(database_url) as (address, _), opened(address, listener) as one:
        await first(one)
        missed = [await floor.raised() for _ in range(3)]
        async with opened(address, listener, f"?after={known}") as resumed, opened(address, listener) as fresh:
            assert (await first(fresh))[0] == missed[-1]
            last = await floor.raised()
            async with opened(address, listener):  # makes it look
                assert await numbers(resumed, last) == [*missed, last]
                assert await numbers(one, last) == [*missed, last]
                assert await numbers(fresh, last) == [last]


async def test_many_who_listen_are_one_to_the_database(
    database_url: str, floor: Floor, listener: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    after = alerts.after

    async def counted(database: Database, number: int, limit: int) -> list[alerts.Told]:
        asked.append(number)
        return await after(database, number, limit)

    monkeypatch.setattr(alerts, "after", counted)
    monkeypatch.setattr(hub, "LOOK_S", 60.0)
    async with listening(database_url) as (address, _):
        clients = [await opened(address, listener) for _ in range(40)]
        for client in clients:
            await first(client)
        asked.clear()
        one = await floor.raised()
        for client in clients:
            assert await numbers(client, one) == [one]
        assert len(asked) <= 2  # and not 40
        listeners = await floor.sql.fetchval(
            "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen%'"
        )
        assert listeners == 1
        await asyncio.gather(*(client.close() for client in clients))


async def test_a_cursor_passes_nothing_that_still_waits() -> None:
    """Whoever goes on from it is told all that was not sent, and nothing twice."""

    def told(*numbers: int) -> list[Told]:
        return [Told(number, "br-1", "hot", "low" if number % 2 else "high", b"{}") for number in numbers]

    member, form = live_alarms.AlarmMember(live_alarms.Wishes(frozenset({"high"})), None), SocketForm()
    member.begin(7, told(0) * (live_alarms.SNAPSHOT + 1))
    member.offer(told(6, 7, 8, 9, 10))
    cursors = [json.loads(member.heartbeat(form))["cursor"]]
    while (content := member.take(form)) is not None:
        cursors.append(json.loads(content)["cursor"])
    member.offer(told(10, 11))
    assert (cursors, member.cursor, member.take(form)) == ([7, 7, 7, 10], 11, None)
