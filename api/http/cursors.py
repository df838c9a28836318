"""Where the next page begins, as an opaque word that only fits the query it came from."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from fastapi import Request

from api.problems import BadParameter
from schema import times
from schema.topics import is_device_name

FREE = frozenset({"cursor", "limit", "format"})
"""Parameters that may change from page to page."""


def encode(request: Request, *key: datetime | bytes | int | str | UUID, body: bytes | None = None) -> str:
    """The cursor after this key. `body`: the JSON of a request that asks by one."""
    content = msgspec.json.encode([_fingerprint(request, body), *(_plain(part) for part in key)])
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def decode(request: Request, cursor: str, *parts: Callable[[Any], Any], body: bytes | None = None) -> list[Any]:
    """The key a cursor holds, each part read by one of `parts`, or `BadParameter`."""
    try:
        content = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        mark, *key = msgspec.json.decode(content, type=list[int | str])
        read = [part(value) for part, value in zip(parts, key, strict=True)]
    except (ValueError, TypeError, OverflowError) as error:
        raise BadParameter(
            "cursor", "is not a cursor of this API; take it from `next` as it is, or leave it out"
        ) from error
    if mark != _fingerprint(request, body):
        raise BadParameter("cursor", "belongs to another query; repeat the parameters of the first page unchanged")
    return read


def instant(value: Any) -> datetime:
    return times.checked(times.from_microseconds(value))


def digest(value: Any) -> bytes:
    return bytes.fromhex(value)


def number(value: Any) -> int:
    """A bigint, or an integer where the query compares with one."""
    if not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError(value)
    return value


def small(value: Any) -> int:
    if number(value) >= 2**31:
        raise ValueError(value)
    return int(value)


def device(value: Any) -> str:
    if not is_device_name(value):
        raise ValueError(value)
    return str(value)


def txn(value: Any) -> str:
    if len(bytes.fromhex(value)) != 16:
        raise ValueError(value)
    return str(value)


def _fingerprint(request: Request, body: bytes | None) -> str:
    given = request.query_params.multi_items() if body is None else msgspec.json.decode(body).items()
    asked = sorted((name, value) for name, value in given if name not in FREE)
    content = msgspec.json.encode([request.url.path.removesuffix(".csv"), asked])
    return hashlib.sha256(content).hexdigest()[:12]


def _plain(part: datetime | bytes | int | str | UUID) -> int | str:
    if isinstance(part, datetime):
        return times.microseconds(part)
    if isinstance(part, UUID):
        return str(part)
    return part.hex() if isinstance(part, bytes) else part
