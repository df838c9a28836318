"""Compares the logins of database and broker now and then, and repairs unexpected differences.

These come from changes by others, from a restored file, or from a crash that lost the broker's last writes. Unknown
logins with names of the gateway's form are deleted; missing ones are made again, if the database has their passwords.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gateway.logins.dynsec import Dynsec, DynsecError, DynsecExists, LoginAtBroker
from gateway.logins.roles import FIXED, ROLE_PREFIX, BrokerRole, device_role
from gateway.runtime.database import Pool, PoolConnection
from schema.enrollment import LOGIN
from schema.topics import is_device_name

OURS = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63})\.([0-9]{1,9})")
MANY = 100
"""No foreign logins are deleted if they are more than this and than the known ones: it may be the wrong database."""

LOGINS = """
select c.username, d.name as device, c.kind, c.client_id, c.wanted, c.applied, c.password is not null as sealed
  from credentials c join devices d using (device_id)
 where c.cell = $1 and (c.wanted <> 'absent' or c.applied <> 'absent')"""
LOGIN_OF = LOGINS + " and c.username = $2"
DEVICE_HAS_LOGIN = """
select exists (select from credentials c join devices d using (device_id)
                where c.cell = $1 and d.name = $2 and (c.wanted <> 'absent' or c.applied <> 'absent'))"""
AGAIN = "update credentials set applied = 'absent' where username = $1 and wanted = applied and wanted = 'present'"
TOLD_OTHERWISE = "update cells set enrollment_applied = null where cell = $1"
AUDIT = "insert into audit (who, action, subject, new, why) values ($1, $2, $3, $4, 'reconciliation')"

RepairKind = Literal[
    "login-foreign", "login-missing", "login-wrong", "role-foreign", "role-missing", "role-wrong", "switch"
]


@dataclass(frozen=True)
class StoredLogin:
    """A login as the database has it. `sealed`: the database still has its password."""

    username: str
    device: str
    kind: str
    client_id: str | None
    wanted: str
    applied: str
    sealed: bool

    @property
    def at_broker(self) -> bool:
        """Whether the broker should have the login. A disabled login by certificate is deleted there."""
        return self.wanted == "present" or (self.wanted == "disabled" and self.kind == "password")


@dataclass(frozen=True)
class Repair:
    what: RepairKind
    name: str


@dataclass(frozen=True)
class LoginDifferences:
    repairs: list[Repair]
    lost: list[str]
    """Logins that the broker has lost and that cannot be made again, as nobody has their passwords."""
    strangers: list[str]
    """Logins with names of another form, which are left alone."""
    suspicious: bool
    """Foreign logins are left alone, as there are too many of them."""


async def read(
    dynsec: Dynsec, pool: Pool, cell: str
) -> tuple[list[LoginAtBroker], list[BrokerRole], list[StoredLogin], bool]:
    """Logins and roles at the broker, logins in the database, and whether enrollment was last applied as open."""
    clients, roles = await dynsec.clients(), await dynsec.roles()
    rows = [StoredLogin(**record) for record in await pool.fetch(LOGINS, cell)]
    told = await pool.fetchval("select enrollment_applied from cells where cell = $1", cell)
    return clients, roles, rows, told is not False


def compare(
    clients: Sequence[LoginAtBroker], roles: Sequence[BrokerRole], rows: Sequence[StoredLogin], *, enrollment_open: bool
) -> LoginDifferences:
    """Find the differences of broker and database. Logins on which work is due anyway are left out."""
    there = {client.username: client for client in clients}
    expected = {row.username: row for row in rows}
    repairs: list[Repair] = []
    lost: list[str] = []
    settled = {
        row.device for row in rows if row.wanted == row.applied and (row.wanted == "present" or row.username in there)
    }
    repairs += _roles({role.name: role for role in roles}, settled)

    foreign = [name for name in there if name not in FIXED and name not in expected and OURS.fullmatch(name)]
    suspicious = len(foreign) > max(MANY, sum(name in expected for name in there))
    if not suspicious:
        repairs += [Repair("login-foreign", name) for name in foreign]
        staying = set(there) - set(foreign)
        in_use = {role for name in staying for role in there[name].roles}
        known = in_use | {ROLE_PREFIX + row.device for row in rows}
        repairs += [Repair("role-foreign", role.name) for role in roles if role.name not in known and _is_ours(role)]

    for name in FIXED:
        if name not in there:
            repairs.append(Repair("login-missing", name))
        elif there[name].roles != {FIXED[name].name} and name != "admin":
            repairs.append(Repair("login-wrong", name))
    if LOGIN in there and there[LOGIN].disabled == enrollment_open:
        repairs.append(Repair("switch", LOGIN))

    for row in rows:
        if row.wanted != row.applied:
            continue
        found = there.get(row.username)
        if found is None and row.at_broker:
            if not row.sealed and row.kind == "password":
                lost.append(row.username)
            elif row.wanted == "present":  # a disabled login is made when it is enabled
                repairs.append(Repair("login-missing", row.username))
        elif found is not None and (found != _wanted(row) or not row.at_broker):
            repairs.append(Repair("login-wrong", row.username))
    strangers = [name for name in there if name not in FIXED and name not in expected and not OURS.fullmatch(name)]
    return LoginDifferences(repairs, lost, strangers, suspicious)


def _roles(there: Mapping[str, BrokerRole], devices: Iterable[str]) -> list[Repair]:
    """Find missing and wrong roles: the fixed ones, and those of devices that have a login at the broker."""
    repairs = []
    for role in (*FIXED.values(), *map(device_role, devices)):
        if role.name not in there:
            repairs.append(Repair("role-missing", role.name))
        elif there[role.name] != role and role.name != "admin":  # a change of admin would cut this connection off
            repairs.append(Repair("role-wrong", role.name))
    return repairs


def _is_ours(role: BrokerRole) -> bool:
    return role.name.startswith(ROLE_PREFIX) and is_device_name(role.name.removeprefix(ROLE_PREFIX))


def _wanted(row: StoredLogin) -> LoginAtBroker:
    return LoginAtBroker(
        row.username, frozenset({ROLE_PREFIX + row.device}), row.client_id, disabled=row.wanted == "disabled"
    )


async def repair(
    dynsec: Dynsec, connection: PoolConnection, cell: str, found: Repair, passwords: Mapping[str, str]
) -> bool:
    """Repair a difference if the database still wants it repaired; return whether anything was done.

    `passwords` are those of the fixed logins. The caller has to exclude others from administering the broker meanwhile.
    """
    if found.what.startswith("role"):
        done = await _repair_role(dynsec, connection, cell, found)
    elif found.what == "switch":
        done = await connection.execute(TOLD_OTHERWISE, cell) != "UPDATE 0"
    elif found.name in FIXED:
        if found.what == "login-missing":
            if found.name not in passwords:
                raise DynsecError(f"{found.name}.password is missing from the secrets directory: run `biogate setup`")
            await dynsec.create_client(found.name, FIXED[found.name].name, passwords[found.name], None)
            await connection.execute(TOLD_OTHERWISE, cell)
        else:
            await dynsec.modify_client(found.name, FIXED[found.name].name, None, None)
        done = True
    else:
        done = await _repair_login(dynsec, connection, cell, found)
    if done:
        subject = f"{'role' if found.what.startswith('role') else 'login'}/{found.name}"
        await connection.execute(AUDIT, f"gateway {cell}", f"broker {found.what}", subject, None)
    return done


async def _repair_login(dynsec: Dynsec, connection: PoolConnection, cell: str, found: Repair) -> bool:
    record = await connection.fetchrow(LOGIN_OF, cell, found.name)
    row = None if record is None else StoredLogin(**record)
    if found.what == "login-foreign":
        if row is not None:
            return False
        await dynsec.delete_client(found.name)
        return True
    if row is None or row.wanted != row.applied:
        return False
    if not row.at_broker:  # a suspended login with a certificate
        await dynsec.delete_client(found.name)
    elif found.what == "login-missing":
        return str(await connection.execute(AGAIN, found.name)) != "UPDATE 0"
    else:
        await dynsec.modify_client(found.name, ROLE_PREFIX + row.device, None, row.client_id)
        await (dynsec.disable_client if row.wanted == "disabled" else dynsec.enable_client)(found.name)
    return True


async def _repair_role(dynsec: Dynsec, connection: PoolConnection, cell: str, found: Repair) -> bool:
    if found.name in FIXED:
        role = FIXED[found.name]
    else:
        device = found.name.removeprefix(ROLE_PREFIX)
        role = device_role(device)
        needed = await connection.fetchval(DEVICE_HAS_LOGIN, cell, device)
        if needed != (found.what != "role-foreign"):
            return False
    if found.what == "role-foreign":
        await dynsec.delete_role(found.name)
    else:
        await put_role(dynsec, role)
    return True


async def put_role(dynsec: Dynsec, role: BrokerRole) -> None:
    """Make the role, or change it if it differs: only a change disconnects the clients that have it."""
    try:
        await dynsec.create_role(role)
    except DynsecExists:
        if await dynsec.get_role(role.name) != role:
            await dynsec.modify_role(role)
