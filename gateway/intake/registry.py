"""Caches the database's devices, channels and layouts, and interns new channels and layouts.

A frame is stored in the *first* layout of its device that has all the frame's channels. Layouts are only ever added at
the end of that list, so that the layout of a set of channels never changes, in this process or the next: a redelivered
frame finds the key it had. A set that no layout covers becomes a layout of its own, or, for a device that has had
EXACT_LAYOUTS of them, the union with all channels it ever sent: random subsets then end in a few wide layouts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import asyncpg
import numpy as np

from gateway.errors import Rejected
from gateway.items import Channels, Device, SlotMapping
from gateway.runtime.database import PoolConnection
from schema.channels import wrong_in_name
from schema.reasons import Reason
from schema.topics import is_device_name

EXACT_LAYOUTS = 8
CACHED_MAPPINGS = 512
"""Orders and subsets of channels remembered for a device; a device with more of them costs look-ups, not memory."""

INTERNING = 0x696E7465
"""Key of the advisory lock under which channels and layouts are inserted."""


def check_channels(channels: Channels, most: int) -> None:
    """Raises Rejected if a frame may not have these channels, of which `most` are allowed."""
    if not channels:
        raise Rejected(Reason.EMPTY, "the frame has no channels")
    if len(channels) > most:
        raise Rejected(Reason.TOO_MANY_CHANNELS, f"{len(channels)} channels in a frame, at most {most} allowed")
    if len(set(channels)) < len(channels):
        raise Rejected(Reason.BAD_CHANNEL, "a channel stands twice")
    for name in channels:
        if wrong := wrong_in_name(name):
            raise Rejected(Reason.BAD_CHANNEL, f"channel {name[:80]!r}: {wrong}")


class Registry:
    def __init__(self, pool: asyncpg.Pool, max_channels: int, max_layouts: int) -> None:
        self._pool = pool
        self._max_channels = max_channels
        self._max_layouts = max_layouts
        self._devices: dict[str, Device] = {}
        self._channel_ids: dict[str, int] = {}
        self._layouts: dict[int, tuple[int, ...]] = {}
        self._device_layouts: dict[int, list[int]] = {}
        self._mappings: dict[tuple[Channels, int], SlotMapping] = {}

    async def load(self) -> None:
        """Read all devices, channels and layouts, so that known ones cost nothing later."""
        async with self._pool.acquire() as connection:
            await self._load_devices(await connection.fetch("select device_id, name from devices"))
            for row in await connection.fetch("select name, channel_id from channels"):
                self._channel_ids[row["name"]] = row["channel_id"]
            await self._load_layouts(connection, None)

    def device(self, name: str) -> Device | None:
        """The device of this name, if the cache has it; `find` asks the database."""
        return self._devices.get(name)

    async def find(self, names: Iterable[str]) -> None:
        """Look for devices that were registered since: one query, however many names."""
        missing = [name for name in set(names) if name not in self._devices and is_device_name(name)]
        if missing:
            rows = await self._pool.fetch(
                "select device_id, name from devices where name = any($1)", missing, timeout=30
            )
            await self._load_devices(rows)

    async def map(self, wanted: Iterable[tuple[Device, Channels]]) -> None:
        """Put into `device.mappings` a mapping for each device and set of channels, or the reason why there is none."""
        new = {(device, channels) for device, channels in wanted if channels not in device.mappings}
        for device, count in Counter(device for device, _ in new).items():
            if len(device.mappings) + count > CACHED_MAPPINGS:
                device.mappings.clear()
        missing = []
        for device, channels in new:
            try:
                check_channels(channels, self._max_channels)
                device.mappings[channels] = self._first_cover(device, channels)
            except Rejected as rejected:
                device.mappings[channels] = rejected.anew()
            except KeyError:
                if len(self._device_layouts.get(device.device_id, ())) >= self._max_layouts:  # final: none is removed
                    device.mappings[channels] = self._too_many_layouts()
                else:
                    missing.append((device, channels))
        if missing:
            await self._intern(missing, exact=False)

    async def exact(
        self, wanted: Iterable[tuple[Device, Channels]]
    ) -> dict[tuple[Device, Channels], SlotMapping | Rejected]:
        """Mappings to layouts of exactly these channels, for frames whose key another frame has in the first layout,
        with other channels: a controller sends its channels in parts, with one time."""
        return await self._intern(list(set(wanted)), exact=True)

    def forget_newest(self) -> None:
        """Have the newest frame of each device read again: another gateway may have stored newer ones meanwhile."""
        for device in self._devices.values():
            device.newest = None

    # -- cache

    async def _load_devices(self, rows: list[asyncpg.Record]) -> None:
        for row in rows:
            self._devices.setdefault(row["name"], Device(row["device_id"], row["name"]))

    async def _load_layouts(self, connection: PoolConnection, device_ids: list[int] | None) -> None:
        rows = await connection.fetch(
            """select device_id, layout_id, channel_ids
                 from device_layouts join layouts using (layout_id)
                where $1::int[] is null or device_id = any($1)
                order by device_id, position""",
            device_ids,
        )
        for device_id in device_ids or ():
            self._device_layouts[device_id] = []
        unseen = set()
        for row in rows:
            if row["layout_id"] not in self._layouts:
                self._layouts[row["layout_id"]] = tuple(row["channel_ids"])
                unseen.update(row["channel_ids"])
            self._device_layouts.setdefault(row["device_id"], []).append(row["layout_id"])
        if device_ids is not None and unseen:  # another gateway made them, perhaps of channels not in the cache
            rows = await connection.fetch("select name, channel_id from channels where channel_id = any($1)", unseen)
            self._channel_ids.update((row["name"], row["channel_id"]) for row in rows)

    def _first_cover(self, device: Device, channels: Channels) -> SlotMapping:
        """The mapping to the device's first layout with all channels. Raises KeyError if it has none."""
        ids = {self._channel_ids[name] for name in channels}
        for layout_id in self._device_layouts.get(device.device_id, ()):
            if ids.issubset(self._layouts[layout_id]):
                return self._mapping(channels, layout_id)
        raise KeyError(channels)

    def _mapping(self, channels: Channels, layout_id: int) -> SlotMapping:
        known = self._mappings.get((channels, layout_id))
        if known is None:
            layout = self._layouts[layout_id]
            slots = np.array([layout.index(self._channel_ids[name]) for name in channels], dtype=np.intp)
            known = SlotMapping(channels, layout_id, len(layout), slots)
            if len(self._mappings) >= 100 * CACHED_MAPPINGS:
                self._mappings.clear()
            self._mappings[channels, layout_id] = known
        return known

    # -- interning

    async def _intern(
        self, wanted: list[tuple[Device, Channels]], *, exact: bool
    ) -> dict[tuple[Device, Channels], SlotMapping | Rejected]:
        """Find or make layouts in one transaction. It locks the devices: gateways agree on the order of layouts."""
        answers: dict[tuple[Device, Channels], SlotMapping | Rejected] = {}
        device_ids = sorted({device.device_id for device, _ in wanted})
        names = sorted({name for _, channels in wanted for name in channels} - self._channel_ids.keys())
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                await self._learn_channels(connection, names)
                await connection.execute(
                    "select from devices where device_id = any($1) order by device_id for update", device_ids
                )
                await self._load_layouts(connection, device_ids)
                for device, channels in wanted:
                    try:
                        answers[device, channels] = await self._assign(connection, device, channels, exact=exact)
                    except Rejected as rejected:
                        answers[device, channels] = rejected.anew()
        except BaseException:  # uncommitted rows must not stay in the cache
            for device_id in device_ids:
                self._device_layouts.pop(device_id, None)
            for name in names:
                self._channel_ids.pop(name, None)
            self._mappings.clear()  # a server that crashed may give the same ids to other layouts
            raise
        if not exact:
            for (device, channels), answer in answers.items():
                device.mappings[channels] = answer
        return answers

    async def _learn_channels(self, connection: PoolConnection, names: list[str]) -> None:
        """Load the ids of those of these channels that the database has."""
        if names:
            rows = await connection.fetch("select name, channel_id from channels where name = any($1)", names)
            self._channel_ids.update((row["name"], row["channel_id"]) for row in rows)

    async def _assign(
        self, connection: PoolConnection, device: Device, channels: Channels, *, exact: bool
    ) -> SlotMapping:
        layout_ids = self._device_layouts.setdefault(device.device_id, [])
        ids = {self._channel_ids[name] for name in channels if name in self._channel_ids}
        if len(ids) == len(channels):
            if exact:
                for layout_id in layout_ids:
                    if ids == set(self._layouts[layout_id]):
                        return self._mapping(channels, layout_id)
            else:
                try:
                    return self._first_cover(device, channels)
                except KeyError:
                    pass
        ever = ids.union(*(self._layouts[layout_id] for layout_id in layout_ids))
        different = len(ever) + len(channels) - len(ids)
        if different > self._max_channels:
            raise Rejected(
                Reason.TOO_MANY_CHANNELS,
                f"the device would have {different} different channels, at most {self._max_channels} allowed",
            )
        if len(layout_ids) >= self._max_layouts:
            raise self._too_many_layouts()
        # one gateway at a time inserts, or two could wait for each other's names
        await connection.execute("select pg_advisory_xact_lock($1)", INTERNING)
        # insert names only now: those of rejected frames would fill the table
        new = sorted(set(channels) - self._channel_ids.keys())
        if new:
            await connection.execute(
                "insert into channels (name) select unnest($1::text[]) on conflict (name) do nothing", new
            )
            await self._learn_channels(connection, new)
            ids = {self._channel_ids[name] for name in channels}
            ever |= ids
        if not exact and len(layout_ids) >= EXACT_LAYOUTS:
            ids = ever
        layout_id = await self._layout(connection, sorted(ids))
        await connection.execute(
            "insert into device_layouts (device_id, position, layout_id) values ($1, $2, $3)",
            device.device_id,
            len(layout_ids) + 1,
            layout_id,
        )
        layout_ids.append(layout_id)
        return self._mapping(channels, layout_id)

    def _too_many_layouts(self) -> Rejected:
        return Rejected(
            Reason.TOO_MANY_LAYOUTS, f"the device has {self._max_layouts} sets of channels, no more are allowed"
        )

    async def _layout(self, connection: PoolConnection, channel_ids: list[int]) -> int:
        """The id of the layout of exactly these channels, which is made if it is missing."""
        row: Any = None
        while row is None:
            row = await connection.fetchval("select layout_id from layouts where channel_ids = $1", channel_ids)
            if row is None:
                row = await connection.fetchval(
                    """insert into layouts (channel_ids) values ($1) on conflict (channel_ids) do nothing
                       returning layout_id""",
                    channel_ids,
                )
        self._layouts[row] = tuple(channel_ids)
        return int(row)
