"""Stores the items of a batch in one transaction, and counts what became of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Protocol

import asyncpg
import structlog

from gateway.errors import GatewayError
from gateway.intake.accounting import ItemCounts, record
from gateway.intake.registry import Registry
from gateway.intake.rejects import reject_item
from gateway.items import DeviceEvent, Frame, Item, LostFrames, Reject, StatusChange, by_type, moment
from gateway.receipts.streams import add_lost
from gateway.runtime.database import Pool, PoolConnection
from gateway.settings import IMPORT
from gateway.storage import encode, late, old_hours, stored_late
from gateway.storage.command_results import store_command_results
from gateway.storage.conflict import probe_conflicting, store_conflicting
from gateway.storage.event_records import make_records
from gateway.storage.quota import Keep, Quota
from schema.reasons import Reason

log = structlog.get_logger()

STATEMENT_BYTES = 2**24
"""Bytes of payloads in one statement, roughly: PostgreSQL always drops a connection that sends a message of 1 GB."""
WROTE_LAST = """
select exists (select from intake_totals where cell = $1 and xmin = $2::text::xid8::xid)
    or $1 = $3 and exists (select from imports where finished_at is null and xmin = $2::text::xid8::xid)"""
END_OF_TIME_MS = 1e15
"""All hours of an import count as over, and are marked: until it has ended, none of its frames is in a seal."""
KEEP: Keep = Quota().keep
"""Stores rejects, unless a caller gives another function."""


class CommitUnknown(GatewayError):
    """COMMIT failed for `reason`. The server can tell by its transaction whether `outcome` is committed after all."""

    def __init__(self, outcome: ItemCounts, reason: Exception) -> None:
        super().__init__(f"no answer to COMMIT of transaction {outcome.transaction_id}: {reason}")
        self.outcome = outcome
        self.reason = reason


class Beside(Protocol):
    """What is stored in the transaction of some items, beside them. It may raise LeadLost: then nothing is stored."""

    async def __call__(self, connection: PoolConnection, items: Sequence[Item], outcome: ItemCounts) -> None:
        """`outcome` says what becomes of `items`."""


async def store(
    pool: Pool,
    registry: Registry,
    cell: str,
    items: Sequence[Item],
    *,
    conflicting: bool,
    keep: Keep = KEEP,
    imported: Beside | None = None,
) -> ItemCounts:
    """Store all of `items` or none. `imported` keeps the account of an import, whose frames no alarm looks for. Raises
    CommitUnknown if the server does not say which, and UniqueViolationError for a frame that is stored already, unless
    `conflicting`."""
    frames, statuses, events, given_up, command_results, given = by_type(items)
    rejects = [*given]
    outcome = ItemCounts()
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            if frames:
                notes = [] if imported else await late.late(connection, frames)
                rejects += await _frames(connection, registry, frames, outcome, conflicting=conflicting)
                if notes:
                    await late.note(connection, notes)
                await _old(connection, frames, imported=imported is not None)
            if statuses:
                rejects += await _statuses(connection, statuses, outcome)
            if events:
                await _events(connection, events, outcome)
            if command_results:
                rejects += await store_command_results(connection, command_results, outcome)
            if lost := [*_lost(given_up, statuses)]:
                newly = await add_lost(connection, lost)
                outcome.lost += newly.frames
                outcome.unbelieved += len(newly.unbelieved)
                if newly.unbelieved:
                    log.warning("devices give up frames far above all that have arrived", devices=newly.unbelieved[:10])
                outcome.committed["result"] += len(given_up)
            for portion in _portions(rejects):
                await keep(connection, cell, portion, outcome)
            outcome.transaction_id = await record(connection, cell, outcome)
            if imported:
                await imported(connection, items, outcome)
        except BaseException:  # a transaction that is cancelled, too, must be rolled back
            late.forget_newest(frames)
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):  # connection may be gone
                await transaction.rollback()
            raise
        try:
            await transaction.commit()
        except Exception as error:
            late.forget_newest(frames)
            raise CommitUnknown(outcome, error) from error
    return outcome


async def committed(pool: Pool, cell: str, transaction_id: int) -> bool | None:
    """Whether a transaction of the cell, of which COMMIT was sent, has committed; None while it is in progress.

    The id alone does not tell: a server that crashed, or took over, gives ids again whose transactions were not on its
    disk. The row of totals, into which every batch counts itself, tells which transaction wrote it; where several
    imports share that row, the row of the import does.
    """
    try:
        status = await pool.fetchval("select pg_xact_status($1::text::xid8)", str(transaction_id))
    except asyncpg.InvalidParameterValueError:  # "in the future": the server never saw this id
        return False
    if status == "in progress":
        return None
    return bool(
        await pool.fetchval(
            WROTE_LAST,
            cell,
            str(transaction_id),
            IMPORT,
        )
    )


async def probe(pool: Pool, cell: str, keep: Keep) -> None:
    """Run the statements of a batch without items. If these work, a batch that fails does so for its own content."""
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            nothing = ItemCounts()
            await _copy(connection, [])
            await probe_conflicting(connection)
            await late.note(connection, [])
            await old_hours.mark(connection, [])
            await stored_late.note(connection, [])
            await _statuses(connection, [], nothing)
            await _events(connection, [], nothing)
            await store_command_results(connection, [], nothing)
            await keep(connection, cell, [], nothing)
            await record(connection, cell, nothing)
        finally:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await transaction.rollback()


async def _frames(
    connection: PoolConnection, registry: Registry, frames: Sequence[Frame], outcome: ItemCounts, *, conflicting: bool
) -> list[Reject]:
    if conflicting:
        new, duplicate, rejects = await store_conflicting(connection, frames, registry)
        outcome.committed["frame"] += new
        outcome.duplicate["frame"] += duplicate
        return rejects
    await _copy(connection, frames)
    outcome.committed["frame"] += len(frames)
    return []


async def _old(connection: PoolConnection, frames: Sequence[Frame], *, imported: bool) -> None:
    """Mark the hours of frames that are over, and note frames that were received long ago."""
    now_ms = time.time() * 1000
    if hours := old_hours.old_hours(frames, END_OF_TIME_MS if imported else now_ms):
        await old_hours.mark(connection, hours)
    if not imported and (held := stored_late.held(frames, now_ms)):
        await stored_late.note(connection, held)


async def _copy(connection: PoolConnection, frames: Sequence[Frame]) -> None:
    await connection.copy_to_table("frames", source=encode.stream(frames), columns=encode.COLUMNS, format="binary")


async def _statuses(connection: PoolConnection, statuses: Sequence[StatusChange], outcome: ItemCounts) -> list[Reject]:
    """Store statuses; return those that conflict with a stored one of the same device, boot, time and state."""
    columns = (
        [status.route.device.device_id for status in statuses],
        [status.boot for status in statuses],
        [moment(status.t) for status in statuses],
        [status.online for status in statuses],
        [moment(status.received_ms) for status in statuses],
        [status.oldest_seq for status in statuses],
        [status.firmware for status in statuses],
        [status.generation for status in statuses],
    )
    inserted = await connection.fetch(
        """with given as (
               select * from unnest($1::int[], $2::bigint[], $3::timestamptz[], $4::bool[], $5::timestamptz[],
                                    $6::bigint[], $7::text[], $8::int[]) with ordinality
                   as g (device_id, boot, time, online, received_at, oldest_seq, firmware, generation, n)
           ), first as materialized (
               select distinct on (device_id, boot, time, online) * from given
                order by device_id, boot, time, online, n
           ), inserted as (
               insert into statuses (device_id, boot, time, online, received_at, oldest_seq, firmware, generation)
               select device_id, boot, time, online, received_at, oldest_seq, firmware, generation from first
               on conflict do nothing returning device_id, boot, time, online
           )
           select n from first join inserted using (device_id, boot, time, online)""",
        *columns,
    )
    outcome.committed["status"] += len(inserted)
    if len(inserted) == len(statuses):
        return []
    rest = await connection.fetch(
        """select n, (g.oldest_seq, g.firmware, g.generation)
                  is not distinct from (s.oldest_seq, s.firmware, s.generation) as equal
             from unnest($1::int[], $2::bigint[], $3::timestamptz[], $4::bool[], $5::bigint[], $6::text[],
                         $7::int[]) with ordinality
                  as g (device_id, boot, time, online, oldest_seq, firmware, generation, n)
             join statuses s using (device_id, boot, time, online)
            where n <> all ($8::bigint[])""",
        *columns[:4],
        *columns[5:],
        [row["n"] for row in inserted],
    )
    outcome.duplicate["status"] += sum(row["equal"] for row in rest)
    return [
        reject_item(
            statuses[row["n"] - 1],
            Reason.CONFLICT,
            "a status of that boot, time and state with other content is stored",
        )
        for row in rest
        if not row["equal"]
    ]


async def _events(connection: PoolConnection, events: Sequence[DeviceEvent], outcome: ItemCounts) -> None:
    inserted = await connection.fetch(
        """insert into device_events (time, device_id, type, data, boot, received_at, digest, n)
           select * from unnest($1::timestamptz[], $2::int[], $3::text[], $4::jsonb[], $5::bigint[],
                                $6::timestamptz[], $7::bytea[], $8::bigint[])
           on conflict do nothing returning device_id, time, digest""",
        [moment(event.t) for event in events],
        [event.route.device.device_id for event in events],
        [event.type for event in events],
        [event.data for event in events],
        [event.boot for event in events],
        [moment(event.received_ms) for event in events],
        [event.digest for event in events],
        [event.n for event in events],
    )
    await make_records(connection, events, {tuple(row) for row in inserted})
    outcome.committed["event"] += len(inserted)
    outcome.duplicate["event"] += len(events) - len(inserted)


def _lost(results: Sequence[LostFrames], statuses: Sequence[StatusChange]) -> Iterator[tuple[int, int, int, int]]:
    """Yield device id, boot, first and last seq of frames that devices say they do not have, or keep no longer."""
    for result in results:
        for first, last in result.ranges:
            yield result.route.device.device_id, result.boot, first, last
    for status in statuses:
        if status.oldest_seq:
            yield status.route.device.device_id, status.boot, 0, status.oldest_seq - 1


def _portions(rejects: list[Reject]) -> Iterator[list[Reject]]:
    """Yield portions of STATEMENT_BYTES: all rejects of a block, each with all channels, can be too many at once."""
    portion: list[Reject] = []
    size = 0
    for reject in rejects:
        portion.append(reject)
        size += len(reject.payload)
        if size >= STATEMENT_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion
