"""Which devices are sent to next: one that took a command at once, one that did not after a while."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import asyncpg

from gateway.broker.address import BrokerLogin
from gateway.commands.dispatch import HOW_MANY, WAITING, CommandDispatcher
from gateway.intake.cell import prepare
from gateway.runtime.database import Pool
from tests.gateway.controller import ask
from tests.gateway.material import settings
from tests.roles import forced


async def test_who_took_a_command_is_sent_the_next_one_at_once_and_who_did_not_waits(
    pool: Pool, database: asyncpg.Connection
) -> None:
    chosen, leading, sent = settings(), asyncio.Event(), list[str]()
    leading.set()
    await prepare(pool, chosen)
    await database.execute("insert into devices (name) values ('there'), ('away') on conflict do nothing")

    async def send(command: Mapping[str, Any]) -> bool:
        sent.append(command["device"])
        return bool(command["device"] == "there")

    dispatcher = CommandDispatcher(chosen, BrokerLogin("x", None, None), pool, leading, {})
    for _ in range(2):
        for device in ("there", "away"):
            await ask(database, device)
        waiting = await pool.fetch(WAITING, chosen.cell, list(dispatcher._absent), 10)
        await dispatcher._send_all(send, waiting)
    assert sent == ["there", "away", "there"]


LOGIN = """
insert into credentials (username, device_id, cell, generation, kind)
select name || '.' || $2::int, device_id, $1, $2::int, 'certificate' from devices where name = 'vessel'"""


async def test_a_command_waits_in_the_cell_of_its_device_alone_and_until_it_is_over(
    pool: Pool, database: asyncpg.Connection
) -> None:
    async def waiting() -> list[int]:
        return [await pool.fetchval(HOW_MANY, cell) for cell in ("main", "other")]

    await database.execute(
        "insert into cells (cell, client_id) values ('main', 'm'), ('other', 'o') on conflict do nothing"
    )
    await database.execute("insert into devices (name) values ('vessel')")
    await ask(database, "vessel")
    assert await waiting() == [1, 1], "nobody knows where it is"
    await database.execute(LOGIN, "main", 1)
    assert await waiting() == [1, 0]
    await database.execute(LOGIN, "other", 2)
    assert await waiting() == [0, 1]
    await forced(database, "update commands set requested_at = now() - interval '2 h', expires_at = now()")
    assert await waiting() == [0, 0]
