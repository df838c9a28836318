"""The database is destroyed while a plant runs, and comes back from a backup."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import tarfile
import textwrap
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from prometheus_client import REGISTRY

from deploy.backup import safe, tools
from deploy.backup.take import BASE, SLOT, Backup, backups, chosen, forget
from deploy.backup.verify import look
from deploy.stack import Local
from deploy.stack.errors import StackError
from deploy.stack.local import erase
from deploy.stack.paths import BIOGATE, CHECKOUT, Paths
from deploy.stack.ports import any_free
from deploy.stack.servers import Postgres
from device_sim.journal import Produced, read
from gateway.runtime.database import Pool, create_pool
from gateway.upkeep import figures
from schema.migrate import migrate
from tests.conftest import Broker
from tests.deploy.composed import SERVICES
from tests.device_sim.subscriber import start
from tests.forked import Talking
from tests.gateway.cell import eventually
from tests.gateway.material import settings
from tests.processes import GatewayProcess

QUICK: dict[str, Any] = {"receipt_interval_s": 0.2, "reorder_window_s": 0.5, "backfill_retry_s": 1}
DEVICES = ("sim-0001", "sim-0002", "sim-0003")
LOST = """
select name, boot, n from device_streams join devices using (device_id), unnest(lost) r,
       generate_series(lower(r), upper(r) - 1) n"""
Frame = tuple[str, int, int]
"""Device, boot, seq."""


@dataclass
class Place:
    """A server of the test's own, a broker, a gateway, simulated controllers; and where backups are kept."""

    name: str
    """Of the stack that the server is, for `restore`."""
    server: Postgres
    broker: Broker
    gateway: GatewayProcess
    directory: Path
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def store(self) -> Path:
        return self.directory / "backups"

    def backup(self, command: str, *more: str, store: Path | None = None) -> tuple[int, str]:
        """`biogate backup …`: its status, and what it said."""
        environment = {**os.environ, "BIOGATE_DATABASE_URL": self.server.url}
        child = Talking("deploy.command", "backup", command, store or self.store, *more, environment=environment)
        said = child.finish()
        return child.wait(), said

    def receive_log(self) -> None:
        with (self.directory / "wal.log").open("wb") as log:
            command = [*BIOGATE, "backup", "wal", str(self.store)]
            environment = {**os.environ, "BIOGATE_DATABASE_URL": self.server.url}
            self.children.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))

    async def sql(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.server.url)
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    async def value(self, query: str) -> Any:
        return (await self.sql(query))[0][0]

    async def begin(self) -> Talking:
        """Migrate and start the gateway and the controllers, which keep what no receipt covers."""
        connection = await asyncpg.connect(self.server.url)
        await migrate(connection)
        await connection.execute("insert into devices (name) select unnest($1::text[])", list(DEVICES))
        await connection.close()
        self.gateway.start(**QUICK)
        return start(
            self.broker, "sim-", "--devices", "3", "--rate", "50", "--state", str(self.directory / "state"),
            "--journal", str(self.directory / "journal"), "--max-backoff", "1", "--until-receipted", "40",
        )  # fmt: skip

    async def until_more(self, frames: int) -> None:
        """So many more of them are stored, and covered by receipts."""
        now = await self.value("select count(*) from frames")
        await eventually(lambda: self.value(f"select count(*) >= {now + frames} from frames"), 30)
        await asyncio.sleep(0.5)

    async def destroyed(self) -> None:
        """The disk of the database is gone, in the middle of it all. Gateways are stopped before a restore."""
        self.server.kill()
        self.gateway.kill()
        shutil.rmtree(self.server.cluster)
        for child in self.children:
            child.terminate()
            child.wait(20)

    def produced(self) -> set[Frame]:
        frames = (frame for frame in read(self.directory / "journal") if isinstance(frame, Produced))
        return {(frame.device, frame.boot, frame.seq) for frame in frames}

    async def stored(self) -> set[Frame]:
        return {
            tuple(row) for row in await self.sql("select name, boot, seq from frames join devices using (device_id)")
        }


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with create_pool(settings(database_url)) as pool:
        yield pool


@pytest.fixture
def place(stack: Local, broker: Broker, tmp_path: Path) -> Iterator[Place]:
    paths = Paths(f"{stack.paths.name}-backup-{uuid.uuid4().hex[:8]}")
    server = Postgres(stack.postgres.place, paths, port=any_free(), programs=stack.postgres.programs)
    gateway = GatewayProcess("", broker.url, tmp_path / "gateway.log")
    it = Place(paths.name, server, broker, gateway, tmp_path)
    try:
        yield it
    finally:
        gateway.kill()
        for child in it.children:
            child.kill()
            child.wait()
        server.stop()
        erase(paths)


