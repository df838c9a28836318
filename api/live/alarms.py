"""The feed of alarms: what stands, then every transition, once and in order.

Transitions are numbered in the order of their commits: "all after this one" leaves none out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from api.live.forms import Form, joined, taken
from api.live.hub import Feed
from api.live.member import FeedMember
from api.metrics import LIVE_TRANSITIONS
from api.queries import alerts
from api.queries.alerts import Told

LOOKED_AT = 500
"""Transitions that one look reads."""
RESUMABLE = 2_000
"""A client that has missed more transitions than this begins anew."""
AT_ONCE = 100
"""Transitions in one message."""
SNAPSHOT = 500
"""Alarms in one: what is on the way to a client that reads slowly is bounded by a message."""
MOST_WAITING = 5_000
"""Transitions that wait for one client. They are shared: what waits costs 8 bytes each."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """Filters of a client; an empty set lets everything pass."""

    priorities: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    rules: frozenset[str] = frozenset()

    def fit(self, told: Told) -> bool:
        return (
            (not self.priorities or told.priority in self.priorities)
            and (not self.devices or told.device in self.devices)
            and (not self.rules or told.rule in self.rules)
        )


class AlarmMember(FeedMember):
    """Transitions wait for it in a queue, which is bounded: who does not keep up is told to come again."""

    def __init__(self, wishes: Wishes, after: int | None) -> None:
        super().__init__()
        self.after = after
        """The transition up to which the client knows everything; None: nothing."""
        self.position = -1
        """The transition up to which everything was put in."""
        self.snapshot: deque[Told] | None = None
        """Alarms that are still to be sent, before anything else; None: no more of it."""
        self._wishes = wishes
        self._waiting: deque[Told] = deque()

    def begin(self, position: int, snapshot: Sequence[Told] | None) -> None:
        """From this transition on, with the alarms that stood then if the client does not know them."""
        self.position = position
        if snapshot is not None:
            self.snapshot = deque(told for told in snapshot if self._wishes.fit(told))
        self.admit()

    def offer(self, transitions: Sequence[Told]) -> None:
        """Queue new transitions, given in their order; known ones among them are skipped."""
        for told in transitions:
            if told.number > self.position:
                self.position = told.number
                if self._wishes.fit(told):
                    self._waiting.append(told)
        if len(self._waiting) > MOST_WAITING:
            self._waiting.clear()
            self.too_slow = True
        self.wake.set()

    @property
    def cursor(self) -> int:
        """The number of the transition up to which the client has received everything it wishes for."""
        return self._waiting[0].number - 1 if self._waiting else self.position

    def take(self, form: Form) -> bytes | None:
        """A part of the snapshot, or the next transitions."""
        if self.snapshot is not None:
            part = taken(self.snapshot, SNAPSHOT)
            more = bool(self.snapshot)
            self.snapshot = self.snapshot if more else None
            fields = b'"cursor":%d,"alarms":[%b],"more":%b' % (self.cursor, joined(part), b"true" if more else b"false")
            return form.message("snapshot", fields, None if more else self.cursor)
        if not self._waiting:
            return None
        news = taken(self._waiting, AT_ONCE)
        LIVE_TRANSITIONS.inc(len(news))
        return form.each("transition", news)

    def recovered(self, form: Form) -> bytes:
        return form.message("recovered", b'"cursor":%d' % self.cursor, self.cursor)

    def heartbeat(self, form: Form) -> bytes:
        return form.heartbeat(self.cursor)


class AlarmFeed(Feed[AlarmMember]):
    """Reads transitions once for all listeners of an organization."""

    CHANNELS = ("biogate_alarms",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._last: int | None = None
        """All have been offered everything up to this transition."""

    async def _look(self, joining: list[AlarmMember]) -> None:
        fresh = [member for member in joining if member.after is None]
        resuming = [member for member in joining if member.after is not None]
        if resuming:
            fresh += await self._resume(resuming)
        while self._last is not None:
            news = await alerts.after(self._database, self._last, LOOKED_AT)
            if news:
                self._last = news[-1].number
                for member in self._members:
                    member.offer(news)
            if len(news) < LOOKED_AT:
                break
            await asyncio.sleep(self.PAUSE_S)  # who sends gets a turn
        if fresh:
            newest, standing = await alerts.standing(self._database)
            if self._last is None:
                self._last = newest
            for member in fresh:
                self._admit(member, newest, standing)

    async def _resume(self, resuming: list[AlarmMember]) -> list[AlarmMember]:
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

    def _admit(self, member: AlarmMember, position: int, standing: list[Told] | None) -> None:
        if not member.admitted.done():  # it may have left meanwhile
            self._members.add(member)
            member.begin(position, standing)
