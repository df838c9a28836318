"""Stores frames of which some are stored already, and tells new frames, duplicates, parts and conflicts apart.

The frames go to a temporary table; new ones are inserted from there, and the others are compared with the stored rows.
One with equal values, quality, boot and seq is a duplicate. One with other channels filled is a part of a frame sent in
parts, and is stored under its own exact layout. Any other is a conflict: the stored stays, it goes to quarantine.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.errors import Rejected, StoredRowsGone
from gateway.intake.registry import Registry
from gateway.intake.rejects import reject_item
from gateway.items import NOT_SENT, Frame, Reject, SlotMapping, moment
from gateway.runtime.database import PoolConnection
from gateway.storage import encode
from schema.reasons import Reason

STAGE = """
create temp table if not exists stage (
    n integer, time timestamptz, device_id integer, layout_id integer, boot bigint, seq bigint,
    received_at timestamptz, values float8[], quality smallint[]
) on commit delete rows"""
INSERT = """
with first as materialized (
    select distinct on (device_id, time, layout_id) * from stage order by device_id, time, layout_id, n
), inserted as (
    insert into frames (time, device_id, layout_id, boot, seq, received_at, values, quality)
    select time, device_id, layout_id, boot, seq, received_at, values, quality from first
    on conflict do nothing
    returning device_id, time, layout_id
)
select n from first join inserted using (device_id, time, layout_id)"""
COMPARE = """
select s.n,
       (s.values, s.quality, s.boot, s.seq) is not distinct from (f.values, f.quality, f.boot, f.seq) as equal,
       array(select v is not null or q is not null from unnest(s.values, s.quality) as u (v, q))
         = array(select v is not null or q is not null from unnest(f.values, f.quality) as u (v, q)) as same_channels
  from stage s join frames f using (device_id, time, layout_id)
 where f.time between $1 and $2 and f.device_id = any ($3::int[]) and s.n <> all ($4::int[])"""


async def store_conflicting(
    connection: PoolConnection, frames: Sequence[Frame], registry: Registry
) -> tuple[int, int, list[Reject]]:
    """Store the new ones of `frames`. Return how many are new, how many are duplicates, and the rejects.

    Raises StoredRowsGone.
    """
    committed, duplicate, parts, rejects = await _round(connection, frames)
    if parts:
        exact = await registry.exact((frame.route.device, frame.sent_channels) for frame in parts)
        remapped = []
        for frame in parts:
            mapping = exact[frame.route.device, frame.sent_channels]
            if isinstance(mapping, Rejected):
                rejects.append(reject_item(frame, mapping.reason, mapping.detail))
            else:
                remapped.append(_only_sent(frame, mapping))
        more_committed, more_duplicate, others, more_rejects = await _round(connection, remapped)
        committed, duplicate = committed + more_committed, duplicate + more_duplicate
        rejects += more_rejects + [_conflict(frame) for frame in others]
    return committed, duplicate, rejects


async def probe_conflicting(connection: PoolConnection) -> None:
    """Run the statements of `store_conflicting` without frames: they fail where the database itself is the cause."""
    await connection.execute(STAGE)
    await connection.fetch(INSERT)


async def _round(connection: PoolConnection, frames: Sequence[Frame]) -> tuple[int, int, list[Frame], list[Reject]]:
    """Store `frames` once. Return the numbers of new ones and duplicates, parts of frames, and conflicts."""
    if not frames:
        return 0, 0, [], []
    await connection.execute(STAGE)
    await connection.execute("delete from stage")
    await connection.copy_to_table(
        "stage",
        source=encode.stream(frames, numbered=True),
        columns=("n", *encode.COLUMNS),
        format="binary",
    )
    inserted = [row["n"] for row in await connection.fetch(INSERT)]
    duplicate, parts, rejects = 0, [], []
    if len(inserted) < len(frames):
        earliest, latest = min(frame.t for frame in frames), max(frame.t for frame in frames)
        # bounds and devices spare the join those chunks and compressed batches that have none of these frames
        devices = {frame.route.device.device_id for frame in frames}
        rows = await connection.fetch(COMPARE, moment(earliest), moment(latest), devices, inserted)
        if len(inserted) + len(rows) != len(frames):
            raise StoredRowsGone("rows that were in the way are gone: their chunk was dropped meanwhile")
        for row in rows:
            frame = frames[row["n"]]
            if row["equal"]:
                duplicate += 1
            elif row["same_channels"]:
                rejects.append(_conflict(frame))
            else:
                parts.append(frame)
    return len(inserted), duplicate, parts, rejects


def _only_sent(frame: Frame, mapping: SlotMapping) -> Frame:
    """The frame under a mapping of those channels alone that were sent."""
    values, quality = frame.values, frame.quality
    if quality is not None and NOT_SENT in quality:
        sent = [n for n, one in enumerate(quality) if one != NOT_SENT]
        values, quality = [values[n] for n in sent], [quality[n] for n in sent]
    return msgspec.structs.replace(frame, mapping=mapping, values=values, quality=quality)


def _conflict(frame: Frame) -> Reject:
    return reject_item(
        frame, Reason.CONFLICT, f"a frame of {moment(frame.t).isoformat()} with the same channels is stored already"
    )
