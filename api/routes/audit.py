"""The audit trail: who did what to what, when and why; and whether it is as it was written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from api.access.guard import Db, allow, still
from api.access.roles import Role, Scope
from api.http import answers, cursors, description, times
from api.http.parameters import Cursor, Instant, NoParameters, Parameters, once
from api.problems import BadParameter
from api.queries import audit as queries
from api.routes import PREFIX
from api.shapes import audit as shapes

READ = allow(Role.OPERATOR, Scope.AUDIT_READ)
router = APIRouter(prefix=PREFIX, tags=["audit"], dependencies=[READ, Depends(once)])

COLUMNS = tuple(shapes.EVENT)
LINES = "application/jsonl"


class AuditFilter(Parameters):
    subject: str | None = Field(None, max_length=1000, description="only of this subject, like device/br-1")
    action: str | None = Field(None, max_length=100, description="only actions that begin so, like `device`")
    who: str | None = Field(None, max_length=1000, description="only what they have done; an e-mail address, or a key")
    from_: Instant = Field(times.FIRST, alias="from", description="first instant; without it from the beginning")
    to: Instant = Field(times.LAST, description="end, not part of it; without it to the newest")
    order: Literal["asc", "desc"] = Field("desc", description="desc: newest first; asc: oldest first")

    def wanted(self) -> queries.Wanted:
        if self.from_ >= self.to:
            raise BadParameter("from", "must be before `to`")
        return queries.Wanted(self.subject, self.action, self.who, self.from_, self.to, self.order == "asc")


class AuditParameters(AuditFilter):
    limit: int | None = Field(
        None, ge=1, le=1000, description="most events on a page, 100 if not given. CSV without it is not cut into pages"
    )
    cursor: Cursor = None


@router.get("/audit.csv", include_in_schema=False)
@router.get(
    "/audit",
    summary="The audit trail, newest first",
    description="Every change, of the organization that asks. CSV (`Accept: text/csv`, `format=csv` or `audit.csv`) "
    "without `limit` is all of it, streamed; `audit.jsonl` is the same as one JSON object a line.",
    responses=description.DATABASE
    | description.ok(
        shapes.Audit,
        "n,at,who,action,subject,…\r\n4711,2026-11-20T07:45:00.000000Z,eva@example.com,device suspend,…\r\n",
        events={"events": [shapes.EVENT], **description.PAGE},
    ),
)
async def page(request: Request, database: Db, asked: Annotated[AuditParameters, Query()]) -> Response:
    format_ = answers.chosen(request, asked.format)
    wanted = asked.wanted()
    if format_ == "csv" and asked.limit is None and asked.cursor is None:
        rows = ([_row(item) for item in items] async for items in queries.pages(database, wanted))
        return await answers.csv_stream(request, COLUMNS, rows)
    [after] = [None] if asked.cursor is None else cursors.decode(request, asked.cursor, cursors.number)
    limit = asked.limit or 100
    items = await queries.page(database, wanted, after, limit + 1)
    shown, following = items[:limit], None
    if len(items) > limit:
        following = cursors.encode(request, shown[-1]["n"])
    return answers.listing(request, format_, "events", shown, COLUMNS, following=following)


@router.get("/audit.jsonl", include_in_schema=False)
async def export(request: Request, database: Db, asked: Annotated[AuditFilter, Query()]) -> Response:
    pages = queries.pages(database, asked.wanted())
    first = await anext(pages)  # its errors can still be told

    async def body() -> AsyncIterator[bytes]:
        yield _lines(first)
        async for items in pages:
            await still(request)
            yield _lines(items)

    headers = {"Content-Disposition": 'attachment; filename="audit.jsonl"'}
    return StreamingResponse(body(), headers=headers, media_type=LINES)


@router.get(
    "/audit/verify",
    summary="Whether the audit trail is as it was written",
    description="Every hash is computed again, from the first event to the last.",
    responses=description.DATABASE | description.ok(shapes.Verification, None, verification=shapes.VERIFICATION),
)
async def verify(request: Request, database: Db, asked: Annotated[NoParameters, Query()]) -> Response:
    answers.json_only(request, asked.format)
    return answers.json(await queries.verify(database))


def _row(item: Mapping[str, Any]) -> list[Any]:
    return [item[name] for name in COLUMNS]


def _lines(items: list[dict[str, Any]]) -> bytes:
    return b"".join(msgspec.json.encode(item) + b"\n" for item in items)
