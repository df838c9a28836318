"""Does a job of kind `import`: the file that the API has stored, as `biogate import` would."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import AnyUrl

from gateway.errors import LeadLost
from gateway.history.entry import import_file
from gateway.history.errors import UnusableFile
from gateway.history.importer import ImportRequest
from gateway.history.ledger import result_of
from gateway.history.mapping import OPTIONS, FileMapping, changed, load_ready, parse_mapping
from gateway.runtime.database import Pool, create_pool
from gateway.settings import Settings
from schema.jobs import UPLOAD, JobFailed, RunningJob

NAME = "select name from organizations where organization_id = $1"


async def run(running: RunningJob) -> Mapping[str, Any]:
    """Import the file; the report. Raises JobFailed, and what the job's progress raises."""
    told, settings = running.progress, Settings(mqtt_url=AnyUrl("mqtts://unused"))
    told.unit = "frames"

    def progress(frames: int, most: int) -> None:
        told.done, told.total = frames, most
        told.check()

    try:
        async with create_pool(settings, purpose="import") as pool:
            if (ended := await result_of(pool, running.job.job_id)) is not None:  # by a process killed right after that
                progress(ended["frames"], ended["frames"])
                return ended
            request = await _request(pool, running)
            dry_run = bool(running.job.request.get("dry_run"))
            report = await import_file(settings, pool, request, dry_run=dry_run, progress=progress)
    except (UnusableFile, LeadLost) as error:
        raise JobFailed(str(error)) from error
    told.done = told.total = report.frames
    facts: dict[str, Any] = msgspec.to_builtins(report)
    return facts


async def _request(pool: Pool, running: RunningJob) -> ImportRequest:
    job, said = running.job, running.job.request
    organization = await pool.fetchval(NAME, job.organization_id)
    mapping = changed(_mapping(said), {name: said.get(name) for name in OPTIONS})
    return ImportRequest(
        *(running.directory / UPLOAD, said["file"], mapping, organization, job.organization_id, job.who, said["why"]),
        create_devices=bool(said.get("create_devices")),
        job_id=job.job_id,
    )


def _mapping(said: Mapping[str, Any]) -> FileMapping:
    if (text := said.get("mapping_text")) is not None:
        return parse_mapping(text.encode())
    return FileMapping() if (name := said.get("mapping")) is None else load_ready(name)
