"""The route for imports: the file is stored whole and bounded in size, and the job says all that was said about it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from schema.jobs import UPLOAD
from tests.api.accounts import Served, api_key, bearer, serving
from tests.api.plant import Plant
from tests.in_turn import in_turn

CONTENT = b"time,ph\n2024-03-08T10:00Z,7\n"
WHY = {"file": "run 7.csv", "why": "runs before Biogate"}


@pytest.fixture
async def taking(database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    """With a directory for files, and files of 1 KiB at most."""
    sql = await asyncpg.connect(database_url)
    key = await api_key(sql)
    await sql.close()
    given: dict[str, Any] = {"jobs_dir": tmp_path, "api_import_bytes": 1024, "api_rate": 0, "api_anonymous_rate": 0}
    async with serving(database_url, base="http://api", **given) as it:
        it.headers.update(bearer(key))
        yield it


async def test_the_file_is_stored_and_the_job_says_what_was_said(taking: Served, plant: Plant, tmp_path: Path) -> None:
    said = {"zone": "Europe/Berlin", "mapping": "dasgip", "dry_run": "true"}
    answer = await taking.post("/api/v1/imports", params=WHY | said, content=CONTENT)
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["location"] == f"/api/v1/jobs/{job['id']}"
    assert (job["kind"], job["state"], job["file_bytes"]) == ("import", "queued", len(CONTENT))
    assert job["request"] == {
        **WHY,
        **said,
        "dry_run": True,
        "create_devices": False,
        "bytes": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
    }
    (directory,) = tmp_path.iterdir()
    assert (directory.name, directory.stat().st_mode & 0o777) == (job["id"], 0o700)
    assert (directory / UPLOAD).read_bytes() == CONTENT
    assert await plant.sql.fetchval("select new ->> 'file' from audit where action = 'import'") == "run 7.csv"


@in_turn(
    ("content", "said", "status", "says"),
    [
        (b"x" * 1025, {}, 413, "more than 1024 bytes"),
        (b"", {}, 422, "is empty"),
        (CONTENT, {"mapping": "../secrets"}, 422, "mapping"),
        (CONTENT, {"mapping": "dasgip", "mapping_text": "device: a"}, 422, "give one of them"),
        (CONTENT, {"decimal": ";"}, 422, "decimal"),
        (CONTENT, {"zoen": "UTC"}, 422, "zoen"),
    ],
)
async def test_what_cannot_be_taken_leaves_nothing(
    taking: Served, plant: Plant, tmp_path: Path, content: bytes, said: dict[str, str], status: int, says: str
) -> None:
    async def in_parts() -> AsyncIterator[bytes]:
        yield content

    for body in (content, in_parts()):  # with its length, and in chunks
        answer = await taking.post("/api/v1/imports", params=WHY | said, content=body)
        assert answer.status_code == status, answer.text
        assert says in answer.text
    assert list(tmp_path.iterdir()) == []
    assert await plant.sql.fetchval("select count(*) from jobs") == 0


async def test_without_a_directory_it_says_what_to_set(client: Served) -> None:
    answer = await client.post("/api/v1/imports", params=WHY, content=CONTENT)
    assert (answer.status_code, "BIOGATE_JOBS_DIR" in answer.text) == (409, True)


async def test_a_directory_that_is_not_there_is_told(taking: Served, tmp_path: Path) -> None:
    tmp_path.rmdir()
    answer = await taking.post("/api/v1/imports", params=WHY, content=CONTENT)
    tmp_path.mkdir()
    assert (answer.status_code, "the file cannot be stored" in answer.text) == (503, True)


async def test_one_job_too_many_leaves_no_file(taking: Served, plant: Plant, tmp_path: Path) -> None:
    await plant.sql.execute(
        """insert into jobs (job_id, organization_id, who, kind, request)
           select gen_random_uuid(), 1, 'eva', 'import', '{}' from generate_series(1, 20)"""
    )
    answer = await taking.post("/api/v1/imports", params=WHY, content=CONTENT)
    assert (answer.status_code, "wait or run already" in answer.text) == (409, True)
    assert list(tmp_path.iterdir()) == []
