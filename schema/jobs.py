"""Jobs: work that people ask for and that takes long. What API, worker and the runners of jobs have in common: the
states of a job, the statements by which a worker claims one and tells how it goes, and what a runner is given.

A worker holds a job by a lease: it beats in the job's row. Once the row has had no beat for the time of the lease,
another worker takes the job over, and goes on at the job's `position`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias
from uuid import UUID

import asyncpg
import msgspec

from schema.errors import BiogateError

JobKind = Literal["export", "import", "replay", "report"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]
MOST_ATTEMPTS = 5
"""How often a job is begun before it counts as one that ends its worker."""
UPLOAD = "upload"
"""The name of the file to be imported, in the directory of its job."""
KEPT = timedelta(days=90)
"""How long the row of a job is kept after its end."""


class JobFailed(BiogateError):
    """Raised by a runner: the job cannot be done. The text tells the person who asked for it what to change."""


class JobCancelled(BiogateError):
    """Raised inside a runner: somebody has asked to cancel the job."""


class JobLost(BiogateError):
    """Raised inside a runner: another worker has the job now. What this one does has no effect any more."""


class ClaimedJob(msgspec.Struct, frozen=True):
    """A job as its worker gets it."""

    job_id: UUID
    organization_id: int
    who: str
    kind: JobKind
    request: dict[str, Any]
    position: dict[str, Any] | None
    """What the runner said last of where it was; None: it begins."""
    attempts: int
    """1 for the first time."""
    file_bytes: int = 0
    """Bytes of the files that it has already: the upload of an import, or what an attempt before has written."""


class HeldJob(msgspec.Struct, frozen=True):
    """A claimed job, and the name under which its lease is held."""

    job: ClaimedJob
    holder: str


@dataclass
class JobProgress:
    """What a runner tells, and what the beat writes into the job's row. A runner changes `done`, `total` and the rest
    at will, and calls `check` at least each second."""

    done: int = 0
    total: int | None = None
    """None: not known."""
    unit: str = ""
    """What is counted, in the plural: `samples`, `rows`."""
    position: Mapping[str, Any] | None = None
    """Where another worker can go on. It is told after all before it is stored."""
    file_bytes: int = 0
    """Bytes of the files that the job has on the disk."""
    stop: BiogateError | None = None
    """Set by the beat."""

    def check(self) -> None:
        """Raise JobCancelled, JobLost, or JobFailed if the files of the organization take their share of the disk."""
        if self.stop is not None:
            raise self.stop


@dataclass(frozen=True)
class RunningJob:
    """A job with what a runner needs to do it."""

    job: ClaimedJob
    directory: Path
    """The directory of the job's files. It exists; the files of an earlier attempt may be in it."""
    progress: JobProgress


JobRunner: TypeAlias = Callable[[RunningJob], Awaitable[Mapping[str, Any]]]
"""Does a job, and returns the facts that the API shows as its result. Raises JobFailed for what the person has to
change. Any other error ends the attempt: the job is taken up again once its lease has run out."""

CLAIM = """
with gone as (
    update jobs
       set state = case when cancel_asked_at is null then 'failed' else 'cancelled' end, holder = null,
           finished_at = clock_timestamp(), files_expire_at = clock_timestamp(),
           error = case when cancel_asked_at is null
                        then 'its process ended ' || attempts || ' times before the end, perhaps for want of memory' end
     where state = 'running' and beat_at < clock_timestamp() - $3::interval
       and (cancel_asked_at is not null or attempts >= $5)
    returning job_id),
held as (
    select organization_id, count(*) as running from jobs
     where state = 'running' and beat_at >= clock_timestamp() - $3::interval group by organization_id)
update jobs
   set state = 'running', holder = $1, beat_at = clock_timestamp(), attempts = attempts + 1,
       started_at = coalesce(started_at, clock_timestamp())
 where job_id = (
       select j.job_id from jobs j left join held h using (organization_id)
        where j.kind = any ($2::text[]) and coalesce(h.running, 0) < $4
          and (j.state = 'queued' or j.state = 'running' and j.beat_at < clock_timestamp() - $3::interval)
          and j.job_id not in (select job_id from gone)
        order by coalesce(h.running, 0),
                 (select max(l.started_at) from jobs l where l.organization_id = j.organization_id) nulls first,
                 j.created_at
        limit 1 for update of j skip locked)
returning job_id, organization_id, who, kind, request, position, attempts, file_bytes
"""
"""$1 holder, $2 kinds, $3 lease, $4 jobs at a time of an organization, $5 MOST_ATTEMPTS. The organization comes next
that has the fewest running, and of these the one whose turn was longest ago."""

