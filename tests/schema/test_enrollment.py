"""The operators' functions of enrollment, and the bookkeeping around logins: what they change and refuse."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import asyncpg
import pytest

from schema.sealed import Unreadable, seal, unseal

WHO = ("olga", "as told")
UNDER_WAY = ("challenged", "awaiting", "approved", "provisioning", "granted")
OVER = ("rejected", "expired", "active")


@pytest.fixture
async def db(database: asyncpg.Connection) -> asyncpg.Connection:
    await database.execute("insert into cells (cell, client_id) values ('main', 'secret')")
    return database


async def begin(db: asyncpg.Connection, serial: str = "S-1", state: str = "challenged", **more: Any) -> str:
    """A handshake in a state; its txn."""
    txn = os.urandom(16).hex()
    row = {
        "txn": txn,
        "cell": "main",
        "serial": serial,
        "identity_key": b"i" * 32,
        "claim_version": 1,
        "state": state,
        "hello": b"h",
        "challenge": b"c",
        "transcript": b"t",
        "proof": None if state == "challenged" else b"p",
        "keys": b"k" if state in {"challenged", "awaiting", "approved"} else None,
        **more,
    }
    columns = ", ".join(row)
    places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
    await db.execute(f"insert into enrollments ({columns}) values ({places})", *row.values())
    return txn


async def device(db: asyncpg.Connection, name: str = "br-1", state: str = "active") -> int:
    number = await db.fetchval("insert into devices (name, state) values ($1, $2) returning device_id", name, state)
    assert isinstance(number, int)
    return number


async def login(db: asyncpg.Connection, device_id: int, generation: int, **more: Any) -> str:
    name = await db.fetchval("select name from devices where device_id = $1", device_id)
    username = f"{name}.{generation}"
    row = {"username": username, "device_id": device_id, "cell": "main", "generation": generation, **more}
    columns = ", ".join(row)
    places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
    await db.execute(f"insert into credentials ({columns}) values ({places})", *row.values())
    return username


async def command(db: asyncpg.Connection, action: str, name: str = "br-1") -> None:
    await db.execute("select device_command($1, $2, $3, $4)", name, action, *WHO)


async def state(db: asyncpg.Connection, name: str = "br-1") -> str:
    return str(await db.fetchval("select state from devices where name = $1", name))


async def audited(db: asyncpg.Connection) -> list[str]:
    assert await db.fetch("select audit_faults()") == []
    return [row["line"] for row in await db.fetch("select action || ' ' || subject as line from audit order by n")]


async def imported(db: asyncpg.Connection, *pairs: tuple[str, str]) -> dict[str, str]:
    rows = await db.fetch(
        "select * from serials_import($1, $2, $3, $4, 'lot 7', null, $5, $6)",
        [serial for serial, _ in pairs],
        [name for _, name in pairs],
        [1] * len(pairs),
        [None] * len(pairs),
        *WHO,
    )
    return {row["serial"]: row["outcome"] for row in rows}


async def test_an_import_says_of_each_serial_what_became_of_it(db: asyncpg.Connection) -> None:
    assert await imported(db, ("S-1", "br-1"), ("S-2", "br-2")) == {"S-1": "new", "S-2": "new"}
    assert await imported(db, ("S-1", "br-9"), ("S-3", "br-2"), ("S-4", "br-4")) == {
        "S-1": "known",
        "S-3": "name-taken",
        "S-4": "new",
    }
    assert await audited(db) == ["serials import import/lot 7"] * 2


async def test_approval_puts_the_serial_and_its_identity_key_on_the_list(db: asyncpg.Connection) -> None:
    txn = await begin(db, state="awaiting")
    await db.execute("select enrollment_approve($1, 'br-1', $2, $3)", txn, *WHO)
    row = await db.fetchrow("select device, identity_key from serials where serial = 'S-1'")
    assert row is not None
    assert (row["device"], row["identity_key"]) == ("br-1", b"i" * 32)
    assert await db.fetchval("select state from enrollments where txn = $1", txn) == "approved"
    assert await audited(db) == ["enrollment awaiting serial/S-1", "enrollment approved serial/S-1"]
    assert await db.fetchval("select who || ': ' || why from audit order by n desc limit 1") == "olga: as told"


async def test_denial_ends_it_and_wipes_its_keys(db: asyncpg.Connection) -> None:
    txn = await begin(db, state="awaiting")
    await db.execute("select enrollment_deny($1, $2, $3)", txn, *WHO)
    row = await db.fetchrow("select state, reason, keys from enrollments where txn = $1", txn)
    assert row is not None
    assert tuple(row) == ("rejected", "denied", None)


@pytest.mark.parametrize("function", ["enrollment_approve($1, null, 'o', 'w')", "enrollment_deny($1, 'o', 'w')"])
async def test_what_does_not_exist_or_is_over_is_told_apart(db: asyncpg.Connection, function: str) -> None:
    with pytest.raises(asyncpg.NoDataFoundError):
        await db.execute(f"select {function}", "0" * 32)
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
        await db.execute(f"select {function}", await begin(db, state="rejected"))


async def test_suspension_disables_all_logins_and_resuming_enables_them(db: asyncpg.Connection) -> None:
    number = await device(db)
    await login(db, number, 1, applied="present")
    await command(db, "suspend")
    assert (await state(db), await db.fetchval("select wanted from credentials")) == ("suspended", "disabled")
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="suspended"):
        await command(db, "suspend")
    await command(db, "resume")
    assert (await state(db), await db.fetchval("select wanted from credentials")) == ("active", "present")
    assert await audited(db) == ["device suspend device/br-1", "device resume device/br-1"]


@pytest.mark.parametrize("action", ["revoke", "retire"])
async def test_revoking_deletes_logins_blocks_the_serial_and_ends_handshakes(
    db: asyncpg.Connection, action: str
) -> None:
    await imported(db, ("S-1", "br-1"))
    number = await device(db)
    await db.execute("update serials set device_id = $1", number)
    await login(db, number, 1, password=b"sealed")
    under_way = [await begin(db, state=one) for one in UNDER_WAY]
    over = [await begin(db, state=one, reason="unused") for one in OVER]
    others = [await begin(db, "S-2", one) for one in UNDER_WAY]
    await command(db, action)
    assert await state(db) == f"{action}d"
    row = await db.fetchrow("select wanted, password, ended_at is not null as ended from credentials")
    assert row is not None
    assert tuple(row) == ("absent", None, True)
    assert await db.fetchval("select blocked from serials") is True
    rows = await db.fetch("select txn, state, reason, keys from enrollments")
    found = {row["txn"]: (row["state"], row["reason"], row["keys"]) for row in rows}
    assert [found[txn] for txn in under_way] == [("rejected", "blocked", None)] * len(UNDER_WAY)
    assert [found[txn][:2] for txn in over] == [(one, "unused") for one in OVER]
    assert [found[txn][:2] for txn in others] == [(one, None) for one in UNDER_WAY]


async def test_rotation_asks_for_the_next_generation(db: asyncpg.Connection) -> None:
    number = await device(db)
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="no login"):
        await command(db, "rotate")
    await login(db, number, 3, applied="present")
    await command(db, "rotate")
    assert await db.fetchval("select renew from devices") == 4


async def test_a_reset_forgets_the_pinned_key(db: asyncpg.Connection) -> None:
    await imported(db, ("S-1", "br-1"))
    await device(db)
    await db.execute("update serials set identity_key = $1", b"i" * 32)
    await command(db, "reset")
    assert await db.fetchval("select identity_key from serials") is None


@pytest.mark.parametrize(("name", "action"), [("nobody", "suspend"), ("br-1", "explode")])
async def test_an_unknown_device_or_action_is_named(db: asyncpg.Connection, name: str, action: str) -> None:
    await device(db)
    with pytest.raises(asyncpg.NoDataFoundError):
        await command(db, action, name)


async def status(db: asyncpg.Connection, number: int, generation: int | None) -> None:
    await db.execute(
        """insert into statuses (device_id, boot, time, online, received_at, generation)
           values ($1, 1, clock_timestamp(), true, clock_timestamp(), $2)""",
        number,
        generation,
    )


async def activated(db: asyncpg.Connection) -> list[str]:
    return [row[0] for row in await db.fetch("select credentials_activate('main')")]


async def test_a_login_is_active_once_a_status_of_its_generation_came_and_the_older_ones_end(
    db: asyncpg.Connection,
) -> None:
    number = await device(db, state="pending")
    await login(db, number, 1, applied="present", activated_at=await db.fetchval("select now()"))
    second = await login(db, number, 2, applied="present", applied_at=await db.fetchval("select now()"), password=b"s")
    txn = await begin(db, state="granted", username=second)
    await db.execute("update devices set renew = 2")
    assert await activated(db) == []
    await status(db, number, 1)
    assert await activated(db) == []
    await status(db, number, None)  # from which login it came cannot be told while there are two
    assert await activated(db) == []
    await status(db, number, 2)
    assert await activated(db) == [second]
    rows = await db.fetch("select generation, wanted, password, activated_at is not null from credentials order by 1")
    assert [tuple(row) for row in rows] == [(1, "absent", None, True), (2, "present", None, True)]
    assert await db.fetchval("select state from enrollments where txn = $1", txn) == "active"
    assert (await state(db), await db.fetchval("select renew from devices")) == ("active", None)
    assert await activated(db) == []


async def test_a_status_without_generation_will_do_for_the_only_login(db: asyncpg.Connection) -> None:
    number = await device(db, state="pending")
    await status(db, number, None)
    only = await login(
        db, number, 1, applied="present", applied_at=await db.fetchval("select now() + interval '1 minute'")
    )
    assert await activated(db) == []  # it came before there was a login
    await db.execute("update credentials set applied_at = now()")
    await status(db, number, None)
    assert await activated(db) == [only]


async def test_a_grant_that_is_not_used_in_time_leaves_no_login(db: asyncpg.Connection) -> None:
    number = await device(db, state="pending")
    past = await db.fetchval("select now() - interval '1 s'")
    unused = await login(db, number, 1, applied="present", password=b"sealed")
    late = [await begin(db, state="granted", username=unused, expires_at=past), await begin(db, expires_at=past)]
    open_ = await begin(db, expires_at=await db.fetchval("select now() + interval '1 minute'"))
    assert await db.fetchval("select enrollments_sweep('main', interval '1 day')") == 2
    row = await db.fetchrow("select wanted, password from credentials")
    assert row is not None
    assert tuple(row) == ("absent", None)
    rows = await db.fetch("select txn, keys from enrollments where state = 'expired'")
    assert {row["txn"]: row["keys"] for row in rows} == dict.fromkeys(late)
    assert await db.fetchval("select state from enrollments where txn = $1", open_) == "challenged"
    await db.execute("update enrollments set changed_at = now() - interval '2 days'")
    await db.execute("select enrollments_sweep('main', interval '1 day')")
    assert await db.fetchval("select count(*) from enrollments") == 1


async def test_gateways_hear_at_once_of_what_there_is_to_do(db: asyncpg.Connection, database_url: str) -> None:
    listener = await asyncpg.connect(database_url)
    heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    for channel in ("biogate_access", "biogate_enrollment"):
        await listener.add_listener(channel, lambda *call: heard.put_nowait((str(call[2]), str(call[3]))))
    try:
        number = await device(db)
        await login(db, number, 1)
        assert await asyncio.wait_for(heard.get(), 20) == ("biogate_access", "")
        await db.execute("update credentials set applied = 'present'")
        await db.execute("select enrollment_switch('main', false, $1, $2)", *WHO)
        assert await asyncio.wait_for(heard.get(), 20) == ("biogate_access", "")
        txn = await begin(db, state="awaiting")
        await db.execute("select enrollment_approve($1, null, $2, $3)", txn, *WHO)
        assert await asyncio.wait_for(heard.get(), 20) == ("biogate_enrollment", txn)
        assert heard.empty()
    finally:
        await listener.close()


def test_what_is_sealed_opens_only_with_the_key_and_in_its_place() -> None:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    private, other = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    sealed = seal(private.public_key().public_bytes_raw(), b"secret", "credentials/br-1.1")
    assert b"secret" not in sealed
    assert unseal(private, sealed, "credentials/br-1.1") == b"secret"
    for key, data, place in [
        (other, sealed, "credentials/br-1.1"),
        (private, sealed, "credentials/br-2.1"),
        (private, sealed[:-1], "credentials/br-1.1"),
        (private, b"", "credentials/br-1.1"),
    ]:
        with pytest.raises(Unreadable):
            unseal(key, data, place)


async def test_a_login_that_cannot_be_made_is_given_up(db: asyncpg.Connection) -> None:
    number = await device(db, state="pending")
    never = await login(db, number, 1, password=b"sealed")
    txn = await begin(db, state="provisioning", username=never)
    assert await db.fetchval("select enrollments_sweep('main', interval '1 day')") == 0
    await db.execute("update enrollments set changed_at = now() - interval '2 hours'")
    assert await db.fetchval("select enrollments_sweep('main', interval '1 day')") == 1
    assert await db.fetchval("select state from enrollments where txn = $1", txn) == "expired"
    assert await db.fetchval("select wanted from credentials") == "absent"


async def test_what_was_revoked_may_come_back_when_its_serial_is_unblocked(db: asyncpg.Connection) -> None:
    await imported(db, ("S-1", "br-1"))
    await device(db)
    await command(db, "revoke")
    await db.execute("select serial_block('S-1', false, $1, $2)", *WHO)
    assert (await state(db), await db.fetchval("select blocked from serials")) == ("pending", False)


async def test_who_is_shut_out_is_offline(db: asyncpg.Connection) -> None:
    number = await device(db)
    online = "select online from presence"
    assert await db.fetchval(online) is None
    await status(db, number, None)
    assert await db.fetchval(online) is True
    await command(db, "suspend")
    assert await db.fetchval(online) is False
