"""Simulates one controller, which numbers its frames and keeps each until a receipt of the gateway covers it.

It has no clock of its own: time is an argument.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from device_sim.commands import CommandHandler
from device_sim.frame_store import FrameStore
from device_sim.frames import Format, FrameBlock, SimulatedFrame
from device_sim.habits import DeviceCounts, Habits, happens
from device_sim.journal import Journal
from device_sim.latency import FrameProbe
from device_sim.outbox import DeviceLink, DeviceOutbox, OutboxMessage, Sort
from schema.messages import Backfill, Command, Receipt
from schema.topics import Kind

Message = TypeVar("Message")

RECEIPTS, BACKFILLS, COMMANDS = (
    msgspec.json.Decoder(Receipt), msgspec.json.Decoder(Backfill), msgspec.json.Decoder(Command)
)  # fmt: skip
"""Made once: a decoder costs as much as what it decodes."""
FIRMWARE = "biogate-sim 2"
HELD_BACK = 3
"""The late fault sends a frame after so many later ones."""


class SimulatedDevice:
    def __init__(
        self,
        name: str,
        boot: int,
        store: FrameStore,
        habits: Habits,
        counts: DeviceCounts,
        *,
        chance: random.Random,
        report: Callable[[str], None],
        journal: Journal | None = None,
        number: int = 0,
        commands: CommandHandler | None = None,
        probe: FrameProbe | None = None,
    ) -> None:
        """`report` takes a line for people; `number` is the device's number in the journal."""
        self.name, self.boot, self.store, self.number = name, boot, store, number
        self.outbox = DeviceOutbox(name, habits, counts, store, chance)
        self.outbox.probe = self.probe = probe
        self.commands = commands or CommandHandler(FIRMWARE)
        self.generation: int | None = None
        """The generation of the login with which the device is connected."""
        self.seq = 0
        self.clock = 0
        """The error (ms) of the device's clock. Frames and events show it; statuses do not."""
        self.off_until = 0.0
        """When (wall clock, ms) the device has power again; infinity: it waits for a name."""
        self.powered = True
        """Fault: whether there is power."""
        self.session = 0.0
        """When the current connection was begun, in ms."""
        self.lost = 0
        self._counts, self._chance = counts, chance
        self._report, self._journal = report, journal
        self._late: deque[int] = deque()
        self._held_back = -1
        self._losing = False
        self._distrusted: set[int] = set()

    @property
    def habits(self) -> Habits:
        return self.outbox.habits

    @property
    def has_name(self) -> bool:
        return self.off_until < math.inf

    # Producing

    def frame(
        self, time: float, values: Sequence[float], bad: tuple[int, int] | None = None, now: float | None = None
    ) -> None:
        """Number and keep a frame of the values shown at `time` (ms); NaN is no value; `bad` is (column, quality);
        `now` is the wall clock, by which latency is measured."""
        while self.store.total >= self.store.limit:
            self._lose()
        frame = SimulatedFrame(self.boot, self.seq, time + self.clock, values, bad)
        record = self.store.append(frame)
        if self._journal:
            self._journal.produced(self.number, record)
        self.seq += 1
        self._counts.produced += 1
        if self.probe and now is not None:
            self.probe.produced(frame.boot, frame.seq, now)
        if happens(self.habits.drop, self._chance):
            self._held_back = frame.seq
            self._counts.held_back += 1
        elif happens(self.habits.late, self._chance):
            self._late.append(frame.seq)
        else:
            self.outbox.live(frame)
        while self._late and self._late[0] + HELD_BACK <= frame.seq:
            self._send_again(self._late.popleft())

    def past(self, block: FrameBlock) -> None:
        """Number and keep frames of the past, which go out on the history topic. There must be room in the store."""
        records = self.store.append_block(self.boot, self.seq, block._replace(times=block.times + self.clock))
        if self._journal:
            size = self.store.record_size
            for begin in range(0, len(records), size):
                self._journal.produced(self.number, records[begin : begin + size])
        self.seq += len(block.times)
        self._counts.produced += len(block.times)

    def event(self, time: float, type_: str, data: Mapping[str, Any]) -> None:
        content = {"t": time + self.clock, "type": type_, "boot": self.boot, "data": data}
        self._counts.events_produced += 1
        self.outbox.note(OutboxMessage(Sort.EVENT, Kind.EVENT, self.habits.format.encode(content)))

    def finish(self) -> None:
        """Send all that waits, and in any case the last frame: nobody could know that it is missing."""
        self.outbox.finished = True
        while self._late:
            self._send_again(self._late.popleft())
        if 0 <= self._held_back == self.seq - 1:
            self._send_again(self._held_back)

    def _lose(self) -> None:
        boot, seq = self.store.drop_oldest()
        self._counts.lost += 1
        self.lost += 1
        if self._journal:
            self._journal.lost(self.number, boot, seq, seq)
        if not self._losing:
            self._report(f"{self.name}: store full, losing frames from boot {boot} seq {seq} on")
        self._losing = True

    def _send_again(self, seq: int) -> None:
        self.store.send_again(self.boot, seq, seq)

    # Connection and power

    def status(self, word: str, time: float, generation: int | None = None) -> bytes:
        """The content of a status message for the connection begun at `time` (ms), with a login of this generation."""
        oldest = self.store.oldest(self.boot)
        content = {"status": word, "t": time, "boot": self.boot, "firmware": FIRMWARE}
        content["oldest"] = self.seq if oldest is None else oldest
        if generation is not None:
            content["generation"] = generation
        return self.habits.format.encode(content)

    def connected(self, link: DeviceLink, begun: float, now: float) -> None:
        """Publish the online status, then send what waits."""
        self.session = begun
        self.outbox.connected(link, self.status("online", begun, self.generation))
        self.outbox.flush(now, self.clock)

    def disconnected(self) -> None:
        self._late.clear()
        self.outbox.disconnected()

    def sign_off(self, now: float) -> bool:
        """Publish the offline status, later than the connection's will, so that it wins; False if there is no room."""
        link = self.outbox.link
        if link is None or link.room == 0:
            return False
        self.outbox.status(self.status("offline", max(now, self.session + 1), self.generation))
        link.flush()
        return True

    def reboot(self, boot: int) -> None:
        """Lose the power, and with it all but the store; come up as `boot`."""
        self._late.clear()
        self.outbox.lose_power()
        self.commands.lose_power()
        self.boot, self.seq, self._held_back = boot, 0, -1
        self._counts.reboots += 1

    def join(self, name: str, boot: int) -> None:
        """Take the granted name, and begin to work."""
        self.name, self.boot, self.off_until = name, boot, 0.0
        self.outbox.rename(name)

    def lie(self, seq: int) -> None:
        """Fault: go on with this number in the same boot."""
        self.seq = seq

    def new_board(self) -> None:
        """Fault: come up with a new board, which counts its boots from 1 and has no frames."""
        self._counts.lost += self.store.total
        self.lost += self.store.total
        self.store.clear()
        self.reboot(1)

    def step_clock(self, offset: int) -> None:
        """Let the clock be off by `offset` ms."""
        self.clock = offset
        self._counts.clock_steps += 1
        if self._journal:
            self._journal.stepped(self.number, self.boot, self.seq, offset)

    # Messages from the gateway

    def receipt(self, payload: bytes, now: float) -> None:
        """Forget the frames that a receipt covers."""
        if (receipt := self._read(payload, RECEIPTS, "a receipt")) is None:
            return
        self._counts.receipts += 1
        for boot, last in receipt:
            if boot > self.boot or (boot == self.boot and last >= self.seq):
                self._distrust(boot, last)
                continue
            forgotten, unacknowledged = self.store.forget(boot, last)
            if forgotten:
                self._counts.receipted += forgotten
                self._counts.acknowledged += unacknowledged
                self.outbox.heard[boot] = now
                self._losing = False
                if self.probe:
                    self.probe.receipted(boot, last, now)

    def _distrust(self, boot: int, last: int) -> None:
        """Report, once a boot, a receipt of an earlier life with the same boot number: it covers no present frames."""
        if boot not in self._distrusted:
            self._report(
                f"{self.name}: a receipt covers frames that were not produced, boot {boot} seq {last}: ignored"
            )
            self._distrusted.add(boot)

    def backfill(self, payload: bytes, now: float) -> None:
        """Send the requested frames again, and report those that are gone; skip those that are still to come."""
        if (request := self._read(payload, BACKFILLS, "a backfill request")) is None:
            return
        self._counts.backfills += 1
        boot, missing = request.boot, []
        if boot > self.boot:
            self._report(f"{self.name}: a backfill request is for boot {boot}, which is still to come: ignored")
            return
        self.outbox.heard[boot] = now
        for first, last in request.ranges:
            end = min(last, self.seq - 1) if boot == self.boot else last
            if first <= end:
                self._counts.asked += end + 1 - first
                missing += self.store.missing(boot, first, end)
                self.store.send_again(boot, first, end)
        if missing:
            self._counts.unavailable += sum(last + 1 - first for first, last in missing)
            result = Format.JSON.encode({"boot": boot, "ranges": missing})
            if not any(note.payload == result for note in self.outbox.notes):
                self.outbox.note(OutboxMessage(Sort.RESULT, Kind.BACKFILL_RESULT, result))

    def command(self, payload: bytes, now: float) -> None:
        """Carry out or refuse a command, and send the result; a repeated command gets the same result."""
        if (command := self._read(payload, COMMANDS, "a command")) is None:
            return
        self._counts.commands += 1
        self._answer(self.commands.command(command, self.boot, now + self.clock))

    def _read(self, payload: bytes, decoder: msgspec.json.Decoder[Message], what: str) -> Message | None:
        try:
            return decoder.decode(payload)
        except msgspec.DecodeError as error:
            self._report(f"{self.name}: {what} cannot be read: {error}")
            return None

    def tick(self, now: float) -> None:
        """Send what is due at `now` (ms)."""
        self._answer(self.commands.tick(now + self.clock))
        self.outbox.tick(now, self.clock)

    def _answer(self, results: Sequence[Mapping[str, Any]]) -> None:
        for result in results:
            self.outbox.note(OutboxMessage(Sort.RESULT, Kind.COMMAND_RESULT, Format.JSON.encode(result)))
