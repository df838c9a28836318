"""Roles and logins of Mosquitto's dynamic security plugin, as data: they say who may do what at the broker.

Each device has a role of its own, as the plugin has no pattern with the user's name. What no role allows is denied.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from schema.enrollment import LOGIN, REPLIES, REQUESTS
from schema.topics import EVIDENCE, ROOT, SUBSCRIPTIONS, Down, Kind

SEND, RECEIVE = "publishClientSend", "publishClientReceive"
LITERAL, PATTERN = "subscribeLiteral", "subscribePattern"
DEFAULTS = {SEND: False, RECEIVE: False, "subscribe": False, "unsubscribe": True}

CONTROL = "$CONTROL/dynamic-security/v1"
RESPONSE = f"{CONTROL}/response"
ENROLLMENTS = f"$share/{LOGIN}/{REQUESTS}+"

ITERATIONS = 101
SALT_BYTES = 12
ROLE_PREFIX = "device-"


@dataclass(frozen=True, order=True)
class Acl:
    type: str
    topic: str
    allow: bool = True
    priority: int = 0

    def to_json(self) -> dict[str, Any]:
        return {"acltype": self.type, "topic": self.topic, "priority": self.priority, "allow": self.allow}


@dataclass(frozen=True)
class BrokerRole:
    name: str
    acls: frozenset[Acl]

    def to_json(self) -> dict[str, Any]:
        return {"rolename": self.name, "acls": [acl.to_json() for acl in sorted(self.acls)]}


def role(name: str, *acls: Iterable[Acl]) -> BrokerRole:
    return BrokerRole(name, frozenset(acl for some in acls for acl in some))


def may(kind: str, *topics: str) -> list[Acl]:
    return [Acl(kind, topic) for topic in topics]


FIXED: Mapping[str, BrokerRole] = {
    "gateway": role(
        "gateway",
        may(LITERAL, *SUBSCRIPTIONS),
        may(PATTERN, "$SYS/#"),
        may(RECEIVE, *SUBSCRIPTIONS, "$SYS/#"),
        may(SEND, f"{ROOT}/+/{Down.RECEIPT}", f"{ROOT}/+/{Down.BACKFILL}", f"{ROOT}/+/{Down.COMMAND}"),
    ),
    "alarms": role("alarms", may(SEND, "alarms/#")),
    "evidence": role(
        "evidence",
        may(SEND, f"{EVIDENCE}/#"),
        may(PATTERN, f"{EVIDENCE}/#"),
        may(RECEIVE, f"{EVIDENCE}/#"),
    ),
    "enrollment": role(
        "enrollment",
        may(LITERAL, ENROLLMENTS, f"{REQUESTS}+"),  # the second for a moment: a share gets no retained messages
        may(RECEIVE, f"{REQUESTS}+"),
        may(SEND, f"{REPLIES}+", f"{REQUESTS}+"),  # to requests: to clear retained ones
    ),
    "admin": role(
        "admin", may(SEND, CONTROL, f"{ROOT}/+/{Down.IDENTITY}"), may(LITERAL, RESPONSE), may(RECEIVE, RESPONSE)
    ),
    "observer": role(
        "observer",
        may(PATTERN, f"{ROOT}/#", "alarms/#", f"{EVIDENCE}/#", "$SYS/#"),
        may(RECEIVE, f"{ROOT}/#", "alarms/#", f"{EVIDENCE}/#", "$SYS/#"),
        # the broker's log names all client ids, and who knows one could take over its session
        [Acl(RECEIVE, "$SYS/broker/log/#", allow=False, priority=100)],
    ),
    LOGIN: role(
        LOGIN,
        may(SEND, f"{REQUESTS}+"),
        # a client may subscribe to the one topic whose name it has chosen, and to no wildcard that covers others'
        [Acl(LITERAL, f"{REPLIES}+", allow=False, priority=100)],
        may(PATTERN, f"{REPLIES}+"),
        may(RECEIVE, f"{REPLIES}+"),
    ),
}
"""The gateway's own logins, and those that people and new devices share: login → its role, of the same name."""


def device_role(device: str) -> BrokerRole:
    """The role of a device's logins: it allows the device's own topics, each by name."""
    own = f"{ROOT}/{device}/"
    return role(
        ROLE_PREFIX + device,
        may(SEND, *(own + kind for kind in Kind)),
        may(LITERAL, *(own + kind for kind in Down)),
        may(RECEIVE, f"{own}#"),
    )


@dataclass(frozen=True)
class LoginEntry:
    """A login as the plugin's file has it. Without verifier only a certificate opens it."""

    username: str
    role: str
    salt: bytes | None
    verifier: bytes | None
    client_id: str | None = None
    disabled: bool = False

    def to_json(self) -> dict[str, Any]:
        entry: dict[str, Any] = {"username": self.username, "roles": [{"rolename": self.role}]}
        if self.client_id is not None:
            entry["clientid"] = self.client_id
        if self.salt is not None and self.verifier is not None:
            entry |= {"password": _b64(self.verifier), "salt": _b64(self.salt), "iterations": ITERATIONS}
        return entry | ({"disabled": True} if self.disabled else {})


def new_password() -> str:
    """A password of 256 random bits, which need no more than the broker's few iterations."""
    return secrets.token_urlsafe(32)


def new_salt() -> bytes:
    return secrets.token_bytes(SALT_BYTES)


def verifier(password: str, salt: bytes) -> bytes:
    """The hash that the broker keeps in place of a password: PBKDF2-SHA512, 64 bytes."""
    return hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS)


def fixed_login(name: str, password: str, *, disabled: bool = False) -> LoginEntry:
    salt = new_salt()
    return LoginEntry(name, FIXED[name].name, salt, verifier(password, salt), disabled=disabled)


def security(logins: Iterable[LoginEntry], roles: Iterable[BrokerRole]) -> dict[str, Any]:
    """The content of the plugin's file, dynamic-security.json, with these logins and roles and all fixed roles."""
    return {
        "defaultACLAccess": DEFAULTS,
        "clients": [login.to_json() for login in logins],
        "groups": [],
        "roles": [role.to_json() for role in (*FIXED.values(), *roles)],
    }


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
