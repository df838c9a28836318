"""A login by hand works for mosquitto's clients at once, through the gateway that leads and a broker with TLS."""

from __future__ import annotations

import asyncio
import json
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import asyncpg
import pytest

from deploy.stack import Local
from schema.sealed import unseal
from tests.conftest import Broker
from tests.gateway.operators.tool import SIGNED, Tool, cell, tool_for, vault
from tests.processes import GatewayProcess


@pytest.fixture
def gateway(database_url: str, secure_broker: Broker, tmp_path: Path) -> Iterator[GatewayProcess]:
    process = GatewayProcess(database_url, secure_broker.url, tmp_path / "gateway.log")
    process.start(secrets_dir=secure_broker.secrets)
    yield process
    process.kill()
    print(process.log.read_text()[-4000:])


def program(stack: Local, name: str) -> Sequence[str]:
    """A client of the broker's own version, run here on our files."""
    root = stack.mosquitto.place.root
    if root is None:
        found = shutil.which(name)
        assert found is not None
        return [found]
    [loader] = [*root.glob("lib64/ld-linux-*.so.*"), *root.glob("usr/lib/ld-linux-*.so.*")][:1]
    [libraries] = root.glob("usr/lib/*-linux-gnu")
    return [str(loader), "--library-path", str(libraries), str(root / "usr/bin" / name)]


