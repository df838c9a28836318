"""Routes to make an account, to log in and out, and to see and end one's sessions."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

import structlog
from fastapi import Path, Request, Response

from api import entrance, problems
from api.access.guard import Accounts, Caller, Person
from api.access.tokens import RefreshToken, access_proof, access_token, code_hash
from api.entrance import set_cookie
from api.http import answers, description
from api.http.answers import JsonOnly
from api.http.bodies import MOST_BYTES, body, described, order
from api.http.description import ok
from api.problems import NotFound, Unauthorized
from api.queries import accounts as queries
from api.queries import organizations
from api.routes import PREFIX, Router
from api.services import App, Services
from api.shapes import accounts as shapes
from api.shapes.accounts import LogIn, LogOut, PasswordChange, PasswordReset, Refresh, Registration
from schema import times

router = Router("accounts", prefix=f"{PREFIX}/auth")
log = structlog.get_logger("api")

SESSION_ID = Path(ge=1, lt=2**63, description="`session_id` in the list", examples=[4711])


@router.post(
    "/register",
    status_code=201,
    summary="Make an account",
    description="An account alone sees nothing: join an organization with a code, or make one.",
    responses=description.CHANGE | description.made(shapes.Account, account=shapes.ACCOUNT),
    openapi_extra=described(Registration),
)
async def register(request: Request, app: App, database: Accounts) -> Response:
    made = await entrance.register(request, app, database, await order(request, Registration))
    return answers.json(made, 201)


@router.post(
    "/login",
    summary="Log in: a program gets tokens, a browser a cookie",
    responses=description.CHANGE | ok(shapes.LoggedIn, program=shapes.PROGRAM, browser=shapes.BROWSER),
    openapi_extra=described(LogIn),
)
async def login(request: Request, app: App, database: Accounts) -> Response:
    opened = await entrance.log_in(request, app, database, given := await order(request, LogIn))
    user = shapes.User.of(opened.account)
    if isinstance(opened.token, RefreshToken):
        return _tokens(app, opened.session_id, user, opened.token, opened.until)
    shown = shapes.LoggedIn(
        kind="browser", session_id=opened.session_id, user=user, expires_at=times.text(opened.until)
    )
    answer = answers.json(shown)
    set_cookie(app, answer, opened.token, round(opened.days * 86400) if given.remember_me else None)
    return answer


@router.post(
    "/refresh",
    summary="Exchange a refresh token for new tokens",
    description="A refresh token works once. If it comes again within 45 s, because an answer was lost or two asked at "
    "once, the answer has the same refresh token again. If it comes later, it was stolen, and the session ends.",
    responses=description.CHANGE | ok(shapes.LoggedIn, program=shapes.PROGRAM),
    openapi_extra=described(Refresh),
)
async def refresh(request: Request, app: App, database: Accounts) -> Response:
    given = await order(request, Refresh)
    token = RefreshToken.parse(given.refresh_token.get_secret_value())
    until = datetime.now(UTC) + timedelta(days=app.settings.api_session_days)
    renewed = None if token is None else await queries.session_renew(database, token, until)
    if renewed is None:
        app.identities.forget()
        raise Unauthorized("the refresh token is unknown or was used before: log in", headers=problems.CHALLENGE)
    session_id, user_id, following = renewed
    user = shapes.User.of(await queries.account_of(database, user_id))
    return _tokens(app, session_id, user, following, until)


@router.post(
    "/logout",
    status_code=204,
    summary="End this session, or all of one's sessions",
    responses=description.CHANGE | description.NOTHING,
    openapi_extra={"requestBody": described(LogOut)["requestBody"] | {"required": False}},
)
async def logout(request: Request, app: App, database: Accounts, person: Person) -> Response:
    assert person.user_id is not None
    content = await body(request, MOST_BYTES)
    given = LogOut() if not content else await order(request, LogOut, content)
    await queries.log_out(database, person.user_id, None if given.all else person.session_id)
    app.identities.forget()
    answer = Response(status_code=204)
    if person.kind == "browser":
        set_cookie(app, answer, "", 0)
    return answer


@router.get(
    "/me",
    summary="Who the caller is, and their role in each organization",
    responses=description.DATABASE | ok(shapes.Me, me=shapes.ME),
)
async def me(app: App, database: Accounts, principal: Caller, _: JsonOnly) -> Response:
    if principal.user_id is not None:
        name = (await queries.account_of(database, principal.user_id))["name"]
        sessions = await queries.sessions(database, principal.user_id, principal.session_id)
        expires_at = next((one.expires_at for one in sessions if one.current), None)
    else:
        assert principal.key_id is not None
        key = await queries.key_of(database, principal.key_id)
        name, expires_at = key["name"], times.optional_text(key["expires_at"])
    role = None if principal.organization is None else principal.role
    return answers.json(
        shapes.Me.of(
            asdict(principal),
            name=name,
            role=role,
            scopes=sorted(principal.scopes),
            expires_at=expires_at,
            organizations=await organizations.whose(app.server, principal),
        )
    )


@router.post(
    "/password",
    status_code=204,
    summary="Change one's password; all other sessions end",
    responses=description.CHANGE | description.NOTHING,
    openapi_extra=described(PasswordChange),
)
async def password(request: Request, app: App, database: Accounts, person: Person) -> Response:
    await entrance.change_password(request, app, database, person, await order(request, PasswordChange))
    return Response(status_code=204)


@router.post(
    "/reset",
    status_code=204,
    summary="Set a new password by the code of a link; all sessions end",
    description="An admin of the organization that runs the installation makes the link. It works once.",
    responses=description.CHANGE | description.NOTHING,
    openapi_extra=described(PasswordReset),
)
async def reset(request: Request, app: App, database: Accounts) -> Response:
    given = await order(request, PasswordReset)
    code = code_hash(given.code.get_secret_value())
    async with app.attempts.attempt(request, "code") as attempt:
        try:
            account = await queries.password_reset_of(database, code)
        except NotFound:
            attempt.failed()
            raise
    password_hash = await entrance.new_hash(app, database, account, given.password, "password")
    await queries.password_reset_use(database, code, password_hash)
    app.identities.forget()
    return Response(status_code=204)


@router.get(
    "/sessions",
    summary="One's sessions, newest first; a hundred at most",
    responses=description.DATABASE | ok(shapes.Sessions, sessions={"sessions": [shapes.SESSION]}),
)
async def sessions(database: Accounts, person: Person, _: JsonOnly) -> Response:
    assert person.user_id is not None
    return answers.json(shapes.Sessions(sessions=await queries.sessions(database, person.user_id, person.session_id)))


@router.delete(
    "/sessions/{session_id}",
    status_code=204,
    summary="End one of one's sessions",
    responses=description.THING | description.NOTHING,
)
async def end_session(app: App, database: Accounts, person: Person, session_id: Annotated[int, SESSION_ID]) -> Response:
    assert person.user_id is not None
    if not await queries.session_end(database, person.user_id, session_id):
        raise NotFound(f"there is no session {session_id} of yours")
    app.identities.forget()
    return Response(status_code=204)


def _tokens(app: Services, session_id: int, user: shapes.User, token: RefreshToken, until: datetime) -> Response:
    seconds = min(app.settings.api_access_token_minutes * 60, (until - datetime.now(UTC)).total_seconds())
    return answers.json(
        shapes.LoggedIn(
            kind="program",
            session_id=session_id,
            user=user,
            expires_at=times.text(until),
            access_token=access_token(session_id, user.user_id, access_proof(token.family), app.jwt_key, seconds),
            token_type="bearer",  # noqa: S106 - the type, not a token
            expires_in=int(seconds),
            refresh_token=str(token),
        )
    )
