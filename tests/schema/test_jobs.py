"""Who gets which job when, with the rights that a worker has."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from schema import jobs
from schema.jobs import HeldJob, JobCancelled, JobFailed, JobLost, JobProgress
from tests.api.accounts import organization

LEASE = timedelta(seconds=30)
KINDS = ("export", "import")


@pytest.fixture
async def worker(worker_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(worker_url)
    yield connection
    await connection.close()


async def make(sql: asyncpg.Connection, organization_id: int = 1, kind: str = "export") -> UUID:
    job = uuid4()
    await sql.execute("select set_config('biogate.organization', $1, false)", str(organization_id))
    await sql.execute("select api.job_make($1, $2, $3, 0, 'eva')", job, kind, json.dumps({"devices": ["br-1"]}))
    return job


async def offered(sql: asyncpg.Connection, holder: str = "a", share: int = 1) -> HeldJob | None:
    job = await jobs.claim(sql, holder, KINDS, LEASE, share)
    return None if job is None else HeldJob(job, holder)


async def taken(sql: asyncpg.Connection, holder: str = "a", share: int = 1) -> HeldJob:
    held = await offered(sql, holder, share)
    assert held is not None
    return held


async def silent(sql: asyncpg.Connection, job: UUID) -> None:
    """Its worker has not beaten for longer than the lease."""
    await sql.execute("update jobs set beat_at = beat_at - interval '31 s' where job_id = $1", job)


async def row(sql: asyncpg.Connection, job: UUID) -> asyncpg.Record:
    return await sql.fetchrow("select * from jobs where job_id = $1", job)


async def test_turns_go_round_the_organizations_and_none_has_more_than_its_share(
    database: asyncpg.Connection, worker: asyncpg.Connection
) -> None:
    other = await organization(database, "other")
    first = [await make(database) for _ in range(3)]
    second = [await make(database, other) for _ in range(2)]
    turns = [await taken(worker) for _ in range(2)]
    assert [held.job.job_id for held in turns] == [first[0], second[0]]
    assert await offered(worker) is None
    assert (turns[0].job.request, turns[0].job.who, turns[0].job.attempts) == ({"devices": ["br-1"]}, "eva", 1)
    await jobs.end(worker, turns[0], JobProgress(), {}, timedelta(days=1))
    again = await taken(worker)
    assert again.job.job_id == first[1]
    await jobs.end(worker, again, JobProgress(), {}, timedelta(days=1))
    assert (await taken(worker, share=2)).job.job_id == first[2]  # others have one running
    assert (await taken(worker, share=2)).job.job_id == second[1]


async def test_who_never_had_a_turn_comes_before_who_had_one(
    database: asyncpg.Connection, worker: asyncpg.Connection
) -> None:
    organizations = [1, *[await organization(database, name) for name in ("second", "third")]]
    for number in organizations[:2]:
        await make(database, number)
        await jobs.end(worker, await taken(worker), JobProgress(), {}, timedelta(days=1))
    waiting = {number: await make(database, number) for number in organizations}
    turns = []
    for _ in organizations:
        turns.append(held := await taken(worker))
        await jobs.end(worker, held, JobProgress(), {}, timedelta(days=1))
    third, *others = [waiting[number] for number in (organizations[2], *organizations[:2])]
    assert [held.job.job_id for held in turns] == [third, *others]


async def test_a_silent_worker_loses_its_job_which_goes_on_where_it_was(
    database: asyncpg.Connection, worker: asyncpg.Connection
) -> None:
    job = await make(database)
    held = await taken(worker)
    told = JobProgress(done=3, total=9, unit="rows", position={"row": 3}, file_bytes=7)
    await jobs.beat(worker, held, told, 100)
    told.check()
    assert await offered(worker, "b") is None
    await silent(database, job)
    other = await taken(worker, "b")
    assert (other.job.position, other.job.attempts, other.job.file_bytes) == ({"row": 3}, 2, 7)
    await jobs.beat(worker, held, told, 100)
    with pytest.raises(JobLost):
        told.check()
    with pytest.raises(JobLost):
        await jobs.end(worker, held, told, {}, timedelta(days=1))
    assert await jobs.end(worker, other, told, {"rows": 9}, timedelta(days=1)) == "done"
    found = await row(database, job)
    assert (found["state"], json.loads(found["result"]), found["file_bytes"]) == ("done", {"rows": 9}, 7)
    assert found["files_expire_at"] - found["finished_at"] > timedelta(hours=23)


async def test_a_job_that_ends_its_workers_fails_and_one_that_is_given_back_does_not(
    database: asyncpg.Connection, worker: asyncpg.Connection
) -> None:
    job = await make(database)
    for _ in range(10):  # workers that are stopped are not its fault
        held = await taken(worker)
        await jobs.give_back(worker, held)
    for attempt in range(jobs.MOST_ATTEMPTS):
        held = await taken(worker)
        assert held.job.attempts == attempt + 1
        await silent(database, job)
    assert await offered(worker) is None
    found = await row(database, job)
    assert (found["state"], found["holder"]) == ("failed", None)
    assert "ended 5 times" in found["error"]


async def test_a_running_job_hears_at_its_beat_that_it_is_cancelled_or_takes_too_much_of_the_disk(
    database: asyncpg.Connection, worker: asyncpg.Connection
) -> None:
    kept, job = await make(database), await make(database)
    held = await taken(worker)
    await jobs.end(worker, held, JobProgress(file_bytes=60), {}, timedelta(days=1))
    assert held.job.job_id == kept
    held = await taken(worker)
    told = JobProgress(file_bytes=40)
    await jobs.beat(worker, held, told, 100)
    told.check()
    told.file_bytes = 41
    await jobs.beat(worker, held, told, 100)
    with pytest.raises(JobFailed, match="more than 100 bytes"):
        told.check()
    await database.execute("select api.job_cancel($1, 'eva', 'a mistake')", job)
    await jobs.beat(worker, held, told, 1000)
    with pytest.raises(JobCancelled) as cancelled:
        told.check()
    assert await jobs.end(worker, held, told, cancelled.value, timedelta(days=1)) == "cancelled"
    assert [row[0] for row in await worker.fetch(jobs.EXPIRED)] == [job]  # its files are of no use to anybody


async def test_who_cancels_or_deletes_twice_has_done_it_once(
    database: asyncpg.Connection, worker: asyncpg.Connection
) -> None:
    job = await make(database)
    held = await taken(worker)
    for why in ("a mistake", "again"):
        await database.execute("select api.job_cancel($1, 'eva', $2)", job, why)
    await jobs.end(worker, held, JobProgress(file_bytes=7), {}, timedelta(days=1))
    for why in ("too large", "again"):
        await database.execute("select api.job_files_drop($1, 'eva', $2)", job, why)
    told = await database.fetch("select action, why from audit where subject = $1 order by n", f"job/{job}")
    assert [tuple(row) for row in told[1:]] == [("export cancel", "a mistake"), ("export files delete", "too large")]


async def test_a_cancelled_job_without_a_worker_is_not_begun_again(
    database: asyncpg.Connection, worker: asyncpg.Connection
) -> None:
    waits = await make(database)
    await database.execute("select api.job_cancel($1, 'eva', 'a mistake')", waits)
    runs = await make(database)
    held = await taken(worker)
    assert held.job.job_id == runs
    await database.execute("select api.job_cancel($1, 'eva', 'a mistake')", runs)
    await silent(database, runs)
    assert await offered(worker) is None
    assert [(await row(database, job))["state"] for job in (waits, runs)] == ["cancelled", "cancelled"]
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="has ended already"):
        await database.execute("select api.job_cancel($1, 'eva', 'again')", runs)


async def test_an_organization_has_so_many_jobs_waiting(database: asyncpg.Connection) -> None:
    for _ in range(20):
        await make(database)
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="20 jobs of your organization"):
        await make(database)
    await make(database, await organization(database, "other"))


async def test_only_who_holds_a_job_keeps_its_lease(database: asyncpg.Connection, worker: asyncpg.Connection) -> None:
    """Also while it has nothing to tell yet: its process starts."""
    job = await make(database)
    lost = await taken(worker, "a")
    await silent(database, job)
    held = await taken(worker, "b")
    await silent(database, job)
    await jobs.keep(worker, lost)
    again = await taken(worker, "c")
    await silent(database, job)
    await jobs.keep(worker, again)
    assert await offered(worker, "d") is None
    assert (held.job.attempts, again.job.attempts) == (2, 3)


async def test_the_share_of_the_disk_is_of_the_organization_alone(
    database: asyncpg.Connection, worker: asyncpg.Connection
) -> None:
    await make(database, await organization(database, "other"))
    theirs = await taken(worker)
    await jobs.end(worker, theirs, JobProgress(file_bytes=1000), {}, timedelta(days=1))
    await make(database)
    held, told = await taken(worker), JobProgress(file_bytes=100)
    await jobs.beat(worker, held, told, 100)
    told.check()


async def test_what_waits_is_told_by_kind_and_neither_what_runs_nor_what_has_ended_waits(
    database: asyncpg.Connection, worker: asyncpg.Connection
) -> None:
    job = """insert into jobs (job_id, organization_id, who, kind, request, state, file_bytes, created_at, finished_at,
                               holder, beat_at)
             select gen_random_uuid(), 1, 'eva', kind, '{}', state, bytes, now() - age,
                    case state when 'done' then now() end, case state when 'running' then 'a' end,
                    case state when 'running' then now() end
               from (values ('export', 'done', 7, interval '9 days'), ('export', 'running', 5, interval '2 days'),
                            ('export', 'queued', 0, interval '300 s'), ('export', 'queued', 0, interval '100 s'),
                            ('report', 'running', 1, interval '1 day')) j (kind, state, bytes, age)"""
    await database.execute(job)
    found = {row["kind"]: row for row in await worker.fetch(jobs.QUEUE)}
    export, report = found["export"], found["report"]
    assert (export["queued"], export["file_bytes"], round(export["wait_s"], -2)) == (2, 12, 300)
    assert (report["queued"], report["file_bytes"], report["wait_s"]) == (0, 1, 0)
