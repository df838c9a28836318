"""No row of a page is lost, whatever layouts its frames have and in which order."""

from __future__ import annotations

import struct
from itertools import product

import numpy as np
import pytest

from api.series import copied

Frame = tuple[int, list[float], list[int] | None]
"""The layout_id, the values and the quality."""
KINDS: tuple[Frame, ...] = (
    (1, [1.5] * 8, None),
    (1, [2.5] * 8, [2] * 8),
    (2, [3.5], None),
    (2, [4.5], [1]),
)
"""Frames of a wide layout and of a narrow one, without quality and with."""


def page(frames: list[Frame]) -> bytes:
    """What COPY gives for these frames; their times are their places."""
    rows = (_row(time, *frame) for time, frame in enumerate(frames))
    return b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"".join(rows) + b"\xff\xff"


def _row(time: int, layout_id: int, values: list[float], quality: list[int] | None) -> bytes:
    head = struct.pack(">hiiiq", 4, 4, layout_id, 8, time - copied.EPOCH_US)
    rated = struct.pack(">i", -1) if quality is None else _array(quality, "h", 21)
    return head + _array(values, "d", 701) + rated


def _array(numbers: list[float] | list[int], kind: str, oid: int) -> bytes:
    element = struct.Struct(f">i{kind}")
    items = b"".join(element.pack(element.size - 4, number) for number in numbers)
    content = struct.pack(">iiiii", 1, 0, oid, len(numbers), 1) + items
    return struct.pack(">i", len(content)) + content


@pytest.mark.parametrize("count", range(1, 6))
def test_every_order_of_layouts_is_read_row_by_row(count: int) -> None:
    for frames in product(KINDS, repeat=count):
        found = copied.parse(page(list(frames)))
        assert found.times.tolist() == list(range(count)), frames
        assert found.layouts.tolist() == [layout_id for layout_id, _, _ in frames], frames
        for group in found.groups:
            own = np.arange(count)[group.at]
            assert [group.values[n].tolist() for n in range(len(own))] == [frames[place][1] for place in own]
            rated = [frames[place][2] for place in own if frames[place][2] is not None]
            assert group.quality.tolist() == rated, frames
