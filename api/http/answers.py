"""Answers as JSON or CSV, whole or as a stream of pages."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from operator import attrgetter
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin
from urllib.parse import urlencode

import msgspec
from fastapi import Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from api.access.guard import still_authorized
from api.http import cursors, exports
from api.http.description import PAGE, Answer, Following, Truncated, ok
from api.http.parameters import NoParameters, StreamParameters
from api.problems import BadParameter, NotAcceptable

Format = Literal["json", "csv"]
JSON, CSV = "application/json", "text/csv"
USUAL = 100
"""Items on a page, if the question does not say how many."""
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


MOST_TOLD = 50
"""Numbers of corrections in a header."""


def with_corrections(answer: Response, applied: bool, numbers: Sequence[int]) -> Response:
    """Say in a header of CSV, whose body has no place for it, which corrections there are; returns the answer."""
    if numbers:
        said = ", ".join(map(str, numbers[:MOST_TOLD])) + (", ..." if len(numbers) > MOST_TOLD else "")
        answer.headers["Biogate-Corrections"] = f"{'applied' if applied else 'not applied'}; {said}"
    return answer


FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a text begins with that a spreadsheet would run, as `=HYPERLINK(…)`; the last four are the wide forms of the
first four. Devices and strangers write some texts."""


def lines(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV (RFC 4180): null is an empty cell, true and false are words, and an apostrophe stands before a text
    that a spreadsheet would take for a formula."""
    out = io.StringIO()
    csv.writer(out).writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def _cell(value: Any) -> Any:
    if type(value) is float:  # first, as nearly all are
        return value if math.isfinite(value) else ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) else value
    if isinstance(value, list):
        return msgspec.json.encode(value).decode()
    return _cell(bytes(value).decode()) if isinstance(value, msgspec.Raw) else value


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
    """All pages, one in memory at a time. The first is awaited here, so that its errors can still be told. Raises
    TooMany, Busy where no place for a stream is left.

    An error further on breaks the answer off without its final chunk, which every HTTP client reports.
    """
    exports.hold(request)
    first = await anext(pages, None) or ()
    await exports.note(request)

    async def body() -> AsyncIterator[str]:
        yield lines([header, *first])
        async for page in pages:
            await still_authorized(request)
            yield lines(page)

    return StreamingResponse(body(), headers=_disposition(request), media_type=CSV_TYPE)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A list of items: in JSON under `name`, in CSV one line each."""

    name: str
    of: type[Answer]
    item: Callable[[Any], Answer] | None = None
    """Makes an item of a row; if it does not say so, a row has the fields as its columns."""
    title: str = ""
    """The name of its definition, if that is not the name with a capital."""
    without: frozenset[str] = frozenset()
    """Fields that are no columns of CSV."""
    key: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    """The columns of a row by which the list is ordered, and how a cursor's part is read; none: it has no pages."""
    first: Sequence[Any] = ()
    """The key at which the first page begins."""

    async def page(
        self,
        request: Request,
        asked: StreamParameters,
        rows: Callable[[list[Any], int], Awaitable[Sequence[Any]]],
        *,
        first: Sequence[Any] | None = None,
        everything: Callable[[], AsyncIterator[Sequence[Any]]] | None = None,
    ) -> Response:
        """Answer one page: `rows(key, limit)` gives at most `limit` rows after a key. `first`: a first key that
        depends on the question. `everything` gives all rows in parts, for CSV that is not cut into pages."""
        format_ = chosen(request, asked.format)
        if everything is not None and format_ == "csv" and asked.limit is None and asked.cursor is None:
            parts = (self._cells(part) async for part in everything())
            return await csv_stream(request, self._header, parts)
        after, limit = list(self.first if first is None else first), asked.limit or USUAL
        if asked.cursor is not None:
            after = cursors.decode(request, asked.cursor, *self.key.values())
        found = await rows(after, limit + 1)
        following = None
        if len(found) > limit:
            found = found[:limit]
            following = cursors.encode(request, *(found[-1][column] for column in self.key))
        return self.answer(request, format_, found, following)

    def answer(self, request: Request, format_: Format, rows: Sequence[Any], following: str | None = None) -> Response:
        if format_ == "csv":
            return csv_page(request, self._header, self._cells(rows), following)
        return json(self._kind([self._item(row) for row in rows], following is not None, following))

    def described(self, example: Mapping[str, Any], csv: bool = True) -> dict[int | str, dict[str, Any]]:
        """What the description says of the answer, with an item as an example, which is held against its definition."""
        item = msgspec.json.decode(msgspec.json.encode(example), type=self.of)
        text = lines([self._header, [column.of(item) for column in self._columns]]) if csv else None
        return ok(self._kind, csv=text, **{self.name: {self.name: [example], **PAGE}})

    @cached_property
    def _kind(self) -> type[msgspec.Struct]:
        fields = [(self.name, list[self.of]), ("truncated", Truncated), ("next", Following)]  # type: ignore[name-defined]
        return msgspec.defstruct(self.title or self.name.capitalize(), fields, bases=(Answer,), module=__name__)

    @cached_property
    def _item(self) -> Callable[[Any], Answer]:
        return self.item or self.of.of

    @cached_property
    def _columns(self) -> list[CsvColumn]:
        return [column for column in columns(self.of) if column.title not in self.without]

    @property
    def _header(self) -> list[str]:
        return [column.title for column in self._columns]

    def _cells(self, rows: Iterable[Any]) -> Iterable[list[Any]]:
        for row in rows:
            item = self._item(row)
            yield [column.of(item) for column in self._columns]


class CsvColumn(NamedTuple):
    """A column of CSV; `a.b` is `b` of the object `a`."""

    title: str
    of: Callable[[Any], Any]


def columns(kind: type[Answer]) -> Iterable[CsvColumn]:
    """One column for each field, and for each field of an object in a field."""
    for one in msgspec.structs.fields(kind):
        inner = _objects(one.type)
        if not inner:
            yield CsvColumn(one.encode_name, attrgetter(one.name))
        for part in inner:
            for title, of in columns(part):
                yield CsvColumn(f"{one.encode_name}.{title}", partial(_inside, attrgetter(one.name), of))


def _objects(kind: Any) -> list[type[Answer]]:
    """The object that a field of this type holds, if it is one."""
    if isinstance(kind, type) and issubclass(kind, Answer):
        return [kind]
    return [] if get_origin(kind) is list else [found for part in get_args(kind) for found in _objects(part)]


def _inside(outer: Callable[[Any], Any], inner: Callable[[Any], Any], item: Answer) -> Any:
    there = outer(item)
    return None if there is None else inner(there)


def json_only(request: Request, given: Format | None) -> None:
    """Refuse CSV as the format of a single object, which has no rows. Raises BadParameter or NotAcceptable."""
    if given == "csv":
        raise BadParameter("format", "a single object is available as json only")
    if chosen(request, given) == "csv":
        raise NotAcceptable(f"a single object is available as JSON ({JSON}) only")


async def _json_only(request: Request, asked: Annotated[NoParameters, Query()]) -> None:
    json_only(request, asked.format)


JsonOnly = Annotated[None, Depends(_json_only)]
"""The parameters of a route that answers with a single object."""
