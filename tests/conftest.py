"""Real servers for all tests: one PostgreSQL for the session with a database a test, one Mosquitto a test."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import hypothesis
import pytest
import pytest_asyncio

import deploy.stack
from deploy.stack import Local, Mosquitto
from deploy.stack.conf import Changes
from deploy.stack.local import erase
from deploy.stack.paths import BIOGATE, Paths
from deploy.stack.ports import any_free
from schema.migrate import migrate
from tests.processes import GatewayProcess

TEMPLATE = f"biogate_template_{os.getpid()}"

hypothesis.settings.register_profile("biogate", deadline=None)  # by the clock a loaded machine would fail
hypothesis.settings.load_profile("biogate")


@dataclass(frozen=True)
class Broker:
    """A Mosquitto of the test's own, with the checkout's mosquitto.conf."""

    host: str
    port: int
    server: Mosquitto
    given: Path | None = None

    @property
    def url(self) -> str:
        return f"mqtt://{self.host}:{self.port}"

    @property
    def secrets(self) -> Path:
        """The directory made by `biogate setup`; of a `secure_broker` alone, as are the ports."""
        assert self.given is not None, "this broker has neither logins nor TLS"
        return self.given

    @property
    def tls_port(self) -> int:
        return self.server.tls_port

    @property
    def enroll_port(self) -> int:
        return self.server.enroll_port

    @property
    def certificate_port(self) -> int:
        return self.server.certificate_port


def with_database(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@pytest.fixture(scope="session")
def stack() -> Iterator[Local]:
    with deploy.stack.local(f"test-{os.getpid()}") as local:
        yield local


@pytest.fixture(scope="session")
def postgres_url(stack: Local) -> str:
    """The server's maintenance database, as superuser. BIOGATE_TEST_DATABASE_URL names another server, such as one
    with TimescaleDB's community edition."""
    return with_database(os.environ.get("BIOGATE_TEST_DATABASE_URL", stack.database_url), "postgres")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def template(postgres_url: str) -> AsyncIterator[str]:
    """The name of a migrated database that nobody uses: copied in no time. (TimescaleDB's scheduler, which would
    connect to it and so forbid the copying, is kept out.)"""
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"drop database if exists {TEMPLATE} with (force)")
    await admin.execute(f"create database {TEMPLATE}")
    connection = await asyncpg.connect(with_database(postgres_url, TEMPLATE))
    await migrate(connection)
    await connection.close()
    await admin.execute(f"alter database {TEMPLATE} with allow_connections false")
    await admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", TEMPLATE)
    yield TEMPLATE
    await admin.execute(f"drop database {TEMPLATE} with (force)")
    await admin.close()


@asynccontextmanager
async def fresh_database(postgres_url: str, template: str) -> AsyncIterator[str]:
    """The URL of a copy of `template`, dropped at the end."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"create database {name} template {template} strategy file_copy")
    yield with_database(postgres_url, name)
    await admin.execute(f"drop database {name} with (force)")
    await admin.close()


@pytest.fixture
async def database_url(postgres_url: str, template: str) -> AsyncIterator[str]:
    """A fresh, migrated database."""
    async with fresh_database(postgres_url, template) as url:
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def module_database_url(postgres_url: str, template: str) -> AsyncIterator[str]:
    """One for all cases of a module that only read what the module has put there: see `make_read_only`."""
    async with fresh_database(postgres_url, template) as url:
        yield url


async def make_read_only(connection: asyncpg.Connection) -> None:
    """From the next connection on: a case that writes fails, and does not spoil the others' database."""
    name = await connection.fetchval("select current_database()")
    await connection.execute(f"alter database {name} set default_transaction_read_only = on")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to it."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture(scope="session")
def secrets_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys, passwords and certificates, as `biogate setup` makes them."""
    directory = tmp_path_factory.mktemp("secrets") / "secrets"
    subprocess.run([*BIOGATE, "setup", str(directory)], check=True)
    return directory


@contextmanager
def start_broker(stack: Local, settings: Changes | None, secrets: Path | None = None) -> Iterator[Broker]:
    paths = Paths(f"{stack.paths.name}/broker-{uuid.uuid4().hex[:8]}")
    with Mosquitto(
        stack.mosquitto.place,
        paths,
        port=any_free(),
        program=stack.mosquitto.program,
        settings=settings,
        security=secrets and secrets / "broker",
        tls_port=any_free(),
        enroll_port=any_free(),
        certificate_port=any_free(),
    ) as server:
        yield Broker("127.0.0.1", server.port, server, secrets)
    erase(paths)


@pytest.fixture
def broker(stack: Local, request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A fresh Mosquitto. `@pytest.mark.parametrize("broker", [{option: value}], indirect=True)` changes its options."""
    with start_broker(stack, getattr(request, "param", None)) as broker:
        yield broker


@pytest.fixture
def other_broker(stack: Local) -> Iterator[Broker]:
    """A second one, of another cell."""
    with start_broker(stack, None) as broker:
        yield broker


@pytest.fixture
def secure_broker(stack: Local, secrets_dir: Path, request: pytest.FixtureRequest) -> Iterator[Broker]:
    """As in production: logins and TLS, with the logins that setup makes and no device yet. Parametrized as above."""
    with start_broker(stack, getattr(request, "param", None), secrets_dir) as broker:
        yield broker


@pytest.fixture
def gateway(database_url: str, broker: Broker, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway between them, not started yet."""
    process = GatewayProcess(database_url, broker.url, tmp_path / "gateway.log")
    yield process
    process.kill()
    if process.log.exists():
        print(process.log.read_text()[-4000:])  # shown with a failure
