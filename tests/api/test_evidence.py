"""A bundle of a real product is checked by verify.py alone; what its owner changes behind it is found and named."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from api.access.roles import Role, Scope
from schema.evidence.checkpoints import sign_checkpoint
from schema.evidence.keys import key_id
from tests.api.accounts import Served, api_key, bearer
from tests.api.people import ada, api
from tests.api.signing import TrailSigner
from tests.api.test_reports import a_run, done, worker_environment
from tests.api.test_signatures import sign
from tests.evidence_tampering import Lines, chained, of, said
from tests.evidence_vectors import key
from tests.gateway.evidence.sealed_plant import SealedPlant
from tests.in_turn import in_turn
from tests.schema.evidence.test_verify import verified

__all__ = ["ada", "api", "worker_environment"]
HOURS = "from=2026-03-01T10:00:00Z&to=2026-03-01T14:00:00Z&frames=true"


@pytest.fixture
async def plant(database_url: str) -> AsyncIterator[SealedPlant]:
    """Two devices with four hours of sealed frames, and a trail of some rows that is signed in three parts."""
    sql = await asyncpg.connect(database_url)
    it, signer = SealedPlant(sql), TrailSigner(sql)
    await signer.take_over()
    await it.fill("sim-1", "sim-2")
    await written(sql, 5)
    await signer.sign()
    await it.seal()
    await written(sql, 3)
    await signer.take_over("second")
    await signer.sign()
    await written(sql, 2)
    await signer.sign()
    yield it
    await sql.close()


async def written(sql: asyncpg.Connection, count: int) -> None:
    for n in range(count):
        await sql.execute(
            "insert into audit (who, action, subject, old, new, why)"
            " values ('eva', 'device change', 'device/sim-1', null, $1, 'é \"x\"')",
            json.dumps({"n": n, "é": [None, 1.5e-7, 10**20]}),
        )


async def bundle(client: Served, query: str = "") -> Lines:
    answer = await client.get(f"/api/v1/evidence?{query}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/jsonl"
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_the_whole_trail_is_as_it_was_signed(plant: SealedPlant, client: Served, tmp_path: Path) -> None:
    lines = await bundle(client)
    head = of(lines, "head")[0]
    assert (head["whole"], head["format"], head["name"]) == (True, "biogate evidence 1", "main")
    status, says = verified(tmp_path, lines)
    assert status == 0, says
    assert "rows 1 to 11 are certain: checkpoint 3" in says
    await written(plant.sql, 1)
    status, says = verified(tmp_path, await bundle(client))
    assert (status, "? rows 12 to 13 are signed by no checkpoint" in says) == (3, True), says  # 12: who took the bundle


async def test_frames_are_those_that_were_sealed(plant: SealedPlant, client: Served, tmp_path: Path) -> None:
    lines = await bundle(client, f"device=sim-1&{HOURS}")
    status, says = verified(tmp_path, lines)
    assert status == 0, says
    assert "4 hours of frames were compared with 4 sealed ones" in says
    assert {json.loads(one["text"])["device"] for one in of(lines, "seal")} == {"sim-1"}
    assert len(of(lines, "frame")) == 48


CHANGES: dict[str, tuple[str, str]] = {
    "a value": (
        "update frames set values[2] = values[2] + 1e-13 where time = '2026-03-01 11:15Z'",
        "! sim-1, hour 2026-03-01T11:00:00Z: not the 12 frames that version 1 sealed: one was changed",
    ),
    "a frame less": (
        "delete from frames where time = '2026-03-01 11:15Z'",
        "! sim-1, hour 2026-03-01T11:00:00Z: not the 12 frames that version 1 sealed: 1 are missing",
    ),
    "a frame more": (
        "insert into frames select time + interval '1 s', device_id, layout_id, boot, seq + 1, received_at, values,"
        " quality from frames where time = '2026-03-01 12:15Z'",
        "! sim-1, hour 2026-03-01T12:00:00Z: not the 12 frames that version 1 sealed: 1 were inserted",
    ),
    "an hour less": (
        "delete from frames where time >= '2026-03-01 12:00Z' and time < '2026-03-01 13:00Z'",
        "! sim-1, hour 2026-03-01T12:00:00Z: not the 12 frames that version 1 sealed: 12 are missing",
    ),
    "a unit": (
        "update seal_layouts set text = replace(text, 'temperature', 'pressure')",
        "! sim-1, hour 2026-03-01T10:00:00Z: not the 12 frames",
    ),
    "a seal less": (
        "delete from seals where hour = '2026-03-01 12:00Z'",
        "! sim-1, hour 2026-03-01T12:00:00Z: a seal is missing, of which a row of the trail tells",
    ),
    "a seal": (
        "update seals set text = replace(text, '\"frames\":12', '\"frames\":11') where hour = '2026-03-01 12:00Z'",
        "! sim-1, hour 2026-03-01T12:00:00Z: no row of the evidence vouches for version 1 of its seal",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_the_owner_changes_in_frames_and_seals_is_named(
    change: str, plant: SealedPlant, client: Served, tmp_path: Path
) -> None:
    statement, finding = CHANGES[change]
    await plant.sql.execute("set session_replication_role = replica")
    await plant.sql.execute(statement.replace("insert into frames select", INSERTED))
    status, says = verified(tmp_path, await bundle(client, f"device=sim-1&{HOURS}"))
    assert (status, bool(re.search(finding, says))) == (1, True), says


INSERTED = "insert into frames (time, device_id, layout_id, boot, seq, received_at, values, quality) select"


def a_row(lines: Lines) -> None:
    of(lines, "event")[2]["text"] = of(lines, "event")[2]["text"].replace('"eva"', '"ada"')


def a_row_and_the_chain(lines: Lines) -> None:
    a_row(lines)
    chained(lines)


def the_end(lines: Lines) -> None:
    for row in of(lines, "event")[9:]:
        lines.remove(row)
    of(lines, "head")[0]["events"] = [[1, 9]]


def a_checkpoint(lines: Lines) -> None:
    said(of(lines, "checkpoint")[1], n=8)


@in_turn(
    ("change", "finding"),
    [
        (a_row, r"row 3 \(ada: device change device/sim-1\) is not what its hash says"),
        (a_row_and_the_chain, "row 5 is not the one that checkpoint 1 signed"),
        (the_end, "rows 10 to 11 are missing at the end: checkpoint 3 signed them"),
        (a_checkpoint, "checkpoint 2 of .* is not signed by key"),
    ],
)
async def test_what_is_changed_in_a_real_bundle_is_named(
    change: Any, finding: str, plant: SealedPlant, client: Served, tmp_path: Path
) -> None:
    lines = await bundle(client)
    change(lines)
    status, says = verified(tmp_path, lines)
    assert (status, bool(re.search(finding, says))) == (1, True), says


async def test_a_report_and_its_signature_are_proved_and_a_changed_pdf_is_told(
    database_url: str, client: Served, tmp_path: Path
) -> None:
    sql = await asyncpg.connect(database_url)
    plant, signer = SealedPlant(sql), TrailSigner(sql)
    await a_run(plant, client)
    await signer.take_over()
    await signer.sign()
    report = await done(plant, client, kind="batch", run="B-1")
    await signer.sign()
    await written(sql, 3)
    await signer.sign()
    lines = await bundle(client, f"report={report}")
    path = tmp_path / f"report-{report}.pdf"
    path.write_bytes((await client.get(f"/api/v1/reports/{report}/report.pdf")).content)
    status, says = verified(tmp_path, lines, path)
    assert status == 0, says
    assert re.search(rf"report-{report}.pdf is the file that row \d+ names", says)
    assert len(of(lines, "event")) < 3, "an excerpt"
    path.write_bytes(path.read_bytes().replace(b"%%EOF", b"%%EOG"))
    status, says = verified(tmp_path, lines, path)
    assert (status, f"! report-{report}.pdf: no row of the evidence names a file with this content" in says) == (
        1,
        True,
    )
    run = await bundle(client, "run=B-1&frames=true")
    status, says = verified(tmp_path, run, trusted="first")
    assert "WRONG" not in says, says
    await sql.close()


async def test_a_bundle_is_for_who_may_read_the_trail_and_frames_for_who_may_read_them(
    plant: SealedPlant, client: Served
) -> None:
    for role, scopes, query, status in (
        (Role.OPERATOR, [Scope.AUDIT_READ], "", 200),
        (Role.OPERATOR, [Scope.AUDIT_READ], f"device=sim-1&{HOURS}", 403),
        (Role.OPERATOR, [Scope.AUDIT_READ, Scope.TELEMETRY_READ], f"device=sim-1&{HOURS}", 200),
        (Role.VIEWER, list(Scope), "", 403),
    ):
        key = await api_key(plant.sql, role=role, scopes=scopes)
        answer = await client.get(f"/api/v1/evidence?{query}", headers=bearer(key))
        assert answer.status_code == status, answer.text


@in_turn(
    ("query", "status", "says"),
    [
        ("device=sim-1", 422, "give the time"),
        ("frames=true", 422, "give a device and a time, or a run"),
        ("run=B-1&report=0b8f6f1e-3c55-4a7e-9c0c-1f2d3e4a5b6c", 422, "give only one"),
        ("run=B-1&from=-1h", 422, "has its time"),
        ("run=B-9", 404, "there is no run B-9"),
        ("report=0b8f6f1e-3c55-4a7e-9c0c-1f2d3e4a5b6c", 404, "there is no report"),
        ("export=0b8f6f1e-3c55-4a7e-9c0c-1f2d3e4a5b6c", 404, "there is no job"),
        ("device=sim-9&from=-1h", 404, "there is no device sim-9"),
        ("device=sim-9&from=-9000h", 404, "there is no device"),
    ],
)
async def test_what_cannot_be_proved_is_refused(client: Served, query: str, status: int, says: str) -> None:
    answer = await client.get(f"/api/v1/evidence?{query}")
    assert (answer.status_code, says in answer.text) == (status, True), answer.text


async def test_the_program_comes_with_the_product(client: Served) -> None:
    answer = await client.get("/api/v1/evidence/verify.py")
    assert answer.headers["content-disposition"] == 'attachment; filename="verify.py"'
    compile(answer.text, "verify.py", "exec")
    assert "import cryptography" not in answer.text


async def test_a_signature_is_proved_and_a_record_that_was_changed_behind_it_is_named(
    client: Served, database_url: str, ada: dict[str, str], api: Served, tmp_path: Path
) -> None:
    sql = await asyncpg.connect(database_url)
    plant, signer = SealedPlant(sql), TrailSigner(sql)
    await signer.take_over()
    await plant.device("br-1")
    answer = await client.post(
        "/api/v1/samples", json={"sample": "s-1", "device": "br-1", "taken_at": "2026-03-01T10:00:00Z"}
    )
    assert answer.status_code == 201, answer.text
    assert (await sign(api, ada)).status_code == 201
    await signer.sign()
    lines = await bundle(client)
    assert len(of(lines, "signature")) == 1
    status, says = verified(tmp_path, lines)
    assert status == 0, says
    await sql.execute("set session_replication_role = replica")
    await sql.execute("update lab_samples set note = 'as somebody wants it'")
    status, says = verified(tmp_path, await bundle(client))
    assert (status, "! signature of ada (ada@example.org, reviewed) on sample/s-1 is broken" in says) == (1, True), says
    await sql.close()


async def test_checkpoints_of_other_organizations_in_the_file_are_no_fault(
    plant: SealedPlant, client: Served, tmp_path: Path
) -> None:
    lines = await bundle(client)
    made = sign_checkpoint(key("first"), 2, 1, bytes(32), at=datetime.now(UTC), before=None)
    other: dict[str, str | None] = {"kind": "checkpoint", "text": made.text}
    other |= {"signature": base64.b64encode(made.signature).decode(), "key": key_id(key("first")), "token": None}
    assert verified(tmp_path, [*lines, other]) == verified(tmp_path, lines)
    status, says = verified(tmp_path, [*lines, other | {"signature": base64.b64encode(bytes(64)).decode()}])
    assert (status, "no checkpoint of this organization" in says) == (1, True), says
