"""Administers Mosquitto's dynamic security plugin over MQTT: one command, one answer, then the next command.

At each change the broker writes its whole file and does nothing else, so that batches would save nothing; the caller
sets the pace of commands. The plugin's errors are sentences, which this module tells apart as version 2.0.21 words them
(tests/gateway/logins/test_dynsec.py).
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
from gateway.logins.roles import CONTROL, DEFAULTS, RESPONSE, Acl, BrokerRole

ANSWER_S = 5.0
PAGE = 500
EXISTS = ("Client already exists", "Role already exists")
ABSENT = ("Client not found", "Role not found", "Role does not exist")

PluginAnswer = Mapping[str, Any]


class DynsecError(GatewayError):
    """The plugin refused a command. The text of this error has no password in it."""


class DynsecExists(DynsecError):
    """The plugin has a login or role of this name already."""


class DynsecNotFound(DynsecError):
    """The plugin has no login or role of this name."""


class DynsecInUse(DynsecError):
    """The role belongs to a login."""


class DynsecNoAnswer(DynsecError):
    """The plugin did not answer within ANSWER_S. It may have done the command all the same."""


@dataclass(frozen=True)
class LoginAtBroker:
    """A login as the broker describes it, which leaves out the password."""

    username: str
    roles: frozenset[str]
    client_id: str | None
    disabled: bool


class Dynsec:
    """Sends commands to the plugin over a connected client with the login `admin`; one task at a time may use it.

    All methods raise NoAnswer, other DynsecErrors, and aiomqtt.MqttError.
    """

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client
        self._mark = secrets.token_hex(8)  # all administrators receive all answers; a mark tells them apart
        self._sent = 0

    async def open(self) -> None:
        """Subscribe to the answers; to be called before any command."""
        codes = await self._client.subscribe(RESPONSE, qos=1)
        if any((code if isinstance(code, int) else code.value) > 2 for code in codes):
            raise DynsecError(f"the login admin may not subscribe to {RESPONSE}: is dynamic-security.json ours?")

    async def create_role(self, role: BrokerRole) -> None:
        await self._ask("createRole", **role.to_json())

    async def modify_role(self, role: BrokerRole) -> None:
        """Replace a role. The broker disconnects its clients; the caller, if it is one, before the answer."""
        await self._ask("modifyRole", **role.to_json())

    async def get_role(self, name: str) -> BrokerRole:
        return _role((await self._ask("getRole", rolename=name))["role"])

    async def delete_role(self, name: str) -> None:
        """Delete a role. Raises DynsecInUse if a login has it: Mosquitto 2.0.21 would delete it, and logins that got it
        since the broker's start would keep a dangling pointer to it."""
        for client in await self.clients():
            if name in client.roles:
                raise DynsecInUse(f"deleteRole {name}: {client.username} has it")
        await self._ask("deleteRole", rolename=name)

    async def create_client(self, username: str, role: str, password: str | None, client_id: str | None) -> None:
        """Make a login. Without password only a certificate opens it; without client id it may use any."""
        fields = {"password": password, "clientid": client_id}
        given = {name: value for name, value in fields.items() if value is not None}
        await self._ask("createClient", username=username, roles=[{"rolename": role}], **given)

    async def modify_client(self, username: str, role: str, password: str | None, client_id: str | None) -> None:
        """Change a login, which the broker disconnects. The role replaces all its roles; without `password` it keeps
        its own; it stays disabled if it was."""
        fields = {} if password is None else {"password": password}
        await self._ask(
            "modifyClient", username=username, roles=[{"rolename": role}], clientid=client_id or "", **fields
        )

    async def get_client(self, username: str) -> LoginAtBroker:
        return _known((await self._ask("getClient", username=username))["client"])

    async def enable_client(self, username: str) -> None:
        await self._ask("enableClient", username=username)

    async def disable_client(self, username: str) -> None:
        """Disable a login: it is disconnected, and its password is refused. (A certificate is not: mosquitto #2999.)"""
        await self._ask("disableClient", username=username)

    async def delete_client(self, username: str) -> None:
        """Delete a login, which the broker disconnects. Its session stays, for the next login of this name."""
        await self._ask("deleteClient", username=username)

    async def count(self) -> int:
        """The number of logins."""
        return int((await self._ask("listClients", verbose=False, count=1, offset=0))["totalCount"])

    async def clients(self) -> list[LoginAtBroker]:
        """All logins."""
        return [_known(entry) async for entry in self._all("listClients", "clients")]

    async def roles(self) -> list[BrokerRole]:
        """All roles, with what they allow."""
        return [_role(entry) async for entry in self._all("listRoles", "roles")]

    async def defaults(self) -> dict[str, bool]:
        """The access that is allowed or denied where no role says anything, by type."""
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

    async def _ask(self, command: str, **fields: object) -> PluginAnswer:
        self._sent += 1
        mark = f"{self._mark}-{self._sent}"
        request = {"commands": [{"command": command, **fields, "correlationData": mark}]}
        name = fields.get("username", fields.get("rolename", ""))
        answer = None
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._client.publish(CONTROL, json.dumps(request), qos=0)  # the answer proves that it arrived
                while answer is None:
                    answer = _answer((await anext(self._client.messages)).payload, mark)
        except TimeoutError as error:
            raise DynsecNoAnswer(f"{command} {name}: no answer in {ANSWER_S:g} s") from error
        words = answer.get("error")
        if words is not None:
            kind = DynsecExists if words in EXISTS else DynsecNotFound if words in ABSENT else DynsecError
            raise kind(f"{command} {name}: {words}")
        return answer.get("data") or {}


def _answer(payload: object, mark: str) -> dict[str, Any] | None:
    """The answer in `payload` that has this mark; None if there is none."""
    if not isinstance(payload, bytes):
        return None
    try:
        answers: Iterable[dict[str, Any]] = json.loads(payload)["responses"]
        return next((answer for answer in answers if answer.get("correlationData") == mark), None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _known(entry: Mapping[str, Any]) -> LoginAtBroker:
    return LoginAtBroker(
        entry["username"],
        frozenset(role["rolename"] for role in entry.get("roles", ())),
        entry.get("clientid"),
        bool(entry.get("disabled", False)),
    )


def _role(entry: Mapping[str, Any]) -> BrokerRole:
    acls = (Acl(acl["acltype"], acl["topic"], acl["allow"], acl["priority"]) for acl in entry.get("acls", ()))
    return BrokerRole(entry["rolename"], frozenset(acls))
