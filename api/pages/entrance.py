"""The pages by which people come in and go: log-in, links that log in once, log-out, and the way to an organization."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from api import entrance
from api.access.guard import Accounts, Caller, Person, caller, from_own_page
from api.http.bodies import Email
from api.pages.page import form, render
from api.problems import ApiError, BadParameter, NotFound, TooMany, Unauthorized
from api.queries import accounts
from api.services import App
from api.shapes.accounts import LogIn

router = APIRouter(include_in_schema=False)
INSIDE = re.compile(r"/app(/[A-Za-z0-9._~%!$&'()*+,;=:@/-]*)?(\?[A-Za-z0-9._~%!$&'()*+,;=:@/?-]*)?")
"""Addresses of our own pages: a log-in leads nowhere else."""
Next = Annotated[str | None, Query(max_length=2000)]
Code = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class LogInForm(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    email: Email
    password: SecretStr
    remember_me: bool = False
    next: str | None = Field(None, max_length=2000)


class CodeForm(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    code: Code


def inside(address: str | None) -> str:
    """Return the address if it is a page of ours, else where everybody begins."""
    return address if address is not None and INSIDE.fullmatch(address) and "//" not in address else "/app"


@router.get("/")
async def begin() -> Response:
    return RedirectResponse("/app", 303)


@router.get("/login")
async def log_in_page(request: Request, next: Next = None) -> Response:
    try:
        await caller(request)
    except Unauthorized:
        return render("pages/login.html", next=inside(next), email="", problem=None, remember=False)
    return RedirectResponse(inside(next), 303)


@router.post("/login")
async def log_in(request: Request, app: App, database: Accounts) -> Response:
    """Log in; what was typed stays if it fails, but for the password."""
    from_own_page(request)
    typed = parse_qs((await request.body()).decode(errors="replace"))
    kept = {
        "next": inside(typed.get("next", [None])[0]),
        "email": typed.get("email", [""])[0][:254],
        "remember": "remember_me" in typed,
    }
    try:
        given = await form(request, LogInForm)
        wanted = LogIn(email=given.email, password=given.password, kind="browser", remember_me=given.remember_me)
        opened = await entrance.log_in(request, app, database, wanted)
    except (Unauthorized, BadParameter, TooMany, ValueError) as error:
        said = error.detail if isinstance(error, ApiError) else "the password is longer than a password can be"
        status = error.status if isinstance(error, ApiError) else 422
        return render("pages/login.html", status, getattr(error, "headers", None), problem=said, **kept)
    answer = RedirectResponse(inside(given.next), 303)
    assert isinstance(opened.token, str)
    entrance.set_cookie(app, answer, opened.token, round(opened.days * 86400) if given.remember_me else None)
    return answer


@router.get("/enter")
async def enter(request: Request, app: App, database: Accounts, code: Code = "") -> Response:
    """Log in by a link that a person has opened. A link in another page, or one that a browser loads in advance, only
    shows a button: neither may use it up, or log its reader in as somebody else."""
    by_hand = request.headers.get("sec-fetch-site") in {None, "none", "same-origin"}
    if not code or not by_hand or "sec-purpose" in request.headers:
        return render("pages/enter.html", code=code)
    return await _entered(request, app, database, code)


@router.post("/enter")
async def enter_by_button(request: Request, app: App, database: Accounts) -> Response:
    from_own_page(request)
    return await _entered(request, app, database, (await form(request, CodeForm)).code)


async def _entered(request: Request, app: App, database: Accounts, code: str) -> Response:
    try:
        opened = await entrance.log_in_by_link(request, app, database, code)
    except NotFound as error:
        return render("pages/login.html", 404, next="/app", email="", problem=error.detail, remember=False)
    answer = RedirectResponse("/app", 303)
    assert isinstance(opened.token, str)
    entrance.set_cookie(app, answer, opened.token, None)
    return answer


@router.get("/reset")
async def reset() -> Response:
    """Ask for a new password, behind the link of an admin. Its code stands after the #, which browsers send to nobody:
    so it is in no log, and a script has to read it."""
    return render("pages/reset.html")


@router.post("/logout")
async def log_out(app: App, database: Accounts, person: Person) -> Response:
    assert person.user_id is not None
    await accounts.log_out(database, person.user_id, person.session_id)
    app.identities.forget()
    answer = RedirectResponse("/login", 303)
    entrance.set_cookie(app, answer, "", 0)
    return answer


@router.get("/app")
async def organization(principal: Caller) -> Response:
    """Lead to the plant of the first organization that the person joined."""
    if principal.organization is not None:
        return RedirectResponse(f"/app/{principal.organization}/plant", 303)
    return render("pages/nowhere.html", who=principal.who)


@router.get("/app/{organization}")
async def organization_begin(organization: str) -> Response:
    return RedirectResponse(f"/app/{quote(organization, safe='')}/plant", 303)
