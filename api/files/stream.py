"""Answers with a table while it is read: a page in memory at a time, and nothing of the database held in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from datetime import timedelta

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from api.access.guard import still_authorized
from api.database import Database
from api.files.columns import TableColumns
from api.files.edges import blocks_between
from api.files.formats import WRITERS, ByteSink
from api.files.table import batches
from api.http import exports
from api.queries.frames import FrameBlock
from api.queries.selection import Selection
from api.shapes.exports import MEDIA_TYPES, FileFormat

LOOK_S = 0.2
"""Interval of looks whether the client still waits for the first page."""
PAGE_VALUES = 100_000
"""Values of a page: they bound the memory, and how long making one delays other requests (5 ms)."""


class Chunks(ByteSink):
    """What was written since it was taken last."""

    def __init__(self) -> None:
        self._content = bytearray()

    def write(self, content: bytes, /) -> None:
        self._content += content

    def take(self) -> bytes:
        taken, self._content = bytes(self._content), bytearray()
        return taken


async def table_stream(
    request: Request,
    database: Database,
    selections: Sequence[Selection],
    of: TableColumns,
    described: tuple[FileFormat, bytes],
    *,
    within: timedelta | None,
) -> StreamingResponse:
    """The whole table, in a format and with facts for its metadata, with `within` also the samples beside the time that
    are at most so far from it. The first page is awaited here, so that its errors can still be told; an error further
    on breaks the answer off without its final chunk, which HTTP clients report."""
    format_, facts = described
    exports.hold(request)
    sink = Chunks()
    writer = WRITERS[format_](sink, of, facts)
    found = _all(database, selections, within)
    first = await _first(request, found)
    await exports.note(request)

    async def body() -> AsyncIterator[bytes]:
        async with aclosing(found):
            page = first
            while page is not None:
                for batch in batches(page, of):
                    writer.write(batch)
                if content := sink.take():
                    yield content
                    await still_authorized(request)
                page = await anext(found, None)
            writer.close()
            yield sink.take()

    name = "-".join(request.url.path.rpartition(".")[0].split("/")[3:])
    headers = {"Content-Disposition": f'attachment; filename="{name}.{format_}"'}
    return StreamingResponse(body(), headers=headers, media_type=MEDIA_TYPES[format_])


async def _first(request: Request, found: AsyncGenerator[FrameBlock, None]) -> FrameBlock | None:
    """The first page, if there is one. Raises ClientDisconnect, and leaves no statement, when nobody waits any more."""
    page = asyncio.ensure_future(anext(found, None))
    try:
        while not page.done():
            await asyncio.wait({page}, timeout=LOOK_S)
            if not page.done() and await request.is_disconnected():
                raise ClientDisconnect
        return page.result()
    finally:
        if not page.done():
            page.cancel()
            await asyncio.wait({page})


async def _all(
    database: Database, selections: Sequence[Selection], within: timedelta | None
) -> AsyncGenerator[FrameBlock, None]:
    for one in selections:
        async with aclosing(blocks_between(database, one, PAGE_VALUES, within)) as found:
            async for page in found:
                yield page
