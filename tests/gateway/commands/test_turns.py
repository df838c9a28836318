"""Which devices are sent to next: one that took a command at once, one that did not after a while."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import asyncpg

from gateway.broker.address import BrokerLogin
from gateway.commands.dispatch import WAITING, CommandDispatcher
from gateway.intake.cell import prepare
from gateway.runtime.database import Pool
from tests.gateway.controller import ask
from tests.gateway.material import settings


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
