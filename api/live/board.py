"""The newest state of many devices, and what of it a client has not been told yet.

There is no queue: a board holds one slot a device, and a client nothing but the number of the change up to which it
knows all. So the latest wins by construction, and a slow client costs as much as a fast one. What is told is encoded
once for all clients that have been told the same and want the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from api.live.forms import MOST_BYTES

REMEMBERED = 256
"""Changes of a slot for which it is known how many updates there were."""
KEPT = 64
"""Messages that are kept for other clients until something changes."""


@dataclass(frozen=True, slots=True)
class Wants:
    """What a client wants to be told; an empty set is everything."""

    devices: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()


class Slot(ABC):
    """What holds now of one device."""

    is_there = True
    """False: a device that is there no more; who does not know it is not told."""

    def __init__(self) -> None:
        self.changed = 0
        """The number of its newest change on its board."""
        self._changes: list[int] = []
        self._updates: list[int] = []
        """How many updates there were up to each of the changes."""

    def count(self, change: int, updates: int) -> None:
        """Note that `updates` updates came with this change."""
        self.changed = change
        self._changes.append(change)
        self._updates.append((self._updates[-1] if self._updates else 0) + updates)
        if len(self._changes) > 2 * REMEMBERED:
            del self._changes[:REMEMBERED], self._updates[:REMEMBERED]

    def skipped(self, after: int) -> int:
        """Return how many updates after that change are not the newest one; at least, if that is long ago, or the news
        since then fills several messages."""
        known = bisect_right(self._changes, after)
        before = self._updates[known - 1] if known else self._updates[0] - 1
        return max(0, self._updates[-1] - before - 1)

    @abstractmethod
    def fields(self, channels: frozenset[str], after: int) -> bytes:
        """Return the fields of a JSON object, without its braces, for who knows all up to the change `after` (-1: who
        knows nothing)."""


@dataclass(frozen=True, slots=True)
class BoardPart:
    """What to tell a client."""

    devices: bytes
    """JSON objects, with commas between."""
    count: int
    position: int
    """The change up to which the client then knows all."""
    is_all: bool
    """Whether nothing is left of what the board holds."""


class Board:
    """Slots by the name of their device, those that have changed last at the end."""

    def __init__(self) -> None:
        self.version = 0
        """The number of the newest change."""
        self._slots: dict[str, Slot] = {}
        self._told: dict[tuple[int, Wants, bool], BoardPart] = {}

    def __contains__(self, device: str) -> bool:
        """Whether the device is there."""
        slot = self._slots.get(device)
        return slot is not None and slot.is_there

    def __iter__(self) -> Iterator[str]:
        return iter(self._slots)

    def put(self, device: str, slot: Slot, updates: int = 1) -> None:
        """Hold `slot`, new or changed, as the state of the device after so many updates."""
        self._slots.pop(device, None)
        self._slots[device] = slot
        self.version += 1
        slot.count(self.version, updates)
        self._told.clear()

    def drop(self, device: str) -> None:
        """Forget a device; nobody is told."""
        self._slots.pop(device, None)
        self._told.clear()

    def forget_told(self) -> None:
        """Encode anew what the next client is told: something of it has changed, which is no change to tell."""
        self._told.clear()

    def changed(self, after: int) -> list[str]:
        """Return the devices that have changed since the change `after`, newest first."""
        return [device for device, _ in self._changed(after)]

    def encode(self, devices: Iterable[str], channels: frozenset[str]) -> None:
        """Encode these slots ahead, for who knows all but their newest change."""
        for device in devices:
            slot = self._slots[device]
            slot.fields(channels, slot.changed - 1)

    def read(self, after: int, wants: Wants, *, whole: bool = False) -> BoardPart:
        """Return what has changed since the change `after`, oldest first, as far as one message goes; `whole`: for who
        does not know all devices yet."""
        part = self._told.get((after, wants, whole))
        if part is None:
            while len(self._told) >= KEPT:
                del self._told[next(iter(self._told))]
            part = self._told[after, wants, whole] = self._read(after, wants, whole)
        return part

    def _read(self, after: int, wants: Wants, whole: bool) -> BoardPart:
        told: list[bytes] = []
        size, position = 0, after
        for device, slot in reversed(list(self._changed(after))):
            if (wants.devices and device not in wants.devices) or (whole and not slot.is_there):
                continue
            if size > MOST_BYTES:
                return BoardPart(b",".join(told), len(told), position, False)
            fields = slot.fields(wants.channels, -1 if whole else after)
            skipped = 0 if whole else slot.skipped(after)
            told.append(b'{%b,"skipped":%d}' % (fields, skipped) if skipped else b"{%b}" % fields)
            size += len(told[-1])
            position = slot.changed
        return BoardPart(b",".join(told), len(told), self.version, True)

    def _changed(self, after: int) -> Iterator[tuple[str, Slot]]:
        """Yield slots that have changed since, newest first."""
        for device in reversed(self._slots):
            slot = self._slots[device]
            if slot.changed <= after:
                return
            yield device, slot
