"""What a backup is verified for: each kind of what was counted is there, and every organization's trail is whole."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import asyncpg
import pytest

from deploy.backup.restore import give_log, restore
from deploy.backup.take import ABOUT, BASE, Backup, backups, measured
from deploy.backup.verify import Findings, look, note
from deploy.stack import choose
from deploy.stack.errors import StackError
from deploy.stack.local import database as database_of
from deploy.stack.local import erase
from deploy.stack.paths import Paths
from schema.migrate import MIGRATIONS
from tests.api.accounts import organization
from tests.roles import forced

WHOLE = """
insert into devices (name) values ('r1');
insert into layouts (channel_ids) values (array[1]);
insert into frames select now() - n * interval '1 day', 1, 1, 1, n, now(), '{1}' from generate_series(1, 5) n;
insert into device_events (time, device_id, type, data, received_at, digest)
    select now() - n * interval '1 day', 1, 'phase', '{}', now(), sha256('') from generate_series(1, 4) n;
insert into statuses (device_id, boot, time, online, received_at)
    select 1, n, now(), true, now() from generate_series(1, 3) n;
insert into quarantine (cell, received_at, device, topic, reason, detail, payload, sha256)
    select 'main', now(), 'r1', 'x', 'malformed', '', 'abc', sha256(n::text::bytea) from generate_series(1, 2) n;
insert into cells values ('main', 'x'), ('other', 'y');
insert into intake_totals (cell, kind, committed, quarantined) values
    ('main', 'frame', 4, 1), ('other', 'frame', 3, 0), ('main', 'event', 2, 0), ('other', 'event', 3, 0),
    ('main', 'status', 4, 0), ('other', 'status', 0, 1), ('main', 'result', 9, 1);
