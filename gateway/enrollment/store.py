"""Reads and writes the rows of enrollment. A function that takes a connection works in the caller's transaction."""

from __future__ import annotations

from typing import NamedTuple

import asyncpg
import msgspec

from gateway import metrics
from gateway.enrollment.decisions import CellLoad, EnrollmentSession, HandshakeState, KnownSerial
from gateway.runtime.database import Pool, PoolConnection
from schema.enrollment import Hello, Refusal

KEEP = "30 days"
"""Ended handshakes are kept for so long; the audit trail keeps their steps for good."""
MAX_BOOT = 2**32 - 1

TURN = """
select set_config('lock_timeout', '3s', true),
       case when $2 then pg_advisory_xact_lock(hashtextextended('biogate enrollment ' || $1, 0)) end"""
SEEN = """
select txn, cell, serial, identity_key, claim_version, state, reason, hello, challenge, transcript, keys, proof, reply,
       coalesce(expires_at < now(), false) as late
  from enrollments where txn = $1"""
SESSION = f"{SEEN} for update"

SALT = "select minute, salt from challenge_salts where minute = challenge_minute()"
NEW_SALT = "insert into challenge_salts (minute, salt) values (challenge_minute(), $1) on conflict do nothing"
PROVABLE = """
select salt from challenge_salts where minute = $1 and minute >= challenge_minute() - 1 - ceil($2::integer / 60.0)"""
OLD_SALTS = "delete from challenge_salts where minute < challenge_minute() - 1 - ceil($1::integer / 60.0)"
OPEN = "select enrollment_open from cells where cell = $1"
UNDECIDED = "select serial from enrollments where txn = $1 and state in ('challenged', 'approved')"
LOCK_DEVICE = "select from devices where name = (select device from serials where serial = $1) for update"
LOCK_SERIAL = "select import_id from serials where serial = $1 for update"
LOCK_QUOTA = "select from claim_imports where import_id = $1 and quota is not null for update"
KNOWN = """
select s.device, s.claim_version, s.claim_key, s.blocked, s.identity_key, s.device_id is not null as enrolled,
       i.quota is null or i.quota > (select count(*) from serials o
                                      where o.import_id = s.import_id and o.device_id is not null) as place,
       d.state as device_state
  from serials s left join claim_imports i using (import_id) left join devices d on d.name = s.device
 where s.serial = $1"""
LOAD = """
select c.enrollment_open as switched_on,
       (select count(*) from enrollments
         where cell = $1 and state in ('approved', 'provisioning')
           and coalesce(expires_at > now(), true)) as open,
       (select count(*) from enrollments where cell = $1 and state = 'awaiting' and expires_at > now()) as awaiting,
       (select count(*) from enrollments e left join serials s using (serial)
         where e.serial = $2 and e.created_at > now() - interval '1 minute'
           and (e.identity_key = s.identity_key) is not distinct from ($3 = s.identity_key)) as tries
  from cells c where c.cell = $1"""
# tries with a serial's pinned key are counted apart: a stranger cannot use them up

BEGIN = """
insert into enrollments (txn, cell, serial, identity_key, claim_version, state, hello, challenge, transcript, keys,
                         hardware, firmware, channels, expires_at)
values ($1, $2, $3, $4, $5, 'challenged', $6, $7, $8, $9, $10, $11, $12, now() + $13 * interval '1 s')"""
END = """
update enrollments set state = 'rejected', reason = $2, proof = coalesce($3, proof), keys = null, changed_at = now()
 where txn = $1"""
WAIT = """
update enrollments
   set state = 'awaiting', reason = $2, proof = $3, changed_at = now(), expires_at = now() + $4 * interval '1 s'
 where txn = $1"""
REPLACE_WAITING = """
with told as materialized (select audit_actor('', 'replaced by ' || $1))
update enrollments set state = 'expired', reason = 'expired', keys = null, changed_at = now()
  from told
 where serial = $2 and identity_key = $3 and txn <> $1 and state in ('awaiting', 'approved')"""
DEVICE = """
insert into devices (name, state) values ($1, 'pending')
on conflict (name) do update set name = excluded.name returning device_id, state"""
PIN = """
update serials set device_id = $2, identity_key = $3 where serial = $1"""
CLAIM = "select channels_claim($1, $2::jsonb, $3)"
MODEL = "update devices set model = $2 where device_id = $1 and model is distinct from $2"
NUMBERS = """
select (select coalesce(max(generation), 0) + 1 from credentials where device_id = $1) as generation,
       greatest((select max(boot) from statuses where device_id = $1),
                (select max(boot) from device_streams where device_id = $1)) as boot"""
REPLACE_UNUSED = """
with told as materialized (select audit_actor('', 'replaced by ' || $2)),
gone as (
    update credentials set wanted = 'absent', password = null, ended_at = now() from told
     where device_id = $1 and activated_at is null and wanted <> 'absent' and not by_hand
    returning username
)
update enrollments e set state = 'expired', reason = 'expired', keys = null, changed_at = now() from gone
 where e.username = gone.username and e.state in ('provisioning', 'granted')"""
