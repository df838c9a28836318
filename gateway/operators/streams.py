"""`rebuild-streams` and `declare-lost`: what has arrived of each boot of a device, put right by people."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import asyncpg
import typer

from gateway.receipts.streams import MOST_AHEAD, add_lost
from schema.console import Refused, Who, Why, instant, run, tell
from schema.errors import Misused
from schema.messages import MOST_SEQ

REBUILD = """
insert into device_streams as s (device_id, boot, received)
select device_id, boot, oldest_ranges(range_agg(int8range(seq, seq, '[]')), 256) from frames
 where time >= $1 and time < $2 and boot is not null and seq is not null
 group by device_id, boot
on conflict (device_id, boot) do update
   set received = oldest_ranges(s.received + excluded.received, 256), changed_at = now()
returning device_id, boot"""
NOTE = """
insert into audit (organization_id, who, action, subject, new, why)
select organization_id, $2, 'device declare-lost', 'device/' || name,
       jsonb_build_object('boot', $3::bigint, 'first', $4::bigint, 'last', $5::bigint, 'frames', $6::bigint), $7
  from devices where device_id = $1"""


def rebuild_streams(
    since: Annotated[datetime, typer.Option(parser=instant, help="first time of the frames to look at")],
    until: Annotated[datetime | None, typer.Option(parser=instant, help="end of that range; without it, now")] = None,
) -> None:
    """Learn again from the stored frames what has arrived of each boot: if that is lost, or was edited by hand."""
    end = until or datetime.now(UTC)
    rows = run(lambda connection: connection.fetch(REBUILD, since, end, timeout=None))
    tell(f"{len(rows)} boots of {len({row['device_id'] for row in rows})} devices rebuilt")


def declare_lost(
    name: Annotated[str, typer.Argument(metavar="NAME", help="of a device")],
    boot: Annotated[int, typer.Argument(metavar="BOOT", min=0, max=2**32 - 1)],
    first: Annotated[int, typer.Argument(metavar="FIRST", min=0, max=MOST_SEQ, help="the first missing seq")],
    last: Annotated[int, typer.Argument(metavar="LAST", min=0, max=MOST_SEQ, help="the last missing seq")],
    *,
    why: Why,
    who: Who,
) -> None:
    """Give up missing frames for which a device is asked in vain. The device then forgets what it keeps of them."""
    if last < first:
        raise Misused("FIRST is above LAST")

    async def work(connection: asyncpg.Connection) -> int:
        device_id = await connection.fetchval("select device_id from devices where name = $1", name)
        if device_id is None:
            raise Refused(f"there is no device {name}")
        frames, unbelieved = await add_lost(connection, [(device_id, boot, first, last)])
        if unbelieved:
            raise Refused(f"LAST is more than {MOST_AHEAD:,} above all that has arrived of boot {boot}: give less up")
        await connection.execute(NOTE, device_id, who, boot, first, last, frames, why)
        return frames

    tell(f"{run(work, in_transaction=True)} frames are lost; the gateway asks for them no more, within a minute")
