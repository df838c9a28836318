"""Tells devices which frames are stored (receipts), and asks them for missing frames (backfill)."""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence

import msgspec
import structlog

from gateway import metrics
from gateway.broker.outbox import Outbox
from gateway.broker.window import IntakeWindow
from gateway.items import Item, NumberedFrames
from gateway.receipts.heard import Heard
from gateway.receipts.holes import Holes, Stream
from gateway.receipts.streams import Streams, StreamState
from gateway.runtime.database import Pool, Troubles, retry_until_it_works
from gateway.runtime.events import wait_at_most
from gateway.settings import Settings
from schema.messages import Backfill
from schema.topics import Down, topic

log = structlog.get_logger()

STREAMS_ASKED = 20
"""Streams in one round of backfill requests: history must leave room for live data."""
FRAMES_ASKED = 5000
"""Frames in one request."""
LONGEST_S = 10.0
"""Longest time that a device waits for a receipt, however many devices there are."""


class MergeRate:
    """Bounds how many streams are merged in an interval: a receipt a second for each of many devices were half of all
    messages. It is `per_s`, or more where any stream would wait longer than LONGEST_S."""

    def __init__(self, per_s: int, interval_s: float) -> None:
        self._per_s = per_s
        self._interval_s = interval_s
        self._lately: deque[int] = deque(maxlen=math.ceil(LONGEST_S / interval_s))
        """How many streams waited in each interval of the last LONGEST_S: the last of them must have had its turn."""

    def most(self, waiting: int) -> int:
        """The number of streams to merge in this interval, of `waiting` ones."""
        self._lately.append(waiting)
        return math.ceil(max(self._per_s, max(self._lately) / LONGEST_S) * self._interval_s)


class Receipts:
    """Puts receipts and backfill requests into `outbox`; `window` tells whether live data leave room for history."""

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        outbox: Outbox,
        window: IntakeWindow,
        troubles: Troubles,
        *,
        leading: asyncio.Event,
    ) -> None:
        self._interval_s = settings.receipt_interval_s
        self._rate = MergeRate(settings.receipts_per_s, settings.receipt_interval_s)
        self._shared = settings.shared_group is not None
        self._streams = Streams(pool)
        self._heard = Heard(pool)
        self._settings = settings
        self._leading = leading
        self._forget_holes()
        self._outbox = outbox
        self._window = window
        self._troubles = troubles
        self._published: dict[str, bytes] = {}
        self._names: dict[int, str] = {}
        self._look_back = False
        self._look_s = settings.timing.holes_s
        self._look_at = 0.0
        self._closed = asyncio.Event()

    def note(self, items: Sequence[Item], unkept: Sequence[NumberedFrames] = ()) -> None:
        """Note items that are settled; `unkept` are those of their frames that the quarantine had no room for."""
        self._streams.note(items, unkept)
        self._heard.note(items)

    def connected(self, session_present: bool) -> None:
        """Tell recent devices again after a connect. A broker that lost the session lost the retained receipts too."""
        if not session_present:
            self._published.clear()
        self._look_back = True

    def close(self) -> None:
        """Note no more items: `run` ends after the last receipts."""
        self._closed.set()

    async def run(self, publish: Callable[[], None]) -> None:
        """Merge noted seqs, tell and ask devices, and call `publish`, once an interval until `close`."""
        closing = False
        while not closing:
            await wait_at_most(self._interval_s, self._closed)
            closing = self._closed.is_set()
            if self._look_back:
                self._look_back = False
                self._tell(await retry_until_it_works(self._troubles, "read streams", self._streams.recent))
            most = None if closing else self._rate.most(self._streams.waiting)
            self._tell(await retry_until_it_works(self._troubles, "merge streams", self._streams.merge, most))
            for device_id in self._streams.returned():
                self._holes.ask_again(device_id, time.monotonic())
            await retry_until_it_works(self._troubles, "note who was heard", self._heard.write)
            if self._leading.is_set():
                await self._ask()
            else:
                self._forget_holes()
            publish()

    def _tell(self, states: list[StreamState]) -> None:
        now = time.monotonic()
        receipts: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for state in states:
            self._holes.update(state.stream, state.holes, now)
            self._names[state.stream[0]] = state.device
            if state.receipt is not None:
                receipts[state.stream[0]].append((state.stream[1], state.receipt))
        for device_id, receipt in receipts.items():
            device, payload = self._names[device_id], msgspec.json.encode(receipt)
            if self._published.get(device) != payload:
                self._published[device] = payload
                self._outbox.put(topic(device, Down.RECEIPT), payload, retain=True)
                metrics.RECEIPTS.inc()
                if self._shared:  # a receipt of another gateway that says more may be overwritten by this one
                    self._streams.look_again([device_id])

    async def _read(self, streams: list[Stream]) -> None:
        """Read the states of these streams' devices, and tell what has changed."""
        devices = {device_id for device_id, _ in streams}
        self._tell(await retry_until_it_works(self._troubles, "read streams", self._streams.states, devices, streams))

    def _forget_holes(self) -> None:
        """Another gateway asks for them, and tells of them. This one begins anew when it connects again."""
        self._holes = Holes(self._settings.reorder_window_s, self._settings.backfill_retry_s)
        for gauge in metrics.OF_HOLES:
            gauge.forget()

    async def _ask(self) -> None:
        now = time.monotonic()
        if now >= self._look_at:  # a person may have given up frames
            self._look_at = now + self._look_s
            await self._read(self._holes.streams)
        holes, frames = self._holes.declared(now)
        metrics.HOLES.set(holes)
        metrics.MISSING_FRAMES.set(frames)
        metrics.OLDEST_HOLE.set(self._holes.oldest_s(now))
        if self._window.bytes > self._window.max_bytes // 4:
            return  # live data have priority
        if waiting := self._holes.waiting(now, STREAMS_ASKED):
            # another gateway of a shared subscription, or of the device's new cell, may have received the frames
            await self._read(waiting)
        for (device_id, boot), ranges in self._holes.due(now, STREAMS_ASKED, FRAMES_ASKED):
            name = self._names[device_id]
            log.info("asked a device for missing frames", device=name, boot=boot, ranges=ranges[:10])
            request = msgspec.json.encode(Backfill(boot, ranges))
            self._outbox.put(topic(name, Down.BACKFILL), request, retain=False)
            metrics.BACKFILL_REQUESTS.inc()
