"""Numbers that are a fault of the device's counter: bounded, and given up by a person."""

from __future__ import annotations

import asyncio
import json
import os

import asyncpg
import msgpack
import pytest

from gateway.intake.registry import Registry
from gateway.items import Item
from gateway.receipts.holes import MOST_COUNTED, SeqRange
from gateway.receipts.streams import MOST_AHEAD, Streams
from gateway.runtime.database import Pool
from gateway.storage.write import Writer
from schema.messages import MOST_SEQ
from schema.topics import Kind
from tests.conftest import Broker
from tests.gateway.material import NOW_MS, admitted, frames
from tests.gateway.operators.tool import ran_as
from tests.gateway.test_path import frame, now_ms, publish, register
from tests.in_turn import in_turn
from tests.processes import GatewayProcess, wait_until


@pytest.mark.parametrize("first", [2**53 - 1, 2**53 - 2, 9_000_000_000_000_000])
async def test_one_lying_seq_counts_boundedly_and_a_person_can_give_its_hole_up(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection, database_url: str, first: int
) -> None:
    await register(database, "r1")
    gateway.start(receipt_interval_s=0.1, reorder_window_s=0.5, backfill_retry_s=1)
    t = now_ms()
    block = {"boot": 1, "seq": first, "ch": ["ph"], "t": [t + 10, t + 11, t + 12], "v": [[1], [2], [3]]}
    for message in (frame(0, t), frame(1, t + 1), block):
        await publish(broker, [("bioreactors/r1/telemetry", msgpack.packb(message))])
    fitting = min(3, MOST_SEQ + 1 - first)
    account = gateway.settle(5)
    assert (account["committed"], account["quarantined"]) == (2 + fitting, 3 - fitting)
    await asyncio.to_thread(wait_until, lambda: gateway.metrics()["biogate_missing_frames"] == MOST_COUNTED, 10)
    ran = await ran_as(
        "deploy.command",
        *("devices", "declare-lost", "r1", 1, 2, first - 1, "--why", "a fault in the counter", "--who", "eva"),
        environment={**os.environ, "BIOGATE_DATABASE_URL": database_url},
    )
    assert f"{first - 2} frames are lost" in ran.out, ran
    await asyncio.to_thread(wait_until, lambda: gateway.metrics()["biogate_missing_frames"] == 0, 10)
    receipt = "select upper(r) - 1 from device_streams, unnest(received + lost) r where r @> 0::bigint"
    assert await database.fetchval(receipt) == min(first + 2, MOST_SEQ)
    who, new = await database.fetchrow("select who, new::text from audit where action = 'device declare-lost'")
    assert (who, json.loads(new)) == ("eva", {"boot": 1, "first": 2, "last": first - 1, "frames": first - 2})


class Stored:
    """What is made of r1's messages of boot 1: stored, noted and merged."""

    def __init__(self, pool: Pool, registry: Registry, writer: Writer) -> None:
        self._pool, self._registry, self._writer, self._streams = pool, registry, writer, Streams(pool)

    async def frames(self, *seqs: int) -> tuple[int | None, list[SeqRange]]:
        """Frames arrive; the receipt and the holes then."""
        items: list[Item] = []
        for seq in seqs:
            items += await frames(self._registry, "r1", (NOW_MS + seq % 1000, {"ph": 7.0}), seq=seq)
        await self._settle(items)
        return await self.state()

    async def lost(self, kind: Kind, message: dict[str, object]) -> tuple[int, int]:
        """A device gives frames up; how many are lost for the first time, and how many devices are not believed."""
        items = await admitted(self._registry, kind, {"boot": 1} | message)
        outcome = await self._writer.write(items)
        self._streams.note(items)
        return outcome.lost, outcome.unbelieved

    async def oldest(self, oldest: int, t: float = 0) -> tuple[int, int]:
        return await self.lost(Kind.STATUS, {"status": "online", "t": NOW_MS + t, "oldest": oldest})

    async def state(self) -> tuple[int | None, list[SeqRange]]:
        [state] = await self._streams.merge()
        return state.receipt, state.holes

    async def ranges(self) -> str | None:
        found: str | None = await self._pool.fetchval("select lost::text from device_streams where boot = 1")
        return found

    async def _settle(self, items: list[Item]) -> None:
        await self._writer.write(items)
        self._streams.note(items)


@pytest.fixture
def stored(pool: Pool, registry: Registry, writer: Writer) -> Stored:
    return Stored(pool, registry, writer)


@pytest.mark.parametrize("above", [1, MOST_SEQ - MOST_AHEAD - 5])
async def test_an_oldest_far_above_all_that_has_arrived_loses_nothing(stored: Stored, above: int) -> None:
    """A fault in a counter: what is missing is asked for all the same, also what goes missing later."""
    assert await stored.frames(0, 1, 4) == (1, [(2, 3)])
    assert await stored.oldest(5 + MOST_AHEAD + above) == (0, 1)
    far = 5 + MOST_AHEAD + above - 1
    assert await stored.lost(Kind.BACKFILL_RESULT, {"ranges": [[2, 2], [far, far]]}) == (1, 1)
    assert await stored.frames(7) == (2, [(3, 3), (5, 6)])
    assert await stored.ranges() == "{[2,3)}"


async def test_a_receipt_ends_with_what_has_arrived_however_much_is_lost(stored: Stored) -> None:
    """Else a device that is wrong about its oldest frame would forget those that it has still to send."""
    assert await stored.oldest(MOST_AHEAD) == (MOST_AHEAD, 0)
    assert await stored.state() == (None, [])
    assert await stored.frames(0, 1) == (1, [])
    assert await stored.oldest(2 + MOST_AHEAD, t=1) == (2, 0)
    assert await stored.frames(3) == (3, [])


async def test_lost_frames_are_counted_once_and_what_has_arrived_is_not_lost(stored: Stored) -> None:
    await stored.frames(0, 2, 6)
    assert await stored.oldest(5) == (3, 0)
    assert await stored.oldest(6, t=1) == (1, 0)
    assert await stored.lost(Kind.BACKFILL_RESULT, {"ranges": [[0, 5], [3, 4]]}) == (0, 0)
    assert await stored.state() == (6, [])
    assert await stored.ranges() == "{[1,2),[3,6)}"


@in_turn(
    ("arguments", "said"),
    [
        (("nobody", 1, 2, 3), "there is no device nobody"),
        (("r1", 1, 3, 2), "FIRST is above LAST"),
        (("r1", 1, 0, 2**53), "LAST"),
        (("r1", 1, 0, MOST_AHEAD), "LAST is more than 10,000,000 above all that has arrived of boot 1"),
        (("r1", -1, 0, 2), "BOOT"),
        (("r1", 2**32, 0, 2), "BOOT"),
    ],
)
async def test_what_cannot_be_given_up_is_refused(
    pool: Pool, database_url: str, arguments: tuple[object, ...], said: str
) -> None:
    ran = await ran_as(
        "deploy.command",
        *("devices", "declare-lost", "--why", "x", "--", *arguments),
        environment={**os.environ, "BIOGATE_DATABASE_URL": database_url, "COLUMNS": "200"},
    )
    assert ran.status != 0
    assert said in ran.err
    assert await pool.fetchval("select count(*) from device_streams") == 0
