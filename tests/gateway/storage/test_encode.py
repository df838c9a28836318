"""Frames → COPY → the real table → asyncpg, against a plain model of what should be stored."""

from __future__ import annotations

import math
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.items import Frame, moment
from gateway.storage import encode
from gateway.storage.conflict import STAGE
from tests.gateway.material import mapping, route
from tests.roles import forced

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_US = 1_700_000_000_000_000
BAD = 1
COLUMNS = "time, device_id, layout_id, boot, seq, received_at, values, quality"

with_database = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

numbers = st.none() | st.floats() | st.sampled_from([0.0, -0.0, 5e-324, math.inf, -math.inf, math.nan, 1.7e308])
qualities = st.sampled_from([0, 0, 0, 1, 2, 32767])


@st.composite
def mappings(draw: st.DrawFn) -> Any:
    """Some channels of a layout, in any order."""
    width = draw(st.integers(1, 6))
    slots = draw(st.permutations(range(width)))[: draw(st.integers(1, width))]
    layout_id = draw(st.integers(1, 2**31 - 1))
    return mapping([f"c{slot}" for slot in slots], slots, width, layout_id)


@st.composite
def batches(draw: st.DrawFn) -> list[Frame]:
    """Frames of a few mappings mixed, each with a time of its own."""
    known = draw(st.lists(mappings(), min_size=1, max_size=4))
    plain = draw(st.booleans())  # nothing to be NULL, but for boot and seq
    times = draw(st.lists(st.integers(0, 10**9), unique=True, max_size=25))
    made = []
    for us in times:
        chosen = draw(st.sampled_from(known))
        width = len(chosen.channels)
        number = st.floats(allow_nan=False, allow_infinity=False) if plain else numbers
        values = draw(st.lists(number, min_size=width, max_size=width))
        rated = st.none() if plain else st.none() | st.lists(qualities, min_size=width, max_size=width)
        made.append(
            Frame(
                route(draw(st.integers(1, 2**31 - 1))),
                chosen,
                (FIRST_US + us) / 1000,
                draw(st.none() | st.integers(0, 2**32 - 1)),
                draw(st.none() | st.integers(0, 2**53 - 1)),
                (FIRST_US + draw(st.integers(0, 10**12))) / 1000,
                values if draw(st.booleans()) else tuple(values),
                draw(rated),
            )
        )
    return made


def bits(value: float | None) -> bytes | None:
    """Tells −0.0 from 0.0."""
    return None if value is None else struct.pack("d", value)


def stored(frame: Frame) -> tuple[object, ...]:
    """The row this frame should become."""
    width = frame.mapping.width
    values: list[float | None] = [None] * width
    quality: list[int | None] = [None] * width
    sent = frame.quality or [0] * len(frame.mapping.channels)
    for slot, value, rating in zip(frame.mapping.slots.tolist(), frame.values, sent, strict=True):
        usable = value is not None and math.isfinite(value)
        values[slot] = value if usable else None
        quality[slot] = rating if usable or rating else BAD
    all_good = all(rating in (None, 0) for rating in quality)
    return (
        EPOCH + timedelta(microseconds=round(frame.t * 1000)),
        frame.route.device.device_id,
        frame.mapping.layout_id,
        frame.boot,
        frame.seq,
        EPOCH + timedelta(microseconds=round(frame.received_ms * 1000)),
        [bits(value) for value in values],
        None if all_good else quality,
    )


def row(record: asyncpg.Record) -> tuple[object, ...]:
    return (*record[:6], [bits(value) for value in record["values"]], record["quality"])