async def run(command: Sequence[str], directory: Path, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        *arguments,
        env={"XDG_CONFIG_HOME": str(directory)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def test_a_person_has_a_working_client_with_one_command(
    gateway: GatewayProcess,
    database_url: str,
    database: asyncpg.Connection,
    secure_broker: Broker,
    stack: Local,
    tmp_path: Path,
) -> None:
    address = f"mqtts://localhost:{secure_broker.tls_port}"
    tool = tool_for(database_url, device_broker_url=address, secrets_dir=secure_broker.secrets)
    directory = tmp_path / "my login"
    begun = time.monotonic()
    ran = await tool("login", "my-reactor", "--to", directory, *SIGNED)
    print(f"{time.monotonic() - begun:.1f} s")
    assert (ran.status, ran.err) == (0, ""), gateway.log.read_text()
    assert f"login my-reactor.1 works at {address}; its files are in {directory}\n" in ran.out

    said = json.loads((directory / "login.json").read_text())
    assert said["topic"] == "bioreactors/my-reactor"
    assert said["password"] not in ran.out
    for file in ("mosquitto_pub", "mosquitto_sub", "login.json"):
        assert stat.S_IMODE((directory / file).stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700

    pub, sub = program(stack, "mosquitto_pub"), program(stack, "mosquitto_sub")
    assert (await tool("login", "my-reactor", "--to", tmp_path / "second", *SIGNED)).status == 0
    receipt = asyncio.create_task(
        run(sub, tmp_path / "second", "-t", "bioreactors/my-reactor/receipt", "-C", "1", "-W", "20")
    )
    message = json.dumps({"boot": 1, "seq": 0, "t": time.time() * 1000, "v": {"ph": 7.02}})
    while not receipt.done():  # a frame that is sent again is receipted again, so the subscription may come late
        assert await run(pub, directory, "-t", "bioreactors/my-reactor/telemetry", "-m", message) == (0, "")
        await asyncio.wait([receipt], timeout=0.2)
    assert receipt.result() == (0, "[[1,0]]\n")
    assert await database.fetchval("select count(*) from telemetry where device = 'my-reactor'") == 1
    status, said_no = await run(pub, directory, "-t", "bioreactors/other/telemetry", "-m", message)
    assert "ot authorized" in said_no, (status, said_no)

    other = json.loads((tmp_path / "second" / "login.json").read_text())["client_id"]
    for taken in (other, await database.fetchval("select client_id from cells"), "x", f"e-{'0' * 32}"):
        topic = ("-t", "bioreactors/my-reactor/telemetry", "-m", message)
        status, said_no = await run(pub, directory, "-i", taken, *topic)
        assert status != 0, (taken, said_no)  # nobody's session is taken over

    ran = await tool("login", "my-reactor", "--to", directory, *SIGNED)
    assert (ran.status, "has a login already" in ran.err) == (1, True)
    ran = await tool("login", "my-reactor", *SIGNED, directory=tmp_path)
    assert "login my-reactor.3 works" in ran.out
    assert (tmp_path / "logins" / "my-reactor" / "login.json").exists()

    assert (await tool("logout", "my-reactor.1", *SIGNED)).status == 0
    for _ in range(100):
        if await database.fetchval("select applied from credentials where username = 'my-reactor.1'") == "absent":
            break
        await asyncio.sleep(0.1)
    status, said_no = await run(pub, directory, "-t", "bioreactors/my-reactor/telemetry", "-m", message)
    assert status != 0, said_no
    events = await database.fetch("select who, action, subject from audit where who = 'eva' order by n")
    assert [tuple(event) for event in events] == [
        ("eva", action, "device/my-reactor") for action in ("device register", *["device login"] * 3, "login end")
    ]


@pytest.fixture
def tool(database_url: str) -> Tool:
    return tool_for(database_url, device_broker_url="mqtts://[::1]:8883")


async def test_a_login_that_nobody_applies_is_told_and_its_files_are_kept(
    tool: Tool, database: asyncpg.Connection, tmp_path: Path
) -> None:
    private = await vault(database)
    ran = await tool("login", "br-1", "--to", tmp_path / "a", "--timeout", 0.5, *SIGNED)
    assert (ran.status, ran.err) == (1, "there is no such cell: no gateway of that name has run on this database\n")
    assert await database.fetchval("select count(*) from devices") == 0
    await cell(database)
    ran = await tool("login", "br-1", "--to", tmp_path / "a", "--timeout", 0.5, *SIGNED)
    assert (ran.status, ran.out) == (1, "")
    assert "login br-1.1 does not work yet: no gateway has told the broker of it in 0.5 s" in ran.err
    said = json.loads((tmp_path / "a" / "login.json").read_text())
    assert (said["host"], said["port"], said["tls"], said["ca_file"]) == ("::1", 8883, True, None)
    assert "--tls-use-os-certs\n" in (tmp_path / "a" / "mosquitto_pub").read_text()
    row = await database.fetchrow("select password, by_hand, client_id from credentials where username = 'br-1.1'")
    assert unseal(private, row["password"], "credentials/br-1.1").decode() == said["password"]
    assert (row["by_hand"], row["client_id"]) == (True, said["client_id"])

    await tool("suspend", "br-1", *SIGNED)
    ran = await tool("login", "br-1", "--to", tmp_path / "b", *SIGNED)
    assert (ran.status, ran.err) == (1, "device br-1 is suspended: it gets no login\n")
    (tmp_path / "file").touch()
    ran = await tool("login", "br-2", "--to", tmp_path / "file", *SIGNED)
    assert ran.status == 1
    assert "no login was made" in ran.err
    assert await database.fetchval("select wanted from credentials where username = 'br-2.1'") == "absent"


async def test_ready_made_logins_are_in_one_file_for_its_owner(
    tool: Tool, database: asyncpg.Connection, tmp_path: Path
) -> None:
    file = tmp_path / "logins.csv"
    many = ("provision", "br-1", "--prefix", "sim-", "--count", 3, "--to", file, *SIGNED)
    assert (await tool(*many)).status == 1  # no cell
    assert not file.exists()
    await cell(database)
    ran = await tool(*many)
    assert (ran.status, ran.out) == (0, f"4 logins of cell main are in {file}\n")
    assert "biogate recovery" in ran.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [line.split(",")[1] for line in file.read_text().splitlines()] == [
        *("username", "br-1.1", "sim-0001.1", "sim-0002.1", "sim-0003.1")
    ]
    ran = await tool(*many)
    assert (ran.status, "is there already" in ran.err) == (1, True)
    ran = await tool("provision", "br-1", "--to", tmp_path / "none" / "x.csv", *SIGNED)
    assert (ran.status, ran.err) == (1, f"{tmp_path / 'none'} is no directory\n")
