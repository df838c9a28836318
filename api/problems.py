"""Errors as RFC 9457 problem documents that say what to change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar

MEDIA_TYPE = "application/problem+json"
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="biogate"'}
INTERNAL = "an error of ours; the log has it under this request_id"


class ApiError(Exception):
    """Base of everything that is answered with a problem document."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.detail, self.headers, self.members = detail, dict(headers or {}), members


class BadRequest(ApiError):
    """The request is not valid HTTP."""

    status, slug, title = 400, "bad-request", "Bad request"


class Unauthorized(ApiError):
    status, slug, title = 401, "unauthorized", "Not logged in"


class Forbidden(ApiError):
    status, slug, title = 403, "forbidden", "Not allowed here"


class PasswordExpired(Forbidden):
    """The person may only change the password."""

    slug, title = "password-expired", "The password has expired"


class NotFound(ApiError):
    status, slug, title = 404, "not-found", "Not found"


class NotAcceptable(ApiError):
    status, slug, title = 406, "not-acceptable", "No such format"


class Conflict(ApiError):
    """The thing is not in a state that allows the request."""

    status, slug, title = 409, "conflict", "Not in this state"


class PreconditionFailed(ApiError):
    """A condition that the request states does not hold, or no longer holds."""

    status, slug, title = 412, "precondition-failed", "Not as expected"


class TooMany(ApiError):
    """The caller sent too many requests; headers have Retry-After."""

    status, slug, title = 429, "too-many-requests", "Too many requests"


class TooLarge(ApiError):
    status, slug, title = 413, "too-large", "The request is too large"


class NotSatisfiable(ApiError):
    """The file does not have the part that was asked for."""

    status, slug, title = 416, "range-not-satisfiable", "No such part"


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


class BadParameters(BadParameter):
    """Several at once; each has `parameter` and `detail`."""

    def __init__(self, found: Sequence[Mapping[str, Any]]) -> None:
        detail = "; ".join(f"{one['parameter']}: {one['detail']}" for one in found)
        ApiError.__init__(self, detail, errors=list(found))


class TooMuch(ApiError):
    """An answer over a limit; `bucket` names a width that fits, where there is one."""

    status, slug, title = 422, "too-much", "The answer would be too large"


class Unavailable(ApiError):
    status, slug, title = 503, "unavailable", "The database is not available"

    def __init__(self, detail: str, *, retry_after: int = 5, **members: Any) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)}, **members)


class Busy(ApiError):
    """The service has too much to do; headers have Retry-After."""

    status, slug, title = 503, "busy", "Too much at a time"


class TooLong(ApiError):
    status, slug, title = 504, "too-long", "The query took too long"


def fields(slug: str, title: str, status: int, detail: str, instance: str) -> dict[str, Any]:
    """The members that every problem document has."""
    return {
        "type": f"urn:biogate:problem:{slug}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": instance,
    }


def fields_of(status: HTTPStatus, detail: str, instance: str) -> dict[str, Any]:
    """The same for a problem that HTTP itself has a name for."""
    return fields(status.phrase.lower().replace(" ", "-"), status.phrase, int(status), detail, instance)


def of_status(status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None) -> ApiError:
    """Return a problem that HTTP itself has a name for."""
    named = {"status": int(status), "slug": status.phrase.lower().replace(" ", "-"), "title": status.phrase}
    kind: type[ApiError] = type("HttpError", (ApiError,), named)
    return kind(detail, headers=headers)


class Waits(Exception):
    """Raised in place of an act that now waits for a second person. It is no problem: the answer is 202, and says where
    the act is."""

    def __init__(self, number: int, answer: Any) -> None:
        super().__init__(f"act {number} waits for a second person")
        self.number, self.answer = number, answer
