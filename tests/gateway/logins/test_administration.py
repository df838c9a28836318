"""The broker's logins follow the database: real Mosquitto with its plugin, real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import signal

import aiomqtt
import pytest

from gateway.logins.dynsec import Dynsec
from gateway.logins.roles import ROLE_PREFIX, device_role
from schema.sealed import seal
from schema.topics import Kind
from tests.gateway.cell import Cell, eventually
from tests.mqtt import NOT_AUTHORIZED, Client

LISTENERS = """
select from pg_stat_activity where datname = current_database() and application_name like 'biogate-access%'"""


async def test_a_login_works_and_its_enrollment_is_granted(cell: Cell) -> None:
    async with cell.administered():
        username = await cell.login("r1", client_id="secret-id")
        txn = await cell.enrollment(username)
        await cell.settled()
        assert await cell.gets_in(username, "secret-id")
        assert not await cell.gets_in(username, "another-id")
        assert not await cell.gets_in(username, "secret-id", "x" * 43)
    [row] = await cell.sql("select state, expires_at - now() as left from enrollments where txn = $1", txn)
    assert row["state"] == "granted"
    assert 880 < row["left"].total_seconds() <= 900
    async with cell.dynsec() as dynsec:
        assert await dynsec.get_role("device-r1") == device_role("r1")


async def test_a_device_reaches_its_own_topics_alone(cell: Cell) -> None:
    async with cell.administered():
        username = await cell.login("r1")
        await cell.login("r2")
        await cell.settled()
    async with (
        await Client.connect(cell.broker.port, "d", username, cell.passwords[username]) as device,
        await Client.connect(cell.broker.port, "o", "observer", cell.secrets.password("observer")) as observer,
    ):
        own = "bioreactors/r1"
        for kind in ("receipt", "backfill", "command", "identity"):
            assert await device.subscribe(f"{own}/{kind}") == [1]
        others = (
            "#",
            "+/r1/receipt",
            f"{own}/+",
            f"{own}/#",
            "bioreactors/r2/receipt",
            f"$share/x/{own}/receipt",
            "$SYS/#",
        )
        for pattern in (*others, f"{own}/telemetry", "bioreactors/+/receipt"):
            assert await device.subscribe(pattern) == [NOT_AUTHORIZED], pattern
        await observer.subscribe("bioreactors/#")
        mine = [f"{own}/{kind}" for kind in Kind]
        for topic in mine:
            assert await device.publish(topic, b"") == 0
            assert (await observer.next()).topic == topic
        for topic in (
            "bioreactors/r2/telemetry",
            f"{own}/receipt",
            f"{own}/identity",
            f"{own}/command",
            own,
            f"{own}/telemetry/x",
            "x",
        ):
            async with await Client.connect(cell.broker.port, "d", username, cell.passwords[username]) as again:
                assert await again.publish(topic, b"") == NOT_AUTHORIZED, topic
        with pytest.raises(TimeoutError):
            await observer.next(0.2)


async def test_suspended_resumed_and_revoked(cell: Cell) -> None:
    async with cell.administered():
        username = await cell.login("r1")
        await cell.settled()
        async with cell.connect(username) as device:
            await cell.command("r1", "suspend")
            with pytest.raises(aiomqtt.MqttError):  # thrown out
                async with asyncio.timeout(20):
                    await anext(device.messages)
        await cell.settled()
        assert not await cell.gets_in(username)
        await cell.command("r1", "resume")
        await cell.settled()
        assert await cell.gets_in(username)
        await cell.command("r1", "revoke")
        await cell.settled()
        assert not await cell.gets_in(username)
        assert await cell.logins() == {}
        assert await cell.roles() == set()
    assert await cell.value("select count(*) from credentials where password is not null") == 0


async def test_a_suspended_certificate_is_deleted_and_made_again(cell: Cell) -> None:
    async with cell.administered():
        username = await cell.login("r1", kind="certificate", client_id="c")
        await cell.settled()
        assert set(await cell.logins()) == {username}
        assert not await cell.gets_in(username, "c", "x")
        await cell.command("r1", "suspend")
        await cell.settled()
        assert await cell.logins() == {}
        await cell.command("r1", "resume")
        await cell.settled()
        assert (await cell.logins())[username].roles == {ROLE_PREFIX + "r1"}


async def test_rotation_leaves_no_gap_and_no_old_login(cell: Cell) -> None:
    async with cell.administered(), cell.connect("observer") as observer:
        old = await cell.login("r1")
        await cell.settled()
        await cell.status("r1", 1)
        await eventually(
            lambda: cell.value("select activated_at is not null from credentials where generation = 1"), 20
        )
        assert await cell.value("select password from credentials where generation = 1") is None
        await observer.subscribe("bioreactors/+/identity", qos=1)
        await cell.command("r1", "rotate")
        message = await asyncio.wait_for(anext(observer.messages), 20)
        assert (message.topic.value, json.loads(message.payload)) == ("bioreactors/r1/identity", {"renew": 2})
        new = await cell.login("r1", 2)
        await cell.settled()
        assert await cell.gets_in(old)
        assert await cell.gets_in(new)
        await cell.status("r1", 2)
        await eventually(lambda: cell.value("select wanted = 'absent' from credentials where generation = 1"), 20)
        await cell.settled()
        assert not await cell.gets_in(old)
        assert await cell.gets_in(new)
        assert await cell.roles() == {"device-r1"}
        assert (await asyncio.wait_for(anext(observer.messages), 20)).payload == b""  # nothing is retained any more


async def test_the_kill_switch(cell: Cell) -> None:
    async with cell.administered():
        await eventually(lambda: cell.value("select enrollment_applied from cells"), 20)
        async with cell.connect("enroll", "e-1") as device:
            await cell.sql("select enrollment_switch('main', false, 'tests', 'flood')")
            with pytest.raises(aiomqtt.MqttError):
                async with asyncio.timeout(20):
                    await anext(device.messages)
        await eventually(lambda: cell.value("select not enrollment_applied from cells"), 20)
        assert not await cell.gets_in("enroll")
        await cell.sql("select enrollment_switch('main', true, 'tests', 'over')")
        await eventually(lambda: cell.gets_in("enroll"), 20)


async def test_a_login_that_cannot_be_made_does_not_hold_up_others(cell: Cell) -> None:
    await cell.login("r1")
    await cell.sql("update credentials set password = $1", seal(bytes(range(32)), b"x" * 43, "credentials/r1.1"))
    await cell.login("r2")
    await cell.sql("update credentials set password = null where username = 'r2.1'")
    async with cell.administered():
        username = await cell.login("r3")
        await eventually(lambda: cell.gets_in(username), 20)
        due = await cell.sql("select username from credentials where wanted <> applied order by 1")
        assert [name for (name,) in due] == ["r1.1", "r2.1"]
        await cell.command("r1", "revoke")  # what is due for it now is something else: at once
        await eventually(lambda: cell.value("select wanted = applied from credentials where username = 'r1.1'"), 20)


async def test_a_broker_that_dies_again_and_again(cell: Cell) -> None:
    usernames = []
    async with cell.administered():
        for round_ in range(4):
            usernames += [await cell.login(f"r{round_}-{n}") for n in range(10)]
            await asyncio.sleep(0.05 * round_)
            cell.broker.server.kill(signal.SIGKILL)
            await asyncio.to_thread(cell.broker.server.start)
        await cell.settled(30)
        await eventually(lambda: cell.value("select true"), 20)
        assert set(await cell.logins()) == set(usernames)
        for username in usernames[::7]:
            assert await cell.gets_in(username)
    assert len(await cell.roles()) == 40


async def test_killed_between_any_two_steps(cell: Cell) -> None:
    """The administrator is cut off after each of its commands, and at each of its statements, in turn."""
    usernames = [await cell.login(f"r{n}") for n in range(8)]
    for username in usernames:
        await cell.enrollment(username)
    for moment_ms in range(0, 120, 4):
        async with cell.administered():
            await asyncio.sleep(moment_ms / 1000)
    async with cell.administered():
        await cell.settled()
    assert set(await cell.logins()) == set(usernames)
    assert await cell.value("select count(*) from enrollments where state = 'granted'") == 8
    for username in usernames:
        assert await cell.gets_in(username)


async def test_two_administrators_at_once(cell: Cell) -> None:
    """One of them has not noticed that it leads no more."""
    async with cell.administered(), cell.administered():
        for generation in range(1, 6):
            names = [await cell.login(f"r{n}", generation) for n in range(5)]
            await cell.settled(30)
            assert await cell.gets_in(names[0])
            await cell.sql(
                "update credentials set wanted = 'absent', password = null where generation = $1", generation
            )
        await cell.settled(30)
        assert await cell.logins() == {}
        assert await cell.roles() == set()
        last = await cell.login("r1", 9)
        await cell.settled()
        assert await cell.gets_in(last)


async def test_who_does_not_lead_does_nothing(cell: Cell) -> None:
    async with cell.administered() as leading:
        await cell.login("r1")
        await cell.settled()
        leading.clear()
        await eventually(lambda: cell.value(f"select not exists ({LISTENERS})"), 15)
        await cell.login("r2")
        await asyncio.sleep(0.5)
        assert await cell.value("select applied from credentials where username = 'r2.1'") == "absent"
        leading.set()
        await cell.settled()


async def test_the_database_ends_all_connections(cell: Cell) -> None:
    async with cell.administered():
        for n in range(5):
            await cell.login(f"r{n}")
            await cell.sql(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() "
                "and pid <> pg_backend_pid()"
            )
        await cell.settled(30)
    assert len(await cell.logins()) == 5


async def test_rights_are_taken_before_rights_are_given(cell: Cell) -> None:
    async with cell.administered():
        victim = await cell.login("z9")
        await cell.settled()
        await cell.status("z9", 1)
        for n in range(40):
            await cell.login(f"r{n}")
        await cell.command("z9", "revoke")
        await eventually(lambda: _gone(cell, victim), 20)
        assert await cell.value("select count(*) from credentials where applied = 'present'") < 40
        await cell.settled(30)


async def _gone(cell: Cell, username: str) -> bool:
    return bool(await cell.value("select applied = 'absent' from credentials where username = $1", username))


async def test_a_role_that_allows_too_much_is_put_right_at_enrollment(cell: Cell) -> None:
    async with cell.dynsec() as dynsec:
        await _too_wide(dynsec, "r1")
    async with cell.administered():
        await cell.login("r1")
        await cell.settled()
    async with cell.dynsec() as dynsec:
        assert await dynsec.get_role("device-r1") == device_role("r1")


async def _too_wide(dynsec: Dynsec, device: str) -> None:
    wide, own = device_role("other"), device_role(device)
    await dynsec.create_role(type(own)(own.name, own.acls | wide.acls))


async def test_operators_and_administration_do_not_get_in_each_others_way(cell: Cell) -> None:
    """No deadlock, whoever comes first: logins are activated while their devices are suspended and resumed."""
    names = [f"r{n}" for n in range(10)]
    async with cell.administered():
        for name in names:
            await cell.login(name)
        await cell.settled()
        for generation in range(2, 6):
            for name in names:
                await cell.login(name, generation)
            await cell.settled()
            for name in names:
                await cell.status(name, generation)
                await cell.command(name, "suspend")
                await cell.command(name, "resume")
        await eventually(lambda: cell.value("select count(*) = 10 from credentials where wanted = 'present'"), 10)
        await cell.settled()
    assert len(await cell.logins()) == 10
    assert cell.troubles == {}
