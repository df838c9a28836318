"""Feeds whose members are told the newest state of devices: a snapshot, then changes at a rate that each chooses."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec

from api.live.board import Board, Slot, Wants
from api.live.forms import Form
from api.live.hub import LOOK_S, Feed
from api.live.member import FeedMember
from api.metrics import LIVE_CHANGES, LIVE_DELAY
from schema import times

MOST_HZ = 10.0
SLACK = 0.1
"""Share of its pause by which a message may come early after one that came late: else a device that sends at the rate
of its client would be told later and later."""
NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class Gone(Slot):
    """A device that is there no more, for this organization."""

    is_there = False

    def __init__(self, device: str) -> None:
        super().__init__()
        self._fields = b'"device":%b,"gone":true' % msgspec.json.encode(device)

    def fields(self, channels: frozenset[str], after: int) -> bytes:
        return self._fields


class BoardMember(FeedMember):
    """Knows up to which change of the board its client has been told all it wants."""

    def __init__(self, wants: Wants, rate: float) -> None:
        """`rate`: the most messages a second."""
        super().__init__()
        self.wants = wants
        self._pause_s = 1 / min(rate, MOST_HZ)
        self.due_at = 0.0
        """When the next message may be sent, by the monotonic clock."""
        self._position = -1
        self._is_whole = False
        """Whether the snapshot has been sent."""
        self._feed: BoardFeed | None = None
        self.is_idle = False
        """Whether it knows all, and wants to be woken by news."""

    @property
    def alone(self) -> str | None:
        return next(iter(self.wants.devices)) if len(self.wants.devices) == 1 else None

    def begin(self, feed: BoardFeed) -> None:
        self._feed = feed
        self.admit()

    @property
    def rest_s(self) -> float:
        waits = self._feed is not None and self._position < self._feed.board.version
        return max(0.0, self.due_at - time.monotonic()) if waits else math.inf

    def take(self, form: Form) -> bytes | None:
        feed, now = self._feed, time.monotonic()
        assert feed is not None
        if not self._is_whole:
            return self._snapshot(feed, form)
        if self._position == feed.board.version:
            self.is_idle = True
            return None
        if now < self.due_at:
            return None
        part = feed.board.read(self._position, self.wants)
        self._position = part.position
        if not part.count:
            self.is_idle = True
            return None
        self.due_at = max(self.due_at, now - SLACK * self._pause_s) + self._pause_s
        LIVE_CHANGES.inc(part.count)
        return form.message("changes", b'"committed_until":"%b","changes":[%b]' % (feed.committed_until, part.devices))

    def _snapshot(self, feed: BoardFeed, form: Form) -> bytes:
        """The next part of it; the board may change between two parts, and what has changed comes at the end."""
        part = feed.board.read(self._position, self.wants, whole=True)
        self._position, self._is_whole = part.position, part.is_all
        unknown = msgspec.json.encode(sorted(name for name in self.wants.devices if name not in feed.board))
        return form.message(
            "snapshot",
            b'"time":"%b","committed_until":"%b","devices":[%b],"unknown":%b,"more":%b'
            % (_now(), feed.committed_until, part.devices, unknown, b"false" if part.is_all else b"true"),
        )

    def recovered(self, form: Form) -> bytes:
        return form.message("recovered", self._times())

    def heartbeat(self, form: Form) -> bytes:
        return form.message("heartbeat", self._times())

    def _times(self) -> bytes:
        assert self._feed is not None
        return b'"time":"%b","committed_until":"%b"' % (_now(), self._feed.committed_until)


def _now() -> bytes:
    return times.text(datetime.now(UTC)).encode()


class CommitNotice(msgspec.Struct):
    """What the gateway says of a commit by NOTIFY."""

    at: float
    """ms since 1970."""
    kinds: frozenset[str]


class BoardFeed(Feed[BoardMember]):
    """Reads the state of the devices that somebody watches, once for all who do."""

    CHANNELS = ("biogate_commits",)
    KINDS: ClassVar[frozenset[str]]
    """The kinds of committed items that can be news."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.board = Board()
        self.committed_until = times.text(NEVER).encode()
        """What was committed until then has been read."""
        self._watching: defaultdict[str | None, set[BoardMember]] = defaultdict(set)
        """The members that watch a device; None: all devices. To go through all of them at each look would cost more
        than all else."""
        self._wanted: Counter[frozenset[str]] = Counter()
        """How many of the members want these channels."""
        self._whole_at = 0.0
        """When to look at everything again."""
        self._notice_ms = 0.0
        """When the oldest commit was made that has been notified and not read yet; 0: there is none."""

    def hear(self, said: str) -> None:
        try:
            notice = msgspec.json.decode(said, type=CommitNotice)
        except msgspec.MsgspecError:  # not from a gateway of ours: whoever may write to the database can notify
            return
        if not self.KINDS.isdisjoint(notice.kinds):
            self._notice_ms = self._notice_ms or notice.at
            self.wake.set()

    def leave(self, member: BoardMember) -> None:
        if member in self._members:
            self._wanted -= Counter([member.wants.channels])
            for device in member.wants.devices or (None,):
                self._watching[device].discard(member)
                if not self._watching[device]:
                    del self._watching[device]
        super().leave(member)

    def watched(self) -> frozenset[str] | None:
        """Return the names of the devices that somebody watches; None: all."""
        wanted = [member.wants.devices for member in (*self._members, *self._joining)]
        return None if not all(wanted) else frozenset().union(*wanted)

    async def _look(self, joining: list[BoardMember]) -> None:
        now, notice_ms, self._notice_ms = time.monotonic(), self._notice_ms, 0.0
        begun, version = _now(), self.board.version
        for member in joining:
            if not member.admitted.done():
                self._enter(member)
        if joining or now >= self._whole_at:
            await self.look_at_all()
            self._whole_at = now + LOOK_S
        await self.look_for_news()
        self.committed_until = begun
        self._encode(version)
        if notice_ms and self.board.version > version:
            LIVE_DELAY.observe(max(0.0, time.time() - notice_ms / 1000))
        for member in joining:
            member.begin(self)

    def _enter(self, member: BoardMember) -> None:
        self._members.add(member)
        self._wanted[member.wants.channels] += 1
        for device in member.wants.devices or (None,):
            self._watching[device].add(member)

    def _encode(self, version: int) -> None:
        """Encode what has changed for those who wait for it, and wake them."""
        changed = self.board.changed(version)
        for device in (*changed, None) if changed else ():
            for member in self._watching.get(device, ()):
                if member.is_idle:
                    member.is_idle = False
                    member.wake.set_at(member.due_at)
        for channels in self._wanted:
            self.board.encode(changed, channels)

    def lost(self, known: Collection[str]) -> None:
        """Put up as gone what is on the board and not among `known`, if somebody still watches it."""
        watched = self.watched()
        for device in [device for device in self.board if device not in known]:
            if watched is not None and device not in watched:
                self.board.drop(device)
            elif device in self.board:
                self.board.put(device, Gone(device))

    @abstractmethod
    async def look_at_all(self) -> None:
        """Find which watched devices there are, and read those of which nothing is known yet."""

    @abstractmethod
    async def look_for_news(self) -> None:
        """Read what is new of the devices on the board."""
