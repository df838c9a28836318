"""Jobs, which take long and are done by the worker: what is taken and what is given."""

from __future__ import annotations

from typing import Annotated

import msgspec
from pydantic import Field

from api.http.description import Answer, about, example
from api.http.parameters import ListParameters
from schema.jobs import JobKind, JobState


class JobAnswer(Answer):
    id: str
    kind: JobKind
    who: Annotated[str, about("who has asked for it")]
    state: Annotated[
        JobState,
        about("queued: it waits for a worker; running; done; failed: see `error`; cancelled"),
    ]
    done: Annotated[int, about("how much of `total` is done")]
    total: Annotated[int | None, about("null while nobody knows it")]
    unit: Annotated[str, about("what `done` and `total` count, such as rows; empty before it begins")]
    request: Annotated[msgspec.Raw, about("what was asked for, as the job's kind has it")]
    result: Annotated[msgspec.Raw | None, about("what came out, as the job's kind has it; null unless it is done")]
    error: Annotated[str | None, about("why it failed, and what to change")]
    cancelling: Annotated[bool, about("true: somebody has asked to cancel it, and it still runs")]
    file_bytes: Annotated[int, about("bytes of its files; 0 once they are deleted")]
    created_at: str
    started_at: str | None
    finished_at: str | None
    files_expire_at: Annotated[str | None, about("when its files are deleted")]


JOB = example(
    JobAnswer,
    """{"id": "0b8f6f1e-3c55-4a7e-9c0c-1f2d3e4a5b6c", "kind": "export", "who": "eva@example.com", "state": "running",
 "done": 120000, "total": 864000, "unit": "rows", "request": {"devices": ["br-1"], "format": "arrow"}, "result": null,
 "error": null, "cancelling": false, "file_bytes": 1048576, "created_at": "2026-11-20T07:45:00.000000Z",
 "started_at": "2026-11-20T07:45:01.000000Z", "finished_at": null, "files_expire_at": null}""",
)


class JobParameters(ListParameters):
    kind: JobKind | None = Field(None, description="only jobs of this kind")
    state: list[JobState] = Field([], description="only in these states; may be repeated; without it all")
