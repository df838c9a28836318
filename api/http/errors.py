"""Answers every error with a problem document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError, ValidationException, WebSocketRequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from api.problems import MEDIA_TYPE, ApiError, BadParameters, Waits, fields, of_status
from api.trace import CURRENT
from schema.patterns import PATTERNS

ErrorAnswer = Callable[[HTTPConnection, ApiError], Response]
WaitsAnswer = Callable[[Request, Waits], Response]


def document(connection: HTTPConnection, error: ApiError) -> Response:
    """Return the problem document for a request that ended with this error."""
    content = fields(error.slug, error.title, error.status, error.detail, connection.url.path) | error.members
    trace = CURRENT.get()
    if trace is not None and error.status >= 500:
        content["request_id"] = trace.request_id
    return Response(msgspec.json.encode(content), error.status, headers=error.headers, media_type=MEDIA_TYPE)


def install(app: FastAPI, routes: Sequence[APIRoute], answer: ErrorAnswer, waits: WaitsAnswer) -> None:
    """Answer every error the routes can raise by `answer`; a socket's, instead of accepting it. (500 is answered by the
    observer.) An act that waits for a second person is answered by `waits`."""

    @app.exception_handler(Waits)
    async def waiting(request: Request, act: Waits) -> Response:
        return waits(request, act)

    @app.exception_handler(ApiError)
    async def api_error(request: HTTPConnection, error: ApiError) -> Response:
        return answer(request, error)

    @app.exception_handler(WebSocketRequestValidationError)
    @app.exception_handler(RequestValidationError)
    async def validation_error(request: HTTPConnection, error: ValidationException) -> Response:
        return answer(request, BadParameters([_plain(one) for one in error.errors()]))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        if status == HTTPStatus.NOT_FOUND:
            detail = "nothing is at this address; the addresses are listed at /docs"
        elif status == HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = ", ".join(sorted(_methods(routes, request.scope["path"])))
            if request.method == "OPTIONS":
                return Response(status_code=204, headers={"Allow": allowed})
            error.headers = {"Allow": allowed}
            detail = f"{request.method} does not work here; use {allowed}"
        else:
            detail = str(error.detail)
        return answer(request, of_status(status, detail, error.headers))


def _methods(routes: Sequence[APIRoute], path: str) -> set[str]:
    """What works at this address; Starlette itself names those of one route alone."""
    found = {"OPTIONS"}
    fitting = [route for route in routes if route.path_regex.match(path)]
    for route in [one for one in fitting if one.path == path] or fitting:  # its own routes, if it is no thing's name
        found |= route.methods or set()
    return found | {"HEAD"} if "GET" in found else found


def _plain(error: Mapping[str, Any]) -> dict[str, Any]:
    """One of pydantic's errors in our words: which parameter, and what to change."""
    context = error.get("ctx", {})
    location = [str(part) for part in error["loc"] if part not in {"query", "path", "body"}]
    parameter = str(context.get("parameter") or ".".join(location) or next(iter(error["loc"]), "body"))
    detail = PATTERNS.get(context.get("pattern", ""), str(error["msg"]).removeprefix("Value error, "))
    return {"parameter": parameter, "detail": detail[:1].lower() + detail[1:]}
