"""Mosquitto's dynamic security plugin, administered over MQTT: one command, one answer, then the next.

Each command that changes something has the broker write its whole file while it does nothing else, so there are no
batches here; how fast commands may follow each other is the caller's affair. What the plugin answers was tried with
2.0.21 (tests/gateway/logins/test_dynsec.py): errors are sentences, told apart here.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import aiomqtt

from gateway.errors import GatewayError
from gateway.logins.roles import CONTROL, DEFAULTS, RESPONSE, Acl, Role

ANSWER_S = 5.0
PAGE = 500
EXISTS = ("Client already exists", "Role already exists")
ABSENT = ("Client not found", "Role not found", "Role does not exist")

Answer = Mapping[str, Any]


class DynsecError(GatewayError):
    """The plugin refused a command. The text has no secret of it."""


class Exists(DynsecError):
    """There is such a login or role already."""


class NotFound(DynsecError):
    """There is no such login or role."""


class InUse(DynsecError):
    """A login has this role."""


class NoAnswer(DynsecError):
    """Within ANSWER_S. The command may have been done all the same: ask, and repeat."""


@dataclass(frozen=True)
class Known:
    """A login as the broker tells of it. (It does not tell anything of the password.)"""

    username: str
    roles: frozenset[str]
    client_id: str | None
    disabled: bool


class Dynsec:
    """Commands to the broker over a connected client with the login `admin`. Not for several tasks at once.

    All methods raise NoAnswer, other DynsecErrors, and aiomqtt.MqttError.
    """

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client
        self._mark = secrets.token_hex(8)  # answers go to every administrator: ours are those with our mark
        self._sent = 0

    async def open(self) -> None:
        """Subscribe to the answers: before anything else."""
        codes = await self._client.subscribe(RESPONSE, qos=1)
        if any((code if isinstance(code, int) else code.value) > 2 for code in codes):
            raise DynsecError(f"the login admin may not hear {RESPONSE}: is the broker's dynamic-security.json ours?")

    async def create_role(self, role: Role) -> None:
        await self._ask("createRole", **role.to_json())

    async def modify_role(self, role: Role) -> None:
        """Whoever has it is disconnected; the caller, if it has it, before the answer."""
        await self._ask("modifyRole", **role.to_json())

    async def get_role(self, name: str) -> Role:
        return _role((await self._ask("getRole", rolename=name))["role"])

    async def delete_role(self, name: str) -> None:
        """Raises InUse. Mosquitto 2.0.21 would delete it, and the logins that were given it since the broker started
        would go on pointing to where it was."""
        for client in await self.clients():
            if name in client.roles:
                raise InUse(f"deleteRole {name}: {client.username} has it")
        await self._ask("deleteRole", rolename=name)

    async def create_client(self, username: str, role: str, password: str | None, client_id: str | None) -> None:
        """Without password nobody gets in but by a certificate. Without client id any will do."""
        fields = {"password": password, "clientid": client_id}
        given = {name: value for name, value in fields.items() if value is not None}
        await self._ask("createClient", username=username, roles=[{"rolename": role}], **given)

    async def modify_client(self, username: str, role: str, password: str | None, client_id: str | None) -> None:
        """The role takes the place of all it had; without password that stays; whether it is disabled stays as well.
        It is disconnected."""
        fields = {} if password is None else {"password": password}
        await self._ask(
            "modifyClient", username=username, roles=[{"rolename": role}], clientid=client_id or "", **fields
        )

    async def get_client(self, username: str) -> Known:
        return _known((await self._ask("getClient", username=username))["client"])

    async def enable_client(self, username: str) -> None:
        await self._ask("enableClient", username=username)

    async def disable_client(self, username: str) -> None:
        """It is disconnected, and may not connect with its password. (With a certificate it may: mosquitto #2999.)"""
        await self._ask("disableClient", username=username)

    async def delete_client(self, username: str) -> None:
        """It is disconnected. Its session stays, for whoever has this name next."""
        await self._ask("deleteClient", username=username)

    async def count(self) -> int:
        """Logins there are."""
        return int((await self._ask("listClients", verbose=False, count=1, offset=0))["totalCount"])

    async def clients(self) -> list[Known]:
        """All logins."""
        return [_known(entry) async for entry in self._all("listClients", "clients")]

    async def roles(self) -> list[Role]:
        """All roles, with what they allow."""
        return [_role(entry) async for entry in self._all("listRoles", "roles")]

    async def defaults(self) -> dict[str, bool]:
        """What is allowed where no role says anything."""
        return {acl["acltype"]: acl["allow"] for acl in (await self._ask("getDefaultACLAccess"))["acls"]}

    async def set_defaults(self) -> None:
        acls = [{"acltype": kind, "allow": allow} for kind, allow in DEFAULTS.items()]
        await self._ask("setDefaultACLAccess", acls=acls)

    async def _all(self, command: str, what: str) -> AsyncIterator[dict[str, Any]]:
        offset = 0
        while True:
            page = (await self._ask(command, verbose=True, count=PAGE, offset=offset))[what]
            for entry in page:
                yield entry
            offset += len(page)
            if len(page) < PAGE:
                return

    async def _ask(self, command: str, **fields: object) -> Answer:
        self._sent += 1
        mark = f"{self._mark}-{self._sent}"
        request = {"commands": [{"command": command, **fields, "correlationData": mark}]}
        name = fields.get("username", fields.get("rolename", ""))
        answer = None
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._client.publish(CONTROL, json.dumps(request), qos=0)  # the answer says that it arrived
                while answer is None:
                    answer = _answer((await anext(self._client.messages)).payload, mark)
        except TimeoutError as error:
            raise NoAnswer(f"{command} {name}: no answer in {ANSWER_S:g} s") from error
        words = answer.get("error")
        if words is not None:
            kind = Exists if words in EXISTS else NotFound if words in ABSENT else DynsecError
            raise kind(f"{command} {name}: {words}")
        return answer.get("data") or {}


def _answer(payload: object, mark: str) -> dict[str, Any] | None:
    """The answer with this mark, if it is one."""
    if not isinstance(payload, bytes):
        return None
    try:
        answers: Iterable[dict[str, Any]] = json.loads(payload)["responses"]
        return next((answer for answer in answers if answer.get("correlationData") == mark), None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _known(entry: Mapping[str, Any]) -> Known:
    return Known(
        entry["username"],
        frozenset(role["rolename"] for role in entry.get("roles", ())),
        entry.get("clientid"),
        bool(entry.get("disabled", False)),
    )


def _role(entry: Mapping[str, Any]) -> Role:
    acls = (Acl(acl["acltype"], acl["topic"], acl["allow"], acl["priority"]) for acl in entry.get("acls", ()))
    return Role(entry["rolename"], frozenset(acls))
