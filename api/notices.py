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
CHANNEL = "select notice_channel($1)"
"""No login that is not of this installation's processes can name the channel, and so flood it."""


class ChangeListener(Protocol):
    """Whoever wants to know of notifications on a channel."""

    def on_change(self, said: str) -> None:
        """Called after each notification, with what it says."""

    def on_listening(self, now: bool) -> None:
        """Called when notifications start to come (`now`), and when they stop: those in between are lost."""


class Notices:
    """The listeners of each channel are told in the order in which they were added."""

    def __init__(self, accounts: Database) -> None:
        self._accounts = accounts
        self._listeners: defaultdict[str, list[ChangeListener]] = defaultdict(list)

    def add(self, channel: str, listener: ChangeListener) -> None:
        """Add a listener; to be called before `listening`."""
        self._listeners[channel].append(listener)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Notify the listeners while the block runs."""
        task = asyncio.create_task(self._listen(), name="notices")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _listen(self) -> None:
        listeners: dict[str, list[ChangeListener]] = {}

        def heard(_: object, __: object, channel: str, said: str) -> None:
            for listener in listeners[channel]:
                listener.on_change(said)

        while True:
            gone = asyncio.Event()
            try:
                async with self._accounts.connection() as connection:
                    connection.add_termination_listener(lambda _, gone=gone: gone.set())
                    try:
                        for channel, its in self._listeners.items():
                            named = await connection.fetchval(CHANNEL, channel)
                            listeners[named] = its
                            await connection.add_listener(named, heard)
                        self._tell(True)
                        await gone.wait()
                    finally:
                        self._tell(False)
                        # No UNLISTEN: it can fail, and that error would take the place of the task's cancellation.
                        with suppress(asyncpg.InterfaceError):  # it is lost, and the pool's again
                            connection.terminate()
            except ApiError as error:
                log.warning("notifications of the database do not arrive", why=error.detail)
            await asyncio.sleep(AGAIN_S)

    def _tell(self, now: bool) -> None:
        for listener in dict.fromkeys(listener for listeners in self._listeners.values() for listener in listeners):
            listener.on_listening(now)