async def test_with_the_log_nothing_is_lost_that_was_acknowledged(place: Place, secrets_dir: Path) -> None:
    passphrase = place.directory / "passphrase"
    passphrase.write_text("correct horse battery\n")
    place.server.settings["synchronous_standby_names"] = SLOT  # a commit waits until the log of it is received
    place.server.start()
    place.gateway.environment["BIOGATE_DATABASE_URL"] = place.server.url
    place.receive_log()
    await eventually(
        lambda: place.value("select exists (select from pg_stat_replication where sync_state = 'sync')"), 20
    )
    fleet = await place.begin()
    await place.until_more(60)
    given = ("--secrets", str(secrets_dir), "--passphrase-file", str(passphrase))
    status, said = await asyncio.to_thread(place.backup, "take", *given)
    assert status == 0, said
    await place.until_more(60)
    at_backup = await place.value("select bytes > 1000000 from backups")
    before = await place.stored()
    instant = await place.value("select clock_timestamp()")
    await place.sql("create table mistake()")
    await place.destroyed()

    async with earlier(place, instant) as early:
        assert before <= await early.stored()
        assert await early.value("select to_regclass('mistake')") is None

    given = ("--secrets", str(place.directory / "secrets"), "--passphrase-file", str(passphrase))
    status, said = await asyncio.to_thread(place.backup, "restore", "--name", place.name, *given)
    assert status == 0, said
    assert (place.directory / "secrets" / "vault.pem").read_bytes() == (secrets_dir / "vault.pem").read_bytes()
    place.server.settings.clear()
    place.server.start()
    assert before <= await place.stored()
    assert await place.value("select to_regclass('mistake')") is not None
    place.gateway.start(**QUICK)
    await place.until_more(60)
    fleet.terminate()
    summary = json.loads((await asyncio.to_thread(fleet.finish)).splitlines()[-1])

    assert fleet.returncode == 0, summary
    assert await place.stored() == place.produced()
    assert await place.value("select count(*) from device_streams where not isempty(lost)") == 0
    assert (await look(place.server.url)).faults == []
    assert at_backup


@asynccontextmanager
async def earlier(place: Place, instant: datetime) -> AsyncIterator[Place]:
    """Another server, as this one was then."""
    paths = Paths(f"{place.name}-until")
    try:
        given = ("--name", paths.name, "--until", instant.isoformat())
        status, said = await asyncio.to_thread(place.backup, "restore", *given)
        assert status == 0, said
        server = Postgres(place.server.place, paths, port=any_free(), programs=place.server.programs)
        with server:
            yield replace(place, name=paths.name, server=server)
    finally:
        erase(paths)


