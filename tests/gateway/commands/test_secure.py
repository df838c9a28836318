"""Commands at a broker with logins: who may send what, and as whom the gateway sends."""

from __future__ import annotations

import json
from pathlib import Path

from tests.gateway.cell import Cell
from tests.gateway.controller import ask, until_state
from tests.mqtt import NOT_AUTHORIZED, Client
from tests.processes import GatewayProcess


async def test_a_command_by_the_gateways_login_and_nobody_answers_for_another(
    cell: Cell, database_url: str, tmp_path: Path
) -> None:
    usernames = {name: await cell.login(name) for name in ("r1", "r2")}
    gateway = GatewayProcess(database_url, cell.broker.url, tmp_path / "gateway.log")
    try:
        gateway.start(secrets_dir=cell.broker.secrets)
        await cell.settled()
        async with cell.pool.acquire() as database:
            clients = {
                name: await Client.connect(cell.broker.port, name, username, cell.passwords[username])
                for name, username in usernames.items()
            }
            async with clients["r1"] as r1, clients["r2"] as r2:
                assert await r1.subscribe("bioreactors/r1/command") == [1]
                assert await r1.subscribe("bioreactors/r2/command") == [NOT_AUTHORIZED]
                identifier = await ask(database, "r1")
                assert json.loads((await r1.next()).payload)["id"] == str(identifier)
                await until_state(database, identifier, "sent")

                done = json.dumps({"id": str(identifier), "status": "done", "t": 1}).encode()
                assert await r2.publish("bioreactors/r2/command/result", done) == 0  # as its own
                gateway.settle(1, "result")
                row = await cell.sql("select device, reason from quarantine")
                assert [tuple(each) for each in row] == [("r2", "unknown-command")]
                assert await r2.publish("bioreactors/r1/command/result", done) == NOT_AUTHORIZED
            for topic in ("bioreactors/r1/command", "bioreactors/r2/command"):
                username = usernames["r1"]
                async with await Client.connect(cell.broker.port, "x", username, cell.passwords[username]) as device:
                    assert await device.publish(topic, done) == NOT_AUTHORIZED, topic
            await until_state(database, identifier, "sent")
    finally:
        gateway.kill()
        print(gateway.log.read_text()[-4000:])
