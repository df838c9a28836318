"""Sends messages to services by processes of their own (sender.py), which are bounded in time, memory and number.

A process serves messages one after another. It is ended when a message takes too long or fails, so no service leaves
anything in it; the next message gets a new one. It has none of this process's environment but what finding services
takes, as proxies and authorities.

An organization has a share of the processes under way, so that its slow services do not delay another's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from gateway.alarms.notify.sending import READY, Sending

START_S = 30.0
"""Seconds for the start of a process: 1 s of a core."""
AT_ONCE, AT_ONCE_FAILING = 12, 6
"""Messages under way: of healthy routes, and of failing ones, which may take all their time."""
OF_ONE, OF_ONE_FAILING = 4, 2
"""How many of these one organization has at most."""
ENDED = "the process that sent it was ended meanwhile"
ENVIRONMENT = ("PATH", "LANG", "TZ", "PYTHONPATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
Tone = Literal["info", "success", "warning", "failure"]


@dataclass(frozen=True, slots=True)
class Notice:
    tone: Tone
    title: str
    text: str


class NotificationChannels:
    def __init__(self, timeout_s: float, private: bool) -> None:
        self._timeout_s = timeout_s
        self._private = private
        self._idle: Process | None = None

    async def send(self, url: str, message: Notice) -> str | None:
        """Send a message; None when the service has it, else the reason, without secrets."""
        process, self._idle = self._idle, None
        if process is None or process.returncode is not None:
            process = await started()
        works = False
        try:
            outcome = await self._answer(process, url, message)
            works = outcome is None
        finally:
            if works and self._idle is None:
                self._idle = process
            else:
                await end(process)
        return outcome

    async def close(self) -> None:
        if self._idle is not None:
            idle, self._idle = self._idle, None
            await end(idle)

    async def _answer(self, process: Process, url: str, message: Notice) -> str | None:
        assert process.stdin is not None
        assert process.stdout is not None
        sending = Sending(url, message.title, message.text, message.tone, self._private, self._timeout_s)
        try:
            async with asyncio.timeout(self._timeout_s):
                process.stdin.write(sending.line())
                await process.stdin.drain()
                answer = await process.stdout.readline()
        except TimeoutError:
            return f"no answer within {self._timeout_s:g} s"
        except OSError:
            answer = b""
        if not answer:
            return ENDED
        outcome: str | None = json.loads(answer)
        return outcome


async def started() -> Process:
    """A process that is ready for a message. Raises OSError."""
    environment = {name: text for name, text in os.environ.items() if name in ENVIRONMENT or name.lower() in PROXIES}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.alarms.notify.sender"),
        env=environment,
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_S):
            if await process.stdout.readline() != READY:
                raise OSError("the process that sends notifications has not started")
    except BaseException:  # a start that is cancelled, too, must leave no process
        await end(process)
        raise
    return process


async def end(process: Process) -> None:
    """Kill the process, and wait until it and its pipes are gone."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.communicate()


@dataclass(slots=True)
class _Share:
    healthy: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(OF_ONE))
    failing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(OF_ONE_FAILING))
    users: int = 0


class SendingPlaces:
    """Places for messages under way: some for all, of which each organization has a share."""

    def __init__(self) -> None:
        self._healthy, self._failing = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(AT_ONCE_FAILING)
        self._shares: dict[int, _Share] = {}

    @property
    def shares(self) -> int:
        """The organizations that send or wait for a place."""
        return len(self._shares)

    @asynccontextmanager
    async def place(self, organization_id: int, *, failing: bool) -> AsyncIterator[None]:
        """Wait for a place; who has none of its organization's share waits for no other's."""
        share = self._shares.setdefault(organization_id, _Share())
        share.users += 1
        own, all_ = (share.failing, self._failing) if failing else (share.healthy, self._healthy)
        try:
            async with own, all_:
                yield
        finally:
            share.users -= 1
            if not share.users:
                del self._shares[organization_id]
