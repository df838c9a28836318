"""The feed of devices' presence: online, offline, a new boot or firmware, and who has fallen silent."""

from __future__ import annotations

from typing import Any

import msgspec

from api.live.board import Slot
from api.live.boards import BoardFeed
from api.queries import device_status as queries
from api.shapes.device_status import LivePresence


class PresenceSlot(Slot):
    """How one device is doing."""

    def __init__(self) -> None:
        super().__init__()
        self._content: dict[str, Any] = {}

    def read(self, found: LivePresence) -> bool:
        """Take over what was found; return whether it is a change. That it was heard again is none."""
        content = msgspec.structs.asdict(found)
        was, self._content = self._content, content
        return {**content, "last_seen": None} != {**was, "last_seen": None}

    def fields(self, channels: frozenset[str], after: int) -> bytes:
        return msgspec.json.encode(self._content)[1:-1]


class PresenceFeed(BoardFeed):
    """Reads the presence of all watched devices at each status that is committed. That a device was heard again, or was
    shut out, no status tells: the look every few seconds does."""

    PAUSE_S = 0.1
    KINDS = frozenset({"status"})

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._slots: dict[str, PresenceSlot] = {}

    async def look_at_all(self) -> None:
        """There is nothing else to look at than what is looked at each time."""

    async def look_for_news(self) -> None:
        names = self.watched()
        found = await queries.presence(self._database, None if names is None else sorted(names))
        there = {one.device for one in found}
        self._slots = {device: slot for device, slot in self._slots.items() if device in there}
        self.lost(there)
        for one in found:
            slot = self._slots.setdefault(one.device, PresenceSlot())
            if slot.read(one) or one.device not in self.board:
                self.board.put(one.device, slot)
        self.board.forget_told()
