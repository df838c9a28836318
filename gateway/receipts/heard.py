"""Stores when each device was heard last: a device that sends is present, whatever its last status said."""

from __future__ import annotations

import time
from collections.abc import Sequence

from gateway.items import DeviceCommandResult, DeviceEvent, Item, LostFrames, by_type, moment
from gateway.runtime.database import Pool

EVERY_S = 20.0
"""Least time between two notes of a device: thousands of devices send each second."""

NOTE = """
insert into device_heard as h (device_id, heard_at) select * from unnest($1::int[], $2::timestamptz[])
    on conflict (device_id) do update set heard_at = greatest(h.heard_at, excluded.heard_at)"""


class Heard:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._received_ms: dict[int, float] = {}
        self._due: dict[int, float] = {}

    def note(self, items: Sequence[Item]) -> None:
        """Note the senders of settled items. A status tells nothing: the broker may have published it, as the will."""
        frames, _, events, lost, results, rejects = by_type(items)
        self._received_ms.update({frame.route.device.device_id: frame.received_ms for frame in frames})
        others: list[DeviceEvent | LostFrames | DeviceCommandResult] = [*events, *lost, *results]
        for item in others:
            self._received_ms[item.route.device.device_id] = item.received_ms
        for reject in rejects:
            if reject.numbers is not None:
                self._received_ms[reject.numbers[0].device_id] = reject.received_ms

    async def write(self) -> None:
        """Store what was noted of devices that are due."""
        now = time.monotonic()
        due = {device_id: ms for device_id, ms in self._received_ms.items() if self._due.get(device_id, now) <= now}
        if not due:
            return
        await self._pool.execute(NOTE, list(due), [moment(ms) for ms in due.values()])
        for device_id, ms in due.items():
            self._due[device_id] = now + EVERY_S
            if self._received_ms[device_id] == ms:
                del self._received_ms[device_id]
