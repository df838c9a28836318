"""Who may ask what: the dependencies by which routes get at the database. There is no other way to it.

`Db` is the database as the caller's organization sees it. `Accounts` is the part that belongs to no organization, and
checks nobody. A route states by `allow` which role and scope it needs; with `Db` and without `allow`, any member may
use it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, HTTPBearer
from starlette.requests import HTTPConnection
from starlette.types import Scope as ConnectionScope

from api.access.identity import Identities, Shown
from api.access.places import Places
from api.access.roles import Principal, Role, Scope
from api.database import Database, Server
from api.problems import CHALLENGE, Forbidden, NotFound, PasswordExpired, Unauthorized
from api.settings import ApiSettings

INVALID = {"WWW-Authenticate": CHALLENGE["WWW-Authenticate"] + ', error="invalid_token"'}
ORGANIZATION = "Biogate-Organization"
COOKIE, INSECURE_COOKIE = "__Host-biogate", "biogate"
PAGES = "/app/"
"""Pages of an organization are at `/app/{organization}/…`: browsers cannot set headers for these, either."""
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
WITH_OLD_PASSWORD = re.compile(r"/api/v1/auth/(me|password|logout)|/logout|/app/[^/]+/me(/password)?")
"""What a person whose password has expired may ask for."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
BY_ADDRESS = frozenset(
    {
        *("/api/v1/ws/alerts", "/api/v1/alarms/stream"),
        *("/api/v1/ws/live-data", "/api/v1/live-data", "/ws/live-data"),
        *("/api/v1/ws/device-status", "/api/v1/device-status", "/ws/device-status"),
        *("/api/v1/ws/activity", "/api/v1/activity/stream", "/ws/activity"),
        *("/api/v1/telemetry", "/api/v1/telemetry.csv", "/api/v1/telemetry.arrow", "/api/v1/telemetry.parquet"),
    }
)
"""Browsers cannot set headers for sockets, streams and links to files, so the query may name the organization."""


@dataclass(frozen=True, kw_only=True)
class AccessServices:
    """The part of the application's services that decides who may come in."""

    settings: ApiSettings
    server: Server
    identities: Identities
    cookie: str
    """The name of the session cookie."""
    origins: frozenset[str]
    """The origins of other pages that may ask with a session cookie."""
    streams: Places
    """For tables that are streamed while they are read."""


def access_services(connection: HTTPConnection) -> AccessServices:
    found: AccessServices = connection.app.state.services
    return found


# Only for the description: what they find is read below.
_bearer = HTTPBearer(auto_error=False, description="An API key, or the access token of a log-in.")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="The session of a browser.")


async def _caller(
    request: Request, _b: Annotated[Any, Depends(_bearer)], _c: Annotated[Any, Depends(_cookie)]
) -> Principal:
    return await caller(request)


async def caller(request: HTTPConnection) -> Principal:
    """Return who sent this request. Raises Unauthorized, Forbidden if a foreign page sent it with a cookie, and
    PasswordExpired."""
    identities = access_services(request).identities
    found: Principal | None = request.scope.get("principal")
    if found is None:
        shown = request.scope.get("shown") or _shown(request)
        found = await identities.principal(shown)
        if found is None:
            raise Unauthorized("the key, token or session is unknown or has ended: log in again", headers=INVALID)
        if shown.kind == "cookie" and not _is_safe(request):
            from_own_page(request)
        if found.has_expired and not WITH_OLD_PASSWORD.fullmatch(request.scope["path"]):
            raise PasswordExpired("your password is older than your organization allows: change it, then go on")
        request.scope["principal"] = found
    if found.kind == "program" or is_act(request):
        await identities.note_act(found)
    return found


def is_act(connection: HTTPConnection) -> bool:
    """Whether a person does something by this request of a browser: sends a form, or opens a page. What a page asks
    anew by itself keeps no session open."""
    if connection.scope["type"] != "http":
        return False
    mode = connection.headers.get("sec-fetch-mode", "navigate")
    return not _is_safe(connection) or (mode == "navigate" and "hx-request" not in connection.headers)


Caller = Annotated[Principal, Depends(_caller)]


async def _person(principal: Caller) -> Principal:
    if principal.user_id is None:
        raise Forbidden("this is for people: an API key has no account")
    return principal


Person = Annotated[Principal, Depends(_person)]
"""A principal that is a person with an account, not an API key."""


async def _member(request: Request, principal: Caller) -> Principal:
    return _as_member(request, principal)


