"""Defines roles, the scopes of API keys, and the principal: who sends a request, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal


class Role(StrEnum):
    """The role of a member in an organization. Each role may do what those before it may."""

    VIEWER = "viewer"
    CONTROL_ROOM = "control-room"
    OPERATOR = "operator"
    ENGINEER = "engineer"
    ADMIN = "admin"

    def covers(self, other: Role) -> bool:
        return ORDER[self] >= ORDER[other]


ORDER = {role: n for n, role in enumerate(Role)}


class Scope(StrEnum):
    """What an API key may be used for. Each route asks for one scope; people have all scopes."""

    TELEMETRY_READ = "telemetry:read"
    DEVICES_READ = "devices:read"
    DEVICES_WRITE = "devices:write"
    COMMANDS_READ = "commands:read"
    COMMANDS_WRITE = "commands:write"
    ALARMS_READ = "alarms:read"
    ALARMS_WRITE = "alarms:write"
    RULES_WRITE = "rules:write"
    ENROLLMENT_READ = "enrollment:read"
    ENROLLMENT_WRITE = "enrollment:write"
    AUDIT_READ = "audit:read"
    ORGANIZATION_READ = "organization:read"
    ORGANIZATION_WRITE = "organization:write"


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who sends a request, in which organization, and with which role and scopes."""

    who: str
    """The name in the audit trail: the e-mail address, or `key <id> (<name>)`."""
    kind: Literal["browser", "program", "key"]
    organization_id: int | None
    """None if the principal is in no organization, or not in the one that the request names."""
    organization: str | None
    role: Role | None
    scopes: frozenset[Scope] = field(default=ALL_SCOPES)
    user_id: int | None = None
    """None if the principal is an API key, which is nobody's account."""
    session_id: int | None = None
    key_id: str | None = None
    idle_minutes: int | None = None
    """The session ends when nobody does anything for so long; None: it does not."""
    has_expired: bool = False
    """Whether the password is so old that the person may only change it."""
    shown: str = field(default="", repr=False, compare=False)
    """The credential, in the words by which the database finds whose it is: see schema/migrations/0034_roles.sql."""

    def may(self, role: Role, scope: Scope) -> bool:
        """Whether the principal has this role, and the key, if it is one, this scope."""
        return scope in self.scopes and self.role is not None and self.role.covers(role)
