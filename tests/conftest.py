"""Real servers for all tests: one PostgreSQL for the run with a database a test, one Mosquitto a test.

Workers of pytest-xdist share what their controller has started before them: PostgreSQL, the migrated template, the
secrets. Without workers the first test that asks for one of them makes it, so pure tests start nothing.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg
import hypothesis
import pytest
import pytest_asyncio
import structlog

import deploy.stack
from deploy.stack import Local, Mosquitto, choose
from deploy.stack.conf import Changes
from deploy.stack.local import broker as broker_of
from deploy.stack.local import database as database_of
from deploy.stack.local import erase
from deploy.stack.paths import BIOGATE, Paths
from deploy.stack.ports import any_free
from schema.migrate import ALARMS, API, EVIDENCE, GATEWAY, OPERATOR, WORKER
from tests import known_types
from tests.databases import fresh_database, made_template, set_password, with_database
from tests.leftovers import no_port_is_left, no_process_is_left
from tests.processes import GatewayProcess
from tests.roles import as_role, drop_logins, make_logins

__all__ = ["no_port_is_left", "no_process_is_left"]

HASTY = {
    "fsync": "off",
    "full_page_writes": "off",
    "timescaledb.bgw_launcher_poll_time": "600000",
    "scram_iterations": "1",
    "max_parallel_workers_per_gather": "0",
}
"""The machine under the tests does not lose its power, and a process that is killed loses nothing by the first two. By
the third, databases that live for a second get no scheduler of TimescaleDB's, for which it has no job. By the fourth,
which holds for passwords set from then on, each of ten thousand connections takes 2 ms less of processor time. By the
fifth, no query over a handful of rows starts processes because nothing has counted them; tests/system has them."""

os.environ.setdefault("PGSSLMODE", "disable")  # the server has no TLS: each connection would prepare it, and ask

known_types.keep()
sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]  # httpx2 would look for it on the disk at each request

hypothesis.settings.register_profile("biogate", deadline=None)  # by the clock a loaded machine would fail
hypothesis.settings.load_profile("biogate")

# As structlog does it by default, but for tracebacks: rich's, with all variables, take 20 s for one of the API.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


@pytest.fixture(autouse=True)
def configured_logs() -> Iterator[None]:
    """Undo what a case configures of the logs: it may write to a file that is closed when the case ends."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


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


@dataclass(frozen=True)
class Shared:
    """What all tests of a run have in common, under the name of the run."""

    name: str
    directory: Path

    @property
    def template(self) -> str:
        return f"biogate_template_{self.name.rpartition('-')[2]}"

    @property
    def secrets(self) -> Path:
        return self.directory / "secrets"

    @property
    def ports(self) -> Path:
        """A file with the servers' ports, if the controller of workers has started them."""
        return self.directory / "ports"

    def make_secrets(self) -> None:
        subprocess.run([*BIOGATE, "setup", str(self.secrets)], check=True)


def server_url(stack: Local) -> str:
    """The maintenance database, as superuser. BIOGATE_TEST_DATABASE_URL names another server, such as one with
    TimescaleDB's community edition."""
    return with_database(os.environ.get("BIOGATE_TEST_DATABASE_URL", stack.database_url), "postgres")


@contextmanager
def hasty_servers(name: str) -> Iterator[Local]:
    """Servers with those settings, which hold for the owner's password, too."""
    with deploy.stack.local(name, postgres_settings=HASTY) as local:
        asyncio.run(set_password(local.database_url))
        yield local


