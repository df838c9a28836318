"""Commands from the table to the device and back: real broker, real database, the gateway as a process."""

from __future__ import annotations

import asyncio
import json
import signal
import time
import uuid
from datetime import timedelta
from typing import Any

import aiomqtt
import asyncpg
import pytest

from gateway.broker.client import MqttClient
from gateway.commands.dispatch import HOW_MANY, OVERDUE, WAITING
from gateway.runtime.database import create_pool
from tests.conftest import Broker
from tests.gateway.cell import eventually
from tests.gateway.controller import Device, ask, command, device, reasons, register, until_state
from tests.gateway.material import settings
from tests.processes import GatewayProcess, assert_adds_up

OTHERS = """
  from pg_stat_activity
 where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()"""
WAITING_ONES = 300
DONE = {"status": "done", "t": 1}


async def test_a_command_comes_with_all_a_device_needs_and_its_result_is_stored(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    await register(database, "r1")
    gateway.start()
    async with device(broker) as r1:
        identifier = await ask(database, "r1", 60, boot=7, channel="ph", value=7.25)
        message = await r1.next()
        row = await until_state(database, identifier, "sent")
        assert (message.qos, message.retain) == (1, False)
        assert json.loads(message.payload) == {
            "id": str(identifier),
            "name": "setpoint",
            "parameters": {"channel": "ph", "value": 7.25},
            "expires": int(row["expires_at"].timestamp() * 1000),
            "boot": 7,
        }
        properties: Any = message.properties
        assert properties.CorrelationData == identifier.bytes
        assert properties.ResponseTopic == "bioreactors/r1/command/result"
        assert 55 <= properties.MessageExpiryInterval <= 60
        assert properties.ContentType == "application/json"
        await r1.answer({"id": str(identifier), "status": "accepted", "t": time.time() * 1000, "detail": "a moment"})
        row = await until_state(database, identifier, "accepted")
        assert (row["detail"], row["ended_at"]) == ("a moment", None)
        await r1.answer({"status": "done", "t": time.time() * 1000, "data": {"before": 7}}, identifier.bytes)
        row = await until_state(database, identifier, "done")
    assert row["requested_at"] <= row["sent_at"] <= row["accepted_at"] <= row["ended_at"]
    assert (row["detail"], json.loads(row["result"])) == (None, {"before": 7})
    account = gateway.settle(2, "result")
    assert (account["committed"], account["duplicate"], account["quarantined"]) == (2, 0, 0)
    trail = await database.fetch("select who, action from audit where action like 'command %' order by n")
    assert [tuple(row) for row in trail] == [
        ("eva@example.org", "command request"),
        ("gateway main", "command sent"),
        ("device r1", "command accepted"),
        ("device r1", "command done"),
    ]
    assert gateway.metrics()["biogate_commands_sent_total"] == 1


async def test_a_device_of_mqtt_3_answers_by_id(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    await register(database, "r1")
    gateway.start()
    async with device(broker, protocol=aiomqtt.ProtocolVersion.V311) as r1:
        identifier = await ask(database, "r1", channel="ph", value=7)
        message = json.loads((await r1.next()).payload)
        assert "boot" not in message
        await r1.answer({"id": message["id"], "status": "refused", "t": 0, "detail": "not now"})
        row = await until_state(database, identifier, "refused")
    assert row["detail"] == "not now"
    assert row["ended_at"] == row["sent_at"]  # by a clock without battery: not before it was asked


async def test_commands_of_a_device_come_in_the_order_they_were_asked_for(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    """Also those from before it came, and one that is away holds up nobody else."""
    await register(database, "r1", "r2")
    gateway.start()
    away = await ask(database, "r2")
    first = [await ask(database, "r1", n=n) for n in range(WAITING_ONES)]
    tried = gateway.metrics()["biogate_commands_undelivered_total"]
    while gateway.metrics()["biogate_commands_undelivered_total"] == tried:
        await asyncio.sleep(0.01)
    assert (await command(database, first[0]))["state"] == "waiting"
    async with device(broker) as r1:  # it comes in the middle of a round
        more = [await ask(database, "r1", n=n) for n in range(WAITING_ONES, WAITING_ONES + 20)]
        numbers = [json.loads((await r1.next()).payload)["parameters"]["n"] for _ in range(WAITING_ONES + 20)]
        assert numbers == list(range(WAITING_ONES + 20))
        await until_state(database, more[-1], "sent")
        with pytest.raises(TimeoutError):
            await r1.next(0.5)
    assert (await command(database, away))["state"] == "waiting"
    assert gateway.metrics()["biogate_commands_undelivered_total"] >= 2


async def test_what_another_organization_has_asked_of_a_device_is_not_sent_to_it(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    """As if it had been asked for in the moment in which the device was given away."""
    await register(database, "r1")
    theirs = await ask(database, "r1", n=1)
    await database.execute("insert into organizations (name, title) values ('north', 'North')")
    await database.execute(
        "update commands set organization_id = (select organization_id from organizations where name = 'north')"
    )
    async with device(broker) as r1:
        gateway.start()
        ours = await ask(database, "r1", n=2)
        assert json.loads((await r1.next()).payload)["id"] == str(ours)
        await until_state(database, ours, "sent")
    assert (await command(database, theirs))["state"] == "waiting"


async def test_a_device_that_is_known_to_be_off_gets_nothing_though_somebody_listens(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    await register(database, "r1")
    gateway.start()

    async def say(word: str) -> None:
        status = {"status": word, "t": time.time() * 1000, "boot": 1}
        await r1.client.publish("bioreactors/r1/status", json.dumps(status), qos=1)

    async with device(broker) as r1:
        await say("offline")
        gateway.settle(1, "status")
        identifier = await ask(database, "r1")
        with pytest.raises(TimeoutError):
            await r1.next(2)
        assert (await command(database, identifier))["state"] == "waiting"
        await say("online")
        await r1.next()
        await until_state(database, identifier, "sent")


async def test_what_was_not_sent_or_not_answered_in_time_expires(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    await register(database, "r1", "r2")
    gateway.start(command_grace_s=2)
    async with device(broker) as r1:
        unsent = await ask(database, "r2", 1)
        silent = await ask(database, "r1", 1)
        accepted = await ask(database, "r1", 1)
        for _ in range(2):
            await r1.next()
        await r1.answer({"id": str(accepted), "status": "accepted", "t": 1})
        row = await until_state(database, unsent, "expired")
        assert (row["sent_at"], row["detail"]) == (None, "not sent in time")
        assert (await command(database, silent))["state"] == "sent"  # it may still be answered
        row = await until_state(database, silent, "expired")
        assert "not known" in row["detail"]
        assert (row["ended_at"] - row["expires_at"]).total_seconds() >= 2
        row = await until_state(database, accepted, "expired")
        assert "accepted" in row["detail"]

        await r1.answer({**DONE, "id": str(silent)})  # it is known now
        await until_state(database, silent, "done")
        await r1.answer({"id": str(accepted), "status": "failed", "t": 1, "detail": "pump"})
        row = await until_state(database, accepted, "failed")
        assert row["detail"] == "pump"
    late = await ask(database, "r2", 1)
    await until_state(database, late, "expired")
    metrics = gateway.metrics()
    assert [metrics[f'biogate_commands_expired_total{{was="{was}"}}'] for was in ("waiting", "sent", "accepted")] == [
        2, 1, 1,
    ]  # fmt: skip
    assert await database.fetchval("select count(*) from audit_faults()") == 0


async def test_a_result_that_cannot_be_true_goes_to_quarantine(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    await register(database, "r1", "r2")
    gateway.start()
    async with device(broker) as r1, device(broker, "r2"):
        mine, other = await ask(database, "r1"), await ask(database, "r2")
        await until_state(database, mine, "sent")
        await until_state(database, other, "sent")
        done = {**DONE, "id": str(mine), "data": {"b": 1.0, "a": [1]}}
        for answer in (
            {"id": str(mine), "status": "accepted", "t": 1},
            done,
            {**done, "t": 2, "data": {"a": [1], "b": 1}},  # the same, encoded by another hand
            {"id": str(mine), "status": "accepted", "t": 1},  # delivered again, and late
        ):
            await r1.answer(answer)
        account = gateway.settle(4, "result")
        assert (account["committed"], account["duplicate"], account["quarantined"]) == (2, 2, 0)
        wrong: list[tuple[bytes | dict[str, Any], bytes | None, str]] = [
            ({**done, "status": "failed"}, None, "conflict"),
            ({**done, "data": {"b": 2}}, None, "conflict"),
            ({**DONE, "id": str(other)}, None, "unknown-command"),
            ({**DONE, "id": str(uuid.uuid4())}, None, "unknown-command"),
            (DONE, None, "wrong-type"),
            ({**DONE, "id": "17"}, None, "wrong-type"),
            ({**done, "status": "perhaps"}, None, "wrong-type"),
            ({**done, "detail": "x" * 501}, None, "wrong-type"),
            ({**done, "detail": "a\0b"}, None, "wrong-type"),
            ({**done, "data": {"a": "\0"}}, None, "wrong-type"),
            ({**done, "data": {"a": "x" * 70_000}}, None, "too-large"),
            (done, other.bytes, "wrong-shape"),
            ({**DONE, "t": 2}, b"17", "wrong-shape"),
            (b'{"id": ', None, "malformed"),
            (b"", None, "empty"),
        ]
        for payload, correlation, _ in wrong:
            await r1.answer(payload, correlation)
        await r1.answer({**DONE, "id": str(mine)}, device="nobody")
        account = gateway.settle(4 + len(wrong) + 1, "result")
        assert account["quarantined"] == len(wrong) + 1
        assert_adds_up(account)
        # what the decoder rejects is stored before or after what the database knows better: by batch
        assert sorted(await reasons(database)) == sorted(
            [*(("r1", reason) for _, _, reason in wrong), ("nobody", "unknown-device")]
        )
        assert (await command(database, mine))["state"] == "done"
        assert (await command(database, other))["state"] == "sent"


async def test_a_result_overtakes_what_we_note_and_the_whole_of_it_in_one_batch(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    """As after a kill: published, and not noted. Then cancelled, and done all the same."""
    await register(database, "r1")
    gateway.start(linger_ms=500)
    async with MqttClient(broker.host, broker.port) as client:
        r1 = Device("r1", client)  # is not subscribed: the command waits
        waiting, cancelled = await ask(database, "r1"), await ask(database, "r1")
        await database.execute(
            "update commands set state = 'cancelled', ended_at = now() where command_id = $1", cancelled
        )
        for identifier in (waiting, cancelled):
            await r1.answer({"id": str(identifier), "status": "accepted", "t": 1})
            for _ in "ab":
                await r1.answer({**DONE, "id": str(identifier), "detail": "as asked"})
        for identifier in (waiting, cancelled):
            row = await until_state(database, identifier, "done")
            assert (row["detail"], row["sent_at"] is None, row["accepted_at"] is None) == ("as asked", False, False)
    account = gateway.settle(6, "result")
    assert (account["committed"], account["duplicate"], account["quarantined"]) == (4, 2, 0)


async def hold_notes(database: asyncpg.Connection) -> None:
    """What is noted of a command takes until lock 4711 is released."""
    await database.execute(
        """create function hold() returns trigger language plpgsql as
           $$ begin perform pg_advisory_xact_lock(4711); return new; end $$"""
    )
    await database.execute("create trigger hold before update on commands for each row execute function hold()")
    await database.execute("select pg_advisory_lock(4711)")


async def test_a_command_that_is_under_way_cannot_be_cancelled(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection, database_url: str
) -> None:
    await register(database, "r1")
    gateway.start()
    async with device(broker) as r1, create_pool(settings(database_url)) as pool:
        first = await ask(database, "r1")
        await r1.next()  # the gateway is connected for it
        await until_state(database, first, "sent")  # else the broker stops with its acknowledgement in hand
        broker.server.kill(signal.SIGSTOP)
        identifier = await ask(database, "r1")

        async def is_taken() -> bool:
            free = "select true from commands where command_id = $1 for update skip locked"
            return not await database.fetchval(free, identifier)

        await eventually(is_taken, 20)

        async def cancel() -> None:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute("select set_config('biogate.organization', '1', true)")
                await connection.execute("select api.command_cancel($1, 'eva', 'changed my mind')", identifier)

        cancelling = asyncio.create_task(cancel())
        done, _ = await asyncio.wait([cancelling], timeout=0.7)
        broker.server.kill(signal.SIGCONT)
        assert not done
        await r1.next()
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="is sent"):
            await cancelling


async def test_a_gateway_that_is_killed_before_it_has_noted_what_it_sent_sends_it_again(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    await register(database, "r1")
    await hold_notes(database)
    gateway.start()
    async with device(broker) as r1:
        identifier = await ask(database, "r1", n=1)
        first = await r1.next()
        assert (await command(database, identifier))["state"] == "waiting"
        gateway.kill()
        await database.execute("select pg_advisory_unlock(4711)")
        await eventually(lambda: alone(database), 10)
        assert (await command(database, identifier))["state"] == "waiting"
        gateway.start()
        again = await r1.next()
        assert again.payload == first.payload
        await until_state(database, identifier, "sent")
        with pytest.raises(TimeoutError):
            await r1.next(2)


async def alone(database: asyncpg.Connection) -> bool:
    return bool(await database.fetchval("select count(*) = 0" + OTHERS))


async def test_a_result_that_was_not_committed_comes_again(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    await register(database, "r1")
    gateway.start()
    async with device(broker) as r1:
        identifier = await ask(database, "r1")
        await r1.next()
        await until_state(database, identifier, "sent")
        async with database.transaction():
            await database.execute("select from commands for update")  # the batch waits
            await r1.answer({**DONE, "id": str(identifier)})
            await asyncio.sleep(0.5)
            gateway.kill()
        assert (await command(database, identifier))["state"] == "sent"
        gateway.start()
        await until_state(database, identifier, "done")
    assert await database.fetchval("select sum(committed) from intake_totals where kind = 'result'") == 1


async def test_only_the_cell_of_the_device_sends(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    await register(database, "r1")
    await database.execute("insert into cells (cell, client_id) values ('other', 'x')")
    await database.execute(
        """insert into credentials (username, device_id, cell, generation, kind, applied)
           select 'r1.1', device_id, 'other', 1, 'certificate', 'present' from devices"""
    )
    gateway.start()
    async with device(broker) as r1:
        identifier = await ask(database, "r1")
        with pytest.raises(TimeoutError):
            await r1.next(2)
        await database.execute("update credentials set wanted = 'absent'")
        await r1.next()
        await until_state(database, identifier, "sent")


async def test_broker_and_database_go_and_come_back(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    await register(database, "r1")
    gateway.start()
    async with device(broker) as r1:
        await ask(database, "r1", n=1)
        await r1.next()
    broker.server.stop()
    second = await ask(database, "r1", n=2)
    await asyncio.sleep(1)
    broker.server.start()
    await database.execute("select pg_terminate_backend(pid)" + OTHERS)
    async with device(broker) as r1:
        assert json.loads((await r1.next(20)).payload)["id"] == str(second)
        await until_state(database, second, "sent")
        third = await ask(database, "r1", n=3)
        await r1.next()
        await until_state(database, third, "sent")


async def test_a_look_does_not_read_what_has_ended(database: asyncpg.Connection) -> None:
    await database.execute("alter table commands disable trigger user")
    await register(database, *(f"r{n}" for n in range(100)))
    await database.execute(
        """insert into commands (organization_id, device_id, name, state, requested_by, why, requested_at, expires_at)
           select 1, 1 + n % 100, 'setpoint', 'done', '', '', now() - interval '1 day', now() - interval '1 hour'
             from generate_series(1, 5000) n"""
    )
    await database.execute("analyze commands")
    for query, arguments in ((HOW_MANY, ["main"]), (WAITING, ["main", [], 500]), (OVERDUE, [timedelta(seconds=30)])):
        plan = await database.fetch("explain " + query, *arguments)
        assert any("commands_open" in row[0] for row in plan), plan
        assert not any("Seq Scan on commands" in row[0] for row in plan), plan
