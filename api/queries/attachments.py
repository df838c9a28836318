"""Attachments of deviations: which files are taken, by what is in them, and how they are given out."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

import asyncpg
from fastapi import Response

from api.database import Database
from api.problems import BadParameter, NotFound, TooLarge, Unsupported
from api.queries import deviations
from api.queries.deviations import SQL
from api.shapes.deviations import MOST_ALL_BYTES, MOST_ATTACHED_BYTES, AttachmentAnswer, AttachmentParameters

MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
)
KINDS = ("image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf", "text/csv", "text/plain")
SEPARATOR = re.compile("[,;\t]")
LOOKED_AT = 20
"""Lines that tell CSV from other texts."""
SAFE = {"Content-Security-Policy": "sandbox; default-src 'none'", "X-Download-Options": "noopen"}
"""Beside `nosniff`, which every answer has: a browser that shows the file all the same runs nothing of it."""


def media_type(content: bytes) -> str:
    """Return what a file is, by its bytes. Raises Unsupported for what is neither picture, PDF nor text."""
    for magic, kind in MAGIC:
        if content.startswith(magic):
            return kind
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if any(unicodedata.category(sign) == "Cc" and sign not in "\t\r\n" for sign in set(text)):
        raise Unsupported("this is no PNG, JPEG, GIF, WebP, PDF, CSV or UTF-8 text: attach one of these")
    counts = {len(SEPARATOR.findall(line)) for line in text.splitlines()[:LOOKED_AT] if line.strip()}
    return "text/csv" if len(counts) == 1 and counts != {0} else "text/plain"


async def attach(database: Database, given: AttachmentParameters, content: bytes, who: str) -> AttachmentAnswer:
    """Store a file. Raises BadParameter, TooLarge, Unsupported, NotFound, and Conflict beyond the quota."""
    if not content:
        raise BadParameter("body", "is empty: send the file")
    if len(content) > MOST_ATTACHED_BYTES:
        raise TooLarge(f"the file has more than {MOST_ATTACHED_BYTES} bytes")
    kind = media_type(content)
    arguments = given.deviation, given.name, kind, content, MOST_ALL_BYTES, who, given.why
    async with database.change() as connection:
        number = await connection.fetchval(SQL["attach"], *arguments)
        rows = await connection.fetch(SQL["attachments"], given.deviation)
    return next(deviations.attachment(row) for row in rows if row["attachment_id"] == number)


async def file(database: Database, deviation: str, number: int) -> Response:
    """Return a file as an answer that is saved, not shown. Raises NotFound."""
    absent = NotFound(f"there is no attachment {number} of {deviation}")
    return answered(await database.one(SQL["content"], deviation, number, absent=absent))


def answered(row: asyncpg.Record) -> Response:
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", row["name"])
    named = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(row['name'], safe='')}"
    kind = row["media_type"] + ("; charset=utf-8" if row["media_type"].startswith("text/") else "")
    return Response(row["content"], headers=SAFE | {"Content-Disposition": named, "Content-Type": kind})
