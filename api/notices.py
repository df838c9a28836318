"""What the database tells this process by NOTIFY: one connection for all that want to hear of something."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Protocol

import asyncpg
import structlog

from api.database import Database
from api.problems import ApiError

log = structlog.get_logger("api")
AGAIN_S = 1.0


class Hearer(Protocol):
    """Whoever wants to know."""

    def heard(self) -> None:
        """Something has happened."""

    def hears(self, now: bool) -> None:
        """From now on it is told, or not any more: what happens in between is missed."""


class Notices:
    """The hearers of each channel are told in the order in which they were added."""

    def __init__(self, accounts: Database) -> None:
        self._accounts = accounts
        self._hearers: defaultdict[str, list[Hearer]] = defaultdict(list)

    def add(self, channel: str, hearer: Hearer) -> None:
        """Before `listening`."""
        self._hearers[channel].append(hearer)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """While inside, the hearers are told."""
        task = asyncio.create_task(self._listen(), name="notices")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _listen(self) -> None:
        def heard(_: object, __: object, channel: str, ___: object) -> None:
            for hearer in self._hearers[channel]:
                hearer.heard()

        while True:
            gone = asyncio.Event()
            try:
                async with self._accounts.connection() as connection:
                    connection.add_termination_listener(lambda _, gone=gone: gone.set())
                    try:
                        for channel in self._hearers:
                            await connection.add_listener(channel, heard)
                        self._tell(True)
                        await gone.wait()
                    finally:
                        self._tell(False)
                        with suppress(asyncpg.InterfaceError, OSError):
                            for channel in self._hearers:
                                await connection.remove_listener(channel, heard)
            except ApiError as error:
                log.warning("what changes in the database cannot be heard of", why=error.detail)
            await asyncio.sleep(AGAIN_S)

    def _tell(self, now: bool) -> None:
        for hearer in dict.fromkeys(hearer for hearers in self._hearers.values() for hearer in hearers):
            hearer.hears(now)
