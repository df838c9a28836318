"""Answers as JSON or CSV, whole or as a stream of pages."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlencode

import msgspec
from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from api.access.guard import still
from api.problems import BadParameter, NotAcceptable

Format = Literal["json", "csv"]
JSON, CSV = "application/json", "text/csv"
CSV_TYPE = "text/csv; charset=utf-8; header=present"
TYPES: Mapping[Format, frozenset[str]] = {
    "json": frozenset({JSON, "application/*", "*/*"}),
    "csv": frozenset({CSV, "text/*", "*/*"}),
}


def chosen(request: Request, given: Format | None) -> Format:
    """The format that the address, `format=` or the Accept header asks for, in this order; JSON if none does."""
    if request.url.path.endswith(".csv"):
        if given == "json":
            raise BadParameter("format", "is json, but the address ends in .csv; leave one of them out")
        return "csv"
    if given is not None:
        return given
    accept = request.headers.get("accept", "*/*") or "*/*"
    wishes = [_wish(part) for part in accept.split(",") if part.strip()]
    weights = {format_: _weight(wishes, types) for format_, types in TYPES.items()}
    if not any(weights.values()):
        raise NotAcceptable(f"there is JSON ({JSON}) and CSV ({CSV}), and Accept is {accept}")
    return "csv" if weights["csv"] > weights["json"] else "json"


def _wish(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    weight = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
    try:
        return name, float(weight)
    except ValueError:
        return name, 0.0


def _weight(wishes: Sequence[tuple[str, float]], types: frozenset[str]) -> float:
    """The weight of the most specific wish that fits."""
    fitting = [(name.count("*"), weight) for name, weight in wishes if name in types]
    return min(fitting, default=(0, 0.0), key=lambda wish: wish[0])[1]


def json(content: Any, status: int = 200) -> Response:
    """Encoded by msgspec (hot path; it also turns NaN and infinities into null, which JSON has no word for)."""
    return Response(msgspec.json.encode(content), status, media_type=JSON)


def lines(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV (RFC 4180): null is an empty cell, true and false are words."""
    out = io.StringIO()
    csv.writer(out).writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def _cell(value: Any) -> Any:
    if type(value) is float:  # first, as nearly all are
        return value if math.isfinite(value) else ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return bytes(value).decode() if isinstance(value, msgspec.Raw) else value


def _disposition(request: Request) -> dict[str, str]:
    name = "-".join(request.url.path.removesuffix(".csv").split("/")[3:]).encode("ascii", "ignore").decode()
    return {"Content-Disposition": f'attachment; filename="{name}.csv"'}


def csv_page(
    request: Request, header: Sequence[str], rows: Iterable[Sequence[Any]], following: str | None = None
) -> Response:
    """One page; where there is another, a Link header has its address, as a body of CSV has no place for it."""
    headers = _disposition(request)
    if following is not None:
        kept = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
        headers["Link"] = f'<{request.url.path}?{urlencode([*kept, ("cursor", following)])}>; rel="next"'
    return Response(lines([header, *rows]), headers=headers, media_type=CSV_TYPE)


async def csv_stream(
    request: Request, header: Sequence[str], pages: AsyncIterator[Iterable[Sequence[Any]]]
) -> Response:
    """All pages, one in memory at a time. The first is awaited here, so that its errors can still be told.

    An error further on breaks the answer off without its final chunk, which every HTTP client reports.
    """
    first = await anext(pages, None) or ()

    async def body() -> AsyncIterator[str]:
        yield lines([header, *first])
        async for page in pages:
            await still(request)
            yield lines(page)

    return StreamingResponse(body(), headers=_disposition(request), media_type=CSV_TYPE)


def listing(
    request: Request,
    format_: Format,
    name: str,
    items: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    *,
    following: str | None = None,
) -> Response:
    """A list: in JSON under `name`; in CSV one row an item, with `columns`, in which `a.b` is `b` of the object `a`."""
    if format_ == "json":
        return json({name: items, "truncated": following is not None, "next": following})
    return csv_page(request, columns, ([_member(item, path) for path in columns] for item in items), following)


def _member(item: Mapping[str, Any], path: str) -> Any:
    outer, _, inner = path.partition(".")
    value = item[outer]
    return value[inner] if inner and value is not None else value


def json_only(request: Request, given: Format | None) -> None:
    """For a single object, which has no rows."""
    if given == "csv":
        raise BadParameter("format", "a single object is there as json only")
    if chosen(request, given) == "csv":
        raise NotAcceptable(f"a single object is there as JSON ({JSON}) only")
