"""One login: what is wanted of it, made so at the broker, and noted in the transaction that read it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from gateway.errors import GatewayError
from gateway.logins.dynsec import Dynsec, Exists, InUse, NotFound
from gateway.logins.reconcile import put_role
from gateway.logins.roles import device_role
from gateway.runtime.database import Transaction
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
    """This login cannot be made equal without a person."""


@dataclass(frozen=True)
class Login:
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
        """What is to be done."""
        return f"{self.username} {self.wanted}"

    @property
    def can_be_made(self) -> bool:
        """For a certificate nothing is needed; a password is forgotten as soon as the device has used it."""
        return self.kind == "certificate" or self.password is not None


async def due(connection: Transaction, cell: str, but: Iterable[str]) -> Login | None:
    """The oldest, those that lose rights before those that get some; without those whose key is in `but`."""
    left_out = list(but)
    for gets_rights in (False, True):
        record = await connection.fetchrow(DUE, cell, gets_rights, left_out)
        if record is not None:
            return Login(**dict(record))
    return None


async def apply(dynsec: Dynsec, login: Login, vault: X25519PrivateKey) -> None:
    """Make the broker equal. May be done twice, and may have been done in part.

    Raises Stuck, Unreadable, DynsecError.
    """
    if login.wanted == "present":
        await _present(dynsec, login, vault)
    elif login.wanted == "disabled" and login.kind == "password":
        with contextlib.suppress(NotFound):  # then nobody gets in either
            await dynsec.disable_client(login.username)
    else:
        with contextlib.suppress(NotFound):  # also one that is only suspended: disabled, its certificate would get in
            await dynsec.delete_client(login.username)
        if login.wanted == "absent" and not login.device_has_others:
            with contextlib.suppress(NotFound, InUse):  # by a login that is not ours: the next comparison sees to it
                await dynsec.delete_role(device_role(login.device).name)


async def _present(dynsec: Dynsec, login: Login, vault: X25519PrivateKey) -> None:
    if login.applied == "disabled" or not login.can_be_made:
        try:
            return await dynsec.enable_client(login.username)
        except NotFound as error:
            if not login.can_be_made:
                raise Stuck("the broker has lost it, and nobody knows its password: end it, make another") from error
    password = None
    if login.password is not None:
        password = unseal(vault, login.password, f"credentials/{login.username}").decode()
    role = device_role(login.device)
    await put_role(dynsec, role)
    try:
        await dynsec.create_client(login.username, role.name, password, login.client_id)
    except Exists:
        await dynsec.modify_client(login.username, role.name, password, login.client_id)
        await dynsec.enable_client(login.username)


async def note(connection: Transaction, login: Login, unused_s: int) -> None:
    """It is done. An enrollment that waited for it is granted, and has so many seconds until the login is used."""
    await connection.execute(APPLIED, login.username, login.wanted)
    if login.wanted == "present":
        await connection.execute(GRANTED, login.username, unused_s)
