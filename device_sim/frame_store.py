"""Keeps a device's frames until a receipt covers them: segments of its boots, oldest first, with a common bound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from device_sim.frames import FrameBlock, Packing, SimulatedFrame
from device_sim.segment import ACKNOWLEDGED, AGAIN, BUSY, CAPACITY, CUT, SENT, WAITING, Segment

Range = tuple[int, int]


class FrameStore:
    def __init__(self, packing: Packing, limit: int, directory: Path | None = None) -> None:
        """Take over the directory's frames; without one keep frames in memory. Raises ValueError on a damaged file."""
        self.limit = limit
        self.channels = packing.channels
        self._packing, self._directory = packing, directory
        self._segments = list(_load(directory)) if directory else []
        self.total = sum(map(len, self._segments))
        self.unacknowledged = sum(segment.unacknowledged for segment in self._segments)
        self._open: Segment | None = None

    @property
    def waiting(self) -> int:
        """Frames that wait to be sent on history."""
        return sum(segment.waiting for segment in self._segments)

    @property
    def boots(self) -> set[int]:
        return {segment.boot for segment in self._segments if segment}

    def oldest(self, boot: int) -> int | None:
        """The oldest seq of a boot that is kept."""
        return next((segment.oldest for segment in self._of(boot) if segment), None)

    def newest(self, boot: int) -> int | None:
        return max((segment.next - 1 for segment in self._of(boot) if segment), default=None)

    def append(self, frame: SimulatedFrame) -> bytes:
        """Keep a frame, the next of its boot; the caller holds it and will send it. Return its record."""
        segment = self._fitting(frame.boot, frame.seq)
        record = self._packing.pack(frame)
        segment.append(record, BUSY)
        self.total += 1
        self.unacknowledged += 1
        return record

    def append_block(self, boot: int, first: int, block: FrameBlock) -> bytes:
        """Keep frames, the next of their boot, to be sent on history. Return their records."""
        records, size, done = self._packing.pack_block(boot, first, block), self._packing.size, 0
        count = len(block.times)
        while done < count:
            segment = self._fitting(boot, first + done)
            part = min(count - done, CAPACITY - len(segment.states))
            segment.append(records[done * size : (done + part) * size], WAITING, part)
            done += part
        self.total += count
        self.unacknowledged += count
        return records

    @property
    def record_size(self) -> int:
        return self._packing.size

    def clear(self) -> None:
        """Forget all frames, as a board does that is new."""
        for segment in self._segments:
            self._forget(segment, segment.next)
        if self._open is not None:
            self._open.file.finish()
            self._open = None
        self._remove_empty()

    def drop_oldest(self) -> tuple[int, int]:
        """Drop the oldest frame; return its boot and seq. There must be one."""
        segment = next(segment for segment in self._segments if segment)
        lost = segment.boot, segment.oldest
        self._forget(segment, segment.oldest)
        self._remove_empty()
        return lost

    def forget(self, boot: int, last: int) -> tuple[int, int]:
        """Drop the frames up to `last`, which a receipt covers; return how many, and how many without a PUBACK."""
        pairs = [self._forget(segment, last) for segment in self._of(boot)]
        self._remove_empty()
        return sum(count for count, _ in pairs), sum(count for _, count in pairs)

    def acknowledge(self, boot: int, first: int, last: int) -> int:
        """Note a PUBACK for these frames; return for how many it was the first."""
        count = sum(segment.change(first, last, ACKNOWLEDGED) for segment in self._of(boot))
        self.unacknowledged -= count
        return count

    def send_again(self, boot: int, first: int, last: int) -> None:
        for segment in self._of(boot):
            segment.change(first, last, AGAIN)

    def release(self) -> None:
        """Release all held frames: those that were not PUBACKed are to be sent."""
        for segment in self._segments:
            if BUSY in segment.states:
                segment.change(segment.oldest, segment.next, CUT)

    def take(self, limit: int) -> tuple[list[SimulatedFrame], Sequence[str]]:
        """Take the oldest frames to send, of one boot and without a gap, with their channels; they count as sent."""
        for segment in self._segments:
            if run := segment.first_to_send(limit):
                segment.change(*run, SENT)
                return segment.read(*run), segment.packing.channels
        return [], ()

    def hold(self, boot: int, first: int, last: int) -> None:
        """Hold these frames: the caller will send them."""
        for segment in self._of(boot):
            segment.change(first, last, SENT)

    def newest_record(self) -> bytes | None:
        """The record of the newest frame, if it is still kept."""
        segment = next((segment for segment in reversed(self._segments) if segment), None)
        return self._packing.pack(segment.read(segment.next - 1, segment.next - 1)[0]) if segment else None

    def missing(self, boot: int, first: int, last: int) -> list[Range]:
        """The ranges of these seqs that are not kept."""
        missing = []
        for segment in self._of(boot):
            if segment and segment.oldest <= last and first < segment.next:
                if first < segment.oldest:
                    missing.append((first, segment.oldest - 1))
                first = segment.next
        return [*missing, (first, last)] if first <= last else missing

    def save(self) -> None:
        """Write the states of the frames to the disk."""
        for segment in self._segments:
            segment.save()

    def close(self) -> None:
        self.save()
        if self._open is not None:
            self._open.file.finish()
            self._open = None
        self._remove_empty()

    def _of(self, boot: int) -> Iterator[Segment]:
        return (segment for segment in self._segments if segment.boot == boot)

    def _fitting(self, boot: int, seq: int) -> Segment:
        """The open segment, if a frame with this number goes there, or a new one."""
        segment = self._open
        if segment is None or segment.full or segment.boot != boot or segment.next != seq:
            return self._roll(boot, seq)
        return segment

    def _roll(self, boot: int, seq: int) -> Segment:
        if self._open is not None:
            self._open.file.finish()
        if self._directory:
            self._directory.mkdir(parents=True, exist_ok=True)
        self._open = Segment.create(self._directory, self._packing, boot, seq)
        self._segments.append(self._open)
        self._remove_empty()
        return self._open

    def _forget(self, segment: Segment, last: int) -> tuple[int, int]:
        count, unacknowledged = segment.forget(last)
        self.total -= count
        self.unacknowledged -= unacknowledged
        return count, unacknowledged

    def _remove_empty(self) -> None:
        for segment in [segment for segment in self._segments if not segment and segment is not self._open]:
            segment.file.remove()
            self._segments.remove(segment)


def _load(directory: Path) -> Iterator[Segment]:
    for path in sorted(directory.glob("*.frames")):
        segment = Segment.load(path)
        if segment:
            yield segment
        else:
            path.unlink()
