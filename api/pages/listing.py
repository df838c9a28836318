"""Lists on pages: their filters as a form sends them, and one page of rows at a time."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode

from fastapi import Request
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from api.http import cursors
from api.http.parameters import Cursor, Instant, StrictParameters
from schema import times
from schema.times import Span

SHOWN = 50
"""Rows on a page."""
DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class PageParameters(StrictParameters):
    """The parameters of a page; a form sends the fields that nobody has filled in, too: as empty texts."""

    cursor: Cursor = None

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, given: Any) -> Any:
        filled = {
            name: [one for one in value if one != ""] if isinstance(value, list) else value
            for name, value in given.items()
        }
        return {name: value for name, value in filled.items() if value not in ("", [])}


class PageSpan(PageParameters):
    """The same with a time; a day that a form sends is its midnight in UTC, and `to` is the end of its day."""

    from_: Instant = Field(times.FIRST, alias="from")
    to: Instant = times.LAST

    @model_validator(mode="before")
    @classmethod
    def _days(cls, given: Any) -> Any:
        days = {name: given[name] for name in ("from", "to") if DAY.fullmatch(str(given.get(name, "")))}
        said = {name: f"{day}Z" for name, day in days.items()}
        if "to" in days:
            with suppress(ValueError, OverflowError):
                said["to"] = f"{date.fromisoformat(days['to']) + timedelta(days=1)}Z"
        return {**given, **said}

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if self.from_ >= self.to:
            raise PydanticCustomError("span", "must be before `to`", {"parameter": "from"})
        return self

    def span(self) -> Span:
        return Span(self.from_, self.to)

    def said(self) -> dict[str, str]:
        """The time as other parameters take it."""
        return {"from": times.text(self.from_), "to": times.text(self.to)}


class PagePart(NamedTuple):
    """What a page shows of a list, and the address of the rest, or None."""

    rows: Sequence[Any]
    following: str | None


async def part(
    request: Request,
    cursor: str | None,
    key: Mapping[str, Callable[[Any], Any]],
    first: Sequence[Any],
    rows: Callable[[list[Any], int], Awaitable[Sequence[Any]]],
) -> PagePart:
    """Return the rows after the cursor: `rows(after, limit)` gives at most `limit` after a key. `key`: the columns by
    which the list is ordered, and how the parts of a cursor are read; `first`: the key before all."""
    after = list(first) if cursor is None else cursors.decode(request, cursor, *key.values())
    found = await rows(after, SHOWN + 1)
    if len(found) <= SHOWN:
        return PagePart(found, None)
    last: list[datetime | bytes | int | str] = [found[SHOWN - 1][column] for column in key]
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor" and value]
    following = urlencode([*kept, ("cursor", cursors.encode(request, *last))])
    return PagePart(found[:SHOWN], f"{request.url.path}?{following}")


def address(request: Request) -> str:
    """Return the address of this page with its parameters: under it, the page's part asks for itself anew."""
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")
