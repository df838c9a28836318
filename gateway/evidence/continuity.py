"""Says whether an audit trail goes on from what was signed last, and brings table and file of checkpoints together."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg
import structlog

from gateway.errors import GatewayError
from gateway.evidence import metrics
from gateway.evidence.checkpoint_file import CheckpointFile
from gateway.runtime.database import Pool
from schema.evidence.canonical import digest
from schema.evidence.checkpoints import Checkpoint
from schema.evidence.events import chained, events, hash_at, seed
from schema.evidence.keys import KeyRing
from schema.evidence.sources import file_checkpoints
from schema.evidence.walk import MARK

log = structlog.get_logger()

MOST_MARKS = 10_000
"""Events between two checkpoints of which the file has marks; beyond, a file would have lines of megabytes."""
NEWEST = """
select text, signature, token from checkpoints where organization_id = $1 order by number desc limit 1"""
AFTER = """
select text, signature, token from checkpoints where organization_id = $1 and number > $2 order by number limit $3"""
PAGE = 1000
STORE = """
insert into checkpoints (organization_id, number, n, at, text, signature, key_id)
values ($1, $2, $3, ($4::jsonb ->> 'at')::timestamptz, $4, $5, $6) on conflict do nothing"""


class Broken(GatewayError):
    """The trail does not go on from what was signed; says why. `newest` is what was signed last, as far as is known."""

    def __init__(self, why: str, newest: Checkpoint | None = None) -> None:
        super().__init__(why)
        self.newest = newest


async def marks_since(pool: Pool, organization: int, last: Checkpoint | None, n: int) -> bytes:
    """Follow the trail from the last checkpoint to event `n`, and return the marks of the events between. Raises Broken
    unless each event follows the one before it."""
    said = None if last is None else last.says
    at, before = (0, seed(organization)) if said is None else (said.n, bytes.fromhex(said.hash))
    marks = bytearray()
    async with pool.acquire() as connection:
        if said is not None and await hash_at(connection, organization, said.n) != before:
            raise Broken(f"event {said.n} is not what checkpoint {said.number} has signed", last)
        async for event in events(connection, organization, at):
            if event.n > n:
                break
            if event.n != at + 1 or chained(before, event.text) != event.hash:
                raise Broken(f"event {event.n} does not follow event {at}", last)
            at, before = event.n, event.hash
            marks += event.hash[:MARK] if len(marks) <= MOST_MARKS * MARK else b""
    if at != n:
        raise Broken(f"event {n} is gone", last)
    return bytes(marks) if len(marks) <= MOST_MARKS * MARK else b""


async def catch_up(
    pool: Pool, ring: KeyRing, file: CheckpointFile, organization: int, others: Mapping[str, Checkpoint | None]
) -> Checkpoint | None:
    """Put into table and file what only the other has; return the last checkpoint. Raises Broken if they contradict
    each other, `others` (place → newest checkpoint), or the trail."""
    table, kept = await _newest(pool, organization), file.newest.get(organization)
    places = {"table": table, "file": kept, **others}
    signed = [one for one in places.values() if one is not None and one.is_signed(ring)]
    newest = max(signed, key=_number, default=None)
    for place, one in places.items():
        if one is None:
            continue
        if one not in signed:
            raise Broken(f"the newest checkpoint of the {place} is not signed by a key of ours", newest)
        if newest is not None and _number(one) == _number(newest) and one.text != newest.text:
            raise Broken(f"checkpoint {_number(newest)} of the {place} is another one than elsewhere", newest)
    if newest is None:
        return None
    async with pool.acquire() as connection:
        found = await hash_at(connection, organization, newest.says.n)
    if found is None or found.hex() != newest.says.hash:
        raise Broken(f"event {newest.says.n} is not what checkpoint {_number(newest)} has signed", newest)
    if _reaches(table, newest) is _reaches(kept, newest) is False:
        raise Broken(f"checkpoint {_number(newest)} is in neither table nor file", newest)
    if not _reaches(table, newest):
        await refill_table(pool, file, organization)
    if not _reaches(kept, newest):
        await _to_file(pool, ring, file, organization, kept)
    return newest


def _reaches(one: Checkpoint | None, newest: Checkpoint) -> bool:
    return one is not None and _number(one) == _number(newest)


async def _newest(pool: Pool, organization: int) -> Checkpoint | None:
    row: asyncpg.Record | None = await pool.fetchrow(NEWEST, organization)
    return None if row is None else Checkpoint(*row)


def _number(checkpoint: Checkpoint) -> int:
    return checkpoint.says.number


async def refill_table(pool: Pool, file: CheckpointFile, organization: int) -> None:
    """Put into the table what only the file has: the table has lost it."""
    table, count = await _newest(pool, organization), 0
    after = 0 if table is None else _number(table)
    for kept in file_checkpoints(file.path, organization):
        said = kept.checkpoint.says
        if said.number > after:
            row = organization, said.number, said.n, kept.checkpoint.text, kept.checkpoint.signature, said.key
            await pool.execute(STORE, *row)
            count += 1
    if count:
        metrics.CAUGHT_UP.labels("table").inc(count)
        log.error("the table lacked checkpoints that the file has", organization=organization, after=after, count=count)


async def _to_file(
    pool: Pool, ring: KeyRing, file: CheckpointFile, organization: int, before: Checkpoint | None
) -> None:
    """The process was killed before it wrote the file, or another process has signed meanwhile."""
    count = 0
    while page := await pool.fetch(AFTER, organization, 0 if before is None else _number(before), PAGE):
        for checkpoint in (Checkpoint(*row) for row in page):
            follows = before is None or checkpoint.says.before == digest(before.text)
            if not checkpoint.is_signed(ring) or not follows:
                raise Broken(f"checkpoint {_number(checkpoint)} of the table does not follow that of the file", before)
            file.append(checkpoint)
            before, count = checkpoint, count + 1
    metrics.CAUGHT_UP.labels("file").inc(count)
    log.warning("the file lacked checkpoints that the table has", organization=organization, count=count)