SHARED = pytest.StashKey[Shared]()


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """In the controller of workers, start and make what they share; it ends with the controller."""
    given: dict[str, Any] | None = getattr(config, "workerinput", None)
    if given is not None:
        config.stash[SHARED] = Shared(given["shared_name"], Path(given["shared_directory"]))
        return
    kept = ExitStack()
    config.add_cleanup(kept.close)
    directory = Path(kept.enter_context(TemporaryDirectory(prefix="biogate-test-")))
    shared = config.stash[SHARED] = Shared(f"test-{os.getpid()}", directory)
    if config.getoption("tx", None) and not config.option.collectonly:
        stack = kept.enter_context(hasty_servers(shared.name))
        kept.enter_context(made_template(server_url(stack), shared.template))
        shared.make_secrets()
        shared.ports.write_text(json.dumps([stack.postgres.port, stack.mosquitto.port]))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays: to look for garbage in it would take a fifth of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist what it shares with the others."""
    shared = node.config.stash[SHARED]
    node.workerinput.update(shared_name=shared.name, shared_directory=str(shared.directory))


@pytest.fixture(scope="session")
def shared(pytestconfig: pytest.Config) -> Shared:
    return pytestconfig.stash[SHARED]


@pytest.fixture(scope="session")
def stack(shared: Shared) -> Iterator[Local]:
    """The servers of the run. A test stops none of them: others use them at the same time."""
    if shared.ports.exists():
        paths, ports = Paths(shared.name), json.loads(shared.ports.read_text())
        postgres, mosquitto = choose.postgres(given=False), choose.mosquitto(given=False)
        yield Local(paths, database_of(paths, postgres, port=ports[0]), broker_of(paths, mosquitto, port=ports[1]))
        return
    with hasty_servers(shared.name) as local:
        yield local


@pytest.fixture(scope="session")
def postgres_url(stack: Local) -> str:
    return server_url(stack)


@pytest.fixture(scope="session")
def template(shared: Shared, postgres_url: str) -> Iterator[str]:
    """The name of a migrated database that is only copied."""
    with nullcontext() if shared.ports.exists() else made_template(postgres_url, shared.template):
        yield shared.template


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def maintenance(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the maintenance database, for fixtures that make databases. They, too, run in the session's loop:
    a connection for each would take a quarter of the time."""
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def logins(maintenance: asyncpg.Connection, template: str) -> AsyncIterator[None]:
    """A login for each role: see tests/roles.py."""
    await make_logins(maintenance)
    yield
    await drop_logins(maintenance)


@pytest_asyncio.fixture(loop_scope="session")
async def database_url(
    maintenance: asyncpg.Connection, postgres_url: str, template: str, logins: None
) -> AsyncIterator[str]:
    """A fresh, migrated database."""
    async with fresh_database(maintenance, postgres_url, template) as url:
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def module_database_url(
    maintenance: asyncpg.Connection, postgres_url: str, template: str, logins: None
) -> AsyncIterator[str]:
    """One for all cases of a module that only read what the module has put there: see `make_read_only`."""
    async with fresh_database(maintenance, postgres_url, template) as url:
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
def secrets_dir(shared: Shared) -> Path:
    """Keys, passwords and certificates, as `biogate setup` makes them."""
    if not shared.secrets.exists():
        shared.make_secrets()
    return shared.secrets


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
def gateway_url(database_url: str) -> str:
    """The database, by a login that has the rights of gateways alone."""
    return as_role(database_url, GATEWAY)


@pytest.fixture
def alarms_url(database_url: str) -> str:
    """The database, by a login that has the rights of alarms processes alone."""
    return as_role(database_url, ALARMS)


@pytest.fixture
def worker_url(database_url: str) -> str:
    """The database, by a login that has the rights of workers alone."""
    return as_role(database_url, WORKER)


@pytest.fixture
def api_url(database_url: str) -> str:
    """The database, by a login that has the rights of the API alone."""
    return as_role(database_url, API)


@pytest.fixture
def evidence_url(database_url: str) -> str:
    """The database, by a login that has the rights of evidence processes alone."""
    return as_role(database_url, EVIDENCE)


@pytest.fixture
def operator_url(database_url: str) -> str:
    """The database, by a login that has the rights of the tools alone."""
    return as_role(database_url, OPERATOR)


@pytest.fixture
def gateway(gateway_url: str, broker: Broker, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway between them, not started yet."""
    process = GatewayProcess(gateway_url, broker.url, tmp_path / "gateway.log")
    yield process
    process.end()
    if process.log.exists():
        print(process.log.read_text()[-4000:])  # shown with a failure


@pytest.fixture
def prefix() -> str:
    """The beginning of the names of devices that no other test uses."""
    return f"t{uuid.uuid4().hex[:10]}-"
