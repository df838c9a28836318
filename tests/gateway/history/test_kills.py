"""An import that is killed again and again loses nothing and doubles nothing, and its account is exact."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import pytest

from gateway.errors import LeadLost
from gateway.history.importer import ImportRequest, open_import
from gateway.history.ledger import ImportedFile, Ledger, begin
from gateway.history.mapping import FileMapping, changed
from gateway.history.report import ImportReport
from gateway.intake.accounting import ItemCounts
from gateway.intake.registry import Registry
from gateway.runtime.database import Pool
from gateway.storage.write import Writer
from tests.forked import Forked
from tests.gateway.history.exports import Import, samples
from tests.gateway.history.test_import import export, totals
from tests.gateway.material import DAY_MS, NOW_MS, frames, until

BATCH = 50
DASGIP = ("--mapping", "dasgip", "--zone", "Europe/Berlin", "--create-devices", "--json")
SLOW = """
create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.03); return null; end $$;
create trigger slow after update on imports for each row execute function slow()"""
"""So that a batch takes a while."""
GONE = """
create function gone() returns trigger language plpgsql as $$
    begin perform pg_terminate_backend(pg_backend_pid()); return null; end $$;
create trigger gone after update on intake_totals for each row when (new.committed > 0) execute function gone()"""
"""So that who stores a frame loses the connection."""


class Started:
    """`biogate import`, started in small batches."""

    def __init__(self, database_url: str, directory: Path, *arguments: object) -> None:
        self.out, self.err = directory / "out", directory / "err"
        for path in (self.out, self.err):
            path.write_text("")
        environment = {**os.environ, "BIOGATE_DATABASE_URL": database_url, "BIOGATE_BATCH_FRAMES": str(BATCH)}
        self._process = Forked(
            "deploy.command", "import", *arguments, environment=environment, out=self.out, err=self.err
        )

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        if self.runs:
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    async def end(self) -> int:
        return await asyncio.to_thread(self._process.wait, 60)


@pytest.fixture
def started(database_url: str, tmp_path: Path) -> Iterator[list[Started]]:
    """All that were started; they end with the test."""
    all_of_them: list[Started] = []
    yield all_of_them
    for one in all_of_them:
        one.kill()


async def position(database: asyncpg.Connection) -> int:
    return int(await database.fetchval("select coalesce(max(position), 0) from imports"))


async def test_a_command_that_is_killed_goes_on_where_it_was(
    database: asyncpg.Connection, database_url: str, started: list[Started], tmp_path: Path
) -> None:
    path, written = export(tmp_path / "a.csv", minutes=1000)
    written_frames = len({(device, time) for device, time, *_ in written})
    await database.execute(SLOW)
    kills = at = 0
    while kills < 3:
        one = Started(database_url, tmp_path, path, *DASGIP)
        started.append(one)

        async def has_gone_on(one: Started = one, at: int = at) -> bool:
            return not one.runs or await position(database) > at + 2 * BATCH

        await until(has_gone_on, 60)
        one.kill()
        kills, at = kills + 1, await position(database)
    assert 0 < at < written_frames
    one = Started(database_url, tmp_path, path, *DASGIP)
    started.append(one)
    assert await one.end() == 0, one.err.read_text()
    report = json.loads(one.out.read_text())
    assert report["resumed_at"] == at
    assert (report["frames"], report["stored"], report["duplicate"], report["rejected"]) == (
        written_frames,
        written_frames,
        0,
        0,
    )
    assert await samples(database) == written
    assert await totals(database) == (written_frames, 0, 0, 0)
    assert await database.fetchval("select count(*) from frames") == written_frames
    assert [row["action"] for row in await database.fetch("select action from audit order by n")][2:] == [
        *("import begin", "import end")
    ]


async def test_a_database_that_ends_all_connections_delays_an_import(
    database: asyncpg.Connection, database_url: str, started: list[Started], tmp_path: Path
) -> None:
    path, written = export(tmp_path / "a.csv", minutes=1000)
    written_frames = len({(device, time) for device, time, *_ in written})
    await database.execute(SLOW)
    one = Started(database_url, tmp_path, path, *DASGIP)
    started.append(one)
    cuts = at = 0
    while one.runs:

        async def has_gone_on(at: int = at) -> bool:
            return not one.runs or await position(database) > at + 2 * BATCH

        await until(has_gone_on, 60)
        cut = await database.fetch(
            """select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and application_name like 'biogate-import%'"""
        )
        cuts, at = cuts + bool(cut), await position(database)
    assert await one.end() == 0, one.err.read_text()
    assert cuts >= 2
    assert json.loads(one.out.read_text())["stored"] == written_frames
    assert await samples(database) == written
    assert await totals(database) == (written_frames, 0, 0, 0)


async def test_a_dry_run_that_loses_its_connection_ends(
    imported: Import, database: asyncpg.Connection, tmp_path: Path
) -> None:
    """Its transaction is gone: to try again would never end."""
    await database.execute(GONE)
    path = tmp_path / "a.csv"
    path.write_text("time,ph\n2024-03-08T10:00Z,7\n")
    async with asyncio.timeout(30):
        with pytest.raises(LeadLost, match="run it again"):
            await imported(path, device="r1", dry_run=True)


async def test_a_process_that_was_taken_for_dead_stores_nothing_any_more(
    imported: Import, pool: Pool, registry: Registry, database: asyncpg.Connection, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("time,ph\n2024-03-08T10:00Z,7\n")
    mapping = changed(FileMapping(), {"device": "r1"})
    request = ImportRequest(path, "a.csv", mapping, "main", 1, "eva", "as the test says")
    with ExitStack() as kept:
        opened = open_import(request, kept)
        file = ImportedFile(1, "a.csv", opened.sha256, opened.plan, "eva", "as the test says")
        first = await begin(pool, file, [1])
    first.expect(1, 1)
    assert (await imported(path, device="r1"))["stored"] == 1
    late = Writer(pool, registry, {}, cell="main", chunk_ms=DAY_MS, max_chunks=32, imported=first.settled)
    with pytest.raises(LeadLost, match="another process has taken this import up"):
        await late.write(await frames(registry, "r1", (NOW_MS, {"ph": 8.0}), boot=None, seq=None))
    assert await database.fetchval("select count(*) from frames") == 1
    assert await database.fetchval("select count(*) from imports") == 1
    assert await totals(database) == (1, 0, 0, 0)


async def test_what_was_settled_of_a_batch_counts_no_more_when_the_batch_begins_anew(
    pool: Pool, registry: Registry
) -> None:
    """Else the import would go on behind frames that were never stored."""
    file = ImportedFile(1, "a.csv", bytes(32), bytes(32), "eva", "as the test says")
    made = await frames(registry, "r1", (NOW_MS, {"ph": 8.0}), boot=None, seq=None)

    async def taken_up(*settled: int) -> int:
        """The position at which it begins; parts of a batch of ten are settled then."""
        account = await begin(pool, file, [1])
        account.expect(10, 10)
        for items in settled:
            async with pool.acquire() as connection:
                await account.settled(connection, made * items, ItemCounts())
        return account.position

    assert [await taken_up(4), await taken_up(6), await taken_up(4, 6), await taken_up()] == [0, 0, 0, 10]


async def test_an_end_whose_commit_was_not_answered_is_told_once(
    pool: Pool, database: asyncpg.Connection, tmp_path: Path
) -> None:
    file = ImportedFile(1, "a.csv", b"hash", b"plan", "eva", "as the test says")
    report = ImportReport("a.csv", b"hash".hex(), False, "CSV", None, None, None, None, [], [])
    first = await begin(pool, file, [1])
    for _ in range(2):
        await first.finish(pool, report)
    assert await database.fetchval("select count(*) from audit where action = 'import end'") == 1
    await begin(pool, file, [1])
    second = await begin(pool, file, [1])
    await second.finish(pool, report)
    with pytest.raises(LeadLost):
        await Ledger(file, {"import_id": 2, "attempt": 1, "received_at": None, "position": 0}).finish(pool, report)
