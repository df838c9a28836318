"""`login`, `provision`, `logout`, `logins`: makes logins at the broker by hand, ends them and lists them."""

from __future__ import annotations

import asyncio
import json
import secrets
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import asyncpg
import typer

from gateway.logins import provision as ready_made
from gateway.logins import roles
from gateway.operators.command import Count, Name, Prefix, Surroundings, age, for_each, numbered
from gateway.operators.devices import REGISTER, login_state
from schema.console import Refused, Who, Why, run, settings, stop, table, tell
from schema.private import write_new
from schema.sealed import seal
from schema.topics import ROOT

POLL_S = 0.1
CLIENTS = ("mosquitto_pub", "mosquitto_sub")

NEXT = "select coalesce(max(generation), 0) + 1 from credentials where device_id = $1"
LOGINS = """
select c.username, d.state, c.kind, c.by_hand, c.wanted, c.applied, c.cell, c.created_at
  from credentials c join devices d using (device_id)
 where ($1::text is null or d.name = $1) and (not $2 or c.wanted <> c.applied) and ($2 or c.wanted <> 'absent')
 order by c.created_at, c.username"""


@dataclass(frozen=True)
class LoginByHand:
    device: str
    username: str
    generation: int
    password: str = field(repr=False)
    client_id: str = field(repr=False)
    """The one client id that the broker takes with this login: nobody takes over a session of another one."""


def login(
    name: Name,
    *,
    to: Annotated[Path | None, typer.Option(metavar="DIR", help="where its files go; default: logins/NAME")] = None,
    timeout: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="how long to wait for the broker")] = 30,
    why: Why,
    who: Who,
) -> None:
    """Make a login for a person or a program, with all rights of the device; a new device is registered.

    It is for one client at a time: another connection takes over. Its files are for mosquitto_pub and mosquitto_sub,
    and for programs (login.json).
    """
    chosen = settings(Surroundings)
    directory = (to or Path("logins") / name).absolute()
    if (directory / "login.json").exists():
        stop(f"{directory} has a login already: say another directory with --to, or remove it")

    async def work(connection: asyncpg.Connection) -> tuple[LoginByHand, bool]:
        made = await _make(connection, name, chosen.cell, who, why)
        try:
            _write(made, directory, chosen)
        except OSError as error:
            await connection.execute("select login_end($1, $2, $3)", made.username, who, "its files cannot be written")
            raise Refused(f"no login was made: {directory}: {error.strerror}") from error
        return made, await _applied(connection, made, timeout)

    made, applied = run(work)
    if not applied:
        stop(
            f"login {made.username} does not work yet: no gateway has told the broker of it in {timeout:g} s. Does one "
            f"run with BIOGATE_SECRETS_DIR for the cell {chosen.cell}? It works as soon as one does; files: {directory}"
        )
    tell(f"login {made.username} works at {chosen.device_broker_url}; its files are in {directory}")
    typer.echo(
        f"""
    export XDG_CONFIG_HOME={shlex.quote(str(directory))}
    mosquitto_pub -t {ROOT}/{name}/telemetry -m "{{\\"t\\": $(date +%s%3N), \\"v\\": {{\\"ph\\": 7.02}}}}"

mosquitto_sub works likewise; programs find all of it in login.json"""
    )


def provision(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME…", help="names; new ones are registered")] = None,
    *,
    prefix: Prefix = None,
    count: Count = None,
    to: Annotated[Path, typer.Option(metavar="FILE", help="new CSV file, for its owner alone: names and passwords")],
    why: Why,
    who: Who,
) -> None:
    """Make logins for many devices at once. They work once the broker has started with a new file of logins."""
    chosen = settings(Surroundings)
    devices = numbered(names, prefix, count)
    if not to.absolute().parent.is_dir():
        stop(f"{to.absolute().parent} is no directory")
    made = run(lambda connection: ready_made.provision(connection, chosen.cell, devices, to, who=who, why=why))
    tell(f"{made} logins of cell {chosen.cell} are in {to}")
    typer.echo("now stop the broker, run `biogate recovery dynamic-security DIR`, and start the broker", err=True)


