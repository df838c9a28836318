"""The API's own connection for notifications, when its server ends it, and when its server answers nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import warnings
from contextlib import ExitStack

import asyncpg

from api.database import Server
from api.notices import Notices
from api.settings import ApiSettings

ENOUGH_S = 20.0
ITS = "from pg_stat_activity where application_name = 'biogate-api' and datname = current_database()"


class Told:
    """A listener that keeps when notifications begin to come (true), and when they end."""

    def __init__(self) -> None:
        self.comes: asyncio.Queue[bool] = asyncio.Queue()

    def on_change(self, said: str) -> None:
        """What is said is of no interest here."""

    def on_listening(self, now: bool) -> None:
        self.comes.put_nowait(now)


async def test_listening_begins_again_and_ends_at_once_though_the_server_hangs(
    database: asyncpg.Connection, database_url: str
) -> None:
    told = Told()
    async with asyncio.timeout(ENOUGH_S), Server(ApiSettings(database_url=database_url)) as server:
        notices = Notices(server.accounts)
        for channel in ("biogate_commits", "biogate_alarm_acts"):
            notices.add(channel, told)
        with ExitStack() as afterwards, warnings.catch_warnings():
            warnings.simplefilter("error", asyncpg.InterfaceWarning)  # of a connection that the pool gets listening
            async with notices.listening():
                assert await told.comes.get()
                await database.execute(f"select pg_terminate_backend(pid, 5000) {ITS}")
                assert [await told.comes.get(), await told.comes.get()] == [False, True]
                pid = await database.fetchval(f"select pid {ITS}")
                os.kill(pid, signal.SIGSTOP)
                afterwards.callback(os.kill, pid, signal.SIGCONT)
        assert not await told.comes.get()
