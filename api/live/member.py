"""One who listens: what is still to be sent to them. Bounded: who does not keep up is told to come again."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from api.queries.alerts import Told

MOST_WAITING = 5_000
"""Transitions that wait for one client. They are shared: what waits costs 8 bytes each."""
MOST_BYTES = 256 * 1024
"""Of a message, with the last one in it beyond: libraries refuse more than 1 MiB if they are not told otherwise."""


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


class FeedMember:
    """Filled by its feed, emptied by whoever sends; neither waits for the other."""

    def __init__(self, wishes: Wishes, after: int | None) -> None:
        self.after = after
        """The transition up to which the client knows everything; None: nothing."""
        self.position = -1
        """The transition up to which everything was put in."""
        self.snapshot: deque[Told] | None = None
        """Alarms that are still to be sent, before anything else; None: no more of it."""
        self.trouble: str | None = None
        """Why nothing new can be told at the moment."""
        self.too_slow = False
        self.ended: str | None = None
        """Why there will be nothing more."""
        self.admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when it is known from where on it goes; or why it cannot be known."""
        self.wake = asyncio.Event()
        self._wishes = wishes
        self._waiting: deque[Told] = deque()

    def begin(self, position: int, snapshot: Sequence[Told] | None) -> None:
        """From this transition on, with the alarms that stood then if the client does not know them."""
        self.position = position
        if snapshot is not None:
            self.snapshot = deque(told for told in snapshot if self._wishes.fit(told))
        if not self.admitted.done():
            self.admitted.set_result(None)

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

    @property
    def waits(self) -> bool:
        return self.snapshot is not None or bool(self._waiting)

    def take(self, most: int) -> list[Told]:
        """Remove and return the next transitions, at most `most`."""
        return _taken(self._waiting, most)

    def take_snapshot(self, most: int) -> tuple[list[Told], bool] | None:
        """The next part of the snapshot, and whether there is more of it; None: there is none to be sent."""
        if self.snapshot is None:
            return None
        part = _taken(self.snapshot, most)
        if not self.snapshot:
            self.snapshot = None
        return part, self.snapshot is not None

    def disturb(self, trouble: str | None) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self.wake.set()

    def end(self, why: str) -> None:
        self.ended = self.ended or why
        self.wake.set()


def _taken(from_: deque[Told], most: int) -> list[Told]:
    taken: list[Told] = []
    size = 0
    while from_ and len(taken) < most and size < MOST_BYTES:
        taken.append(from_.popleft())
        size += len(taken[-1].json)
    return taken