insert into retention_drops (kind, begins, ends, rows)
    select kind, now(), now(), rows from (values ('frame', 1), ('frame', 1), ('event', 1), ('status', 1),
                                                 ('quarantined', 1)) v (kind, rows)"""
STORED = {"frame": 5, "event": 4, "status": 3, "quarantined": 2}
DROPPED = {"frame": 2, "event": 1, "status": 1, "quarantined": 1}
TABLE = {"frame": "frames", "event": "device_events", "status": "statuses", "quarantined": "quarantine"}


@pytest.fixture
async def whole(database: asyncpg.Connection) -> asyncpg.Connection:
    """Five frames, four events, three statuses, two messages in quarantine; others were dropped."""
    await database.execute(WHOLE)
    return database


async def faults(database_url: str) -> list[str]:
    return (await look(database_url)).faults


@pytest.mark.parametrize("kind", STORED)
async def test_one_too_few_or_too_many_of_each_kind_is_found(
    whole: asyncpg.Connection, database_url: str, kind: str
) -> None:
    assert await faults(database_url) == []
    one = f"delete from {TABLE[kind]} where (tableoid, ctid) = (select tableoid, ctid from {TABLE[kind]} limit 1)"
    stored, dropped, said = STORED[kind], DROPPED[kind], STORED[kind] + DROPPED[kind]
    await whole.execute("insert into retention_drops (kind, begins, ends, rows) values ($1, now(), now(), 1)", kind)
    assert await faults(database_url) == [f"{kind}: {stored} stored and {dropped + 1} dropped, but {said} were counted"]
    await forced(whole, one)
    assert await faults(database_url) == []  # it was that one
    await forced(whole, one)
    assert await faults(database_url) == [
        f"{kind}: {stored - 2} stored and {dropped + 1} dropped, but {said} were counted"
    ]


async def test_rows_of_a_kind_of_which_nothing_was_ever_counted_are_found(
    database: asyncpg.Connection, database_url: str
) -> None:
    await database.execute(WHOLE.partition("insert into cells")[0])
    assert await faults(database_url) == [
        f"{kind}: {STORED[kind]} stored and 0 dropped, but 0 were counted" for kind in sorted(STORED)
    ]


async def test_the_trail_of_each_organization_is_verified(whole: asyncpg.Connection, database_url: str) -> None:
    await organization(whole, "north")
    await organization(whole, "south")
    event = "insert into audit (organization_id, who, action, subject, why) values ($1, 'a', 'b', 'c', 'd')"
    numbers = dict(await whole.fetch("select name, organization_id from organizations"))
    for number in numbers.values():
        await whole.execute(event, number)
    assert await faults(database_url) == []
    await whole.execute("alter table audit disable trigger audit_refuse")
    for name in ("south", "north"):
        await whole.execute("update audit set why = 'z' where organization_id = $1 and action = 'b'", numbers[name])
        assert any(f"the audit trail of {name} was changed" in fault for fault in await faults(database_url))
    assert len(await faults(database_url)) == 2


@pytest.mark.parametrize(
    ("found", "ok"),
    [(Findings(), True), (Findings(notices=["older"]), True), (Findings(faults=["lost"], notices=["older"]), False)],
)
async def test_a_backup_counts_as_verified_unless_it_has_faults(
    database: asyncpg.Connection, database_url: str, found: Findings, ok: bool
) -> None:
    """A backup of an older version is whole."""
    assert not await note(database_url, "a", found, str(found))
    await database.execute("insert into backups (label, taken_at, bytes) values ('a', now(), 1), ('b', now(), 1)")
    assert await note(database_url, "a", found, str(found))
    rows = await database.fetch("select ok, detail, verified_at is not null as is_noted from backups order by label")
    assert [tuple(row) for row in rows] == [(ok, str(found), True), (None, None, False)]


@pytest.mark.parametrize("content", [b"bare", b"base and more", b""])
def test_a_backup_that_is_not_the_file_that_was_written_is_not_restored(tmp_path: Path, content: bytes) -> None:
    """Also one of the same length."""
    (tmp_path / "a").mkdir()
    base = tmp_path / "a" / BASE
    base.write_bytes(b"base")
    backup = Backup("a", "", "", *measured(base), "0" * 24, "17", "2")
    base.write_bytes(content)
    paths = Paths(f"damaged-{os.getpid()}")
    with pytest.raises(StackError, match="is damaged"):
        restore(tmp_path, backup, database_of(paths, choose.postgres(given=False), port=1))


def test_a_backup_that_was_cut_off_is_none(tmp_path: Path) -> None:
    """It has its name only once all of it is on the disk."""
    for name in ("a", ".b"):
        (tmp_path / name).mkdir()
        about = Backup("a", "2026-03-01T10:00:00Z", "2026-03-01T11:00:00Z", 0, "", "0" * 24, "17", "2")
        (tmp_path / name / ABOUT).write_text(json.dumps(asdict(about)))
    (tmp_path / "c").mkdir()
    assert [backup.label for backup in backups(tmp_path)] == ["a"]


def test_a_restore_gets_the_log_from_the_backup_on_each_file_once_and_the_histories(tmp_path: Path) -> None:
    one, two, three, four = (f"00000001{n:016X}" for n in (1, 2, 3, 4))
    for name in (one, two, three, f"{three}.partial", f"{four}.partial", "00000002.history"):
        (tmp_path / name).write_text(name)
    paths = Paths(f"log-{os.getpid()}")
    server = database_of(paths, choose.postgres(given=False), port=1)
    to = server.data / "wal"
    try:
        to.mkdir(parents=True)
        server.place.make(to, server.user)
        give_log(tmp_path, Backup("a", "", "", 0, "", two, "17", "2"), server, to)
        given = {path.name: path.read_text() for path in to.iterdir()}
    finally:
        erase(paths)
    partial = {four: f"{four}.partial"}  # what was being written gets its final name
    assert given == {name: name for name in (two, three, "00000002.history")} | partial


async def test_a_backup_of_an_older_version_is_told_from_one_that_lacks_a_migration_in_between(
    whole: asyncpg.Connection, database_url: str
) -> None:
    *_, before, newest = sorted(path.stem for path in MIGRATIONS.glob("*.sql"))
    forget = "delete from _pogo_migration where migration_id = $1"
    await whole.execute(forget, before)
    assert (await faults(database_url))[0] == f"migrations are missing in between: {before}"
    await whole.execute(forget, newest)
    found = await look(database_url)
    assert (found.faults, found.notices) == ([], [f"older than this version, which has also: {before}, {newest}"])
