"""What is a person's own: password, sessions, organizations; and the page of an invitation."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import RedirectResponse

from api import entrance
from api.access.guard import Accounts, Member, Person, caller, from_own_page
from api.pages.page import OrganizationPage, PageRouter, form, render
from api.problems import ApiError, NotFound, Unauthorized
from api.queries import accounts, organizations
from api.services import App
from api.shapes.accounts import PasswordChange, Registration
from api.shapes.organizations import Joining

router = PageRouter()
invited_router = APIRouter(include_in_schema=False)
HERE = "me"
Code = Annotated[str, Query(max_length=200)]


@router.get("/me")
async def me(page: OrganizationPage, app: App, database: Accounts, person: Person, _: Member) -> Response:
    assert person.user_id is not None
    return page.show(
        "pages/me.html",
        account=await accounts.account_of(database, person.user_id),
        sessions=await accounts.sessions(database, person.user_id, person.session_id),
        organizations=await organizations.whose(app.server, person),
        here=HERE,
    )


@router.post("/me/password")
async def change_password(
    request: Request, page: OrganizationPage, app: App, database: Accounts, person: Person
) -> Response:
    await entrance.change_password(request, app, database, person, await form(request, PasswordChange))
    return page.done("The password is changed, and your other sessions have ended.", HERE)


@router.post("/me/sessions/{session_id}/end")
async def end_session(
    page: OrganizationPage,
    app: App,
    database: Accounts,
    person: Person,
    session_id: Annotated[int, Path(ge=1, lt=2**63)],
) -> Response:
    assert person.user_id is not None
    if not await accounts.session_end(database, person.user_id, session_id):
        raise NotFound(f"there is no session {session_id} of yours")
    app.identities.forget()
    return page.done("The session has ended.", HERE)


@router.post("/me/log-out-everywhere")
async def log_out_everywhere(app: App, database: Accounts, person: Person, _: Member) -> Response:
    assert person.user_id is not None
    await accounts.log_out(database, person.user_id, None)
    app.identities.forget()
    answer = RedirectResponse("/login", 303)
    entrance.set_cookie(app, answer, "", 0)
    return answer


@invited_router.get("/invited")
async def invited(request: Request, code: Code = "") -> Response:
    """Ask a person with an invitation to join, or to make an account."""
    return await _invited(request, code)


async def _invited(
    request: Request, code: str, problem: ApiError | None = None, email: str = "", name: str = ""
) -> Response:
    try:
        who: str | None = (await caller(request)).who
    except Unauthorized:
        who = None
    status, detail = (200, None) if problem is None else (problem.status, problem.detail)
    return render("pages/invited.html", status, code=code, who=who, problem=detail, email=email, name=name)


@invited_router.post("/invited/join")
async def join(request: Request, app: App, database: Accounts, person: Person) -> Response:
    given = await form(request, Joining)
    try:
        made = await entrance.join(request, app, database, person, given)
    except ApiError as problem:
        return await _invited(request, given.code.get_secret_value(), problem)
    return RedirectResponse(f"/app/{made.organization}/plant", 303)


@invited_router.post("/invited/register")
async def register(request: Request, app: App, database: Accounts) -> Response:
    """Make an account with the invitation; then the person logs in, as a check that the password is known."""
    from_own_page(request)
    given = await form(request, Registration)
    try:
        await entrance.register(request, app, database, given)
    except ApiError as problem:
        code = "" if given.code is None else given.code.get_secret_value()
        return await _invited(request, code, problem, given.email, given.name)
    return render("pages/login.html", next="/app", email=given.email, problem=None, remember=False)
