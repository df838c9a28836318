"""How people come in: a password is compared, a session is opened, a browser gets its cookie."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import asyncpg
import structlog
from fastapi import Request, Response
from pydantic import SecretStr

from api import metrics, problems
from api.access.attempts import address, network
from api.access.guard import from_own_page
from api.access.roles import Principal
from api.access.tokens import RefreshToken, code_hash, new_token
from api.database import Database
from api.problems import BadParameter, Forbidden, NotFound, Unauthorized
from api.queries import accounts as queries
from api.queries import organizations
from api.services import Services
from api.shapes.accounts import Account, LogIn, PasswordChange, Registration
from api.shapes.organizations import Joining, Membership, NewOrganization

log = structlog.get_logger("api")

FIRST = "main"
"""The organization that runs the installation."""
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
        account, password_hash = await _proven(request, app, database, given)
        if app.passwords.is_outdated(password_hash):
            old_hash, password_hash = password_hash, await app.passwords.hash(given.password)
            await queries.password_rehash(database, account, old_hash, password_hash)
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


async def register(request: Request, app: Services, database: Database, given: Registration) -> Account:
    """Make an account, with an invitation also a member. Raises Forbidden where it is not open to all, Conflict for an
    address that has one, NotFound for a code that is none, BadParameter for a weak password."""
    allowed = await _registration(app, database)
    if allowed == "closed":
        raise Forbidden("only the operator of the installation makes accounts: biogate accounts user")
    if allowed == "invitation" and given.code is None:
        raise Forbidden("accounts are for people with an invitation: send its code")
    async with app.attempts.attempt(request, "registration") as attempt:
        attempt.failed()  # in any case: to register costs us as much as to guess
        password_hash = await app.passwords.hash_new(given.password, "password", given.email, given.name)
        code = None if given.code is None else code_hash(given.code.get_secret_value())
        user_id = await queries.create(database, given.email, given.name, password_hash, code)
    joined = None
    if code is not None:
        [membership] = await organizations.memberships(database, user_id)
        joined = membership.organization
    return Account(user_id=user_id, email=given.email, name=given.name, organization=joined)


async def make_organization(app: Services, database: Database, person: Principal, given: NewOrganization) -> Membership:
    """Make an organization, of which the person is the admin: each has a share of what all share, so it is for the
    installation's admins where accounts are not open to all. Raises Forbidden, Conflict."""
    assert person.user_id is not None
    if await _registration(app, database) != "open":
        own = await organizations.memberships(database, person.user_id)
        if not any(one.organization == FIRST and one.role == "admin" for one in own):
            raise Forbidden(f"the admins of the organization {FIRST} make organizations: ask one of them")
    await organizations.organization_create(database, person.user_id, given)
    return await organizations.membership(database, person.user_id, given.organization)


async def _registration(app: Services, database: Database) -> str:
    """Who may make an account, as the settings say."""
    allowed = app.settings.api_registration
    if allowed == "auto":
        return "invitation" if await queries.has_admin(database) else "open"
    return allowed


async def join(request: Request, app: Services, database: Database, person: Principal, given: Joining) -> Membership:
    """Make a person a member, by the code of an invitation. Raises NotFound and Conflict; TooMany."""
    assert person.user_id is not None
    async with app.attempts.attempt(request, "code", person.who) as attempt:
        try:
            name = await organizations.join(database, person.user_id, code_hash(given.code.get_secret_value()))
        except NotFound:
            attempt.failed()
            raise
    app.identities.forget()
    return await organizations.membership(database, person.user_id, name)


async def change_password(
    request: Request, app: Services, database: Database, person: Principal, given: PasswordChange
) -> None:
    """Change a person's password and end the person's other sessions. Raises Forbidden for a wrong old one, and
    BadParameter for none, but of an account that has no password yet."""
    assert person.user_id is not None
    own = f"{person.user_id} session {person.session_id}"  # or strangers who guess could lock the person out
    async with app.attempts.attempt(request, "password", own) as attempt:
        account = await queries.account_of(database, person.user_id)
        if given.old is None and not account["has_password"]:
            first = await new_hash(app, database, account, given.new, "new")
            await queries.password_first(database, account, first, person.session_id)
            app.identities.forget()
            return
        if given.old is None:
            raise BadParameter("old", "is missing")
        old_hash = await app.passwords.matches(given.old, account["password_hash"])
        if old_hash is None:
            attempt.failed()
            metrics.LOGINS.labels("failure").inc()
            log.warning("password change failed", user=person.user_id, address=address(request))
            raise Forbidden("the old password is wrong")
    password_hash = await new_hash(app, database, account, given.new, "new")
    await queries.password_change(database, account, old_hash, password_hash, person.session_id)
    app.identities.forget()


async def new_hash(
    app: Services, database: Database, account: asyncpg.Record, password: SecretStr, parameter: str
) -> str:
    """Return the hash of an account's new password. Raises BadParameter for one that is easily guessed, or that the
    person has had before, where an organization of the person does not want that."""
    made = await app.passwords.hash_new(password, parameter, account["email"], account["name"])
    for taken in await queries.passwords_taken(database, account["user_id"]):
        if await app.passwords.matches(password, taken):
            raise BadParameter(parameter, "is one that you have had before: take another one")
    return made


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


async def _proven(request: Request, app: Services, database: Database, given: LogIn) -> tuple[asyncpg.Record, str]:
    """Return the account whose password was given, and the password's hash. Raises Unauthorized; and TooMany after too
    many failures."""
    account = await queries.log_in_account(database, given.email, network(request))
    async with app.attempts.attempt(request, "log-in", given.email, known=account["known"]) as attempt:
        right = await app.passwords.matches(given.password, account["password_hash"], account["rounds"])
        if right is None or account["disabled"]:
            attempt.failed()
            metrics.LOGINS.labels("failure").inc()
            log.warning("log-in failed", user=account["user_id"], address=address(request))
            await queries.log_in_failed(database, account["user_id"], address(request))
            raise Unauthorized(WRONG, headers=problems.CHALLENGE)
    return account, right