BEAT = """
update jobs j
   set beat_at = clock_timestamp(), done = $3, total = $4, unit = $5, position = $6, file_bytes = $7
 where job_id = $1 and holder = $2
returning cancel_asked_at is not null as cancelled,
          (select sum(o.file_bytes) from jobs o where o.organization_id = j.organization_id and o.job_id <> j.job_id)
              + $7 as share
"""

END = """
update jobs
   set state = $3, result = $4, error = $5, done = $6, total = $7, unit = $8, position = null, file_bytes = $9,
       holder = null, finished_at = clock_timestamp(), files_expire_at = clock_timestamp() + $10
 where job_id = $1 and holder = $2
returning job_id
"""

KEEP = "update jobs set beat_at = clock_timestamp() where job_id = $1 and holder = $2"

GIVE_BACK = """
update jobs set state = 'queued', holder = null, attempts = attempts - 1 where job_id = $1 and holder = $2
"""

EXPIRED = """
select job_id from jobs where file_bytes > 0 and files_expire_at <= clock_timestamp() order by files_expire_at limit 100
"""
WITHOUT_FILES = "update jobs set file_bytes = 0 where job_id = $1"
FORGET = "delete from jobs where finished_at < clock_timestamp() - $1::interval and file_bytes = 0"
KNOWN = "select job_id from jobs where job_id = any ($1::uuid[]) and (file_bytes > 0 or finished_at is null)"
QUEUE = """
select kind, count(*) filter (where state = 'queued') as queued,
       coalesce(extract(epoch from clock_timestamp() - min(created_at) filter (where state = 'queued')), 0)::float8
           as wait_s,
       coalesce(sum(file_bytes), 0)::bigint as file_bytes
  from jobs where state in ('queued', 'running') or file_bytes > 0 group by kind
"""


async def claim(
    connection: asyncpg.Connection, holder: str, kinds: Collection[str], lease: timedelta, share: int
) -> ClaimedJob | None:
    """Take the job whose turn it is, or None; `share` is how many of one organization may run at a time.

    A job without a beat that was begun MOST_ATTEMPTS times has failed, and one that is to be cancelled is cancelled.
    """
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock(1785684851)")  # "jobs": the share is counted exactly
        row = await connection.fetchrow(CLAIM, holder, list(kinds), lease, share, MOST_ATTEMPTS)
    return None if row is None else _claimed(row)


async def beat(connection: asyncpg.Connection, held: HeldJob, told: JobProgress, most_bytes: int) -> None:
    """Keep the lease and write what is told; set `told.stop` if the job is to end. `most_bytes`: the organization's
    share of the disk."""
    position = None if told.position is None else msgspec.json.encode(told.position).decode()
    counted = told.done, told.total, told.unit, position, told.file_bytes
    row = await connection.fetchrow(BEAT, held.job.job_id, held.holder, *counted)
    if row is None:
        told.stop = JobLost("another worker has this job")
    elif row["cancelled"]:
        told.stop = JobCancelled("cancelled")
    elif (row["share"] or 0) > most_bytes:
        told.stop = JobFailed(
            f"the files of your organization would take more than {most_bytes} bytes: delete files of older jobs, or"
            " ask for less"
        )


async def keep(connection: asyncpg.Connection, held: HeldJob) -> None:
    """Keep the lease while the job has nothing to tell yet."""
    await connection.execute(KEEP, held.job.job_id, held.holder)


async def end(
    connection: asyncpg.Connection,
    held: HeldJob,
    told: JobProgress,
    outcome: Mapping[str, Any] | BiogateError,
    files_kept: timedelta,
) -> JobState:
    """End the job: done with these facts, cancelled, or failed with these words. Raises JobLost."""
    state: JobState = "done"
    if isinstance(outcome, BiogateError):
        state = "cancelled" if isinstance(outcome, JobCancelled) else "failed"
    facts = None if isinstance(outcome, BiogateError) else msgspec.json.encode(outcome).decode()
    error = str(outcome) if state == "failed" else None
    kept = files_kept if state == "done" else timedelta(0)
    counted = told.done, told.total, told.unit, told.file_bytes
    if await connection.fetchval(END, held.job.job_id, held.holder, state, facts, error, *counted, kept) is None:
        raise JobLost("another worker has this job")
    return state


async def give_back(connection: asyncpg.Connection, held: HeldJob) -> None:
    """Let the next worker take the job at once: this one stops."""
    await connection.execute(GIVE_BACK, held.job.job_id, held.holder)


def _claimed(row: asyncpg.Record) -> ClaimedJob:
    position = row["position"]
    return ClaimedJob(
        row["job_id"],
        row["organization_id"],
        row["who"],
        row["kind"],
        msgspec.json.decode(row["request"]),
        None if position is None else msgspec.json.decode(position),
        row["attempts"],
        row["file_bytes"],
    )
