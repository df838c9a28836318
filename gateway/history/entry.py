"""Imports one file, or tries to: what the command and the job have in common."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from gateway.history.dry_run import try_import
from gateway.history.errors import UnusableFile
from gateway.history.importer import Importer, ImportRequest, Progress, open_import
from gateway.history.report import ImportReport
from gateway.intake.cell import prepare
from gateway.runtime.database import Pool
from gateway.settings import IMPORT, Settings


async def import_file(
    settings: Settings, pool: Pool, request: ImportRequest, *, dry_run: bool, progress: Progress = lambda *_: None
) -> ImportReport:
    """Store the frames of a file, or with `dry_run` say what would become of them. Raises UnusableFile, LeadLost, and
    what `progress` raises."""
    settings = settings.model_copy(update={"cell": IMPORT})
    _, chunk_ms = await prepare(pool, settings)
    with ExitStack() as kept:
        try:
            opened = await asyncio.to_thread(open_import, request, kept)  # a large file must not hold up the beats
        except OSError as error:
            raise UnusableFile(f"the file cannot be read: {error.strerror or error}") from error
        if dry_run:
            return await try_import(settings, pool, opened, chunk_ms, progress)
        return await Importer(settings, pool, opened, chunk_ms).run(progress)
