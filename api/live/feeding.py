"""Sends to one client what its member has, until one of the two has enough."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocketDisconnect

from api.access.guard import still_authorized
from api.access.roles import Principal
from api.live.forms import Form
from api.live.hub import Hub
from api.live.member import FeedMember
from api.metrics import LIVE_CLIENTS, LIVE_ENDED
from api.problems import ApiError, Unauthorized

log = structlog.get_logger("api")

HEARTBEAT_S = 15.0
SEND_S = 20.0
"""A client that takes nothing for so long is not there, or too slow."""
AGAIN_S = 1.0
CREDENTIALS, SLOW, CLOSING, NOTHING_TO_SAY = 4401, 1013, 1012, 1008

Send = Callable[[bytes], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class End:
    """Why a feed has ended; `kind` for the metrics."""

    kind: str
    code: int
    detail: str


GONE = End("gone", 1000, "the client has gone")
TALKS = End("talks", NOTHING_TO_SAY, "there is nothing to say here: filters are in the address")


class Feeding:
    """Sends the messages of one feed to one client."""

    def __init__(self, hub: Hub, member: FeedMember, connection: HTTPConnection, form: Form, send: Send) -> None:
        self._hub, self._member, self._connection = hub, member, connection
        self._form, self._write = form, send
        self._version = hub.identities.version
        self._check_at = self._beat_at = time.monotonic() + HEARTBEAT_S
        self._trouble: str | None = None
        """As the client knows it."""

    async def run(self) -> End:
        """Send until the feed has to end, and return why. `feed` watches the client's side."""
        member = self._member
        try:
            while (end := self._over()) is None:
                member.wake.clear()
                unchecked = await self._check()
                await self._say(unchecked or member.trouble)
                content = None if unchecked else member.take(self._form)
                if content is not None:
                    await self._send(content)
                    continue
                if time.monotonic() >= self._beat_at:
                    await self._beat()
                await member.wake.wait(AGAIN_S if unchecked else min(member.rest_s, self._beat_at - time.monotonic()))
        except Unauthorized as error:
            return End("credentials", CREDENTIALS, error.detail)
        except TimeoutError:
            return End("slow", SLOW, f"nothing was read for {SEND_S:g} s")
        except (OSError, WebSocketDisconnect):
            return GONE
        return end

    def _over(self) -> End | None:
        if self._member.too_slow:
            return End("slow", SLOW, "you read too slowly: connect again with the last cursor")
        if self._member.ended is not None:
            return End("closing", CLOSING, self._member.ended)
        return None

    async def _check(self) -> str | None:
        """Return why it is not known whether the client may still listen; None: it may. Raises Unauthorized."""
        version, now = self._hub.identities.version, time.monotonic()
        if version == self._version and now < self._check_at:
            return None
        try:
            async with self._hub.checks:
                await still_authorized(self._connection)
        except Unauthorized:
            raise
        except ApiError as error:
            return error.detail
        self._version, self._check_at = version, now + HEARTBEAT_S
        return None

    async def _say(self, trouble: str | None) -> None:
        """Tell the client that there is trouble, or that it is over, if the client does not know."""
        if (trouble is None) == (self._trouble is None):
            return
        self._trouble = trouble
        form = self._form
        await self._send(self._member.recovered(form) if trouble is None else form.trouble(trouble))

    async def _beat(self) -> None:
        trouble, form = self._trouble, self._form
        await self._send(self._member.heartbeat(form) if trouble is None else form.trouble(trouble))

    async def _send(self, content: bytes) -> None:
        """Hot path: nearly always the client's buffer takes the message at once, and a time-out costs as much again."""
        sending = self._write(content)
        try:
            blocked = sending.send(None)
        except StopIteration:
            pass
        else:
            async with asyncio.timeout(SEND_S):
                await _Rest(sending, blocked)
        self._beat_at = time.monotonic() + HEARTBEAT_S


class _Rest:
    """What is left of a coroutine that was begun and waits for a future."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], future: Any) -> None:
        self._coroutine, self._future = coroutine, future

    def __await__(self) -> Generator[Any, Any, None]:
        with closing(self._coroutine):
            yield self._future
            yield from self._coroutine.__await__()


async def feed(feeding: Feeding, watch: Awaitable[End]) -> End:
    """Until it ends, from either side: `watch` ends when the client does."""
    tasks = [asyncio.ensure_future(feeding.run()), asyncio.ensure_future(watch)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def observed(kind: str, principal: Principal) -> Iterator[Callable[[End], None]]:
    """Count and log one feed. The block calls the given function with the reason for the end."""
    begun, ends = time.monotonic(), [GONE]
    LIVE_CLIENTS.labels(kind).inc()
    try:
        yield ends.append
    finally:
        LIVE_CLIENTS.labels(kind).dec()
        LIVE_ENDED.labels(ends[-1].kind).inc()
        seconds = round(time.monotonic() - begun, 1)
        log.info("live feed ended", kind=kind, who=principal.who, seconds=seconds, why=ends[-1].detail)
