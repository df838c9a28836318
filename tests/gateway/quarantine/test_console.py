"""The quarantine's tool, as people run it: what is replayed, what is thrown away, and what is written down about it."""

from __future__ import annotations

import asyncio
import json
import os
import re
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgpack
import pytest

from deploy.stack.paths import BIOGATE
from gateway.errors import Rejected
from gateway.intake.registry import Registry
from gateway.intake.rejects import reject
from gateway.items import Item, Reject, moment
from gateway.runtime.database import Pool
from gateway.storage.write import Writer
from schema.reasons import Reason
from schema.topics import Kind, topic
from tests.gateway.material import NOW_MS, delivery, frames
from tests.gateway.operators.tool import Ran, Tool, ran_as
from tests.in_turn import in_turn
from tests.roles import forced

YEAR_MS = 365 * 86_400_000.0
NEW = "new-1"
"""A device that is not registered."""


@pytest.fixture
def tool(database_url: str) -> Tool:
    """`biogate quarantine …`."""

    async def run(*arguments: object) -> Ran:
        return await ran_as("deploy.command", "quarantine", *arguments, environment=environment(database_url))

    return run


def environment(database_url: str) -> dict[str, str]:
    return {**os.environ, "BIOGATE_DATABASE_URL": database_url, "COLUMNS": "200", "USER": "eva"}


