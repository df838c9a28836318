"""The feed of what happens in an organization: the newest first, then whatever is new or has changed.

What happened has no common number, and comes late: an event has the time of its device. So a look reads the newest of
all kinds and tells what it has not seen so far.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from api.live.boards import CommitNotice
from api.live.forms import Form, joined, taken
from api.live.hub import Feed
from api.live.member import FeedMember
from api.queries import activity as queries
from api.queries.activity import ToldHappening
from schema import times

LOOKED_AT = 500
"""What one look reads: of more that happens between two looks the oldest is not told, and that is said."""
SNAPSHOT = 50
MOST_WAITING = 2_000
FRAMES = frozenset({"frame"})


@dataclass(frozen=True, slots=True)
class ActivityWishes:
    """What a client may and wants to be told; no devices are all."""

    kinds: frozenset[str]
    devices: frozenset[str] = frozenset()

    def fit(self, told: ToldHappening) -> bool:
        return told.kind in self.kinds and (not self.devices or told.device in self.devices)


class ActivityMember(FeedMember):
    """What is new waits for it in a queue, which is bounded."""

    def __init__(self, wishes: ActivityWishes) -> None:
        super().__init__()
        self._wishes = wishes
        self._waiting: deque[ToldHappening] = deque()
        self._is_begun = False
        self._has_gap = False

    def begin(self, newest: Sequence[ToldHappening]) -> None:
        """`newest`: what happened last, newest first."""
        fit = [told for told in newest if self._wishes.fit(told)]
        self._waiting.extend(fit[:SNAPSHOT])
        self.admit()

    def offer(self, new: Sequence[ToldHappening], *, gap: bool) -> None:
        """Queue what is new, oldest first; `gap`: there was more than that."""
        self._waiting.extend(told for told in new if self._wishes.fit(told))
        self._has_gap |= gap
        if len(self._waiting) > MOST_WAITING:
            self._waiting.clear()
            self.too_slow = True
        if self._waiting or gap:
            self.wake.set()

    def take(self, form: Form) -> bytes | None:
        if self._is_begun and not self._waiting and not self._has_gap:
            return None
        part = taken(self._waiting, MOST_WAITING)
        fields = b'"activity":[%b]' % joined(part)
        if not self._is_begun:
            self._is_begun = True
            return form.message("snapshot", b"%b,%b" % (_time(), fields))
        gap, self._has_gap = self._has_gap, False
        return form.message("activity", fields + (b',"gap":true' if gap else b""))

    def recovered(self, form: Form) -> bytes:
        return form.message("recovered", _time())

    def heartbeat(self, form: Form) -> bytes:
        return form.message("heartbeat", _time())


def _time() -> bytes:
    return b'"time":"%b"' % times.text(datetime.now(UTC)).encode()


class ActivityFeed(Feed[ActivityMember]):
    """Reads what happened once for all listeners of an organization."""

    CHANNELS = ("biogate_commits", "biogate_alarms", "biogate_commands", "biogate_enrollment", "biogate_accounts")
    PAUSE_S = 0.5

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._known: dict[str, bytes] | None = None
        """What was told, by its id."""

    def hear(self, said: str) -> None:
        """Frames alone are no news."""
        try:
            if msgspec.json.decode(said, type=CommitNotice).kinds <= FRAMES:
                return
        except msgspec.MsgspecError:
            pass  # another kind of notification
        self.wake.set()

    async def _look(self, joining: list[ActivityMember]) -> None:
        newest = await queries.newest(self._database, LOOKED_AT)
        if self._known is not None:
            new = [told for told in reversed(newest) if self._known.get(told.id) != told.json]
            gap = len(newest) == LOOKED_AT and newest[-1].id not in self._known
            if new:
                for member in self._members:
                    member.offer(new, gap=gap)
        self._known = {told.id: told.json for told in newest}
        for member in joining:
            if not member.admitted.done():
                self._members.add(member)
                member.begin(newest)
