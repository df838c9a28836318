"""Routes for the audit trail (who did what to what, when and why) and for its verification."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

import msgspec
from fastapi import Query, Request, Response
from fastapi.responses import StreamingResponse

from api.access.guard import Db, allow, still_authorized
from api.access.roles import Role, Scope
from api.http import answers, description, exports
from api.http.answers import JsonOnly
from api.queries import audit as queries
from api.queries import run_times
from api.routes import Router
from api.shapes import audit as shapes

READ = allow(Role.OPERATOR, Scope.AUDIT_READ)
router = Router("audit", READ)

LINES = "application/jsonl"


@router.table(
    "/audit",
    summary="The audit trail, newest first",
    description="Every change, of the organization that asks. CSV (`Accept: text/csv`, `format=csv` or `audit.csv`) "
    "without `limit` is all of it, streamed; `audit.jsonl` is the same as one JSON object a line.",
    responses=description.DATABASE | queries.EVENTS.described(shapes.EVENT),
)
async def page(request: Request, database: Db, asked: Annotated[shapes.AuditParameters, Query()]) -> Response:
    wanted = (await run_times.placed(database, asked)).asked
    return await queries.EVENTS.page(
        request,
        asked,
        lambda after, limit: queries.page(database, wanted, after[0], limit),
        everything=lambda: queries.pages(database, wanted),
    )


@router.get("/audit.jsonl", include_in_schema=False)
async def export(request: Request, database: Db, asked: Annotated[shapes.AuditFilter, Query()]) -> Response:
    pages = queries.pages(database, (await run_times.placed(database, asked)).asked)
    first = await anext(pages)  # its errors can still be told
    await exports.note(request)

    async def body() -> AsyncIterator[bytes]:
        yield _lines(first)
        async for rows in pages:
            await still_authorized(request)
            yield _lines(rows)

    headers = {"Content-Disposition": 'attachment; filename="audit.jsonl"'}
    return StreamingResponse(body(), headers=headers, media_type=LINES)


@router.get(
    "/audit/verify",
    summary="Verify that the audit trail is as it was written",
    description="Every hash is computed again, from the first event to the last.",
    responses=description.DATABASE | description.ok(shapes.Verification, verification=shapes.VERIFICATION),
)
async def verify(database: Db, _: JsonOnly) -> Response:
    return answers.json(await queries.verify(database))


def _lines(rows: Sequence[Any]) -> bytes:
    return b"".join(msgspec.json.encode(queries.event(row)) + b"\n" for row in rows)
