"""The audit trail: who did what to what, when and why; and whether it is as it was written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

import msgspec
from fastapi import Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from api.access.guard import Db, allow, still_authorized
from api.access.roles import Role, Scope
from api.http import answers, cursors, description
from api.http.answers import JsonOnly, Table
from api.http.parameters import Cursor, SpanParameters
from api.queries import audit as queries
from api.routes import Router
from api.shapes import audit as shapes

READ = allow(Role.OPERATOR, Scope.AUDIT_READ)
router = Router("audit", READ)

EVENTS = Table(
    name="events", title="Audit", of=shapes.AuditEvent, item=queries.event, key={"n": cursors.number}, first=(None,)
)
LINES = "application/jsonl"


class AuditFilter(SpanParameters):
    subject: str | None = Field(None, max_length=1000, description="only of this subject, like device/br-1")
    action: str | None = Field(None, max_length=100, description="only actions that begin so, like `device`")
    who: str | None = Field(None, max_length=1000, description="only what they have done; an e-mail address, or a key")
    order: Literal["asc", "desc"] = Field("desc", description="desc: newest first; asc: oldest first")

    def wanted(self) -> queries.WantedEvents:
        span = self.span()
        return queries.WantedEvents(self.subject, self.action, self.who, span.begin, span.end, self.order == "asc")


class AuditParameters(AuditFilter):
    limit: int | None = Field(
        None, ge=1, le=1000, description="most events on a page, 100 if not given. CSV without it is not cut into pages"
    )
    cursor: Cursor = None


@router.table(
    "/audit",
    summary="The audit trail, newest first",
    description="Every change, of the organization that asks. CSV (`Accept: text/csv`, `format=csv` or `audit.csv`) "
    "without `limit` is all of it, streamed; `audit.jsonl` is the same as one JSON object a line.",
    responses=description.DATABASE | EVENTS.described(shapes.EVENT),
)
async def page(request: Request, database: Db, asked: Annotated[AuditParameters, Query()]) -> Response:
    wanted = asked.wanted()
    return await EVENTS.page(
        request,
        asked,
        lambda after, limit: queries.page(database, wanted, after[0], limit),
        everything=lambda: queries.pages(database, wanted),
    )


@router.get("/audit.jsonl", include_in_schema=False)
async def export(request: Request, database: Db, asked: Annotated[AuditFilter, Query()]) -> Response:
    pages = queries.pages(database, asked.wanted())
    first = await anext(pages)  # its errors can still be told

    async def body() -> AsyncIterator[bytes]:
        yield _lines(first)
        async for rows in pages:
            await still_authorized(request)
            yield _lines(rows)

    headers = {"Content-Disposition": 'attachment; filename="audit.jsonl"'}
    return StreamingResponse(body(), headers=headers, media_type=LINES)


@router.get(
    "/audit/verify",
    summary="Whether the audit trail is as it was written",
    description="Every hash is computed again, from the first event to the last.",
    responses=description.DATABASE | description.ok(shapes.Verification, verification=shapes.VERIFICATION),
)
async def verify(database: Db, _: JsonOnly) -> Response:
    return answers.json(await queries.verify(database))


def _lines(rows: Sequence[Any]) -> bytes:
    return b"".join(msgspec.json.encode(queries.event(row)) + b"\n" for row in rows)
