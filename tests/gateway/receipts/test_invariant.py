"""The invariant of receipts: no receipt covers a frame that is neither stored, nor in quarantine, nor known as lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import msgpack
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from gateway.intake import decode
from gateway.intake.admit import Admission
from gateway.intake.registry import Registry
from gateway.items import Item
from gateway.receipts.holes import SeqRange
from gateway.receipts.streams import Streams, StreamState, join, without
from gateway.runtime.database import Pool
from gateway.storage.quota import Quota
from gateway.storage.write import Writer
from schema.topics import Kind, topic
from tests.conftest import Broker
from tests.gateway.material import DAY_MS, NOW_MS, admit, delivery, settings
from tests.gateway.receipts.test_receipts import QUICK
from tests.gateway.test_path import frame, now_ms, publish
from tests.processes import GatewayProcess, wait_until
from tests.roles import forced, settle

BOOT, OLD_MS = 3, NOW_MS - 31 * DAY_MS


def good(seq: int) -> dict[str, Any]:
    return {"boot": BOOT, "seq": seq, "t": NOW_MS + seq, "v": {"ph": 7.0}}


def block(seq: int, *times: float) -> dict[str, Any]:
    return {"boot": BOOT, "seq": seq, "ch": ["ph"], "t": [*times], "v": [[7.0]] * len(times)}


MAKERS: dict[str, Any] = {
    "good": good,
    "too-old": lambda seq: good(seq) | {"t": OLD_MS + seq},
    "conflict": lambda seq: good(seq) | {"v": {"ph": 8.0}},
    "wrong-type": lambda seq: good(seq) | {"v": {"ph": "seven"}},
    "bad-channel": lambda seq: good(seq) | {"v": {"\n": 1.0}},
    "block": lambda seq: block(seq, *(NOW_MS + seq + n for n in range(3))),
    "block-partly-old": lambda seq: block(seq, NOW_MS + seq, OLD_MS, NOW_MS + seq + 2),
    "block-of-wrong-shape": lambda seq: block(seq, NOW_MS, NOW_MS) | {"v": [[7.0]]},
    "without-a-number": lambda seq: {"t": OLD_MS - seq, "v": {"ph": 7.0}},
}
FRAMES = st.tuples(st.sampled_from([*MAKERS]), st.integers(0, 9))
LOST = st.tuples(st.just("lost"), st.integers(0, 9))
MESSAGES = st.lists(st.one_of(FRAMES, FRAMES, FRAMES, LOST), min_size=1, max_size=8)
BATCHES = st.lists(st.tuples(MESSAGES, st.booleans()), min_size=1, max_size=4)


async def kept(pool: Pool) -> set[int]:
    """The seqs of BOOT that are stored, in quarantine, or known as lost."""
    seqs = {row["seq"] for row in await pool.fetch("select seq from frames where boot = $1", BOOT)}
    for row in await pool.fetch("select payload, content_type from quarantine where state <> 'discarded'"):
        numbers = decode.numbers(row["payload"], row["content_type"])
        seqs |= set(range(numbers[1], numbers[2] + 1)) if numbers else set()
    lost = await pool.fetch("select unnest(lost) as lost from device_streams where boot = $1", BOOT)
    return seqs.union(*(range(row["lost"].lower, row["lost"].upper) for row in lost))


def covered(states: Sequence[StreamState]) -> set[int]:
    """The seqs of BOOT that receipts cover."""
    return {seq for state in states if state.receipt is not None for seq in range(state.receipt + 1)}


@examples(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], print_blob=True
)
@given(batches=BATCHES, rows=st.integers(0, 6))
async def test_no_receipt_covers_what_is_not_kept(
    pool: Pool, database: asyncpg.Connection, batches: list[tuple[list[tuple[str, int]], bool]], rows: int
) -> None:
    """Batches of right and wrong messages meet a quota of `rows`; after some of them the gateway dies unmerged."""
    await forced(database, "truncate frames, quarantine, quarantine_usage, quarantine_overflow, device_streams")
    registry = Registry(pool, max_channels=256, max_layouts=64)
    await registry.load()
    admission, streams = Admission(settings(), registry), Streams(pool)
    writer = Writer(pool, registry, {}, cell="main", chunk_ms=DAY_MS, max_chunks=32, keep=Quota(device_rows=rows).keep)
    for messages, dies in batches:
        items: list[Item] = []
        for name, seq in messages:
            kind = Kind.BACKFILL_RESULT if name == "lost" else Kind.HISTORY
            said = {"boot": BOOT, "ranges": [[seq, seq]]} if name == "lost" else MAKERS[name](seq)
            items += await admit(admission, registry, delivery(msgpack.packb(said), topic("r1", kind)))
        outcome = await writer.write(items)
        streams.note(items, outcome.unkept)
        if dies:
            streams = Streams(pool)
        assert covered(await streams.merge()) <= await kept(pool)


RANGES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)).map(lambda r: (r[0], r[0] + r[1])), max_size=6)


@given(ranges=RANGES, gone=RANGES)
def test_ranges_without_others_are_the_difference_of_their_seqs(ranges: list[SeqRange], gone: list[SeqRange]) -> None:
    def seqs(of: Sequence[SeqRange]) -> set[int]:
        return {seq for first, last in of for seq in range(first, last + 1)}

    assert seqs(without(ranges, gone)) == seqs(ranges) - seqs(gone)
    assert seqs(join(ranges)) == seqs(ranges)


@pytest.fixture
async def r1(gateway: GatewayProcess, database: asyncpg.Connection) -> None:
    await database.execute("insert into devices (name) values ('r1')")
    gateway.start(**QUICK, quarantine_rows=5)


async def test_a_device_keeps_the_frames_for_which_the_quarantine_has_no_room(
    r1: None, gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    """Its clock is 31 days behind. When the quarantine has room again the device is asked for the rest."""
    old = now_ms() - 31 * 86_400_000
    frames = [(topic("r1", Kind.HISTORY), msgpack.packb(frame(seq, old + seq))) for seq in range(12)]
    last = topic("r1", Kind.TELEMETRY), msgpack.packb(frame(12, now_ms()))
    await publish(broker, [*frames, last])
    gateway.settle(13)
    receipt = "select upper(r) - 1 from device_streams, unnest(received + lost) r where r @> 0::bigint"

    async def receipt_is(seq: int) -> None:
        async with asyncio.timeout(10):
            while await database.fetchval(receipt) != seq:
                await asyncio.sleep(0.02)

    await receipt_is(4)
    await asyncio.to_thread(wait_until, lambda: gateway.metrics()["biogate_missing_frames"] == 7, 10)
    await settle(database, "replayed")
    await publish(broker, frames[5:10])
    await receipt_is(9)
