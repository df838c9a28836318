"""The route for imports of history: it stores the file, and asks the worker for the rest."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated
from uuid import uuid4

from fastapi import Query, Request, Response

from api.access.guard import Db, Member, allow
from api.access.roles import Role, Scope
from api.http import answers, description
from api.problems import BadParameter, Conflict, TooLarge, Unavailable, Unsupported
from api.queries import jobs
from api.routes import PREFIX, Router
from api.services import App
from api.shapes.imports import IMPORT, ImportParameters
from api.shapes.jobs import JobAnswer
from schema.jobs import UPLOAD

router = Router("imports", allow(Role.ENGINEER, Scope.DEVICES_WRITE))
LEFT_FREE = 2**30
"""Bytes of the disk that an upload leaves free."""
FILE = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post(
    "/imports",
    status_code=202,
    summary="Import history from a file",
    description="The body is the file: CSV, Parquet, Arrow, or an export of DASGIP. The worker imports it: see `state` "
    "and `result` at the address in Location. History raises no alarm. The same file again goes on where an import was "
    "interrupted, and stores nothing twice.",
    responses=description.CHANGE
    | description.A_FORM
    | {
        202: description.ok(JobAnswer, job=IMPORT)[200]
        | {"headers": {"Location": {"description": "where the job is", "schema": {"type": "string"}}}}
    },
    openapi_extra=FILE,
)
async def import_(
    request: Request, app: App, database: Db, member: Member, asked: Annotated[ImportParameters, Query()]
) -> Response:
    if asked.mapping is not None and asked.mapping_text is not None:
        raise BadParameter("mapping", "stands beside mapping_text: give one of them")
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise Unsupported("the body is a form: send the file itself, as `curl --data-binary @FILE` does")
    if app.settings.jobs_dir is None:
        raise Conflict("no files are taken here: whoever runs the installation has to set BIOGATE_JOBS_DIR")
    number = uuid4()
    directory = app.settings.jobs_dir / str(number)
    try:
        size, sha256 = await _store(request.stream(), directory, app.settings.api_import_bytes)
        said = asked.model_dump(exclude_none=True) | {"bytes": size, "sha256": sha256}
        made = await jobs.make(database, "import", said, member.who, job=number, file_bytes=size)
    except BaseException as error:  # a request that is cancelled, too, must not leave a file that no job has
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        if isinstance(error, OSError):
            reason = f"the file cannot be stored: {error.strerror}: tell whoever runs the installation"
            raise Unavailable(reason) from error
        raise
    answer = answers.json(made, 202)
    answer.headers["Location"] = f"{PREFIX}/jobs/{made.id}"
    return answer


async def _store(content: AsyncIterator[bytes], directory: Path, most: int) -> tuple[int, str]:
    """Put the file into the directory; its bytes and hash. Raises TooLarge, Unavailable, and BadParameter if there is
    nothing."""
    size, digest = 0, hashlib.sha256()
    await asyncio.to_thread(directory.mkdir, mode=0o700)
    if (await asyncio.to_thread(shutil.disk_usage, directory)).free < most + LEFT_FREE:
        raise Unavailable("the disk for files of jobs is full: ask whoever runs the installation")
    file = await asyncio.to_thread((directory / UPLOAD).open, "xb")
    try:
        async for part in content:
            size += len(part)
            if size > most:
                raise TooLarge(f"the file has more than {most} bytes", headers={"Connection": "close"})
            digest.update(part)
            await asyncio.to_thread(file.write, part)
        await asyncio.to_thread(file.flush)
        await asyncio.to_thread(os.fsync, file.fileno())
    finally:
        await asyncio.to_thread(file.close)
    if not size:
        raise BadParameter("body", "is empty: send the file")
    return size, digest.hexdigest()
