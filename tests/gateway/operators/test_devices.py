"""Operators look at devices and handshakes and decide about them, by command; everything is written down."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
from pathlib import Path

import asyncpg
import pytest

from deploy.stack.paths import BIOGATE
from gateway.enrollment import store
from schema.enrollment import fingerprint
from tests.gateway.operators.tool import SIGNED, Tool, cell, handshake, login_of, tool_for


@pytest.fixture
def tool(database_url: str) -> Tool:
    return tool_for(database_url)


async def audit(database: asyncpg.Connection) -> list[tuple[str, str, str, str]]:
    assert await database.fetch("select audit_faults()") == []
    return [tuple(row) for row in await database.fetch("select who, action, subject, why from audit order by n")]


async def state_of(database: asyncpg.Connection, txn: str) -> str:
    return str(await database.fetchval("select state from enrollments where txn = $1", txn))


async def test_devices_are_registered_once_and_that_is_written_down(tool: Tool, database: asyncpg.Connection) -> None:
    assert (await tool("register", "br-1", "br-2", "br-1")).out == "2 registered, 0 known already\n"
    assert (await tool("register", "br-1", "br-3", *SIGNED)).out == "1 registered, 1 known already\n"
    assert await audit(database) == [
        ("eva", "device register", "device/br-1", "by hand"),
        ("eva", "device register", "device/br-2", "by hand"),
        ("eva", "device register", "device/br-3", "as the test says"),
    ]
    assert (await tool("list")).rows == [
        ["DEVICE", "STATE", "SERIAL", "LOGINS", "PRESENCE"],
        *([name, "active", "-", "-", "never seen"] for name in ("br-1", "br-2", "br-3")),
    ]


async def test_columns_of_a_table_are_aligned_on_a_terminal(tool: Tool, database_url: str) -> None:
    await tool("register", "br-1", "br-10001", *SIGNED)
    seen = await on_a_terminal(database_url, "list")
    assert seen == [
        "DEVICE    STATE   SERIAL  LOGINS  PRESENCE",
        "br-1      active  -       -       never seen",
        "br-10001  active  -       -       never seen",
    ]


async def on_a_terminal(database_url: str, *arguments: str) -> list[str]:
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(*BIOGATE, "devices", *arguments),
        env={"PYTHONPATH": str(Path.cwd()), "BIOGATE_DATABASE_URL": database_url},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    await process.wait()
    os.close(theirs)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    return said.splitlines()


async def test_wrong_usage_is_told_and_ends_with_2(tool: Tool, database_url: str) -> None:
    for arguments, words in (
        (("register", "br/1"), "not a name: 'br/1'"),
        (("suspend", "br-1"), "--why"),
        (("suspend", "br-1", "--why", "  "), "is empty"),
        (("suspend", "br/1", *SIGNED), "'br/1' is not a name"),
        (("nonsense",), "nonsense"),
        (("approve", *SIGNED), "TXN|SERIAL"),
        (("approve", "S-1", "--device", "-", *SIGNED), "not a name"),
        (("import", "x.csv", "--quota", "-1", *SIGNED), "--quota"),
        (("claim-keys",), "--prefix and --count"),
        (("claim-keys", "--prefix", "sim-"), "--prefix and --count"),
        (("claim-keys", "S-1"), "BIOGATE_SECRETS_DIR is not set"),
    ):
        ran = await tool(*arguments)
        assert (ran.status, ran.out) == (2, ""), (arguments, ran)
        assert words in ran.err, (arguments, ran)
    ran = await tool_for(None)("list")
    words = "is not set; while `make up` runs: set -a; . .stack/env; set +a"
    assert (ran.status, ran.err) == (2, f"BIOGATE_DATABASE_URL: {words}\n")


async def test_what_cannot_be_done_is_told_and_ends_with_1(tool: Tool, database: asyncpg.Connection) -> None:
    await tool("register", "br-1")
    for arguments, words in (
        (("suspend", "br-9"), "there is no device br-9"),
        (("resume", "br-1"), "device br-1 is active: resume needs it to be suspended"),
        (("rotate", "br-1"), "has no login from a handshake"),
        (("block", "S-1"), "there is no serial S-1"),
        (("approve", "S-1"), "no handshake of S-1 awaits approval"),
        (("deny", "0" * 32), "no handshake of 000"),
        (("close",), "no gateway has run"),
        (("logout", "br-1.7"), "there is no login br-1.7"),
        (("login", "br-1"), "no gateway with BIOGATE_SECRETS_DIR has run"),
        (("import", "/nowhere.csv"), "/nowhere.csv cannot be read"),
    ):
        ran = await tool(*arguments, *SIGNED)
        assert (ran.status, ran.out) == (1, ""), (arguments, ran)
        assert words in ran.err, (arguments, ran)
    ran = await tool("show", "nobody")
    assert (ran.status, ran.err) == (1, "there is no device and no serial nobody\n")
    ran = await tool_for("postgresql://nobody@127.0.0.1:9/none")("list")
    assert ran.status == 1
    assert ran.err.startswith("database: ")


async def test_the_queue_shows_who_waits_and_approval_needs_the_same_fingerprint(
    tool: Tool, database: asyncpg.Connection
) -> None:
    txn, identity = await handshake(database, "S-1")
    other, _ = await handshake(database, "S-2", "challenged")
    mark = fingerprint(identity)
    ran = await tool("queue")
    [row] = ran.table
    assert row.pop("AGE").endswith(" s")
    assert row == {
        **{"SERIAL": "S-1", "FINGERPRINT": mark, "REASON": "unknown-serial", "HARDWARE": "rev C"},
        **{"FIRMWARE": "2.4\ufffd[31m1", "CHANNELS": "1", "TXN": txn},
    }
    assert ran.err == ""
    ran = await tool("approve", "S-1", "--fingerprint", "AAAA-BBBB-CCCC", *SIGNED)
    assert ran.status == 1
    assert ran.err == f"the fingerprint of S-1 is {mark}, not AAAABBBBCCCC: nothing was approved\n"
    assert await state_of(database, txn) == "awaiting"
    spoken = f"{mark[:4]} {mark[4:8]}-{mark[8:]}".lower()
    ran = await tool("approve", "S-1", "--device", "br-1", "--fingerprint", spoken, *SIGNED)
    assert (ran.status, ran.rows) == (0, [["approved: S-1", mark, txn]])
    assert await state_of(database, txn) == "approved"
    row = await database.fetchrow("select device, identity_key from serials where serial = 'S-1'")
    assert (row["device"], row["identity_key"]) == ("br-1", identity)
    assert (await audit(database))[-1] == ("eva", "enrollment approved", "serial/S-1", "as the test says")
    assert "is approved, it does not await approval" in (await tool("approve", txn, *SIGNED)).err
    assert (await tool("queue")).table == []
    assert await state_of(database, other) == "challenged"


async def test_a_controller_from_which_no_proof_comes_is_named(tool: Tool, database: asyncpg.Connection) -> None:
    for serial in ("S-1", "S-2"):
        await database.execute(store.REFUSED, "main", "no-proof", 3, [serial])
    ran = await tool("queue")
    assert ran.table == []
    hint = "no proof came; wrong claim key?"
    said = r"{}, \d+ s ago: " + re.escape(hint)
    for line, serial in zip(sorted(ran.err.splitlines()), ("S-1", "S-2"), strict=True):
        assert re.fullmatch(said.format(serial), line)
    await tool("import", "-", *SIGNED, text="serial\nS-1\nS-2\n")
    for serial in ("S-1", "S-2"):
        assert f"Z, {hint}" in (await tool("show", serial)).out
    await handshake(database, "S-2", "granted")  # it works now
    assert re.fullmatch(said.format("S-1"), (await tool("queue")).err.strip())
    assert hint not in (await tool("show", "S-2")).out


async def test_two_handshakes_of_a_serial_are_told_apart(tool: Tool, database: asyncpg.Connection) -> None:
    (first, one), (second, two) = [await handshake(database, "S-1") for _ in range(2)]
    ran = await tool("approve", "S-1", *SIGNED)
    assert ran.status == 1
    assert "2 handshakes of S-1 wait" in ran.err
    for words in (first, second, fingerprint(one), fingerprint(two)):
        assert words in ran.err
    assert (await tool("deny", first, *SIGNED)).rows == [["denied: S-1", fingerprint(one), first]]
    assert (await tool("approve", "S-1", *SIGNED)).status == 0
    assert [await state_of(database, txn) for txn in (first, second)] == ["rejected", "approved"]
    assert "is over" in (await tool("deny", first, *SIGNED)).err


async def test_a_name_is_given_once_and_kept(tool: Tool, database: asyncpg.Connection) -> None:
    await database.execute("insert into serials (serial, device) values ('S-1', 'br-1')")
    await handshake(database, "S-1")
    await handshake(database, "S-2")
    ran = await tool("approve", "S-1", "--device", "br-2", *SIGNED)
    assert (ran.status, ran.err) == (1, "serial S-1 has a name already, and keeps it\n")
    ran = await tool("approve", "S-2", "--device", "br-1", *SIGNED)
    assert (ran.status, ran.err) == (1, "that name is taken\n")
    assert (await tool("approve", "S-1", "--device", "br-1", *SIGNED)).status == 0


async def test_devices_are_suspended_resumed_rotated_and_retired(tool: Tool, database: asyncpg.Connection) -> None:
    await login_of(database, "br-1")
    await login_of(database, "br-2")
    await database.execute(
        "insert into serials (serial, device, identity_key, device_id)"
        " select 'S-1', name, sha256('key'), device_id from devices where name = 'br-1'"
    )

    async def now() -> list[tuple[str, str, str]]:
        rows = await database.fetch(
            "select d.name, state, wanted from devices d join credentials using (device_id) order by 1"
        )
        return [tuple(row) for row in rows]

    assert (await tool("suspend", "br-2", "br-9", "br-1", *SIGNED)).status == 1
    assert await now() == [("br-1", "active", "present"), ("br-2", "active", "present")]  # all or none
    assert (await tool("suspend", "br-2", "br-1", *SIGNED)).status == 0
    assert await now() == [("br-1", "suspended", "disabled"), ("br-2", "suspended", "disabled")]
    assert (await tool("resume", "br-1", *SIGNED)).rows == [["br-1: active again; its logins work"]]
    ran = await tool("rotate", "br-1", *SIGNED)
    assert ran.out == "br-1: asked to enroll again (logins below generation 2)\n"
    assert await database.fetchval("select renew from devices where name = 'br-1'") == 2
    assert (await tool("reset", "br-1", *SIGNED)).out == "br-1: its identity key is forgotten\n"
    assert await database.fetchval("select identity_key from serials") is None
    assert (await tool("retire", "br-1", *SIGNED)).out == (
        "br-1: retired; its logins are deleted, its serial is blocked\n"
    )
    assert (await tool("revoke", "br-2", *SIGNED)).out == "br-2: revoked; its logins are deleted\n"
    assert await now() == [("br-1", "retired", "absent"), ("br-2", "revoked", "absent")]
    assert await database.fetchval("select blocked from serials")
    assert (await tool("unblock", "S-1", *SIGNED)).out == "unblocked: S-1\n"
    assert not await database.fetchval("select blocked from serials")
    assert [event[1] for event in await audit(database)] == [
        *("device suspend", "device suspend", "device resume", "device rotate", "device reset", "device retire"),
        *("device revoke", "serial unblock"),
    ]


async def test_show_tells_all_of_a_device_but_its_secrets(tool: Tool, database: asyncpg.Connection) -> None:
    _, identity = await handshake(database, "S-1", "active", bytes(range(32)))
    await login_of(database, "br-1")
    await database.execute(
        "insert into serials (serial, device, identity_key, device_id)"
        " select 'S-1', name, $1, device_id from devices where name = 'br-1'",
        identity,
    )
    await tool("rotate", "br-1", *SIGNED)
    for name in ("br-1", "S-1"):
        ran = await tool("show", name)
        assert ran.status == 0
        for words in (
            *("device:      br-1\n", "state:       active; asked to renew logins below generation 2\n", "never seen"),
            *("serial:      S-1, claim version 1\n", f"fingerprint: {fingerprint(identity)}\n"),
            *("login:       br-1.1, works, password, by handshake, made ", "active, unknown-serial, hardware rev C"),
            *("eva: device rotate: as the test says\n", "gateway main: enrollment active: unknown-serial\n"),
        ):
            assert words in ran.out, ran.out
        assert "secret-" not in ran.out
        assert "verifier" not in ran.out
        assert "\x1b" not in ran.out
    assert "audit" not in (await tool("show", "br-1", "--audit", 0)).out
    assert (await tool("list")).rows[1:] == [["br-1", "active", "S-1", "br-1.1", "never seen"]]
    await database.execute("insert into serials (serial, device) values ('S-2', 'br-2')")
    assert "br-2, not enrolled" in (await tool("show", "S-2")).out


async def test_show_says_in_words_what_became_of_handshakes_and_logins(
    tool: Tool, database: asyncpg.Connection
) -> None:
    txn, identity = await handshake(database, "S-1", "granted")
    await login_of(database, "br-1")
    await database.execute(
        "insert into serials (serial, device, identity_key, device_id)"
        " select 'S-1', name, $1, device_id from devices where name = 'br-1'",
        identity,
    )
    await database.execute("update enrollments set state = 'active', reason = null, username = 'br-1.1'")
    await handshake(database, "S-1", "challenged")
    await database.execute(
        "update enrollments set state = 'expired', reason = 'expired', keys = null where txn <> $1", txn
    )
    await database.execute(
        "insert into statuses (device_id, boot, time, online, received_at)"
        " select device_id, 3, now(), true, now() from devices"
    )
    out = (await tool("show", "br-1")).out
    for words in (
        "boot:        3\n",
        "firmware:    -\n",
        "gateway main: enrollment granted → active br-1.1: handshake\n",
    ):
        assert words in out, out
    assert "expired, expired" not in out
    assert "{" not in out
    await tool("suspend", "br-1", *SIGNED)
    out = (await tool("show", "br-1")).out
    assert "login:       br-1.1, being disabled, password" in out
    assert "eva: device suspend active → suspended: as the test says\n" in out
    await database.execute("update credentials set applied = wanted")
    assert "login:       br-1.1, disabled, password" in (await tool("show", "br-1")).out
    await tool("revoke", "br-1", *SIGNED)
    await database.execute("update credentials set applied = wanted")
    assert "login:       br-1.1, deleted, password" in (await tool("show", "br-1")).out


async def test_a_device_that_sends_and_has_no_status_has_been_seen(tool: Tool, database: asyncpg.Connection) -> None:
    await tool("register", "br-1", *SIGNED)
    await database.execute(
        "with made as (insert into layouts (channel_ids) select array_agg(channel_id) from"
        "   (select channel_id from channels order by 1 limit 1) one returning layout_id)"
        " insert into device_layouts select device_id, 0, layout_id from devices, made"
    )
    assert (await tool("list")).table[0]["PRESENCE"] == "no status yet"
    assert "presence:    no status yet\n" in (await tool("show", "br-1")).out


async def test_the_kill_switch_is_thrown_for_all_cells_or_one(tool: Tool, database: asyncpg.Connection) -> None:
    for name in ("main", "north", "replay"):
        await cell(database, name)

    async def is_open() -> list[bool]:
        rows = await database.fetch("select enrollment_open from cells where cell <> 'replay' order by cell")
        return [row[0] for row in rows]

    assert (
        await tool("close", *SIGNED)
    ).out == "enrollment is closed in cell main\nenrollment is closed in cell north\n"
    assert await is_open() == [False, False]
    assert (await tool("open", "--cell", "north", *SIGNED)).out == "enrollment is open in cell north\n"
    assert await is_open() == [False, True]
    assert (await tool("open", "--cell", "south", *SIGNED)).err == "there is no cell south\n"
    assert [event[:3] for event in await audit(database)] == [
        ("eva", "enrollment close", "cells"),
        ("eva", "enrollment open", "cell/north"),
    ]


async def test_one_login_ends_and_the_others_go_on(tool: Tool, database: asyncpg.Connection) -> None:
    for generation in (1, 2):
        await login_of(database, "br-1", generation)
    assert len((await tool("logins", "br-1")).table) == 2
    assert (await tool("logins", "--waiting")).table == []
    assert (await tool("logout", "br-1.1", *SIGNED)).out == "ended: br-1.1\n"
    [row] = (await tool("logins", "--waiting")).rows[1:]
    assert row[:6] == ["br-1.1", "being deleted", "active", "password", "by handshake", "main"]
    [row] = (await tool("logins", "br-1")).rows[1:]
    assert row[:2] == ["br-1.2", "works"]
    assert "has ended already" in (await tool("logout", "br-1.1", *SIGNED)).err
    new = await database.fetchval("select new from audit where action = 'login end'")
    assert json.loads(new) == {"username": "br-1.1"}
