"""A gateway tells of each commit, beside it: what hinders the telling hinders no commit."""

from __future__ import annotations

import asyncio
import json
import time

import aiomqtt
import asyncpg

from tests.conftest import Broker
from tests.gateway.cell import eventually
from tests.processes import GatewayProcess


async def test_commits_are_told_with_what_they_hold_and_nothing_of_whom(
    database: asyncpg.Connection, broker: Broker, gateway: GatewayProcess
) -> None:
    said: asyncio.Queue[str] = asyncio.Queue()
    await database.add_listener("biogate_commits", lambda *notification: said.put_nowait(str(notification[-1])))
    await database.execute("insert into devices (name) values ('r1')")
    gateway.start()
    begun = time.time() * 1000
    async with aiomqtt.Client(broker.host, broker.port) as client:
        frame = json.dumps({"t": int(begun), "v": {"x": 1.0}})
        await client.publish("bioreactors/r1/telemetry", frame, qos=1)
        async with asyncio.timeout(20):
            notice = json.loads(await said.get())
        assert notice.keys() == {"cell", "commit", "at", "kinds"}
        assert (notice["cell"], notice["kinds"]) == ("main", ["frame"])
        newest = "select xmin::text::bigint from intake_totals where kind = 'frame'"
        assert notice["commit"] == await database.fetchval(newest)
        assert begun - 1 <= notice["at"] <= time.time() * 1000 + 1
        for no_news in ("no frame", frame):  # what is in quarantine, or stored already
            await client.publish("bioreactors/r1/telemetry", no_news, qos=1)
        await client.publish("bioreactors/r1/status", json.dumps({"status": "online", "boot": 1, "t": begun}), qos=1)
        async with asyncio.timeout(20):
            assert json.loads(await said.get())["kinds"] == ["status"]


async def test_commits_go_on_while_nothing_can_be_told(
    database: asyncpg.Connection, broker: Broker, gateway: GatewayProcess
) -> None:
    await database.execute("insert into devices (name) values ('r1')")
    await database.execute("revoke execute on function notice_send from biogate_storing")
    gateway.start()
    async with aiomqtt.Client(broker.host, broker.port) as client:
        for n in range(3):
            frame = {"t": int(time.time() * 1000) + n, "v": {"x": 1.0}}
            await client.publish("bioreactors/r1/telemetry", json.dumps(frame), qos=1)
            await asyncio.to_thread(gateway.settle, n + 1)
    failures = await notices(gateway, "failed")
    await eventually(lambda: told(gateway, "failed", failures + 1), 20)  # one that began after the last commit
    assert gateway.get("/ready")[0] == 200
    said: asyncio.Queue[str] = asyncio.Queue()
    await database.add_listener("biogate_commits", lambda *notification: said.put_nowait(str(notification[-1])))
    await database.execute("grant execute on function notice_send to biogate_storing")
    await eventually(lambda: told(gateway, "sent", 0), 20)  # the newest is told when it can be
    assert json.loads(await said.get())["kinds"] == ["frame"]


async def notices(gateway: GatewayProcess, result: str) -> float:
    return gateway.metrics()[f'biogate_commit_notices_total{{result="{result}"}}']


async def told(gateway: GatewayProcess, result: str, more_than: float) -> bool:
    return await notices(gateway, result) > more_than
