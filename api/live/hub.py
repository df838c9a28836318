"""Reads transitions once for each organization that has listeners, and hands them to all its listeners.

A feed knows how far it has read. It looks when the database notifies it, and every few seconds anyway. So a
notification that is lost with its connection delays transitions, and loses none. Transitions are numbered in the order
of their commits: "all after this one" leaves none out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Self

import structlog

from api.access.identity import Identities
from api.access.roles import Principal
from api.database import Database, Server
from api.live.member import FeedMember, Wishes
from api.problems import ApiError, Busy, TooMany, Unavailable
from api.queries import alerts

log = structlog.get_logger("api")

NEWS = "biogate_alarms"
LOOK_S = 5.0
"""Seconds between two looks without a notification."""
AGAIN_S = 1.0
"""Seconds to wait after a look that has failed."""
PAUSE_S = 0.05
"""Seconds to wait after each look, so that many commits in a row are read together."""
PATIENCE_S = 10.0
"""Seconds that one look may take."""
AT_ONCE = 500
"""Transitions that one look reads."""
RESUMABLE = 2_000
"""A client that has missed more transitions than this begins anew."""
ROOM_S = "5"


class Hub:
    """All feeds of this process."""

    def __init__(self, server: Server, identities: Identities, most: int, most_of_one: int) -> None:
        """At most `most` clients listen at a time, `most_of_one` of one caller, and of one organization never more than
        are left for all others: whoever comes after it finds room, and so does who comes then."""
        self.identities = identities
        self.checks = asyncio.Semaphore(2)
        """Bounds concurrent checks of credentials: after a change of accounts all members are checked at once."""
        self._server = server
        self._most, self._most_of_one = most, most_of_one
        self._of_one: Counter[str] = Counter()
        self._of_organization: Counter[int] = Counter()
        self._feeds: dict[int, Feed] = {}
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

    def on_change(self) -> None:
        """Wake all feeds for new transitions; if accounts have changed, wake all members to check their credentials."""
        changed = self.identities.version != self._version
        self._version = self.identities.version
        for feed in self._feeds.values():
            feed.wake.set()
            if changed:
                feed.wake_members()

    def on_listening(self, now: bool) -> None:
        """Look for what happened while no notifications came."""
        self.on_change()

    @asynccontextmanager
    async def member(self, whose: Principal, wishes: Wishes, after: int | None) -> AsyncIterator[FeedMember]:
        """Admit one more client to the feed of its organization. Raises TooMany, Busy and what the database raises."""
        assert whose.organization_id is not None
        if self._closing:
            raise Unavailable("the service stops: connect again")
        if self._of_one[whose.who] >= self._most_of_one:
            raise TooMany(
                f"you have {self._most_of_one} live feeds open already, which is all: close one",
                headers={"Retry-After": ROOM_S},
            )
        left = self._most - self._of_one.total()
        if left <= 0:
            raise Busy("too many live feeds are open: try again later", headers={"Retry-After": ROOM_S})
        if (taken := self._of_organization[whose.organization_id]) >= left:
            raise TooMany(
                f"your organization has {taken} live feeds open, and no more are left for all others: close one",
                headers={"Retry-After": ROOM_S},
            )
        self._of_one[whose.who] += 1
        self._of_organization[whose.organization_id] += 1
        feed = self._feed(whose.organization_id)
        member = FeedMember(wishes, after)
        feed.join(member)
        try:
            await member.admitted
            yield member
        finally:
            feed.leave(member)
            self._of_one[whose.who] -= 1
            self._of_organization[whose.organization_id] -= 1
            for counted in (self._of_one, self._of_organization):
                counted += Counter()  # forgets those who have none

    def _feed(self, organization_id: int) -> Feed:
        feed = self._feeds.get(organization_id)
        if feed is None:
            feed = Feed(self._server.of(organization_id), lambda: self._feeds.pop(organization_id))
            self._feeds[organization_id] = feed
            # In a context of its own: what it does is no part of the request that came first.
            task = self._tasks.create_task(feed.run(), name=f"feed {organization_id}", context=Context())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return feed


class Feed:
    """The feed of one organization; it exists while somebody listens."""

    def __init__(self, database: Database, over: Callable[[], object]) -> None:
        self.wake = asyncio.Event()
        self._database = database
        self._over = over
        self._members: set[FeedMember] = set()
        self._joining: list[FeedMember] = []
        self._last: int | None = None
        """All have been offered everything up to this transition."""

    def join(self, member: FeedMember) -> None:
        self._joining.append(member)
        self.wake.set()

    def leave(self, member: FeedMember) -> None:
        self._members.discard(member)
        if member in self._joining:
            self._joining.remove(member)
        self.wake.set()

    def end(self, why: str) -> None:
        for member in (*self._members, *self._joining):
            member.end(why)
            if not member.admitted.done():
                member.admitted.set_exception(Unavailable(why))

    def wake_members(self) -> None:
        for member in self._members:
            member.wake.set()

    async def run(self) -> None:
        """Until nobody listens."""
        while self._members or self._joining:
            self.wake.clear()
            trouble = await self._looked()
            for member in self._members:
                member.disturb(trouble)
            try:
                async with asyncio.timeout(LOOK_S if trouble is None else AGAIN_S):
                    await self.wake.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(PAUSE_S)
        self._over()

    async def _looked(self) -> str | None:
        """Look once; return the error that prevented it, or None."""
        joining, self._joining = self._joining, []
        error: ApiError
        try:
            async with asyncio.timeout(PATIENCE_S):
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

    async def _look(self, joining: list[FeedMember]) -> None:
        fresh = [member for member in joining if member.after is None]
        resuming = [member for member in joining if member.after is not None]
        if resuming:
            fresh += await self._resume(resuming)
        while self._last is not None:
            news = await alerts.after(self._database, self._last, AT_ONCE)
            if news:
                self._last = news[-1].number
                for member in self._members:
                    member.offer(news)
            if len(news) < AT_ONCE:
                break
            await asyncio.sleep(PAUSE_S)  # who sends gets a turn
        if fresh:
            newest, standing = await alerts.standing(self._database)
            if self._last is None:
                self._last = newest
            for member in fresh:
                self._admit(member, newest, standing)

    async def _resume(self, resuming: list[FeedMember]) -> list[FeedMember]:
        """Give members what they have missed if all of it is known; return the members for whom it is not."""
        least = min(member.after or 0 for member in resuming)
        missed = await alerts.newest_after(self._database, least, RESUMABLE + 1)
        oldest, newest = await alerts.bounds(self._database)
        known = missed[0].number if len(missed) > RESUMABLE else oldest
        others, resumed = [], []
        for member in resuming:
            assert member.after is not None
            if known <= member.after <= newest:
                self._admit(member, member.after, None)
                member.offer(missed)
                resumed.append(member.after)
            else:
                others.append(member)
        if self._last is None and resumed:  # not `newest`, which may have come after `missed` was read
            self._last = missed[-1].number if missed else min(resumed)
        return others

    def _admit(self, member: FeedMember, position: int, standing: list[alerts.Told] | None) -> None:
        if not member.admitted.done():  # it may have left meanwhile
            self._members.add(member)
            member.begin(position, standing)
