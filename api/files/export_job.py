"""Does the jobs of the kind export: a file with its manifest beside it. A page whose statement fails is asked for
again, so that a restart of the database costs a pause; a worker that takes the job over begins the file anew."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from api.database import Database, Server
from api.files import columns as table_columns
from api.files import manifest as manifests
from api.files.columns import TableColumns
from api.files.formats import WRITERS
from api.files.table import batches
from api.problems import BadParameter, NotFound, TooLong, TooMuch, Unavailable
from api.queries import evidence, exports
from api.queries.blocks import blocks
from api.queries.frames import FrameBlock
from api.queries.selection import Selected, Selection, resolve
from api.settings import ApiSettings
from api.shapes.exports import ManifestFile, NewExport
from schema.evidence.canonical import canonical, digest
from schema.jobs import JobFailed, JobProgress, RunningJob

PAGE_VALUES = 500_000
"""Values of a page: they bound the memory."""
COUNTED = 20_000
"""Frames of a device that are counted for the progress; beyond, the rest is reckoned, which takes no time."""
AGAIN_S, MOST_FAILURES = 1.0, 60
"""Seconds until a page is asked for again, and how often in a row."""


class HashedFile:
    """A new file that is hashed while it is written. It has its name only once it is whole and on the disk."""

    def __init__(self, path: Path, told: JobProgress) -> None:
        self._path, self._part, self._told = path, path.with_suffix(f"{path.suffix}.part"), told
        self._part.unlink(missing_ok=True)  # a process that has lost the job may still write into it
        self._file = self._part.open("xb")
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, content: bytes) -> None:
        self._file.write(content)
        self._hash.update(content)
        self._size += len(content)
        self._told.file_bytes = self._size

    def finish(self) -> ManifestFile:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self._path)
        return ManifestFile(name=self._path.name, bytes=self._size, sha256=self._hash.hexdigest())


async def run(running: RunningJob) -> Mapping[str, Any]:
    """Write the file that was asked for, and its manifest; return what the API says of them."""
    job, told = running.job, running.progress
    asked = NewExport.model_validate(job.request)
    async with Server(ApiSettings(api_pool_size=2)) as server:
        database = server.of(job.organization_id, f"job {job.job_id}")
        try:
            selected = await resolve(database, asked.selection())
        except (NotFound, BadParameter, TooMuch) as error:
            raise JobFailed(error.detail) from error
        told.unit, told.total = "rows", await _total(database, selected.selections, asked)
        of = table_columns.columns(selected.selections, asked.shape, with_device=True)
        facts = await _written(database, asked, selected, of, running)
        await exports.made(database, job.job_id, facts)
        return facts


async def _written(
    database: Database, asked: NewExport, selected: Selected, of: TableColumns, running: RunningJob
) -> Mapping[str, Any]:
    told = running.progress
    proof = await evidence.head(database, f"export={running.job.job_id}")
    found = manifests.manifest(asked.said(), selected, of, asked.format, datetime.now(UTC), evidence=proof)
    file = HashedFile(running.directory / f"export.{asked.format}", told)
    writer = WRITERS[asked.format](file, of, msgspec.json.encode(found))
    for selection in selected.selections:
        async for page in _patiently(database, selection, told):
            for batch in batches(page, of):
                writer.write(batch)
                told.done += batch.num_rows
                told.total = None if told.total is None else max(told.total, told.done)  # it is a reckoning
    writer.close()
    found.rows, found.file = told.done, await asyncio.to_thread(file.finish)  # a slow disk must not hold up the beats
    told.total = told.done
    said = msgspec.json.encode(found)
    told.file_bytes += _put(running.directory / manifests.NAME, msgspec.json.format(said))
    facts = {"file": found.file.name, "bytes": found.file.bytes, "sha256": found.file.sha256, "rows": found.rows}
    facts |= {"manifest_sha256": digest(canonical(json.loads(said)))}
    return facts | {"columns": len(of.columns), "warnings": found.warnings}


async def _total(database: Database, selections: Sequence[Selection], asked: NewExport) -> int | None:
    """How many rows there will be, roughly; None if that takes too long to find out."""
    total = 0
    with suppress(Unavailable, TooLong):
        for one in selections:
            frames, _ = await exports.counted(database, one, COUNTED)
            total += frames * (len(one.channels) if asked.shape == "long" else 1)
        return total
    return None


async def _patiently(database: Database, wanted: Selection, told: JobProgress) -> AsyncIterator[FrameBlock]:
    """Yield all pages, as often as the database has to be asked for one."""
    after, failures = None, 0
    while True:
        try:
            async for page in blocks(database, wanted, PAGE_VALUES, after):
                told.check()
                yield page
                after, failures = page.last, 0
        except (Unavailable, TooLong):
            failures += 1
            if failures > MOST_FAILURES:
                raise
            await asyncio.sleep(AGAIN_S)
            told.check()
        else:
            return


def _put(path: Path, content: bytes) -> int:
    """Write a small file whole; returns its size."""
    part = path.with_suffix(".part")
    part.write_bytes(content)
    part.replace(path)
    return len(content)