CREDENTIAL = """
insert into credentials (username, device_id, cell, generation, kind, client_id, password, salt, verifier,
                         certificate_serial)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"""
PROVISIONED = """
update enrollments
   set state = 'provisioning', reason = null, proof = $2, reply = $3, username = $4, keys = null, changed_at = now(),
       expires_at = null
 where txn = $1"""
OURSELVES = "select audit_actor('', '')"
DUE = """
select txn from enrollments
 where cell = $1 and (state = 'approved' or state = 'granted' and changed_at > now() - $2 * interval '1 s')
 order by changed_at"""
SWEEP = "select enrollments_sweep($1, $2::text::interval)"
LATE_GRANTS = "select exists (select from enrollments where cell = $1 and state = 'granted' and expires_at < now())"
ACTIVATE = "select count(*) from credentials_activate($1)"
SILENT = """
select asked.serial from unnest($1::text[]) as asked (serial)
 where not exists (select from enrollments e
                    where e.serial = asked.serial and e.created_at > now() - $2 * interval '1 s')"""

REFUSED = """
insert into audit (who, action, subject, new, why)
values ('gateway ' || $1, 'enrollment refused', 'cell/' || $1,
        jsonb_build_object('reason', $2::text, 'count', $3::integer, 'serials', $4::text[]), $2)"""


class Credential(NamedTuple):
    """A login as the table `credentials` has it."""

    username: str
    device_id: int
    generation: int
    client_id: str
    password: bytes | None = None
    """Sealed for "credentials/<username>"; without it the login is by certificate."""
    salt: bytes | None = None
    verifier: bytes | None = None
    certificate_serial: bytes | None = None
    """Big-endian."""


class NextLogin(NamedTuple):
    """Generation and boot number that a device's next login begins with."""

    generation: int
    boot: int


async def turn(connection: PoolConnection, cell: str, *, alone: bool = False) -> None:
    """Bound the time that this transaction waits for locks. `alone`: let one such transaction run in the cell."""
    await connection.execute(TURN, cell, alone)


async def seen(connection: PoolConnection, txn: str) -> EnrollmentSession | None:
    """The handshake, which is not locked."""
    return _session(await connection.fetchrow(SEEN, txn))


async def is_open(connection: PoolConnection, cell: str) -> bool:
    """Whether enrollment is switched on in the cell."""
    return bool(await connection.fetchval(OPEN, cell))


async def salt(connection: PoolConnection, new: bytes) -> tuple[int, bytes]:
    """The minute, and its salt, from which challenges are made; `new` becomes it if there is none yet."""
    while (row := await connection.fetchrow(SALT)) is None:
        await connection.execute(NEW_SALT, new)
    return row["minute"], row["salt"]


async def provable_salt(connection: PoolConnection, minute: int, challenge_s: int) -> bytes | None:
    """The salt of a minute; None if its challenges cannot be proved any more, or there were none."""
    found: bytes | None = await connection.fetchval(PROVABLE, minute, challenge_s)
    return found


async def session(connection: PoolConnection, txn: str, *, decide: bool = False) -> EnrollmentSession | None:
    """The handshake, locked until the transaction ends. With `decide`, if it waits for a decision, its device, serial
    and quota are locked before it: the operators' functions lock them in this order."""
    if decide:
        serial = await connection.fetchval(UNDECIDED, txn)
        if serial is not None:
            await connection.execute(LOCK_DEVICE, serial)
            import_id = await connection.fetchval(LOCK_SERIAL, serial)
            if import_id is not None:
                await connection.execute(LOCK_QUOTA, import_id)
    return _session(await connection.fetchrow(SESSION, txn))


def _session(row: asyncpg.Record | None) -> EnrollmentSession | None:
    return None if row is None else EnrollmentSession(**{**row, "state": HandshakeState(row["state"])})


async def known(connection: PoolConnection, serial: str) -> KnownSerial | None:
    """Read a serial number with its device; None if it is unknown."""
    row = await connection.fetchrow(KNOWN, serial)
    return None if row is None else KnownSerial(**row)


async def load(connection: PoolConnection, cell: str, serial: str, identity: bytes) -> CellLoad:
    row = await connection.fetchrow(LOAD, cell, serial, identity)
    assert row is not None, "the cell is made before the gateway starts"
    return CellLoad(row["switched_on"], row["open"], row["awaiting"], row["tries"])


