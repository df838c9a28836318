"""The shapes and examples of answers about accounts and organizations, as in models.py."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from api.access.roles import Role, Scope
from api.bodies.accounts import CODE
from api.models.common import Answer, Page, T, ok

RoleName = Literal["viewer", "operator", "engineer", "admin"]


class Account(Answer):
    user_id: int
    email: str
    name: str
    organization: str | None = Field(description="which they joined by the code; null: there was none")


class LoggedIn(Answer):
    kind: Literal["browser", "program"]
    session_id: int
    expires_at: str = Field(description="of the session; of a program's, each refresh puts it off")
    access_token: str | None = Field(description="for Authorization: Bearer; null: a browser has a cookie instead")
    token_type: Literal["bearer"] | None
    expires_in: int | None = Field(description="seconds for which the access token holds")
    refresh_token: str | None = Field(description="good for one refresh; a second one ends the session")


class Membership(Answer):
    organization: str
    title: str
    role: RoleName
    since: str | None = Field(description="null: it is a key's")


class Organizations(Answer):
    organizations: list[Membership]


class Me(Answer):
    who: str = Field(description="as the audit trail has it")
    kind: Literal["browser", "program", "key"]
    user_id: int | None = Field(description="null: a key, which is nobody's account")
    name: str = Field(description="the person's, or the key's")
    organization: str | None = Field(
        description="which this request is for: that of the header Biogate-Organization, else the first joined"
    )
    role: RoleName | None
    scopes: list[str] = Field(description="what a key can be used for; people have all")
    session_id: int | None
    key_id: str | None
    expires_at: str | None = Field(description="of the session or key")
    organizations: list[Membership]


class Session(Answer):
    session_id: int
    kind: Literal["browser", "program"]
    agent: str = Field(description="what the browser or program called itself")
    created_at: str
    renewed_at: str
    expires_at: str
    current: bool = Field(description="true: this one is asking")


class Sessions(Answer):
    sessions: list[Session]


class Organization(Answer):
    organization: str
    title: str
    created_at: str
    role: RoleName = Field(description="of who asks")


class Member(Answer):
    user_id: int
    email: str
    name: str
    role: RoleName
    since: str


class Members(Page):
    members: list[Member]


class Invitation(Answer):
    invitation_id: int
    role: RoleName
    uses: int = Field(description="that are left; 0: used up, or withdrawn")
    invited_by: str
    created_at: str
    expires_at: str


class MadeInvitation(Invitation):
    code: str = Field(description="for whom is invited; it is shown here only")


class Invitations(Page):
    invitations: list[Invitation]


class Key(Answer):
    key_id: str
    name: str
    role: RoleName
    scopes: list[str]
    created_by: str
    created_at: str
    expires_at: str | None
    ended_at: str | None = Field(description="when it was ended; null: by nobody")


class MadeKey(Key):
    key: str = Field(description="for Authorization: Bearer; it is shown here only")


class Keys(Page):
    keys: list[Key]


ACCOUNT = {"user_id": 12, "email": "eva@example.org", "name": "Eva", "organization": None}
PROGRAM = {
    "kind": "program",
    "session_id": 4711,
    "expires_at": T,
    "access_token": "eyJhbGciOiJIUzI1NiIs…",
    "token_type": "bearer",
    "expires_in": 900,
    "refresh_token": "bgr_tQ0x….9aXk…",
}
BROWSER = PROGRAM | {
    "kind": "browser",
    **dict.fromkeys(("access_token", "token_type", "expires_in", "refresh_token")),
}
MEMBERSHIP = {"organization": "north", "title": "Plant North", "role": "engineer", "since": T}
ME = {
    "who": "eva@example.org",
    "kind": "browser",
    "user_id": 12,
    "name": "Eva",
    "organization": "north",
    "role": "engineer",
    "scopes": [scope.value for scope in Scope],
    "session_id": 4711,
    "key_id": None,
    "expires_at": T,
    "organizations": [MEMBERSHIP],
}
SESSION = {
    "session_id": 4711,
    "kind": "browser",
    "agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "created_at": T,
    "renewed_at": T,
    "expires_at": T,
    "current": True,
}
ORGANIZATION = {"organization": "north", "title": "Plant North", "created_at": T, "role": "engineer"}
MEMBER = {"user_id": 12, "email": "eva@example.org", "name": "Eva", "role": Role.ENGINEER.value, "since": T}
INVITATION = {
    "invitation_id": 3,
    "role": "operator",
    "uses": 1,
    "invited_by": "eva@example.org",
    "created_at": T,
    "expires_at": T,
}
MADE_INVITATION = INVITATION | {"code": CODE}
KEY = {
    "key_id": "k3jx7qwdm2vb",
    "name": "dashboard",
    "role": "viewer",
    "scopes": ["telemetry:read"],
    "created_by": "eva@example.org",
    "created_at": T,
    "expires_at": T,
    "ended_at": None,
}
MADE_KEY = KEY | {"key": "bgk_k3jx7qwdm2vb_9aXk…"}


def made(model: type[Answer], **examples: Any) -> dict[int | str, dict[str, Any]]:
    """The 201 of a route."""
    return {201: ok(model, None, **examples)[200]}


NOTHING: dict[int | str, dict[str, Any]] = {204: {"description": "Done; there is nothing to say"}}
