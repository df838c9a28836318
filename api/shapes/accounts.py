# ruff: noqa: S106 - the secrets in the examples are nobody's
"""Accounts and sessions: what is taken and what is given."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from api.access.passwords import NewPassword, Password
from api.http.bodies import Email, PersonName, Token, body_config
from api.http.description import Answer, about, example
from api.shapes.organizations import CODE, Membership, RoleName


class Account(Answer):
    user_id: int
    email: str
    name: str
    organization: Annotated[str | None, about("the organization joined with the code; null: no code was given")]


class User(Answer):
    user_id: int
    email: str
    name: str


class LoggedIn(Answer):
    kind: Literal["browser", "program"]
    session_id: int
    user: User
    expires_at: Annotated[str, about("end of the session, which each refresh of a program moves")]
    access_token: Annotated[str | None, about("for Authorization: Bearer; null: a browser has a cookie instead")] = None
    token_type: Literal["bearer"] | None = None
    expires_in: Annotated[int | None, about("seconds until the access token expires")] = None
    refresh_token: Annotated[
        str | None,
        about("works for one refresh; a repetition within 45 s gets the same answer, and later ends the session"),
    ] = None


class Me(Answer):
    who: Annotated[str, about("the caller's name in the audit trail")]
    kind: Literal["browser", "program", "key"]
    user_id: Annotated[int | None, about("null: the caller is an API key, which has no account")]
    name: Annotated[str, about("name of the person or of the key")]
    organization: Annotated[
        str | None, about("the organization of this request: by the header Biogate-Organization, else the first joined")
    ]
    role: RoleName | None
    scopes: Annotated[list[str], about("what a key may be used for; people have all scopes")]
    session_id: int | None
    key_id: str | None
    expires_at: Annotated[str | None, about("end of the session or key")]
    organizations: list[Membership]


class SessionAnswer(Answer):
    session_id: int
    kind: Literal["browser", "program"]
    agent: Annotated[str, about("User-Agent of the browser or program")]
    created_at: str
    renewed_at: str
    expires_at: str
    current: Annotated[bool, about("true: the session of this request")]


class Sessions(Answer):
    sessions: list[SessionAnswer]


ACCOUNT = {"user_id": 12, "email": "eva@example.org", "name": "Eva", "organization": None}
PROGRAM = example(
    LoggedIn,
    """{"kind": "program", "session_id": 4711,
 "user": {"user_id": 12, "email": "eva@example.org", "name": "Eva"}, "expires_at": "2026-11-20T07:45:00.000000Z",
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


class Registration(BaseModel):
    model_config = body_config(email="eva@example.org", name="Eva", password="correct horse battery")

    email: Email = Field(description="address to log in with; ASCII, in upper or lower case")
    name: PersonName
    password: NewPassword
    code: Token | None = Field(None, description="code of an invitation: the new account is a member at once")


class LogIn(BaseModel):
    model_config = body_config(email="eva@example.org", password="correct horse battery", kind="program")

    email: Email
    password: Password
    kind: Literal["program", "browser"] = Field(
        "program", description="program: the answer has tokens; browser: it has a cookie"
    )
    remember_me: bool = Field(
        False,
        description="browsers: true, the log-in outlives the browser; false, it ends with the browser, or after a day",
    )


class Refresh(BaseModel):
    model_config = body_config(refresh_token="bgr_tQ0x….9aXk…")

    refresh_token: Token


class LogOut(BaseModel):
    model_config = body_config(all=False)

    all: bool = Field(False, description="true: end all sessions; false: only this one")


class PasswordChange(BaseModel):
    model_config = body_config(old="correct horse battery", new="another horse battery")

    old: Password | None = Field(
        None, description="needed but by an account that was made by a log-in link and has none"
    )
    new: NewPassword


class PasswordReset(BaseModel):
    model_config = body_config(code=CODE, password="another horse battery")

    code: Token = Field(description="what the link ends with")
    password: NewPassword
