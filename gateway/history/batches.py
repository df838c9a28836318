"""Cuts the frames of a file into batches for the writer, always the same ones in the same order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from gateway.history.samples import FrameGroup

BLOCK_FRAMES = 500
"""Frames in a message: enough for few messages, and few to be looked at if it goes to quarantine whole."""


class HistoryBatch(NamedTuple):
    """Some messages, and the position in the file behind them, in frames."""

    groups: list[FrameGroup]
    payloads: list[bytes]
    end: int


def batches(
    groups: Iterable[FrameGroup], position: int, most_frames: int, chunk_ms: float, most_chunks: int
) -> Iterator[HistoryBatch]:
    """The frames from `position` on. A batch touches at most `most_chunks` chunks of the hypertable, so that the writer
    stores it in the order of the file."""
    chosen: list[FrameGroup] = []
    chunks: set[int] = set()
    block_frames = min(BLOCK_FRAMES, most_frames)
    at = frames = 0
    for group in groups:
        begin, at = max(0, position - at), at + len(group.times)
        for block, touched in _blocks(group.part(begin, len(group.times)), block_frames, chunk_ms, most_chunks):
            if chosen and (frames + len(block.times) > most_frames or len(chunks | touched) > most_chunks):
                yield _batch(chosen, position)
                position, chosen, chunks, frames = position + frames, [], set(), 0
            chosen.append(block)
            chunks |= touched
            frames += len(block.times)
    if chosen:
        yield _batch(chosen, position)


def _batch(groups: list[FrameGroup], position: int) -> HistoryBatch:
    end = position + sum(len(group.times) for group in groups)
    return HistoryBatch(groups, [group.payload() for group in groups], end)


def _blocks(
    group: FrameGroup, most_frames: int, chunk_ms: float, most_chunks: int
) -> Iterator[tuple[FrameGroup, set[int]]]:
    """The frames of a group in blocks, with the chunks that each touches."""
    begin = 0
    while begin < len(group.times):
        block = group.part(begin, begin + most_frames)
        numbers = block.times // int(chunk_ms * 1000)
        changes = np.concatenate(([0], np.flatnonzero(np.diff(numbers)) + 1))
        if len(changes) > most_chunks:  # times that go to and fro count more often than need be
            block = block.part(0, int(changes[most_chunks]))
            numbers = numbers[: len(block.times)]
        yield block, set(np.unique(numbers).tolist())
        begin += len(block.times)