async def test_without_the_log_what_came_after_the_backup_is_known_to_be_lost_and_the_plant_goes_on(
    place: Place,
) -> None:
    place.server.start()
    place.gateway.environment["BIOGATE_DATABASE_URL"] = place.server.url
    fleet = await place.begin()
    await place.until_more(60)
    status, said = await asyncio.to_thread(place.backup, "take", "--keep", "1")
    assert status == 0, said
    [taken] = backups(place.store)
    written = (place.store / taken.label / BASE).stat().st_mtime
    assert datetime.fromisoformat(taken.ended_at).timestamp() >= written  # before, it could not be restored to
    damaged = shutil.copytree(place.store, place.directory / "damaged")
    [base] = damaged.glob("*/base.tar.gz")
    with base.open("r+b") as file:
        file.seek(base.stat().st_size // 2)
        file.write(b"damaged")
    status, said = await asyncio.to_thread(place.backup, "verify", store=damaged)
    assert (status, "is damaged" in said) == (1, True), said
    assert await place.value("select ok from backups") is False
    status, said = await asyncio.to_thread(place.backup, "verify")
    assert (status, "whole" in said) == (0, True), said
    assert [tuple(row) for row in await place.sql("select ok, newest is not null from backups")] == [(True, True)]
    at_backup = await place.stored()
    await place.until_more(60)
    await place.destroyed()

    status, said = await asyncio.to_thread(place.backup, "restore", "--name", place.name)
    assert status == 0, said
    place.server.start()
    restored = await place.stored()
    assert restored < at_backup
    place.gateway.start(**QUICK)
    await place.until_more(60)
    await eventually(lambda: place.value("select count(*) = 3 from device_streams where not isempty(lost)"), 30)
    fleet.terminate()
    summary = json.loads((await asyncio.to_thread(fleet.finish)).splitlines()[-1])

    assert fleet.returncode == 0, summary
    missing = place.produced() - await place.stored()
    assert missing == {tuple(row) for row in await place.sql(LOST)}
    assert missing  # which is why the log is received
    assert (await look(place.server.url)).faults == []


async def test_a_composed_plant_is_backed_up_as_its_page_says(place: Place) -> None:
    """With PostgreSQL's tools instead of those in the container."""
    page = (CHECKOUT / "docs" / "compose.md").read_text()
    take, verified = (block(page, words) for words in ("at=$(date", "docker compose exec -T database psql"))
    place.server.start()
    connection = await asyncpg.connect(place.server.url)
    await migrate(connection)
    await connection.close()
    place.store.mkdir()

    def run(block: str) -> None:
        bare, environment = tools.connection(place.server.url)
        parts = urlsplit(bare)
        environment |= {"PGHOST": str(parts.hostname), "PGPORT": str(parts.port), "PGDATABASE": parts.path[1:]}
        instead = 'docker() { shift 4; "$@"; }'
        for name in ("pg_basebackup", "psql"):
            instead += f'; {name}() {{ {shlex.join(tools.program(name))} "$@"; }}'
        block = block.replace("DIR/", f"{place.store}/")
        subprocess.run(["sh", "-ec", f"{instead}\n{block}"], env=environment, check=True)

    await asyncio.to_thread(run, take)
    [kept] = place.store.iterdir()
    with tarfile.open(kept) as tar:
        assert {"PG_VERSION", "backup_label", "backup_manifest"} <= set(tar.getnames())
    label = kept.name.removesuffix(".tar.gz")
    await asyncio.to_thread(run, verified.replace("LABEL", label))
    [row] = await place.sql("select label, bytes, ok, now() - taken_at < '1 hour' as recent from backups")
    assert tuple(row) == (label, kept.stat().st_size, True, True)
    assert f"image={SERVICES['database']['image']} " in page


def block(page: str, begin: str) -> str:
    """The indented block that begins so."""
    [found] = re.findall(rf"(?<=\n\n)    {re.escape(begin)}.*\n(?:    .*\n)*", page)
    return textwrap.dedent(found)


async def test_what_does_not_add_up_in_a_database_is_found(database: asyncpg.Connection, database_url: str) -> None:
    assert (await look(database_url)).faults == []
    await database.execute(
        "insert into audit (organization_id, who, action, subject, why) values (1, 'a', 'b', 'c', 'd')"
    )
    await database.execute("alter table audit disable trigger audit_refuse; update audit set who = 'z'")
    await database.execute(
        "insert into cells values ('main', 'x'); insert into intake_totals values ('main', 'frame', 7)"
    )
    assert (await look(database_url)).faults == [
        "frame: 0 stored and 0 dropped, but 7 were counted",
        "the audit trail of main was changed, or has lost something, at 1",
    ]


def test_a_time_is_restored_from_the_newest_backup_before_it(tmp_path: Path) -> None:
    for n in (1, 2, 3):
        (tmp_path / str(n)).mkdir()
        about = Backup(str(n), f"2026-03-0{n}T10:00:00Z", f"2026-03-0{n}T11:00:00Z", 0, "", f"{n:024X}", "17", "2")
        (tmp_path / str(n) / "about.json").write_text(json.dumps(asdict(about)))

    def label(day: int, hour: int) -> str:
        return chosen(tmp_path, None, datetime(2026, 3, day, hour, tzinfo=UTC)).label

    assert chosen(tmp_path, None).label == "3"
    assert [label(2, 11), label(3, 10), label(4, 0)] == ["2", "2", "3"]
    with pytest.raises(StackError, match="no way back"):
        label(1, 10)

    (tmp_path / "wal").mkdir()
    for name in ("000000010000000000000001", "000000020000000000000002.partial", "00000002.history"):
        (tmp_path / "wal" / name).touch()
    assert forget(tmp_path, 2) == ["1"]
    kept = sorted(path.name for path in (tmp_path / "wal").iterdir())
    assert kept == ["00000002.history", "000000020000000000000002.partial"]


def test_the_secrets_come_back_with_their_passphrase_alone(secrets_dir: Path, tmp_path: Path) -> None:
    sealed = safe.seal(secrets_dir, b"correct horse battery")
    with pytest.raises(StackError, match="cannot be opened"):
        safe.unseal(sealed, b"correct horse batterz", tmp_path / "wrong")
    safe.unseal(sealed, b"correct horse battery", tmp_path / "again")

    def files(directory: Path) -> dict[str, tuple[bytes, int]]:
        found = (path for path in directory.rglob("*") if path.is_file())
        return {str(path.relative_to(directory)): (path.read_bytes(), path.stat().st_mode & 0o077) for path in found}

    assert files(tmp_path / "again") == files(secrets_dir)
    assert not (tmp_path / "wrong").exists()


async def test_the_leading_gateway_tells_how_old_the_backups_are(pool: Pool) -> None:
    def told() -> list[float | None]:
        names = (
            "biogate_backup_timestamp_seconds",
            "biogate_backup_verified_timestamp_seconds",
            "biogate_backup_faulty",
        )
        return [REGISTRY.get_sample_value(name) for name in names]

    async with pool.acquire() as connection:
        await figures.read(connection, "backups")
        assert told() == [None, None, None]
        await connection.execute(
            """insert into backups (label, taken_at, bytes, verified_at, ok) values
               ('a', to_timestamp(10), 1, to_timestamp(11), true), ('b', to_timestamp(20), 1, to_timestamp(21), false),
               ('c', to_timestamp(30), 1, null, null)"""
        )
        await figures.read(connection, "backups")
        assert told() == [30, 11, 1]
    figures.forget()
    assert told() == [None, None, None]