async def begin(
    connection: PoolConnection,
    cell: str,
    hello: Hello,
    *,
    identity: bytes,
    payload: bytes,
    challenge: bytes,
    transcript: bytes,
    keys: bytes,
    expires_s: int,
) -> None:
    """Store a new handshake, whose proof is right, in state challenged. Raises asyncpg.UniqueViolationError if another
    cell has its number."""
    await connection.execute(
        BEGIN,
        *(hello.txn, cell, hello.serial, identity, hello.claim, payload, challenge, transcript, keys),
        *(shown(hello.hardware), shown(hello.firmware), [shown(name) for name in hello.channels], expires_s),
    )


async def end(connection: PoolConnection, txn: str, code: Refusal, proof: bytes | None) -> None:
    """Mark the handshake as rejected."""
    await connection.execute(END, txn, code.value, proof)


async def wait(
    connection: PoolConnection, session: EnrollmentSession, proof: bytes, reason: str, expires_s: int
) -> None:
    """Mark the handshake, whose proof is right, as awaiting an operator, and end older ones of the same controller."""
    await replace_waiting(connection, session)
    await connection.execute(OURSELVES)
    await connection.execute(WAIT, session.txn, reason, proof, expires_s)


async def replace_waiting(connection: PoolConnection, session: EnrollmentSession) -> None:
    """End older handshakes of the same controller that wait. The caller has to reset the audit trail's reason after."""
    await connection.execute(REPLACE_WAITING, session.txn, session.serial, session.identity_key)


async def device(connection: PoolConnection, name: str) -> tuple[int, str]:
    """Id and state of the device, which is made if it is missing, and locked until the transaction ends."""
    row = await connection.fetchrow(DEVICE, name)
    assert row is not None
    return row["device_id"], row["state"]


async def pin(connection: PoolConnection, session: EnrollmentSession, device_id: int) -> None:
    """Bind the serial number to the device and to the identity key of the handshake."""
    await connection.execute(PIN, session.serial, device_id, session.identity_key)


async def claim(connection: PoolConnection, session: EnrollmentSession, device_id: int) -> None:
    """Note what the firmware says of its hardware and channels: its proof was right, so it is who it says."""
    hello = msgspec.json.decode(session.hello, type=Hello)
    if hello.hardware:
        await connection.execute(MODEL, device_id, shown(hello.hardware))
    if hello.described:
        said = msgspec.json.encode(hello.described).decode()
        await connection.execute(CLAIM, device_id, said, f"enrollment {session.txn}")


async def numbers(connection: PoolConnection, device_id: int) -> NextLogin:
    """The numbers of a device's next login; the caller has locked the device."""
    row = await connection.fetchrow(NUMBERS, device_id)
    assert row is not None
    return NextLogin(row["generation"], 0 if row["boot"] is None else min(row["boot"] + 1, MAX_BOOT))


async def provision(
    connection: PoolConnection,
    cell: str,
    session: EnrollmentSession,
    *,
    proof: bytes,
    reply: bytes,
    credential: Credential,
) -> None:
    """Store a login to be made in place of unused ones, and the reply to be sent when it has been made."""
    await replace_waiting(connection, session)
    await connection.execute(REPLACE_UNUSED, credential.device_id, session.txn)
    await connection.execute(OURSELVES)
    c = credential
    kind = "certificate" if c.password is None else "password"
    await connection.execute(
        CREDENTIAL,
        *(c.username, c.device_id, cell, c.generation, kind, c.client_id, c.password, c.salt, c.verifier),
        c.certificate_serial,
    )
    await connection.execute(PROVISIONED, session.txn, proof, reply, c.username)


async def due(pool: Pool, cell: str, granted_s: float) -> list[str]:
    """Transaction numbers of handshakes that are approved, or were granted within so many seconds."""
    return [row["txn"] for row in await pool.fetch(DUE, cell, granted_s)]


async def sweep(pool: Pool, cell: str, challenge_s: int) -> int:
    """End late handshakes; return how many. Logins that were used are marked first: their handshakes are not late.
    Salts are deleted whose challenges cannot be proved any more."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(OLD_SALTS, challenge_s)
        if await connection.fetchval(LATE_GRANTS, cell):
            metrics.CREDENTIALS_ACTIVATED.inc(await connection.fetchval(ACTIVATE, cell))
        return int(await connection.fetchval(SWEEP, cell, KEEP))


async def silent(pool: Pool, serials: list[str], since_s: float) -> list[str]:
    """Those of the serials of which no handshake was proved within so many seconds, at any gateway."""
    return [row["serial"] for row in await pool.fetch(SILENT, serials, since_s)]


async def refused(pool: Pool, cell: str, reason: str, count: int, serials: list[str]) -> None:
    """Tell the audit trail of requests that were refused before there was a handshake."""
    await pool.execute(REFUSED, cell, reason, count, serials)


def shown(text: str | None) -> str | None:
    """A device's words as people may see them: with question marks for characters that cannot be printed."""
    return None if text is None else "".join(c if c.isprintable() else "?" for c in text)


CONFLICTS = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""Exceptions of two steps that collided: the step is repeated."""
