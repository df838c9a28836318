"""What a restore learns again: seqs are recorded a little after their frames, and a backup may be taken in between."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg

from deploy.backup.command import learn
from deploy.backup.take import Backup

WITHOUT_ITS_SEQS = """
insert into devices (name) values ('r1');
insert into layouts (channel_ids) values (array[1]);
insert into frames (time, device_id, layout_id, boot, seq, received_at, values)
select now() - ago, 1, 1, 3, seq, now() - ago, '{1}'
  from unnest('{3 hours,90 minutes,50 minutes,1 minute}'::interval[]) with ordinality as f (ago, seq)"""


async def test_streams_are_learned_again_from_an_hour_before_the_backup_on(
    database: asyncpg.Connection, database_url: str
) -> None:
    await database.execute(WITHOUT_ITS_SEQS)
    taken_at = datetime.now(UTC) - timedelta(minutes=40)
    learn(database_url, Backup("label", taken_at.isoformat(), "", 0, "", "", "17", "2"))
    received = await database.fetch("select boot, received::text from device_streams")
    assert [tuple(row) for row in received] == [(3, "{[2,5)}")]
