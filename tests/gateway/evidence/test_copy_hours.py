"""A COPY of many hours gives the same digests as one of each hour, however it comes in parts."""

from __future__ import annotations

import hashlib

import asyncpg
import pytest

from gateway.evidence import sealed_frames
from gateway.evidence.copy_hours import CopiedHours
from schema.evidence.seals import HOUR
from tests.gateway.evidence.sealed_plant import BEGIN, END, HOURS, SealedPlant

COLUMNS = "time, layout_id, received_at, boot, seq, values, quality"


async def copied(database: asyncpg.Connection, where: str) -> bytes:
    content = bytearray()

    async def take(part: bytes) -> None:
        content.extend(part)

    query = f"select {COLUMNS} from frames where device_id = 1 and {where} order by time, layout_id"
    await database.copy_from_query(query, output=take, format="binary")
    return bytes(content)


@pytest.mark.parametrize("size", [1, 7, 100, 10**6])
async def test_each_row_goes_to_its_hour(database: asyncpg.Connection, size: int) -> None:
    plant = SealedPlant(database)
    await plant.fill("br-1")
    await plant.tamper("update frames set boot = null, seq = null where extract(minute from time) = 5")
    whole = await copied(database, "true")
    wanted = {BEGIN + n * HOUR: f"hour {n}" for n in (0, 2, 9)}
    hours = CopiedHours(wanted)
    for at in range(0, len(whole), size):
        hours.add(whole[at : at + size])
    for hour, text in wanted.items():
        alone = await copied(database, f"time >= '{hour.isoformat()}' and time < '{(hour + HOUR).isoformat()}'")
        assert hours.hours[hour].frames == (12 if hour < END else 0)
        assert hours.hours[hour].hexdigest() == hashlib.sha256(f"{text}\n".encode() + alone).hexdigest()


async def test_hours_that_are_read_alone_have_the_same_seals(
    database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = SealedPlant(database)
    await plant.fill("br-1")
    await plant.seal()
    monkeypatch.setattr(sealed_frames, "FEW", 0)
    found = await plant.verified()
    assert (found.hours, found.frames, found.faults) == (HOURS, 12 * HOURS, [])
