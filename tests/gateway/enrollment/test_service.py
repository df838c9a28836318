"""Enrollment over a real broker: requests in, replies out, while broker and database come and go."""

from __future__ import annotations

import time

import asyncpg

from gateway.runtime.database import Pool
from gateway.secrets import Secrets
from gateway.settings import Settings
from tests.conftest import Broker
from tests.gateway import samples
from tests.gateway.enrollment.bench import Bench
from tests.gateway.enrollment.door import (
    Door,
    Running,
    ask,
    chosen,
    door,
    enroll,
    eventually,
    more,
    provisioning,
    refusals,
    run,
    running,
    said,
)
from tests.gateway.enrollment.handshake import Handshake
from tests.gateway.samples import counted

__all__ = ["chosen", "door", "run"]

# -- the way it should go


async def test_a_controller_is_granted_a_login_without_asking_twice(run: Running, bench: Bench, door: Door) -> None:
    before, refused = counted(), refusals()
    login = await enroll(door, bench, await bench.controller())
    assert list(await bench.logins()) == [login.username]
    assert more(refused) == {}
    expected = {
        "biogate_enroll_requests_total{type=hello}": 1,
        "biogate_enroll_requests_total{type=proof}": 1,
        "biogate_enroll_replies_total{type=challenge}": 1,
        "biogate_enroll_replies_total{type=grant}": 1,
    }
    names = ("biogate_enroll_requests", "biogate_enroll_replies")
    await eventually(lambda: samples.more(before, *names) == expected)
    steps = samples.more(before, "biogate_enroll_step_seconds")
    assert steps == {"biogate_enroll_step_seconds_count": 3}, "two requests, and the grant"
    assert run.troubles == {}


async def test_an_approval_is_acted_on_and_the_grant_published_at_once(run: Running, bench: Bench, door: Door) -> None:
    handshake = bench.stranger().handshake()
    async with door.open(handshake) as client:
        proof = handshake.challenged(await ask(client, handshake, handshake.hello))
        assert (await ask(client, handshake, proof))["type"] == "pending"
        await bench.approve(handshake)
        await provisioning(bench, handshake, 1)
        await bench.made()
        handshake.granted(said((await client.next(1)).payload))


async def test_what_was_approved_while_nobody_listened_is_found(
    chosen: Settings, secrets: Secrets, pool: Pool, bench: Bench, door: Door
) -> None:
    handshake = bench.stranger().handshake()
    async with running(chosen, secrets, pool):
        proof = handshake.challenged(await door.ask(handshake, handshake.hello))
        assert (await door.ask(handshake, proof))["type"] == "pending"
    await bench.approve(handshake)
    async with door.open(handshake) as client, running(chosen, secrets, pool):
        await provisioning(bench, handshake)
        await bench.made()
        handshake.granted(said((await client.next(10)).payload))


async def test_two_gateways_make_one_login_of_one_handshake(
    chosen: Settings, secrets: Secrets, pool: Pool, run: Running, bench: Bench, door: Door
) -> None:
    async with running(chosen, secrets, pool):
        for _ in range(4):
            controller = await bench.controller()
            handshake = controller.handshake()
            async with door.open(handshake) as client:
                for _ in range(4):
                    client.shout(handshake.request, handshake.hello)
                replies = {(await client.next()).payload for _ in range(4)}
                assert len(replies) <= 2  # a minute may have ended between them
                proof = handshake.challenged(said(replies.pop()))
                for _ in range(4):
                    client.shout(handshake.request, proof)
                await provisioning(bench, handshake)
                await bench.made()
                while (reply := said((await client.next()).payload))["type"] == "pending":
                    pass
                handshake.granted(reply)
    assert len(await bench.logins()) == 4


# -- broker and database go away


async def test_a_broker_that_restarts_is_come_back_to(
    run: Running, bench: Bench, door: Door, secure_broker: Broker
) -> None:
    handshake = (await bench.controller()).handshake()
    proof = handshake.challenged(await door.ask(handshake, handshake.hello))
    secure_broker.server.kill()
    await eventually(lambda: run.enrollment._client is None)
    secure_broker.server.start()
    await run.ready()
    async with door.open(handshake) as client:
        await client.publish(handshake.request, proof)
        await provisioning(bench, handshake)
        await bench.made()
        handshake.granted(said((await client.next(10)).payload))


async def test_a_database_that_ends_all_connections_is_come_back_to(
    run: Running, bench: Bench, door: Door, database: asyncpg.Connection
) -> None:
    handshake = bench.stranger().handshake()
    async with door.open(handshake) as client:
        proof = handshake.challenged(await ask(client, handshake, handshake.hello))
        assert (await ask(client, handshake, proof))["type"] == "pending"
        await database.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'biogate-%'"
            " and datname = current_database()"
        )
        await bench.pool.expire_connections()  # ours are among them
        await database.execute("select enrollment_approve($1, null, 'olga', 'seen it')", handshake.txn)
        await provisioning(bench, handshake)
        await bench.made()
        handshake.granted(said((await client.next(10)).payload))
    await run.ready()
    await eventually(lambda: run.troubles == {})


async def test_what_took_too_long_is_swept(
    chosen: Settings, secrets: Secrets, pool: Pool, bench: Bench, door: Door
) -> None:
    quick = chosen.model_copy(update={"enroll_approval_s": 1})
    handshake = bench.stranger().handshake()
    async with running(quick, secrets, pool):
        proof = handshake.challenged(await door.ask(handshake, handshake.hello))
        await door.ask(handshake, proof)
        await eventually(lambda: expired(bench, handshake), 20)
        assert (await door.ask(handshake, handshake.hello))["code"] == "expired"


AWAY = """
create function away() returns boolean language plpgsql as $$ begin raise 'away' using errcode = '55000'; end $$;
alter table enrollments rename to enrollments_away;
create view enrollments as select * from enrollments_away where away()"""
BACK = "drop view enrollments; alter table enrollments_away rename to enrollments"


async def test_after_an_outage_nothing_is_swept_for_as_long_as_it_lasted(
    run: Running, bench: Bench, door: Door, database: asyncpg.Connection
) -> None:
    """Statuses of logins that were used meanwhile may still wait at the broker."""
    handshake = bench.stranger().handshake()
    proof = handshake.challenged(await door.ask(handshake, handshake.hello))
    assert (await door.ask(handshake, proof))["type"] == "pending"
    await database.execute(AWAY)
    await eventually(lambda: run.troubles != {})
    begun = time.monotonic()
    await database.execute("update enrollments_away set expires_at = now() - interval '1 s'")
    await eventually(lambda: time.monotonic() > begun + 3)
    ended = time.monotonic()
    await database.execute(BACK)
    await eventually(lambda: expired(bench, handshake), 60)
    assert time.monotonic() - ended >= ended - begun - 1, "as exactly as the looks tell it"


async def expired(bench: Bench, handshake: Handshake) -> bool:
    return (await bench.state(handshake))[0] == "expired"