@pytest.fixture
async def table(database: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """Rolled back in the end, as after each example."""
    async with database.transaction():
        yield database


async def copied(table: asyncpg.Connection, frames: list[Frame]) -> list[tuple[object, ...]]:
    await forced(table, "delete from frames")
    await table.copy_to_table("frames", source=encode.stream(frames), columns=encode.COLUMNS, format="binary")
    return [row(record) for record in await table.fetch(f"select {COLUMNS} from frames order by time")]


@with_database
@given(frames=batches())
async def test_every_frame_is_stored_as_the_model_says(table: asyncpg.Connection, frames: list[Frame]) -> None:
    frames.sort(key=lambda frame: frame.t)
    assert await copied(table, frames) == list(map(stored, frames))


@with_database
@given(frames=batches())
async def test_the_numbered_form_has_each_frame_under_its_index(table: asyncpg.Connection, frames: list[Frame]) -> None:
    await table.execute(STAGE)
    await table.execute("delete from stage")
    await table.copy_to_table(
        "stage",
        source=encode.stream(frames, numbered=True),
        columns=("n", *encode.COLUMNS),
        format="binary",
    )
    records = await table.fetch(f"select {COLUMNS}, n from stage order by n")
    assert [record["n"] for record in records] == list(range(len(frames)))
    assert [row(record) for record in records] == list(map(stored, frames))


def frame(t: float = FIRST_US / 1000, values: list[float | None] | None = None, **fields: Any) -> Frame:
    given = {"boot": 1, "seq": 0, "quality": None} | fields
    chosen = mapping(["a", "b", "c"], [0, 1, 2], 3)
    return Frame(route(1), chosen, t, received_ms=t, values=[1.0, 2.0, 3.0] if values is None else values, **given)


@pytest.mark.parametrize(
    ("values", "quality", "stored_values", "stored_quality"),
    [
        ([1, 2, 3], None, [1, 2, 3], None),
        ([1, 2, 3], [0, 0, 0], [1, 2, 3], None),
        ([1, None, 3], None, [1, None, 3], [0, 1, 0]),
        ([1, math.nan, math.inf], None, [1, None, None], [0, 1, 1]),
        ([None, None, None], None, [None, None, None], [1, 1, 1]),
        ([1, 2, 3], [0, 2, 0], [1, 2, 3], [0, 2, 0]),
        ([1, None, 3], [0, 2, 0], [1, None, 3], [0, 2, 0]),
        ([1, None, 3], [0, 0, 0], [1, None, 3], [0, 1, 0]),
    ],
)
async def test_what_is_no_number_is_null_and_not_good(
    table: asyncpg.Connection,
    values: list[float | None],
    quality: list[int] | None,
    stored_values: list[float | None],
    stored_quality: list[int] | None,
) -> None:
    await copied(table, [frame(values=values, quality=quality)])
    assert tuple(await table.fetchrow("select values, quality from frames")) == (stored_values, stored_quality)


async def test_a_wide_layout_and_a_narrow_frame_in_it(table: asyncpg.Connection) -> None:
    narrow = mapping(["x"], [1599], 1600)
    wide = mapping([f"c{i}" for i in range(1600)], range(1600), 1600)
    frames = [
        Frame(route(1), narrow, 1.7e12, 1, 1, 1.7e12, [4.5], None),
        Frame(route(1), wide, 1.7e12 + 1, 1, 2, 1.7e12, [float(i) for i in range(1600)], None),
    ]
    assert await copied(table, frames) == list(map(stored, frames))


async def test_nothing_is_copied_from_no_frames(table: asyncpg.Connection) -> None:
    assert await copied(table, []) == []


@given(t=st.floats(0, 4e12))
def test_a_time_is_the_same_microsecond_to_the_encoder_and_to_a_parameter(t: float) -> None:
    """The conflict path bounds its comparison by parameters: a microsecond off and it would miss a row."""
    encoded = int(encode.microseconds(np.array([t]))[0]) + encode.POSTGRES_EPOCH_US
    assert EPOCH + timedelta(microseconds=encoded) == moment(t)


@given(us=st.integers(0, 4_000_000_000_000_000))
def test_a_time_in_milliseconds_keeps_its_microseconds(us: int) -> None:
    assert moment(us / 1000) == EPOCH + timedelta(microseconds=us)
