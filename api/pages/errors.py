"""What an error becomes: for people a page that says what to do, for programs a problem document."""

from __future__ import annotations

import json
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from starlette.requests import HTTPConnection

from api.access.guard import PAGES
from api.edge.headers import is_for_people
from api.http import answers
from api.http.errors import document
from api.pages.page import is_partial, render
from api.problems import ApiError, BadRows, PasswordExpired, PreconditionFailed, Unauthorized, Waits
from api.trace import CURRENT


def answer(connection: HTTPConnection, error: ApiError) -> Response:
    """Answer a request that ended with this error: with a page if it was for one, else with a problem document."""
    if connection.scope["type"] != "http" or not is_for_people(connection.scope["path"]):
        return document(connection, error)
    request = Request(connection.scope)
    if isinstance(error, Unauthorized):
        if is_partial(request):
            return Response(status_code=204, headers={"HX-Redirect": "/login"})
        asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(asked)}" if request.method == "GET" else "/login", 303)
    if isinstance(error, PasswordExpired) and request.url.path.startswith(PAGES):
        where = f"/app/{request.url.path.split('/')[2]}/me"
        return Response(status_code=204) if is_partial(request) else RedirectResponse(where, 303)
    trace = CURRENT.get()
    number = trace.request_id if trace is not None and error.status >= 500 else None
    rows = error.members["errors"] if isinstance(error, BadRows) else []
    detail = error.detail
    if error.status == PreconditionFailed.status:
        detail += ": copy what you typed, and load the page again to see what was changed"
    values = {"title": error.title, "detail": detail, "number": number, "rows": rows}
    headers = dict(error.headers or {})
    if is_partial(request):
        headers |= {"HX-Retarget": "#problem", "HX-Reswap": "innerHTML"}
        return render("partials/problem.html", error.status, headers, **values)
    return render("pages/error.html", error.status, headers, typed=request.method == "POST", **values)


def waits(request: Request, act: Waits) -> Response:
    """Answer an act that waits for a second person: with its page if a form was sent, else with the act as JSON."""
    if not is_for_people(request.url.path):
        answer = answers.json(act.answer, 202)
        answer.headers["Location"] = f"/api/v1/pending-acts/{act.number}"
        return answer
    if is_partial(request):
        said = f"Nothing is done yet: act {act.number} waits for a second person."
        return Response(status_code=204, headers={"HX-Trigger": json.dumps({"changed": {"said": said}})})
    return RedirectResponse(f"/app/{request.url.path.split('/')[2]}/pending-acts/{act.number}", 303)