async def start(database_url: str, *arguments: object) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(*BIOGATE, "quarantine", *map(str, arguments)),
        env=environment(database_url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def message(
    content: object,
    device: str = "r1",
    kind: Kind = Kind.TELEMETRY,
    reason: Reason = Reason.TOO_OLD,
    received_ms: float = NOW_MS,
) -> Reject:
    payload = content if isinstance(content, bytes) else msgpack.packb(content)
    return reject(delivery(payload, topic(device, kind), received_ms=received_ms), Rejected(reason, "as the test says"))


def frame(n: int, t: float = NOW_MS, **values: float) -> dict[str, Any]:
    return {"boot": 1, "seq": n, "t": t + n, "v": {"ph": 7.0 + n} | values}


async def rows(database: asyncpg.Connection) -> list[tuple[Any, ...]]:
    """(id, state, reason, payload is kept)."""
    found = await database.fetch(
        "select quarantine_id, state, reason, payload is not null as kept from quarantine order by quarantine_id"
    )
    return [tuple(row) for row in found]


async def states(database: asyncpg.Connection) -> list[str]:
    return [state for _, state, _, _ in await rows(database)]


async def totals(database: asyncpg.Connection, kind: str = "frame") -> tuple[int, ...]:
    return tuple(
        await database.fetchrow(
            """select committed, duplicate, quarantined, discarded from intake_totals
                where cell = 'replay' and kind = $1""",
            kind,
        )
    )


async def stored(database: asyncpg.Connection) -> list[tuple[int, datetime, datetime]]:
    return [tuple(row) for row in await database.fetch("select seq, time, received_at from frames order by seq")]


async def audit(database: asyncpg.Connection) -> list[tuple[str, str, str, str, dict[str, Any]]]:
    assert await database.fetch("select audit_faults()") == []
    found = await database.fetch("select who, action, subject, why, new from audit order by n")
    return [(*tuple(row)[:4], json.loads(row["new"])) for row in found]


async def test_messages_of_a_device_registered_later_are_replayed_and_counted(
    tool: Tool, writer: Writer, database: asyncpg.Connection
) -> None:
    received_ms = NOW_MS - 60 * 86_400_000  # long ago: what counts is how old it was then
    sent: list[Item] = [
        message(frame(n, received_ms), NEW, reason=Reason.UNKNOWN_DEVICE, received_ms=received_ms) for n in range(3)
    ]
    sent.append(message({"status": "online", "t": received_ms, "boot": 1}, NEW, Kind.STATUS, received_ms=received_ms))
    sent.append(message({"type": "x", "t": received_ms, "data": {"a": 1}}, NEW, Kind.EVENT, received_ms=received_ms))
    sent.append(message({"boot": 1, "ranges": [[7, 9]]}, NEW, Kind.BACKFILL_RESULT, received_ms=received_ms))
    await writer.write(sent)
    before = await tool("replay", "--device", NEW, "--why", "too early")
    assert before.out.count("still rejected 1: unknown-device") == 6
    assert await audit(database) == []

    await database.execute("insert into devices (name) values ($1)", NEW)
    ran = await tool("replay", "--device", NEW, "--why", "registered since")

    assert (ran.status, ran.out.count("committed 1")) == (0, 6), ran
    assert "6 stored, 0 rejected again" in ran.err
    assert await states(database) == ["replayed"] * 6
    assert await stored(database) == [(n, moment(received_ms + n), moment(received_ms)) for n in range(3)]
    assert await totals(database) == (3, 0, 0, 0)
    assert [await totals(database, kind) for kind in ("status", "event", "result")] == [(1, 0, 0, 0)] * 3
    assert [entry[:4] for entry in await audit(database)] == [
        ("eva", "quarantine.replay", f"quarantine/{n}", "registered since") for n in range(1, 7)
    ]
    received = await database.fetchrow("select received::text, lost::text from device_streams")
    assert tuple(received) == ("{[0,3)}", "{[7,10)}")


@pytest.mark.parametrize(("shift", "error_ms"), [("auto", 0), ("31536000", 500), ("-3600", 0)])
async def test_times_of_a_wrong_clock_are_shifted_and_the_receipt_stays(
    tool: Tool, writer: Writer, database: asyncpg.Connection, shift: str, error_ms: float
) -> None:
    """`error_ms`: by how much the shift is wrong."""
    shift_ms = -3_600_000.0 if shift == "-3600" else YEAR_MS
    wrong_ms = NOW_MS - shift_ms + error_ms
    block = {"boot": 1, "seq": 1, "t": [wrong_ms - 30, wrong_ms - 20], "ch": ["ph"], "v": [[1], [2]]}
    await writer.write(
        [
            message(frame(0, wrong_ms - 40)),
            message(block),
            message(frame(3, wrong_ms - 3)),
            message({"type": "x", "t": wrong_ms - 10, "data": {}, "boot": 1}, kind=Kind.EVENT),
            message({"status": "online", "t": wrong_ms - 10, "boot": 1}, kind=Kind.STATUS),
        ]
    )
    ran = await tool("replay", "--reason", "too-old", "--shift", shift, "--why", "clock", "--who", "Änne")
    assert "5 stored, 0 rejected again" in ran.err, ran
    right = NOW_MS + error_ms
    times = [right - 40, right - 30, right - 20, right]
    assert await stored(database) == [(n, moment(t), moment(NOW_MS)) for n, t in enumerate(times)]
    assert await database.fetchval("select time from device_events") == moment(right - 10)
    assert await database.fetchval("select time from statuses") == moment(right - 10)
    who, _, _, why, new = (await audit(database))[0]
    assert (who, why) == ("Änne", "clock")
    assert new == {"state": "replayed", "committed": 1, "duplicate": 0, "rejected": 0, "shift_ms": shift_ms}
    original = await database.fetchrow("select payload, shift_ms from quarantine where quarantine_id = 1")
    assert (msgpack.unpackb(original["payload"])["t"], original["shift_ms"]) == (wrong_ms - 40, shift_ms)


@pytest.mark.parametrize("form", ["json", "msgpack"])
@pytest.mark.parametrize("shift", ["0", "auto"])
@pytest.mark.parametrize(("unit", "factor"), [("s", 1e-3), ("us", 1e3), ("ns", 1e6)])
async def test_times_in_another_unit_are_replayed_as_what_they_mean(
    tool: Tool, writer: Writer, database: asyncpg.Connection, unit: str, factor: float, shift: str, form: str
) -> None:
    def times(*milliseconds: float) -> list[int | float]:
        return [ms * factor if unit == "s" else round(ms * factor) for ms in milliseconds]

    async def sent(content: object, kind: Kind = Kind.TELEMETRY) -> None:
        payload = msgpack.packb(content) if form == "msgpack" else json.dumps(content).encode()
        wrong = Rejected(Reason.TOO_OLD, "as the test says")
        await writer.write([reject(delivery(payload, topic("r1", kind), received_ms=NOW_MS), wrong)])

    await sent({"boot": 1, "seq": 0, "t": times(NOW_MS)[0], "v": {"ph": 7.0}})
    await sent({"boot": 1, "seq": 1, "t": times(NOW_MS - 2000, NOW_MS - 1000), "ch": ["ph"], "v": [[1], [2]]})
    await sent({"type": "x", "t": times(NOW_MS)[0], "boot": 1}, Kind.EVENT)
    ran = await tool("replay", "--device", "r1", "--unit", unit, "--shift", shift, "--why", "unit")
    assert "3 stored, 0 rejected again" in ran.err, ran
    assert [row[1] for row in await stored(database)] == [moment(NOW_MS - ms) for ms in (0, 2000, 1000)]
    assert await database.fetchval("select time from device_events") == moment(NOW_MS)
    assert [entry[4]["unit"] for entry in await audit(database)] == [unit] * 3


async def test_an_automatic_shift_is_one_for_a_boot_and_holds_when_more_arrives(
    tool: Tool, writer: Writer, database: asyncpg.Connection
) -> None:
    """After a power-up the clock of 1970; the messages came in a burst, as after an outage."""
    for boot, delay_ms, count in ((1, 5000.0, 3), (2, 100.0, 3), (1, 20.0, 3)):
        first = await database.fetchval("select count(*) from quarantine")
        await writer.write(
            [
                message(frame(n, 0.0) | {"boot": boot}, received_ms=NOW_MS + delay_ms)
                for n in range(first, first + count)
            ]
        )
        if boot == 1 and delay_ms > 1000:  # a replay that stored and was killed before it could say so
            await tool("replay", "--device", "r1", "--shift", "auto", "--why", "clock")
            await forced(database, "update quarantine set state = 'open', settled_at = null")
    ran = await tool("replay", "--device", "r1", "--shift", "auto", "--why", "clock")
    assert "9 stored, 0 rejected again" in ran.err, ran
    shifts = {boot: NOW_MS + delay - newest for boot, delay, newest in ((1, 5000.0, 2), (2, 100.0, 5))}
    boots = [1, 1, 1, 2, 2, 2, 1, 1, 1]
    assert [time for _, time, _ in await stored(database)] == [moment(n + shifts[boot]) for n, boot in enumerate(boots)]
    assert (await totals(database))[:2] == (9, 3)


async def test_what_is_rejected_again_stays_as_it_is_and_says_why(
    tool: Tool, writer: Writer, registry: Registry, database: asyncpg.Connection
) -> None:
    await writer.write([*await frames(registry, "r1", (NOW_MS, {"ph": 1.0}))])
    await database.execute("alter table frames add check (values[1] <> 666)")
    await writer.write(
        [
            message(b"\xc1"),
            message({"t": NOW_MS, "v": {"ph": 2.0}, "boot": 1, "seq": 0}),
            message({"t": NOW_MS + 1, "v": {"ph": 666.0}}),
            message({"t": NOW_MS - YEAR_MS, "v": {"ph": 1.0}}, reason=Reason.UNKNOWN_DEVICE),
            message(b"", reason=Reason.MALFORMED_PACKET),
            message({"t": float("nan"), "v": {"ph": 1.0}}),
        ]
    )
    before = await rows(database)
    ran = await tool("replay", *range(1, 7), "--why", "try")
    said = [line.split("\t")[1] for line in ran.out.splitlines()]
    for text, reason in zip(
        said, ("malformed", "conflict", "refused", "too-old", "malformed-packet", "wrong-type"), strict=True
    ):
        assert text.startswith(f"still rejected 1: {reason}: "), said
    assert await rows(database) == before
    assert await totals(database) == (0, 0, 0, 0)
    assert await audit(database) == []
    assert await database.fetchval("select count(*) from frames") == 1


async def test_a_message_of_which_only_a_part_can_be_stored_stays_open(
    tool: Tool, writer: Writer, database: asyncpg.Connection
) -> None:
    times = [NOW_MS, NOW_MS + 1, NOW_MS - YEAR_MS]
    await writer.write([message({"t": times, "v": [[1], [2], [3]], "ch": ["ph"], "boot": 1, "seq": 0})])
    for count in ("committed 2", "duplicate 2"):
        ran = await tool("replay", 1, "--why", "try")
        assert f"{count}, still rejected 1: too-old" in ran.out
        assert "0 stored, 1 rejected again" in ran.err
    assert await rows(database) == [(1, "open", "too-old", True)]
    assert await totals(database) == (2, 2, 0, 0)
    assert [entry[4]["state"] for entry in await audit(database)] == ["open", "open"]


async def test_a_replay_that_is_killed_is_done_again_and_nothing_is_stored_twice(
    tool: Tool, pool: Pool, writer: Writer, database: asyncpg.Connection, database_url: str
) -> None:
    await writer.write([message(frame(n)) for n in range(400)])
    for count in (20, 150):
        process = await start(database_url, "replay", "--device", "r1", "--why", "killed")
        while await pool.fetchval("select count(*) from frames") < count:
            await asyncio.sleep(0.002)
        process.kill()
        await process.communicate()
    ran = await tool("replay", "--device", "r1", "--why", "again")
    assert "0 rejected again" in ran.err
    assert await states(database) == ["replayed"] * 400
    assert [seq for seq, _, _ in await stored(database)] == list(range(400))
    committed, duplicate, _, _ = await totals(database)
    assert committed == 400
    assert duplicate <= 200
    assert len(await audit(database)) == 400
    assert (await tool("replay", "--device", "r1", "--why", "once more")).out == ""


async def test_two_people_do_not_settle_the_same(tool: Tool, writer: Writer, database: asyncpg.Connection) -> None:
    await writer.write([message(frame(n)) for n in range(250)])
    ran = await asyncio.gather(
        *(tool(*words, "--device", "r1", "--why", "both") for words in (["replay"], ["replay"], ["discard"]))
    )
    settled = [line.split("\t")[0] for one in ran for line in one.out.splitlines()]
    assert sorted(map(int, settled)) == list(range(1, 251))
    assert len(await audit(database)) == 250
    kept = await database.fetch("select payload is not null as kept, state from quarantine")
    assert all(row["kept"] == (row["state"] == "replayed") for row in kept)


async def test_discarded_bytes_go_and_hash_reason_and_audit_stay(
    tool: Tool, writer: Writer, database: asyncpg.Connection
) -> None:
    await writer.write([message(b"poison" * n, f"r{n % 2}", reason=Reason.MALFORMED) for n in range(1, 7)])
    hashes = [row["sha256"] for row in await database.fetch("select sha256 from quarantine order by quarantine_id")]

    dry = await tool("discard", "--device", "r1", "--why", "junk", "--dry-run")
    assert dry.out.count("would be discarded") == 3
    assert await states(database) == ["open"] * 6

    ran = await tool("discard", "--device", "r1", "--limit", 2, "--why", "junk")
    assert (ran.status, ran.out) == (0, "1\tdiscarded\n3\tdiscarded\n")
    assert await states(database) == ["discarded", "open", "discarded", "open", "open", "open"]
    gone = await database.fetchrow("select payload, bytes, sha256, reason from quarantine where quarantine_id = 3")
    assert tuple(gone) == (None, 18, hashes[2], "malformed")
    assert await database.fetchval("select rows from quarantine_usage where device is null") == 4
    first = await database.fetchrow("select old, new, why, login from audit order by n limit 1")
    assert json.loads(first["old"]) == {
        "state": "open", "device": "r1", "reason": "malformed", "bytes": 6, "sha256": hashes[0].hex()
    }  # fmt: skip
    assert (json.loads(first["new"]), first["why"], first["login"]) == ({"state": "discarded"}, "junk", "biogate")

    again = await tool("discard", 1, 2, 77, "--why", "junk")
    assert again.out == "2\tdiscarded\n"
    assert re.findall(r"^(\d+)\tnot open", again.err, re.MULTILINE) == ["1", "77"]
    assert len(await audit(database)) == 3


async def test_a_dry_replay_says_what_would_be_and_touches_nothing(
    tool: Tool, writer: Writer, database: asyncpg.Connection
) -> None:
    await writer.write([message(frame(0, never_seen=1.0)), message(frame(1, NOW_MS - YEAR_MS)), message(b"\xc1")])
    ran = await tool("replay", "--device", "r1", "--why", "look", "--dry-run")
    first, second, third = ran.out.splitlines()
    assert first == "1\twould be stored"
    assert second.startswith("2\tstill rejected 1: too-old")
    assert third.startswith("3\tstill rejected 1: malformed")
    assert await states(database) == ["open"] * 3
    assert await database.fetchval("select count(*) from channels where name = 'never_seen'") == 0
    assert await database.fetchval("select count(*) from frames") == 0


async def test_the_list_and_a_message_in_full(tool: Tool, writer: Writer, database: asyncpg.Connection) -> None:
    await writer.write(
        [
            message({"t": 1, "v": {"ph": 7.5}}, received_ms=NOW_MS - 60_000),
            message(b'{"t": "\x1b[2J"}', "r2", reason=Reason.WRONG_TYPE),
            message(b"\xc1\x00", "r2", reason=Reason.MALFORMED),
        ]
    )
    await database.execute(
        """insert into quarantine_overflow values
               ('main', 'r2', 'frame', 'malformed', 1234, 5, '', now(), '2026-11-20T07:45:00Z')"""
    )
    everything = await tool("list")
    fields = [line.split("\t") for line in everything.out.splitlines()]
    assert [(line[0], line[2], line[3], line[4]) for line in fields] == [
        ("3", "r2", "malformed", "2"),
        ("2", "r2", "wrong-type", "13"),
        ("1", "r1", "too-old", "19"),
    ]
    assert "1234 × frame, malformed, of r2; the last at 2026-11-20 07:45:00.000Z" in everything.err
    since = datetime.fromtimestamp(NOW_MS / 1000, UTC).isoformat()
    for options, ids in (
        (["--device", "r2"], ["3", "2"]),
        (["--reason", "too-old", "--reason", "malformed"], ["3", "1"]),
        (["--since", since], ["3", "2"]),
        (["--until", since], ["1"]),
        (["--limit", "1"], ["3"]),
        (["--state", "discarded"], []),
    ):
        assert [line.split("\t")[0] for line in (await tool("list", *options)).out.splitlines()] == ids, options

    await tool("discard", 3, "--why", "junk")
    shown = await tool("show", 1, 2, 3, 4)
    assert '{"t":1,"v":{"ph":7.5}}' in shown.out
    assert "\x1b" not in shown.out
    assert "2 bytes, not kept" in shown.out
    assert re.search(r"audit: +\S+ \S+ eva quarantine.discard: junk", shown.out)
    assert "4: no such message" in shown.err


@in_turn(
    ("arguments", "said"),
    [
        (["replay", "--why", "all"], "no messages chosen"),
        (["discard", "--why", "all"], "no messages chosen"),
        (["discard", "1"], "--why"),
        (["replay", "1", "--why", "x", "--shift", "soon"], "seconds, or auto"),
        (["replay", "1", "--why", "x", "--shift", "nan"], "seconds, or auto"),
        (["list", "--since", "yesterday"], "give ISO 8601"),
        (["list", "--reason", "ugly"], "too-old"),
    ],
)
async def test_what_is_not_meant_so_is_refused_with_a_word(tool: Tool, arguments: list[str], said: str) -> None:
    ran = await tool(*arguments)
    assert ran.status == 2
    assert said in ran.err


async def test_without_a_database_it_ends_with_a_word(tool: Tool, database: asyncpg.Connection) -> None:
    await database.execute("alter table quarantine rename to elsewhere")
    ran = await tool("list")
    assert ran.status == 1
    assert "the schema is not current: run biogate migrate" in ran.err
    assert "Traceback" not in ran.err
