"""Admits who listens, and looks once for all listeners of an organization.

A feed tells of one subject in one organization. It looks when the database notifies it, and every few seconds anyway.
So a notification that is lost with its connection delays what there is to tell, and loses none of it.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from typing import Any, ClassVar, Generic, Self, TypeVar

import structlog

from api.access.identity import Identities
from api.access.places import Places
from api.access.roles import Principal
from api.database import Database, Server
from api.live.member import FeedMember
from api.problems import ApiError, Unavailable

log = structlog.get_logger("api")

LOOK_S = 5.0
"""Seconds between two looks without a notification."""
AGAIN_S = 1.0
"""Seconds to wait after a look that has failed."""
PATIENCE_S = 10.0
"""Seconds that one look may take."""
LOOKS = 4
"""Looks at a time, of all feeds: each has a connection to the database."""

M = TypeVar("M", bound=FeedMember)


class Hub:
    """All feeds of this process."""

    def __init__(self, server: Server, identities: Identities, most: int, most_of_one: int) -> None:
        """At most `most` clients listen at a time, `most_of_one` of one caller, and of one organization never more than
        are left for all others: whoever comes after it finds room, and so does who comes then."""
        self.identities = identities
        self.checks = asyncio.Semaphore(2)
        """Bounds concurrent checks of credentials: after a change of accounts all members are checked at once."""
        self._looks = asyncio.Semaphore(LOOKS)
        self._server = server
        self._places = Places("live feeds", most, most_of_one)
        self._feeds: dict[tuple[type[Feed[Any]], int], Feed[Any]] = {}
        self._listening: dict[FeedMember, Principal] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._closing = False
        self._version = identities.version

    async def __aenter__(self) -> Self:
        self._tasks = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        for task in self._running:
            task.cancel()
        await self._tasks.__aexit__(None, None, None)

    def close(self) -> None:
        """End all feeds because this process ends; clients are told to connect again."""
        self._closing = True
        for feed in self._feeds.values():
            feed.end("the service stops: connect again")

    def tell(self, kind: type[Feed[Any]], said: str) -> None:
        """Hand what a notification says to all feeds of this kind."""
        for (of, _), feed in self._feeds.items():
            if of is kind:
                feed.hear(said)

    def on_change(self, _: str) -> None:
        """Wake all members to check their credentials: accounts have changed."""
        changed = self.identities.version != self._version
        self._version = self.identities.version
        for feed in self._feeds.values():
            feed.wake.set()
            if changed:
                feed.wake_members()

    def on_listening(self, now: bool) -> None:
        """Look for what happened while no notifications came."""
        self.on_change("")

    @asynccontextmanager
    async def member(self, kind: type[Feed[M]], whose: Principal, member: M) -> AsyncIterator[M]:
        """Admit one more client to a feed of its organization. Raises TooMany, Busy and what the database raises."""
        assert whose.organization_id is not None
        if self._closing:
            raise Unavailable("the service stops: connect again")
        with self._places.taken(whose):
            feed = self._feed(kind, whose.organization_id)
            feed.join(member)
            self._listening[member] = whose
            try:
                await member.admitted
                yield member
            finally:
                del self._listening[member]
                feed.leave(member)

    def lookers(self, organization_id: int | None, device: str) -> set[str]:
        """Return who looks at the page of a device now, in this process: people whose browser follows it alone."""
        return {
            whose.who
            for member, whose in self._listening.items()
            if whose.kind == "browser" and whose.organization_id == organization_id and member.alone == device
        }

    def _feed(self, kind: type[Feed[M]], organization_id: int) -> Feed[M]:
        feed: Feed[M] | None = self._feeds.get((kind, organization_id))
        if feed is None:
            over = lambda: self._feeds.pop((kind, organization_id))  # noqa: E731
            feed = kind(self._server.of(organization_id), self._looks, over)
            self._feeds[kind, organization_id] = feed
            # In a context of its own: what it does is no part of the request that came first.
            name = f"{kind.__name__} {organization_id}"
            task = self._tasks.create_task(feed.run(), name=name, context=Context())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return feed


class FeedListener:
    """Hands notifications to all feeds of one kind."""

    def __init__(self, hub: Hub, kind: type[Feed[Any]]) -> None:
        self._hub, self._kind = hub, kind

    def on_change(self, said: str) -> None:
        self._hub.tell(self._kind, said)

    def on_listening(self, now: bool) -> None:
        """The hub itself looks for what happened while no notifications came."""


class Feed(ABC, Generic[M]):
    """The feed of one subject and one organization; it exists while somebody listens."""

    CHANNELS: ClassVar[tuple[str, ...]] = ()
    """Notifications of the database that wake it."""
    PAUSE_S: ClassVar[float] = 0.05
    """Seconds to wait after each look, so that many commits in a row are read together."""
    CHEAP_S: ClassVar[float] = 0.02
    """A look that takes longer is followed by a pause of IDLE times what it took beyond: it costs the database time."""
    IDLE: ClassVar[float] = 3.0

    def __init__(self, database: Database, looks: asyncio.Semaphore, over: Callable[[], object]) -> None:
        self.wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._database = database
        self._looks, self._over = looks, over
        self._members: set[M] = set()
        self._joining: list[M] = []
        self._trouble: str | None = None
        """What the newest look has met. Without any, before and now, there is nothing to tell all members."""

    def join(self, member: M) -> None:
        self._joining.append(member)
        self._hurry.set()
        self.wake.set()

    def leave(self, member: M) -> None:
        self._members.discard(member)
        if member in self._joining:
            self._joining.remove(member)
        if not (self._members or self._joining):
            self._hurry.set()
        self.wake.set()

    def end(self, why: str) -> None:
        for member in (*self._members, *self._joining):
            member.end(why)
            if not member.admitted.done():
                member.admitted.set_exception(Unavailable(why))

    def hear(self, said: str) -> None:
        """Take what a notification says: that there may be news."""
        self.wake.set()

    def wake_members(self) -> None:
        for member in self._members:
            member.wake.set()

    async def run(self) -> None:
        """Until nobody listens."""
        while self._members or self._joining:
            self.wake.clear()
            self._hurry.clear()
            begun = time.monotonic()
            trouble = await self._looked()
            took = time.monotonic() - begun
            if trouble is not None or self._trouble is not None:
                for member in self._members:
                    member.disturb(trouble)
            self._trouble = trouble
            try:
                async with asyncio.timeout(LOOK_S if trouble is None else AGAIN_S):
                    await self.wake.wait()
            except TimeoutError:
                continue
            rested = time.monotonic() - begun - took
            if trouble is None:
                await asyncio.sleep(min(LOOK_S, self.IDLE * (took - self.CHEAP_S)) - rested)
            await self._gather(self.PAUSE_S - rested)
        self._over()

    async def _gather(self, seconds: float) -> None:
        """Wait, so that much is read together, unless somebody joins or nobody is left."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    async def _looked(self) -> str | None:
        """Look once; return the error that prevented it, or None."""
        joining, self._joining = self._joining, []
        error: ApiError
        try:
            async with asyncio.timeout(PATIENCE_S), self._looks:
                await self._look(joining)
            return None
        except ApiError as what:
            error = what
        except TimeoutError:
            error = Unavailable("the database does not answer: try again")
        except Exception as unexpected:
            log.error("a live feed has failed", exc_info=unexpected)
            error = Unavailable("an error of ours; the log has it")
        for member in joining:
            if not member.admitted.done():
                member.admitted.set_exception(error)
        return error.detail

    @abstractmethod
    async def _look(self, joining: list[M]) -> None:
        """Read what is new and hand it to the members; admit those who join."""
