"""What the quarantine keeps of a flood, and what it only counts; what the gateway does meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
import time

import asyncpg
import msgpack

from gateway.errors import Rejected
from gateway.intake.accounting import ItemCounts
from gateway.intake.admit import Admission
from gateway.intake.registry import Registry
from gateway.intake.rejects import reject
from gateway.items import Item, Reject, moment
from gateway.runtime.database import Pool
from gateway.storage.quota import OVERHEAD, Quota, chain
from gateway.storage.transaction import store
from gateway.storage.write import Writer
from schema.reasons import Reason
from tests.conftest import Broker
from tests.gateway.material import DAY_MS, NOW_MS, counts, delivery, settings, totals, until
from tests.gateway.steady import GoodDevice
from tests.locks import waits_at_a_lock
from tests.processes import GatewayProcess, wait_until
from tests.roles import drop_quarantined, settle


def poison(n: int, device: str | None = "r1", size: int = 0, reason: Reason = Reason.MALFORMED) -> Reject:
    """A message that is like no other."""
    topic = "elsewhere" if device is None else f"bioreactors/{device}/telemetry"
    return reject(delivery(b"%d" % n + bytes(size), topic), Rejected(reason, "not MessagePack"))


POISON, RATE = 30_000, 5000


def quota_writer(pool: Pool, registry: Registry, quota: Quota) -> Writer:
    return Writer(pool, registry, {}, cell="main", chunk_ms=DAY_MS, max_chunks=32, keep=quota.keep)


async def usage(database: asyncpg.Connection) -> dict[str | None, tuple[int, int]]:
    rows = await database.fetch("select device, rows, bytes from quarantine_usage where rows > 0")
    return {row["device"]: (row["rows"], row["bytes"]) for row in rows}


async def assert_usage_is_true(database: asyncpg.Connection) -> None:
    rows = await database.fetch(
        """select coalesce(device, '') as device, count(*) as rows, sum(weight)::bigint as bytes
             from quarantine where state = 'open' group by 1"""
    )
    true = {row["device"]: (row["rows"], row["bytes"]) for row in rows}
    whole = sum(count for count, _ in true.values()), sum(size for _, size in true.values())
    assert await usage(database) == true | ({None: whole} if true else {})


async def overflow(database: asyncpg.Connection) -> dict[tuple[str, str, str], tuple[int, int, bytes]]:
    rows = await database.fetch("select device, kind, reason, count, bytes, hash from quarantine_overflow")
    return {(row["device"], row["kind"], row["reason"]): (row["count"], row["bytes"], row["hash"]) for row in rows}


async def test_over_the_rows_of_a_device_count_hash_and_reason_stay(
    pool: Pool, registry: Registry, database: asyncpg.Connection
) -> None:
    writer = quota_writer(pool, registry, Quota(device_rows=3))
    sent = [poison(n) for n in range(10)]
    first = await writer.write(sent[:5])
    second = await writer.write([*sent[5:], poison(77, reason=Reason.TOO_OLD)])
    assert (counts(first), counts(second)) == ((0, 0, 3, 2), (0, 0, 0, 6))
    assert first.refused == {Reason.MALFORMED: 2}
    assert await totals(database) == (0, 0, 3, 8)
    hashes = [one.sha256 for one in sent[3:]]
    assert await overflow(database) == {
        ("r1", "frame", "malformed"): (7, 7, chain(bytes(32), hashes)),
        ("r1", "frame", "too-old"): (1, 2, hashlib.sha256(bytes(32) + poison(77).sha256).digest()),
    }
    await assert_usage_is_true(database)


async def test_over_the_bytes_of_a_device_the_bytes_go_and_others_are_kept(
    pool: Pool, registry: Registry, database: asyncpg.Connection
) -> None:
    writer = quota_writer(pool, registry, Quota(device_bytes=10_000))
    large = [poison(n, size=4000) for n in range(4)]
    outcome = await writer.write([*large, poison(9, size=10), poison(1, "r2", size=4000), poison(1, None)])
    assert counts(outcome) == (0, 0, 5, 2)
    used = await usage(database)
    assert used["r1"][1] <= 10_000
    assert set(used) == {"r1", "r2", "", None}
    await assert_usage_is_true(database)


async def test_the_weight_of_a_row_is_the_same_here_and_there(
    pool: Pool, registry: Registry, database: asyncpg.Connection
) -> None:
    odd = reject(
        delivery(b"\0" * 100, "bioreactors/r\ud800ä/telemetry", content_type="text/ü"),
        Rejected(Reason.MALFORMED, "ä" * 50 + "\0"),
    )
    size = await quota_writer(pool, registry, Quota()).write([odd])
    assert counts(size) == (0, 0, 1, 0)
    weight = await database.fetchval("select weight from quarantine")
    assert weight == OVERHEAD + 100 + len("bioreactors/r?ä/telemetry".encode()) + len("text/ü".encode()) + 103
    assert counts(await quota_writer(pool, registry, Quota(device_bytes=weight)).write([odd])) == (0, 1, 0, 0)
    await drop_quarantined(database)
    assert await usage(database) == {}
    assert counts(await quota_writer(pool, registry, Quota(device_bytes=weight - 1)).write([odd])) == (0, 0, 0, 1)
    assert counts(await quota_writer(pool, registry, Quota(device_bytes=weight)).write([odd])) == (0, 0, 1, 0)


async def test_a_kept_message_that_comes_again_is_a_duplicate_also_over_the_quota(
    pool: Pool, registry: Registry, database: asyncpg.Connection
) -> None:
    writer = quota_writer(pool, registry, Quota(device_rows=2))
    sent = [poison(n) for n in range(4)]
    await writer.write(sent)
    assert counts(await writer.write([*sent, *sent])) == (0, 4, 0, 4)
    assert await totals(database) == (0, 4, 2, 6)
    await assert_usage_is_true(database)


async def test_invented_names_fill_half_of_the_whole_and_share_a_line(
    pool: Pool, registry: Registry, database: asyncpg.Connection
) -> None:
    writer = quota_writer(pool, registry, Quota(total_bytes=100_000))
    invented: list[Item] = [poison(n, f"invented-{n}", reason=Reason.UNKNOWN_DEVICE) for n in range(1000)]
    outcome = await writer.write([*invented, poison(2, "invented-0", reason=Reason.UNKNOWN_DEVICE)])
    kept, refused = outcome.quarantined["frame"], outcome.discarded["frame"]
    assert (kept + refused, kept > 50) == (1001, True)
    assert 49_000 < (await usage(database))[None][1] <= 50_000
    found = await overflow(database)
    assert {key: count for key, (count, _, _) in found.items()} == {
        ("", "frame", "unknown-device"): refused - 1,
        ("invented-0", "frame", "unknown-device"): 1,
    }
    assert counts(await writer.write([poison(n, "r1") for n in range(1000)]))[3] > 900
    assert 99_000 < (await usage(database))[None][1] <= 100_000
    await assert_usage_is_true(database)


async def test_the_half_for_registered_devices_has_a_share_for_each_organization(
    pool: Pool, registry: Registry, database: asyncpg.Connection
) -> None:
    """A device each, or many: and an organization alone has all of it."""
    await database.execute(
        "insert into organizations (name, title) values ('alpha', 'A'), ('beta', 'B');"
        "update devices set organization_id = 2;"
        "insert into devices (name, organization_id) select 'a' || n, 2 from generate_series(1, 8) n"
    )
    writer = quota_writer(pool, registry, Quota(total_bytes=40_000))

    async def kept(devices: list[str], first: int) -> int:
        reason = Reason.UNKNOWN_DEVICE if devices == ["stranger"] else Reason.TOO_OLD
        sent: list[Item] = [poison(first + n, devices[n % len(devices)], 1000, reason) for n in range(20)]
        return counts(await writer.write(sent))[2]

    many = [f"a{n}" for n in range(1, 9)]
    only = sum([await kept(many, 100 * n) for n in range(3)])
    assert 24 <= only <= 26  # 1.5 kB each
    await drop_quarantined(database)
    await database.execute("insert into devices (name, organization_id) values ('b1', 3), ('m1', 1)")
    assert 12 <= await kept(many, 1000) + await kept(many, 1100) <= 13  # the half that is anybody's
    assert 3 <= await kept(["b1"], 2000) <= 5
    assert 3 <= await kept(["m1"], 3000) <= 5
    assert await kept(["stranger"], 4000) == await kept(many, 5000) == await kept(["b1"], 6000) == 0
    await assert_usage_is_true(database)


async def test_what_is_settled_or_deleted_makes_room(
    pool: Pool, registry: Registry, database: asyncpg.Connection
) -> None:
    writer = quota_writer(pool, registry, Quota(device_rows=4))
    await writer.write([poison(n) for n in range(4)])
    for change in (
        settle(database, "replayed", "payload = '0'"),
        settle(database, "discarded", "payload = '1'"),
        drop_quarantined(database, "payload = '2'"),
    ):
        await change
        await assert_usage_is_true(database)
    assert counts(await writer.write([poison(n) for n in range(10, 15)])) == (0, 0, 3, 2)
    await drop_quarantined(database)
    await assert_usage_is_true(database)


async def test_a_replayed_message_that_comes_again_is_a_duplicate_and_a_discarded_one_is_news(
    pool: Pool, registry: Registry, database: asyncpg.Connection
) -> None:
    writer = quota_writer(pool, registry, Quota())
    sent = [poison(1), poison(2)]
    await writer.write(sent)
    await settle(database, "replayed", "payload = '1'")
    await settle(database, "discarded", "payload = '2'")
    assert counts(await writer.write(sent)) == (0, 1, 1, 0)
    states = await database.fetch("select state, payload from quarantine order by quarantine_id")
    assert [tuple(row) for row in states] == [("replayed", b"1"), ("discarded", None), ("open", b"2")]


async def test_two_cells_that_store_the_same_message_count_it_once(
    pool: Pool, registry: Registry, database: asyncpg.Connection
) -> None:
    """The second waits for the first, and finds it stored."""
    await database.execute("insert into cells (cell, client_id) values ('other', 'x')")
    await database.execute("insert into intake_totals (cell, kind) values ('other', 'frame')")
    async with database.transaction():
        await database.execute(
            """insert into quarantine (received_at, topic, reason, detail, payload, sha256, cell)
               values (now(), 't', 'malformed', '', '1', $1, 'other')""",
            poison(1).sha256,
        )
        writing = asyncio.create_task(store(pool, registry, "main", [poison(1), poison(2)], conflicting=False))
        await until(lambda: waits_at_a_lock(pool))
    assert counts(await writing) == (0, 1, 1, 0)
    assert (await writing).reasons[Reason.MALFORMED] == 1


async def test_mutated_messages_without_end_leave_a_bounded_quarantine(
    pool: Pool, registry: Registry, database: asyncpg.Connection
) -> None:
    """100,000 of them; the bound is reached in the first tenth."""
    quota = Quota(device_bytes=2**21, device_rows=5000)
    writer = quota_writer(pool, registry, quota)
    admission = Admission(settings(), registry)
    await registry.find(["r1"])
    payload = msgpack.packb({"boot": 1, "seq": 1, "t": NOW_MS, "v": {f"c{n}": 37.5 + n for n in range(20)}})
    dice = random.Random(5)
    outcome, sizes = ItemCounts(), []
    for _ in range(25):
        batch: list[Item] = []
        for _ in range(4000):
            mutated = bytearray(payload)
            mutated[0] = 0xC1  # never used in MessagePack
            for _ in range(3):
                mutated[dice.randrange(1, len(mutated))] = dice.randrange(256)
            batch += admission.admit(delivery(bytes(mutated)))
        outcome += await writer.write(batch)
        sizes.append(await database.fetchval("select pg_total_relation_size('quarantine')"))
    assert outcome.quarantined["frame"] + outcome.discarded["frame"] + outcome.duplicate["frame"] == 100_000
    assert outcome.discarded["frame"] > 90_000
    assert (await usage(database))["r1"][1] <= quota.device_bytes
    assert sizes[-1] < sizes[3] + 2**17  # but for pages that vacuum adds
    assert sizes[-1] < 3 * quota.device_bytes
    await assert_usage_is_true(database)


async def test_a_flood_of_poison_neither_starves_the_others_nor_fills_the_disk(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    await database.execute("insert into devices (name) values ('mad'), ('good')")
    gateway.start(quarantine_bytes=2**20, quarantine_total_bytes=2**21)
    good = GoodDevice(broker.port)
    command = [sys.executable, "-m", "tests.gateway.poison", str(broker.port), "mad", str(POISON), str(RATE), "1"]
    flood = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    lags, begun = [], time.monotonic()
    while flood.returncode is None:
        await asyncio.sleep(0.05)
        newest = await database.fetchval(
            "select extract(epoch from max(time)) from frames join devices using (device_id) where name = 'good'"
        )
        if newest is not None:
            lags.append(time.time() - float(newest))
    assert flood.returncode == 0
    lasted = time.monotonic() - begun
    sent = good.stop()
    kinds = ("frame", "status", "event")
    wait_until(lambda: sum(gateway.account(kind)["received"] for kind in kinds) >= POISON + sent, 30)
    accounts = [gateway.settle(0, kind) for kind in kinds]

    stored = "select count(distinct seq) from frames join devices using (device_id) where name = 'good'"
    assert await database.fetchval(stored) == sent
    assert sorted(lags)[len(lags) // 2] < lasted * 0.45  # one who waits for the flood to pass waits for half of it
    assert sum(account["discarded"] for account in accounts) > POISON // 2
    assert (await usage(database))[None][1] <= 2**21
    await assert_usage_is_true(database)
    counted = await database.fetch("select kind, sum(count) as count from quarantine_overflow group by kind")
    durable = {kind: (await totals(database, kind))[3] for kind in kinds}
    assert {row["kind"]: row["count"] for row in counted} == durable
    assert durable == {kind: account["discarded"] for kind, account in zip(kinds, accounts, strict=True)}
    assert await database.fetchval("select pg_total_relation_size('quarantine')") < 2**23
    assert await database.fetchval("select count(*) from quarantine_overflow") < 50
    assert await database.fetchval("select count(*) from channels") < 33 + 256


async def test_what_is_not_kept_is_dated_from_the_first_to_the_last_whatever_comes_first(
    pool: Pool, registry: Registry, database: asyncpg.Connection
) -> None:
    writer = quota_writer(pool, registry, Quota(device_rows=0))
    for n in (5, 2, 9, 7):
        message = delivery(b"%d" % n, received_ms=NOW_MS + n)
        await writer.write([reject(message, Rejected(Reason.MALFORMED, "not MessagePack"))])
    row = await database.fetchrow("select first_at, last_at from quarantine_overflow")
    assert tuple(row) == (moment(NOW_MS + 2), moment(NOW_MS + 9))
