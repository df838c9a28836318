# ruff: noqa: S106 - the secrets in the examples are nobody's
"""Accounts and sessions: what is taken and what is given."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints

from api.access.passwords import NewPassword, Password
from api.http.bodies import PersonName, Token, body_config
from api.http.description import Answer, about, example
from api.shapes.organizations import Membership, RoleName


class Account(Answer):
    user_id: int
    email: str
    name: str
    organization: Annotated[str | None, about("which they joined by the code; null: there was none")]


class LoggedIn(Answer):
    kind: Literal["browser", "program"]
    session_id: int
    expires_at: Annotated[str, about("of the session; of a program's, each refresh puts it off")]
    access_token: Annotated[str | None, about("for Authorization: Bearer; null: a browser has a cookie instead")] = None
    token_type: Literal["bearer"] | None = None
    expires_in: Annotated[int | None, about("seconds for which the access token holds")] = None
    refresh_token: Annotated[str | None, about("good for one refresh; a second one ends the session")] = None


class Me(Answer):
    who: Annotated[str, about("as the audit trail has it")]
    kind: Literal["browser", "program", "key"]
    user_id: Annotated[int | None, about("null: a key, which is nobody's account")]
    name: Annotated[str, about("the person's, or the key's")]
    organization: Annotated[
        str | None, about("which this request is for: that of the header Biogate-Organization, else the first joined")
    ]
    role: RoleName | None
    scopes: Annotated[list[str], about("what a key can be used for; people have all")]
    session_id: int | None
    key_id: str | None
    expires_at: Annotated[str | None, about("of the session or key")]
    organizations: list[Membership]


class SessionAnswer(Answer):
    session_id: int
    kind: Literal["browser", "program"]
    agent: Annotated[str, about("what the browser or program called itself")]
    created_at: str
    renewed_at: str
    expires_at: str
    current: Annotated[bool, about("true: this one is asking")]


class Sessions(Answer):
    sessions: list[SessionAnswer]


ACCOUNT = {"user_id": 12, "email": "eva@example.org", "name": "Eva", "organization": None}
PROGRAM = example(
    LoggedIn,
    """{"kind": "program", "session_id": 4711, "expires_at": "2026-11-20T07:45:00.000000Z",
 "access_token": "eyJhbGciOiJIUzI1NiIs…", "token_type": "bearer", "expires_in": 900,
 "refresh_token": "bgr_tQ0x….9aXk…"}""",
)
BROWSER = PROGRAM | {"kind": "browser", **dict.fromkeys(("access_token", "token_type", "expires_in", "refresh_token"))}
ME = example(
    Me,
    """{"who": "eva@example.org", "kind": "browser", "user_id": 12, "name": "Eva", "organization": "north",
 "role": "engineer", "scopes": ["telemetry:read", "devices:read", "devices:write", "commands:read",
 "commands:write", "alarms:read", "alarms:write", "rules:write", "enrollment:read", "enrollment:write",
 "audit:read", "organization:read", "organization:write"], "session_id": 4711, "key_id": null,
 "expires_at": "2026-11-20T07:45:00.000000Z", "organizations": [{"organization": "north", "title": "Plant North",
 "role": "engineer", "since": "2026-11-20T07:45:00.000000Z"}]}""",
)
SESSION = example(
    SessionAnswer,
    """{"session_id": 4711, "kind": "browser",
 "agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
 "created_at": "2026-11-20T07:45:00.000000Z", "renewed_at": "2026-11-20T07:45:00.000000Z",
 "expires_at": "2026-11-20T07:45:00.000000Z", "current": true}""",
)

EMAIL = r"^[!-?A-~]+@[!-?A-~]+$"


def _lower(given: Any) -> Any:
    return given.strip().lower() if isinstance(given, str) else given


Email = Annotated[str, StringConstraints(pattern=EMAIL, min_length=3, max_length=254), BeforeValidator(_lower)]


class Registration(BaseModel):
    model_config = body_config(email="eva@example.org", name="Eva", password="correct horse battery")

    email: Email = Field(description="what they log in with; ASCII, in whatever case")
    name: PersonName
    password: NewPassword
    code: Token | None = Field(None, description="of an invitation, which is used up: they are a member at once")


class LogIn(BaseModel):
    model_config = body_config(email="eva@example.org", password="correct horse battery", kind="program")

    email: Email
    password: Password
    kind: Literal["program", "browser"] = Field(
        "program", description="program: the answer has tokens; browser: it has a cookie"
    )


class Refresh(BaseModel):
    model_config = body_config(refresh_token="bgr_tQ0x….9aXk…")

    refresh_token: Token


class LogOut(BaseModel):
    model_config = body_config(all=False)

    all: bool = Field(False, description="true: everywhere; else only here")


class PasswordChange(BaseModel):
    model_config = body_config(old="correct horse battery", new="another horse battery")

    old: Password
    new: NewPassword
