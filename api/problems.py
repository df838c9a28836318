"""Errors as RFC 9457 problem documents that say what to change."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError, ValidationException, WebSocketRequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from api.edge.trace import CURRENT

MEDIA_TYPE = "application/problem+json"
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="biogate"'}
INTERNAL = "an error of ours; the log has it under this request_id"


class Problem(BaseModel):
    """The document itself, for the OpenAPI description. Members beyond these five depend on the type."""

    type: str = Field(description="urn:biogate:problem:…; stable, for programs")
    title: str = Field(description="what kind of problem, the same for every occurrence")
    status: int
    detail: str = Field(description="what happened here and what to change")
    instance: str = Field(description="the address that was asked")


class ApiError(Exception):
    """Base of everything that is answered with a problem document."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.detail, self.headers, self.members = detail, dict(headers or {}), members


class BadRequest(ApiError):
    """Not even HTTP as it should be."""

    status, slug, title = 400, "bad-request", "Bad request"


class Unauthorized(ApiError):
    status, slug, title = 401, "unauthorized", "Not logged in"


class Forbidden(ApiError):
    status, slug, title = 403, "forbidden", "Not allowed here"


class NotFound(ApiError):
    status, slug, title = 404, "not-found", "Not found"


class NotAcceptable(ApiError):
    status, slug, title = 406, "not-acceptable", "No such format"


class Conflict(ApiError):
    """It is not in a state for what was asked."""

    status, slug, title = 409, "conflict", "Not in this state"


class PreconditionFailed(ApiError):
    """What the request takes for true is not, or not any more."""

    status, slug, title = 412, "precondition-failed", "Not as expected"


class TooMany(ApiError):
    """Of requests; headers have Retry-After."""

    status, slug, title = 429, "too-many-requests", "Too many requests"


class TooLarge(ApiError):
    status, slug, title = 413, "too-large", "The request is too large"


class Unsupported(ApiError):
    status, slug, title = 415, "unsupported-media-type", "No such format"


class BadRows(ApiError):
    """Rows of an import; `errors` names each."""

    status, slug, title = 422, "bad-rows", "Rows that cannot be imported"


class BadRules(ApiError):
    """Alarm rules that contradict themselves or cannot be read; `errors` has each place."""

    status, slug, title = 422, "bad-rules", "Rules that cannot be used"


class BadParameter(ApiError):
    """A parameter that cannot be used as given; `errors` names it."""

    status, slug, title = 422, "bad-parameter", "A parameter cannot be used"

    def __init__(self, parameter: str, detail: str, **members: Any) -> None:
        super().__init__(f"{parameter}: {detail}", errors=[{"parameter": parameter, "detail": detail}], **members)


class TooMuch(ApiError):
    """An answer over a limit; `bucket` names a width that fits, where there is one."""

    status, slug, title = 422, "too-much", "The answer would be too large"


class Unavailable(ApiError):
    status, slug, title = 503, "unavailable", "The database is not available"

    def __init__(self, detail: str, *, retry_after: int = 5, **members: Any) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)}, **members)


class Busy(ApiError):
    """The service itself; headers have Retry-After."""

    status, slug, title = 503, "busy", "Too much at a time"


class TooLong(ApiError):
    status, slug, title = 504, "too-long", "The query took too long"


