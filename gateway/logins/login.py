"""Applies the wanted state of one login at the broker, and stores that in the transaction that read it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from gateway.errors import GatewayError
from gateway.logins.dynsec import Dynsec, DynsecExists, DynsecInUse, DynsecNotFound
from gateway.logins.reconcile import put_role
from gateway.logins.roles import device_role
from gateway.runtime.database import PoolConnection
from schema.sealed import unseal

DUE = """
select c.username, d.name as device, c.kind, c.client_id, c.password, c.wanted, c.applied,
       exists (select from credentials o
                where o.device_id = c.device_id and o.cell = c.cell and o.username <> c.username
                  and (o.wanted <> 'absent' or o.applied <> 'absent')) as device_has_others
  from credentials c join devices d using (device_id)
 where c.cell = $1 and c.wanted <> c.applied and (c.wanted = 'present') = $2
   and not c.username || ' ' || c.wanted = any ($3)
 order by c.created_at limit 1"""
APPLIED = """
update credentials
   set applied = $2, applied_at = case $2 when 'present' then coalesce(applied_at, now()) else applied_at end
 where username = $1"""
GRANTED = """
update enrollments e set state = 'granted', changed_at = now(), expires_at = now() + make_interval(secs => $2)
 where e.username = $1 and e.state = 'provisioning'
   and exists (select from credentials c where c.username = $1 and c.wanted = 'present')"""


class Stuck(GatewayError):
    """The wanted state of this login cannot be applied without a person."""


@dataclass(frozen=True)
class DueLogin:
    """A login on which work is due; `password` is sealed."""

    username: str
    device: str
    kind: str
    client_id: str | None
    password: bytes | None
    wanted: str
    applied: str
    device_has_others: bool

    @property
    def key(self) -> str:
        """Names the login and the work on it."""
        return f"{self.username} {self.wanted}"

    @property
    def can_be_made(self) -> bool:
        """Whether it has a certificate, or still its password, which is forgotten once the device has used it."""
        return self.kind == "certificate" or self.password is not None


async def due(connection: PoolConnection, cell: str, but: Iterable[str]) -> DueLogin | None:
    """The oldest login with work due, its key not in `but`; those that lose rights come before those that get some."""
    left_out = list(but)
    for gets_rights in (False, True):
        record = await connection.fetchrow(DUE, cell, gets_rights, left_out)
        if record is not None:
            return DueLogin(**record)
    return None


async def apply(dynsec: Dynsec, login: DueLogin, vault: X25519PrivateKey) -> None:
    """Apply the wanted state of a login at the broker. It may be repeated, also after it was done in part.

    Raises Stuck, Unreadable, DynsecError.
    """
    if login.wanted == "present":
        await _present(dynsec, login, vault)
    elif login.wanted == "disabled" and login.kind == "password":
        with contextlib.suppress(DynsecNotFound):  # without a login nobody gets in either
            await dynsec.disable_client(login.username)
    else:
        with contextlib.suppress(DynsecNotFound):  # a suspended one too: disabled, its certificate still opens it
            await dynsec.delete_client(login.username)
        if login.wanted == "absent" and not login.device_has_others:
            with contextlib.suppress(DynsecNotFound, DynsecInUse):  # the next comparison finds a foreign login with it
                await dynsec.delete_role(device_role(login.device).name)


async def _present(dynsec: Dynsec, login: DueLogin, vault: X25519PrivateKey) -> None:
    if login.applied == "disabled" or not login.can_be_made:
        try:
            return await dynsec.enable_client(login.username)
        except DynsecNotFound as error:
            if not login.can_be_made:
                raise Stuck("the broker has lost it, and nobody knows its password: end it, make another") from error
    password = None
    if login.password is not None:
        password = unseal(vault, login.password, f"credentials/{login.username}").decode()
    role = device_role(login.device)
    await put_role(dynsec, role)
    try:
        await dynsec.create_client(login.username, role.name, password, login.client_id)
    except DynsecExists:
        await dynsec.modify_client(login.username, role.name, password, login.client_id)
        await dynsec.enable_client(login.username)


async def note(connection: PoolConnection, login: DueLogin, unused_s: int) -> None:
    """Store that the state is applied; grant the enrollment, which ends unless the login is used within `unused_s`."""
    await connection.execute(APPLIED, login.username, login.wanted)
    if login.wanted == "present":
        await connection.execute(GRANTED, login.username, unused_s)
