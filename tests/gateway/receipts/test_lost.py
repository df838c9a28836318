"""Numbers that are a fault of the device's counter: bounded, and given up by a person."""

from __future__ import annotations

import asyncio
import json
import os

import asyncpg
import msgpack
import pytest

from gateway.receipts.holes import MOST_COUNTED
from gateway.runtime.database import Pool
from schema.messages import MOST_SEQ
from tests.conftest import Broker
from tests.gateway.operators.tool import ran_as
from tests.gateway.test_path import frame, now_ms, publish, register
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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nobody", 1, 2, 3), "there is no device nobody"),
        (("r1", 1, 3, 2), "FIRST is above LAST"),
        (("r1", 1, 0, 2**53), "LAST"),
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