def _as_member(connection: HTTPConnection, principal: Principal) -> Principal:
    if principal.organization_id is None:
        if _organization(connection) is not None:
            raise NotFound("there is no such organization")
        raise Forbidden("you are a member of no organization yet: join one with a code, or make one")
    return principal


Member = Annotated[Principal, Depends(_member)]


async def _database(request: Request, member: Member) -> Database:
    assert member.organization_id is not None
    return access_services(request).server.of(member.organization_id, member.shown)


Db = Annotated[Database, Depends(_database)]


async def _accounts(request: Request) -> Database:
    def shown() -> str:
        known: Principal | None = request.scope.get("principal")
        return "" if known is None else known.shown

    return access_services(request).server.accounts_of(shown)


Accounts = Annotated[Database, Depends(_accounts)]


def allow(role: Role, scope: Scope) -> Any:
    """Return a dependency that requires at least `role` in the organization and, of a key, the scope `scope`."""

    async def check(member: Member) -> None:
        require(member, role, scope)

    check.needs = (role, scope)  # type: ignore[attr-defined]  # for the list of who may what, and its test
    return Depends(check)


def allow_socket(role: Role, scope: Scope) -> Any:
    """Like `allow`, for a WebSocket; the dependency also gives the principal.

    CORS does not cover WebSockets, so a foreign page is refused if it shows a cookie.
    """

    async def check(connection: HTTPConnection) -> Principal:
        member = _as_member(connection, await caller(connection))
        require(member, role, scope)
        return member

    check.needs = (role, scope)  # type: ignore[attr-defined]
    return Depends(check)


def require(member: Principal, role: Role, scope: Scope) -> None:
    """Raise Forbidden unless the member has this role, and the key, if it is one, this scope."""
    if scope not in member.scopes:
        raise Forbidden(f"this key does not have the scope {scope}")
    if member.role is None or not member.role.covers(role):
        raise Forbidden(f"this is for the role {role} or higher; you are {member.role} in {member.organization}")


async def still_authorized(request: HTTPConnection) -> None:
    """Raise Unauthorized if the caller's credentials have ended or changed: an answer can take hours."""
    if await access_services(request).identities.principal(_shown(request)) != request.scope["principal"]:
        raise Unauthorized("the key, token or session has ended, or its rights have changed", headers=INVALID)


def remembered(scope: ConnectionScope) -> Principal | None:
    """Return the caller if the cache knows the credentials, without asking the database."""
    request = HTTPConnection(scope)
    try:
        scope["shown"] = shown = _shown(request)
    except Unauthorized:
        return None
    known = access_services(request).identities.remembered(shown)
    if known is not None and (shown.kind == "bearer" or _is_safe(request)):
        scope["principal"] = known
    return known


def _is_safe(connection: HTTPConnection) -> bool:
    """Whether a foreign page may send this request with its reader's cookie, because the request changes nothing."""
    return connection.scope["type"] == "http" and connection.scope["method"] in SAFE


def _organization(connection: HTTPConnection) -> str | None:
    """Return the name of the organization that the request is for, or None if the request names none."""
    given, path = connection.headers.get(ORGANIZATION), connection.scope["path"]
    if path in BY_ADDRESS:
        asked = connection.query_params.get("organization", given)
        return asked if given in {None, asked} else ""  # two names are none
    if given is None and path.startswith(PAGES):
        given = path.split("/")[2]
    return given


def _shown(request: HTTPConnection) -> Shown:
    organization = _organization(request)
    if organization is not None and not NAME.fullmatch(organization):
        organization = ""  # which is none
    given = request.headers.get("authorization")
    if given is not None:
        scheme, _, token = given.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthorized("send Authorization: Bearer and an API key or access token", headers=CHALLENGE)
        return Shown("bearer", token.strip(), organization)
    cookie = request.cookies.get(access_services(request).cookie)
    if cookie:
        return Shown("cookie", cookie, organization)
    raise Unauthorized(
        "log in: send Authorization: Bearer and an API key, or the access token of /api/v1/auth/login",
        headers=CHALLENGE,
    )


def from_own_page(request: HTTPConnection) -> None:
    """Raise Forbidden unless a page of our own sent the request.

    A browser attaches the cookie for any page, but names the page's origin (OWASP, CSRF prevention).
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin", "")
    if origin and origin in access_services(request).origins:
        return
    if site is None:
        scheme = request.url.scheme.replace("ws", "http", 1)  # of a socket's page
        site = "same-origin" if origin == f"{scheme}://{request.headers.get('host')}" else "none"
    if site != "same-origin":
        raise Forbidden("with a session cookie, only our own pages may change things and open sockets")
