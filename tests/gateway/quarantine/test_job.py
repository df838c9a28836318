"""A replay that somebody has asked for by the API, as the worker does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from gateway.quarantine import job
from gateway.storage.write import Writer
from schema.jobs import ClaimedJob, JobCancelled, JobProgress, RunningJob
from schema.reasons import Reason
from tests.gateway.quarantine.test_console import NEW, audit, frame, message, rows, states, stored
from tests.roles import forced


@pytest.fixture
async def running(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("BIOGATE_DATABASE_URL", database_url)

    def make(*messages: int, organization_id: int = 1) -> RunningJob:
        request = {"messages": list(messages), "why": "registered since"}
        claimed = ClaimedJob(uuid4(), organization_id, "eva@example.org", "replay", request, None, 1)
        return RunningJob(claimed, tmp_path, JobProgress())

    return make


async def test_what_can_be_stored_now_is_and_what_cannot_stays_open(
    running: Any, writer: Writer, database: asyncpg.Connection
) -> None:
    await writer.write([message(frame(n), NEW, reason=Reason.UNKNOWN_DEVICE) for n in range(2)])
    await writer.write([message(b"\xc1", NEW, reason=Reason.MALFORMED), message(frame(7), NEW)])
    await forced(database, "update quarantine set state = 'replayed', settled_at = now() where quarantine_id = 4")
    await database.execute("insert into devices (name) values ($1)", NEW)
    it = running(1, 2, 3, 4, 99)
    found = await job.run(it)
    assert found == {"stored": 2, "rejected": 1, "not_open": 2, "reasons": found["reasons"]}
    assert found["reasons"][0].startswith("malformed")
    assert (it.progress.done, it.progress.total, it.progress.unit) == (3, 5, "messages")
    assert await states(database) == ["replayed", "replayed", "open", "replayed"]
    assert [seq for seq, _, _ in await stored(database)] == [0, 1]
    assert [entry[:4] for entry in await audit(database)] == [
        ("eva@example.org", "quarantine.replay", f"quarantine/{n}", "registered since") for n in (1, 2)
    ]
    assert await database.fetchval("select received::text from device_streams") == "{[0,2)}"
    assert await job.run(running(1, 2)) == {"stored": 0, "rejected": 0, "not_open": 2, "reasons": []}


async def test_messages_of_others_are_left_alone(running: Any, writer: Writer, database: asyncpg.Connection) -> None:
    await database.execute("insert into organizations (name, title) values ('north', 'North')")
    await database.execute("insert into devices (name, organization_id) values ($1, 2)", NEW)
    await writer.write([message(frame(0), NEW), message(frame(1), "no-device")])
    before = await rows(database)
    assert (await job.run(running(1)))["not_open"] == 1
    assert (await job.run(running(2, organization_id=2)))["not_open"] == 1
    assert await rows(database) == before
    assert (await job.run(running(1, organization_id=2)))["stored"] == 1
    assert await database.fetchval("select organization_id from audit where action = 'quarantine.replay'") == 2


async def test_a_cancelled_replay_ends_and_marks_nothing_that_it_has_not_stored(
    running: Any, writer: Writer, database: asyncpg.Connection
) -> None:
    await writer.write([message(frame(0))])
    it = running(1)
    it.progress.stop = JobCancelled("cancelled")
    with pytest.raises(JobCancelled):
        await job.run(it)
    assert await states(database) == ["open"]
