"""The comparison finds what is wrong: a harness that would miss it proves nothing."""

from __future__ import annotations

import dataclasses

import asyncpg
import msgpack
import numpy as np
import pytest

from tests.faults.verify import Produced, Verdict, check_totals, expected_quality, verify
from tests.roles import forced

OTHER = "1 stored with other content"
CHANNELS = ("temperature", "ph", "agitation")
FIRST_US = 1_767_225_600_123_000
COUNT = 100


@pytest.fixture
def produced() -> Produced:
    """100 frames of two devices; in some a value is missing or a quality is bad."""
    number = np.arange(COUNT)
    values = np.stack([number + 0.5, number * 1.1, np.where(number % 10 == 3, np.nan, number)], axis=1)
    said = np.zeros(values.shape, dtype=np.int16)
    said[5, 1] = 2
    return Produced(
        CHANNELS,
        ["sim-0001", "sim-0002"],
        number % 2,
        np.full(COUNT, 7),
        number // 2,
        FIRST_US + number * 1000,
        values,
        expected_quality(values, said),
        dict.fromkeys(("sim-0001", "sim-0002"), CHANNELS),
    )


@pytest.fixture
async def stored(database: asyncpg.Connection, produced: Produced) -> asyncpg.Connection:
    """All of them in the database, each once, written by other means than the gateway's."""
    await database.execute("insert into devices (name) select unnest($1::text[])", produced.devices)
    await database.execute("insert into cells values ('main', 'x')")
    await database.execute("insert into intake_totals (cell, kind, committed) values ('main', 'frame', $1)", COUNT)
    ids = dict(await database.fetch("select name, device_id from devices"))
    channels = dict(await database.fetch("select name, channel_id from channels"))
    order = sorted(range(len(CHANNELS)), key=lambda n: channels[CHANNELS[n]])
    layout = await database.fetchval(
        "insert into layouts (channel_ids) values ($1) returning layout_id", [channels[CHANNELS[n]] for n in order]
    )
    for n in range(COUNT):
        values = [None if np.isnan(produced.values[n, c]) else float(produced.values[n, c]) for c in order]
        quality = [int(produced.quality[n, c]) for c in order]
        await database.execute(
            """insert into frames select 'epoch'::timestamptz + $1 * interval '1 us', $2, $3, $4, $5, now(), $6, $7""",
            int(produced.time_us[n]),
            ids[produced.devices[produced.device[n]]],
            layout,
            int(produced.boot[n]),
            int(produced.seq[n]),
            values,
            quality if any(quality) else None,
        )
    return database


async def complaints(connection: asyncpg.Connection, produced: Produced) -> str:
    verdict = await verify(connection, produced)
    return "; ".join(verdict.complaints + await check_totals(connection))


async def test_all_stored_once_and_equal_is_no_reason_to_complain(
    stored: asyncpg.Connection, produced: Produced
) -> None:
    assert await verify(stored, produced) == Verdict(produced=COUNT, stored=COUNT)
    assert await check_totals(stored) == []


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ("delete from frames where seq = 3 and device_id = 1", "1 vanished"),
        ("update frames set values[2] = values[2] + 1e-9 where seq = 3 and device_id = 1", OTHER),
        ("update frames set values[2] = null where seq = 3 and device_id = 1", OTHER),
        ("update frames set quality = null where seq = 2 and device_id = 2", OTHER),
        ("update frames set time = time + interval '1 us' where seq = 3 and device_id = 2", OTHER),
        ("update frames set seq = 9000 where seq = 3 and device_id = 1", "1 stored, but never produced"),
        (
            """insert into frames
               select time + interval '1 h', device_id, layout_id, boot, seq, received_at, values, quality
                 from frames where seq = 3""",
            "2 stored twice",
        ),
        ("delete from frames where seq = 3 and device_id = 1", "99 rows in frames, but intake_totals counts 100"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_found(
    stored: asyncpg.Connection, produced: Produced, damage: str, complaint: str
) -> None:
    await forced(stored, damage)
    assert complaint in await complaints(stored, produced)


async def test_a_frame_in_quarantine_or_given_up_by_its_device_is_accounted_for(
    stored: asyncpg.Connection, produced: Produced
) -> None:
    await forced(stored, "delete from frames where seq in (3, 4) and device_id = 1")
    await stored.execute(
        """insert into quarantine (received_at, device, topic, reason, detail, payload, sha256)
           values (now(), 'sim-0001', 'bioreactors/sim-0001/history', 'conflict', '', $1, '\\x00')""",
        msgpack.packb({"boot": 7, "seq": 3, "t": 0, "v": {"ph": 1.0}}),
    )
    given_up = dataclasses.replace(produced, lost={("sim-0001", 7, 4): "its store was full"})
    verdict = await verify(stored, given_up)
    assert (verdict.stored, verdict.quarantined, verdict.lost, verdict.complaints) == (
        COUNT - 2,
        {"conflict": 1},
        {"its store was full": 1},
        [],
    )
