"""How people come in: a password is compared, a session is opened, a browser gets its cookie."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import asyncpg
import structlog
from fastapi import Request, Response

from api import metrics, problems
from api.access.attempts import address, network
from api.access.guard import from_own_page
from api.access.tokens import RefreshToken, code_hash, new_token
from api.database import Database
from api.problems import NotFound, Unauthorized
from api.queries import accounts as queries
from api.services import Services
from api.shapes.accounts import LogIn

log = structlog.get_logger("api")

LONGEST_AGENT = 200
BROWSER_DAYS = 1.0
"""The longest session of a browser that is not to be remembered, for one that nobody closes."""
WRONG = "there is no such account, or the password is wrong"


class OpenedSession(NamedTuple):
    session_id: int
    account: asyncpg.Record
    token: RefreshToken | str
    """Of a program, or what a browser's cookie has."""
    until: datetime
    days: float


async def log_in(request: Request, app: Services, database: Database, given: LogIn) -> OpenedSession:
    """Open a session for who has this password. Raises Unauthorized; TooMany after too many failures; Forbidden if a
    foreign page asks for a cookie."""
    if given.kind == "browser":
        from_own_page(request)  # or somebody could log others in as himself, and see what they then do
    days = app.settings.api_session_days
    if given.kind == "browser" and not given.remember_me:
        days = min(days, BROWSER_DAYS)
    until = datetime.now(UTC) + timedelta(days=days)
    token = RefreshToken.new() if given.kind == "program" else new_token()
    for _ in range(2):  # again if another log-in has hashed the password anew meanwhile
        account = await _proven(request, app, database, given)
        password_hash = account["password_hash"]
        if app.passwords.is_outdated(password_hash):
            password_hash = await app.passwords.hash(given.password)
            await queries.password_rehash(database, account, password_hash)
        session_id = await queries.log_in(
            database,
            account,
            token,
            until,
            password_hash=password_hash,
            agent=agent(request),
            address=address(request),
            network=network(request),
        )
        if session_id is not None:
            break
    else:
        raise Unauthorized("the account has changed meanwhile: log in again", headers=problems.CHALLENGE)
    _is_in(request, account["user_id"], given.kind)
    return OpenedSession(session_id, account, token, until, days)


async def log_in_by_link(request: Request, app: Services, database: Database, code: str) -> OpenedSession:
    """Open a browser's session by the code of a link, which works once. Raises NotFound; TooMany after too many
    failures."""
    until, token = datetime.now(UTC) + timedelta(days=BROWSER_DAYS), new_token()
    async with app.attempts.attempt(request, "code") as attempt:
        try:
            session_id, account = await queries.log_in_by_link(
                database,
                code_hash(code),
                token,
                until,
                agent=agent(request),
                address=address(request),
                network=network(request),
            )
        except NotFound:
            attempt.failed()
            raise
    _is_in(request, account["user_id"], "link")
    return OpenedSession(session_id, account, token, until, BROWSER_DAYS)


def agent(request: Request) -> str:
    return request.headers.get("user-agent", "")[:LONGEST_AGENT]


def set_cookie(app: Services, answer: Response, value: str, seconds: int | None) -> None:
    """Set the session cookie: for this host, not for scripts, and of requests from other sites only for links. With
    None for the seconds, it ends with the browser."""
    answer.set_cookie(
        app.cookie,
        value,
        max_age=seconds,
        path="/",
        secure=not app.settings.api_insecure_cookie,
        httponly=True,
        samesite="lax",
    )


def _is_in(request: Request, user_id: int, kind: str) -> None:
    metrics.LOGINS.labels("success").inc()
    log.info("logged in", user=user_id, address=address(request), kind=kind)


async def _proven(request: Request, app: Services, database: Database, given: LogIn) -> asyncpg.Record:
    """Return the account whose password was given. Raises Unauthorized; and TooMany after too many failures."""
    account = await queries.log_in_account(database, given.email, network(request))
    async with app.attempts.attempt(request, "log-in", given.email, known=account["known"]) as attempt:
        right = await app.passwords.matches(given.password, account["password_hash"], account["rounds"])
        if not right or account["disabled"]:
            attempt.failed()
            metrics.LOGINS.labels("failure").inc()
            log.warning("log-in failed", user=account["user_id"], address=address(request))
            await queries.log_in_failed(database, account["user_id"], address(request))
            raise Unauthorized(WRONG, headers=problems.CHALLENGE)
    return account