def document(request_path: str, error: ApiError) -> Response:
    content = {
        "type": f"urn:biogate:problem:{error.slug}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "instance": request_path,
        **error.members,
    }
    trace = CURRENT.get()
    if trace is not None and error.status >= 500:
        content["request_id"] = trace.request_id
    body = msgspec.json.encode(content)
    return Response(body, error.status, headers=error.headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every error the routes can raise with a problem document; a socket's, instead of accepting it. (500 is
    answered by the observer.)"""

    @app.exception_handler(ApiError)
    async def api_error(request: HTTPConnection, error: ApiError) -> Response:
        return document(request.url.path, error)

    @app.exception_handler(WebSocketRequestValidationError)
    @app.exception_handler(RequestValidationError)
    async def validation_error(request: HTTPConnection, error: ValidationException) -> Response:
        found = [_plain(one) for one in error.errors()]
        detail = "; ".join(f"{one['parameter']}: {one['detail']}" for one in found)
        bad = ApiError(detail, errors=found)
        return document(request.url.path, _as(bad, 422, BadParameter.slug, BadParameter.title))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        if status == HTTPStatus.NOT_FOUND:
            detail = "nothing is at this address; the addresses are listed at /docs"
        elif status == HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = ", ".join(sorted(_methods(request)))
            if request.method == "OPTIONS":
                return Response(status_code=204, headers={"Allow": allowed})
            error.headers = {"Allow": allowed}
            detail = f"{request.method} does not work here; use {allowed}"
        else:
            detail = str(error.detail)
        slug = status.phrase.lower().replace(" ", "-")
        plain = ApiError(detail, headers=error.headers)
        return document(request.url.path, _as(plain, int(status), slug, status.phrase))


def _methods(request: Request) -> set[str]:
    """What works at this address; Starlette itself names those of one route alone."""
    found = {"OPTIONS"}
    for route in request.app.state.routes:
        if route.path_regex.match(request.scope["path"]):
            found |= route.methods
    return found | {"HEAD"} if "GET" in found else found


def _as(error: ApiError, status: int, slug: str, title: str) -> ApiError:
    kind = type("Given", (ApiError,), {"status": status, "slug": slug, "title": title})
    return kind(error.detail, headers=error.headers, **error.members)  # type: ignore[no-any-return]


def _plain(error: Mapping[str, Any]) -> dict[str, Any]:
    """One of pydantic's errors in our words: which parameter, and what to change."""
    context = error.get("ctx", {})
    location = [str(part) for part in error["loc"] if part not in {"query", "path", "body"}]
    parameter = str(context.get("parameter") or ".".join(location) or next(iter(error["loc"]), "body"))
    detail = str(error["msg"]).removeprefix("Value error, ")
    return {"parameter": parameter, "detail": detail[:1].lower() + detail[1:]}


def _response(error: type[ApiError], when: str, detail: str) -> dict[str, Any]:
    example = {
        "type": f"urn:biogate:problem:{error.slug}",
        "title": error.title,
        "status": error.status,
        "detail": detail,
        "instance": "/api/v1/devices/br-1/telemetry",
    }
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}}
    return {"description": when, "content": content}


ALWAYS: dict[int | str, dict[str, Any]] = {
    429: _response(
        TooMany,
        "Too many requests of this caller, or too many failures; see Retry-After",
        "too many requests: wait 1 s, then go on slower",
    ),
    500: _response(ApiError, "An error of ours; nothing of it is shown, it is in the log", INTERNAL),
}
DATABASE: dict[int | str, dict[str, Any]] = ALWAYS | {
    401: _response(Unauthorized, "No key, token or session that holds", "log in: send Authorization: Bearer …"),
    403: _response(
        Forbidden,
        "The role, or the scope of the key, is not enough",
        "this is for the role engineer or higher; you are viewer in main",
    ),
    406: _response(NotAcceptable, "Neither JSON nor CSV is accepted", "use Accept: application/json or text/csv"),
    422: _response(
        BadParameter,
        "A parameter is unknown, malformed or too much",
        "chanel: no such parameter; did you mean channel?",
    ),
    503: _response(Unavailable, "The database is away or busy; see Retry-After", "the database cannot be reached"),
    504: _response(TooLong, "The query took too long", "ask for a shorter time or wider buckets"),
}
DEVICE: dict[int | str, dict[str, Any]] = DATABASE | {
    404: _response(NotFound, "No device of that name is registered", "no device br-9 is registered"),
}
THING: dict[int | str, dict[str, Any]] = DATABASE | {
    404: _response(NotFound, "There is no such thing", "there is no enrollment 5f0c1e2d3a4b59687786a5b4c3d2e1f0"),
}
CHANGE: dict[int | str, dict[str, Any]] = THING | {
    409: _response(Conflict, "It is not in a state for this", "device br-1 is retired: suspend needs it to be active"),
    413: _response(TooLarge, "The body is too large", "the body has more than 65536 bytes"),
}
NOT_AS_EXPECTED = _response(
    PreconditionFailed,
    "The precondition does not hold; `present` has what is",
    "nothing was asked of br-1: ph is 7.9",
)
CHANGED = _response(PreconditionFailed, "It was changed meanwhile: see If-Match", "device br-1 was changed meanwhile")
UNSUPPORTED = _response(Unsupported, "Neither JSON nor CSV", "send the rows as application/json or text/csv")
"""What a route can answer besides 200, for its OpenAPI description."""
