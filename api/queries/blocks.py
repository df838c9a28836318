"""Blocks of samples of several channels of a device, stored and computed ones: what raw samples and files are made of,
and all samples of computed channels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime

import numpy as np

from api.database import Database
from api.queries import frames
from api.queries.deadline import Deadline
from api.queries.devices import Channel, Computed
from api.queries.frames import FrameBlock, Originals
from api.queries.selection import Selection
from api.series.computed import Computing, Shorts
from api.series.copied import NOT_SENT
from api.series.samples import Flags, Floats
from schema import times


async def blocks(
    database: Database,
    wanted: Selection,
    most_values: int,
    after: tuple[datetime, int] | None = None,
    deadline: Deadline | None = None,
) -> AsyncGenerator[FrameBlock, None]:
    """Yield all frames that can have a wanted sample, at most `most_values` stored values a block; or those after the
    key of a frame. A computed channel has its samples in the frames of its inputs. Raises TooLong."""
    plain = all(channel.computed is None for channel in wanted.channels)
    found = (
        frames.blocks(database, wanted, most_values, after)
        if plain
        else _computed(database, wanted, most_values, after)
    )
    async with aclosing(found):
        async for block in found:
            if deadline is not None:
                deadline.check()
            if len(block.times):
                yield block


async def _computed(
    database: Database, wanted: Selection, most_values: int, after: tuple[datetime, int] | None
) -> AsyncGenerator[FrameBlock, None]:
    """Yield also blocks without frames, while what lies before the time is read."""
    begin = wanted.begin if after is None else max(wanted.begin, after[0])
    stage = Stage(wanted, begin, after)
    read = replace(wanted, channels=stage.channels, begin=times.from_microseconds(stage.since), everything=True)
    held: FrameBlock | None = None
    async with aclosing(frames.blocks(database, read, most_values)) as found:
        async for block in found:
            ready, held = _cut(block if held is None else _joined(held, block))
            yield await asyncio.to_thread(stage.block, ready)
    if held is not None:
        yield await asyncio.to_thread(stage.block, held)


class Stage:
    """Makes blocks of wanted channels out of blocks of stored channels and of inputs."""

    def __init__(self, wanted: Selection, begin: datetime, after: tuple[datetime, int] | None) -> None:
        self._wanted = wanted
        self._begin = times.microseconds(begin)
        self._after = None if after is None else (times.microseconds(after[0]), after[1])
        self._sources: list[int | Source] = []
        channels: list[Channel] = []
        for channel in wanted.channels:
            if channel.computed is None:
                self._sources.append(len(channels))
                channels.append(channel)
            else:
                rows = slice(len(channels), len(channels) + len(channel.computed.inputs))
                self._sources.append(Source(channel, channel.computed, rows, self._begin))
                channels += channel.computed.inputs
        self.channels = tuple(channels)
        """What has to be read."""
        self.since = min(self._begin, *(one.since for one in self._sources if isinstance(one, Source)))
        """From when on, in µs."""

    def block(self, read: FrameBlock) -> FrameBlock:
        """Return the block of what is wanted, from the begin on."""
        assert read.qualities is not None
        values = np.empty((len(self._sources), len(read.times)))
        marks = np.empty(values.shape, np.int16)
        for number, one in enumerate(self._sources):
            if isinstance(one, Source):
                values[number], marks[number] = one.samples(read)
            else:
                values[number], marks[number] = read.values[one], read.qualities[one]
        qualities: Shorts | None = marks
        if not self._wanted.everything:
            values, qualities = np.where(marks == 0, values, np.nan), None
        present = ~np.isnan(values) if qualities is None else qualities != NOT_SENT
        whole = FrameBlock(self._wanted, read.times, read.layouts, values, qualities, present, self._originals(read))
        return whole.part(np.flatnonzero(self._kept(read)))

    def _originals(self, read: FrameBlock) -> Originals | None:
        """Return those of the stored channels; of what is computed there is none."""
        if read.originals is None:
            return None
        rows = [-1 if isinstance(one, Source) else one for one in self._sources]
        values, marks, numbers = read.originals
        own = np.array(rows)[:, np.newaxis] >= 0
        return Originals(values[rows], marks[rows], np.where(own, numbers[rows], 0))

    def _kept(self, read: FrameBlock) -> Flags:
        kept: Flags = read.times >= self._begin
        if self._after is not None:
            time, layout = self._after
            kept &= (read.times > time) | ((read.times == time) & (read.layouts > layout))
        return kept


class Source:
    """Where the samples of a computed channel come from: the rows of its inputs in what is read."""

    def __init__(self, channel: Channel, computed: Computed, rows: slice, begin: int) -> None:
        self._channel, self._computed, self._rows, self._begin = channel, computed, rows, begin
        self.since = computed.what.since(begin)
        """From when on frames count, in µs."""
        self._computing = Computing(computed.what)
        before = [at for at in computed.states if self.since <= at <= begin]
        if before:
            self.since = max(before)
            self._computing = computed.states[self.since].copy()

    def samples(self, read: FrameBlock) -> tuple[Floats, Shorts]:
        """Return values and qualities in the frames of a block."""
        assert read.qualities is not None
        first = int(np.searchsorted(read.times, self.since))
        values, marks = np.full(len(read.times), np.nan), np.full(len(read.times), NOT_SENT, np.int16)
        inputs = read.values[self._rows, first:], read.qualities[self._rows, first:]
        values[first:], marks[first:] = self._computing.add(read.times[first:], *inputs)
        if len(read.times) and read.times[-1] >= self._begin:
            self._computed.keep(int(read.times[-1]) + 1, self._computing)
        if self._channel.shown is not None:
            values, _ = self._channel.shown.converted(read.times, values)
            values = np.where(np.isfinite(values), values, np.nan)
        return values, marks


def _cut(block: FrameBlock) -> tuple[FrameBlock, FrameBlock]:
    """Return the block without its last instant, and the rest: that instant may have more frames."""
    at = int(np.searchsorted(block.times, block.times[-1]))
    return block.part(slice(0, at)), block.part(slice(at, None))


def _joined(first: FrameBlock, second: FrameBlock) -> FrameBlock:
    assert first.qualities is not None
    assert second.qualities is not None
    return replace(
        second,
        times=np.concatenate([first.times, second.times]),
        layouts=np.concatenate([first.layouts, second.layouts]),
        values=np.concatenate([first.values, second.values], axis=1),
        qualities=np.concatenate([first.qualities, second.qualities], axis=1),
        present=np.concatenate([first.present, second.present], axis=1),
        originals=first.originals and second.originals and first.originals.followed_by(second.originals),
    )