def logout(
    username: Annotated[list[str], typer.Argument(metavar="LOGIN…", help="as `logins` lists them, such as br-1.2")],
    *,
    why: Why,
    who: Who,
) -> None:
    """Delete logins at the broker. The device stays; one that enrolled may enroll again."""
    for_each(username, "select login_end($1, $2, $3)", who, why)
    for one in dict.fromkeys(username):
        tell(f"ended: {one}")


def logins(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="only of this device")] = None,
    *,
    waiting: Annotated[bool, typer.Option("--waiting", help="only those that the broker was not told of yet")] = False,
) -> None:
    """List logins at the broker. Columns: login, its state, state of the device, kind, how it was made, cell, age."""
    table(
        "LOGIN|STATE|DEVICE STATE|KIND|MADE|CELL|AGE",
        (
            (
                row["username"],
                login_state(row),
                row["state"],
                row["kind"],
                "by hand" if row["by_hand"] else "by handshake",
                row["cell"],
                age(row["created_at"]),
            )
            for row in run(lambda connection: connection.fetch(LOGINS, name, waiting))
        ),
    )


async def _make(connection: asyncpg.Connection, name: str, cell: str, who: str, why: str) -> LoginByHand:
    public = await connection.fetchval("select public_key from vault")
    if public is None:
        raise Refused("no gateway with BIOGATE_SECRETS_DIR has run on this database: there is no broker to tell")
    async with connection.transaction():
        await connection.fetch(REGISTER, [name], who, why, None)
        device = await connection.fetchrow("select device_id, state from devices where name = $1 for update", name)
        if device["state"] not in ("active", "pending"):
            raise Refused(f"device {name} is {device['state']}: it gets no login")
        generation = await connection.fetchval(NEXT, device["device_id"])
        made = LoginByHand(name, f"{name}.{generation}", generation, roles.new_password(), secrets.token_hex(16))
        salt = roles.new_salt()
        parts = {
            "generation": generation,
            "password": seal(public, made.password.encode(), f"credentials/{made.username}").hex(),
            "salt": salt.hex(),
            "verifier": roles.verifier(made.password, salt).hex(),
        }
        await connection.execute(
            "select device_login($1, $2, $3, $4, $5, $6)",
            *(name, cell, made.client_id, json.dumps(parts), who, why),
        )
    return made


def _write(made: LoginByHand, directory: Path, chosen: Surroundings) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    url = chosen.device_broker_url
    encrypted = url.scheme == "mqtts"
    host, port = (url.host or "localhost").strip("[]"), url.port or (8883 if encrypted else 1883)
    authority = _authority(directory, chosen) if encrypted else None
    options = [f"-h {host}", f"-p {port}", f"-u {made.username}", f"-P {made.password}", "-V 5", "-q 1"]
    options.append(f"-i {made.client_id}")
    if encrypted:
        options.append(f"--cafile {authority}" if authority else "--tls-use-os-certs")
    for client in CLIENTS:
        (directory / client).unlink(missing_ok=True)
        write_new(directory / client, "\n".join(options) + "\n")
    content = {
        "host": host,
        "port": port,
        "tls": encrypted,
        "ca_file": None if authority is None else str(authority),
        "username": made.username,
        "password": made.password,
        "client_id": made.client_id,
        "device": made.device,
        "topic": f"{ROOT}/{made.device}",
        "generation": made.generation,
    }
    write_new(directory / "login.json", json.dumps(content, indent=1) + "\n")  # last: the files before it are whole


def _authority(directory: Path, chosen: Surroundings) -> Path | None:
    """A copy of the CA's certificate beside the login, if one is known."""
    source = chosen.secrets_dir / "ca.pem" if chosen.secrets_dir else chosen.mqtt_ca_file
    return None if source is None else Path(shutil.copyfile(source, directory / "ca.pem"))


async def _applied(connection: asyncpg.Connection, made: LoginByHand, timeout_s: float) -> bool:
    """Wait until the broker knows the login; return False if it does not within `timeout_s`."""
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                applied = await connection.fetchval(
                    "select applied from credentials where username = $1", made.username
                )
                if applied == "present":
                    return True
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        return False
