"""Schemathesis asks the real process over TCP whatever the description allows, and what it forbids: no 5xx, and no
answer that the description does not have. BIOGATE_TEST_SCHEMATHESIS_S is how long it may go on making things up."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import asyncpg
import pytest

from api.shapes import alarm_acts as shapes_alarm_acts
from api.shapes import alarm_rules as shapes_alarm_rules
from api.shapes import commands as shapes_commands
from api.shapes import enrollments as shapes_enrollments
from tests import openapi
from tests.api.accounts import api_key, bearer
from tests.api.live import STREAMS
from tests.api.tenants import Tenant, Visitor, settle
from tests.api.test_operation import process
from tests.roles import forced

SECONDS = int(os.environ.get("BIOGATE_TEST_SCHEMATHESIS_S", "20"))
CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"),
    *("response_headers_conformance", "unsupported_method", "allow_header_conformance", "ignored_auth"),
    *("negative_data_rejection", "missing_required_header", "use_after_free", "ensure_resource_availability"),
)
"""Not positive_data_acceptance: `from` before `to`, or a cursor of ours, a schema cannot say."""
REFUSALS = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429, 431, "5xx"]
"""
"""Too many names are refused by their bytes, too: 413 in a body, 431 in an address."""
ENDS_THE_SESSION = r"^/api/v1/auth/(logout|password)"


async def filled(sql: asyncpg.Connection) -> Tenant:
    """Two organizations, and in the first what the examples of the description name."""
    await settle(sql, "alpha", 2)
    main = await settle(sql, "main", 1)
    for statement, name in (
        ("update devices set name = $1 where name = $2", "device"),
        ("update serials set serial = $1 where serial = $2", "serial"),
    ):
        await sql.execute(statement, {"device": "br-1", "serial": "BR-2044"}[name], main.objects[name])
    await sql.execute(
        "update enrollments set txn = $1, serial = 'BR-2044' where txn = $2",
        shapes_enrollments.ENROLLMENT["txn"],
        main.objects["txn"],
    )
    await forced(sql, "update quarantine set device = 'br-1' where device = $1", main.objects["device"])
    await sql.execute(
        "update commands set command_id = $1, state = 'done', ended_at = now() where command_id::text = $2",
        *(shapes_commands.COMMAND["id"], main.objects["command"]),
    )
    await sql.execute(
        "update alarm_rules set name = $1 where name = $2", shapes_alarm_rules.RULE["rule"], main.objects["rule"]
    )
    await sql.execute(
        "insert into alarm_acts (act_id, rule_id, device_id, organization_id, action, who, why) overriding system value"
        " select $1, rule_id, device_id, organization_id, action, who, why from alarm_acts where act_id = $2",
        *(shapes_alarm_acts.ACT["id"], int(main.objects["act"])),
    )
    return main


async def schemathesis(place: Path, address: str, headers: dict[str, str], *options: str) -> tuple[int, str]:
    """Exit status and report."""
    (place / "schemathesis.toml").write_text(REFUSALS)
    arguments = [part for name, value in headers.items() for part in ("--header", f"{name}: {value}")]
    child = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{address}/openapi.json", *arguments),
        *("--checks", ",".join(CHECKS), "--continue-on-failure", "--no-color", "--request-timeout", "70"),
        *("--warnings", "off", "--seed", "20261120", "--generation-database", "none", "--no-shrink"),
        *(*(word for path in sorted(STREAMS) for word in ("--exclude-path", path)), *options),
        cwd=place,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await child.communicate()
    return await child.wait(), said.decode()


@pytest.mark.timeout(300 + 30 * SECONDS)
async def test_no_answer_is_another_than_the_description_has(database_url: str, tmp_path: Path) -> None:
    sql = await asyncpg.connect(database_url)
    main = await filled(sql)
    key = await api_key(sql)
    secret = tmp_path / "secret"
    secret.write_text("a-secret-for-this-test-0123456789abcdef")
    secret.chmod(0o600)
    settings = {
        **{"BIOGATE_DATABASE_URL": database_url, "BIOGATE_API_SECRET_FILE": str(secret)},
        **{"BIOGATE_API_RATE": "0", "BIOGATE_API_ANONYMOUS_RATE": "0"},
        **{"BIOGATE_API_ACT_PATIENCE": "0", "BIOGATE_API_TRIAL_SECONDS": "10"},
    }
    log = tmp_path / "log"
    async with process(log, **settings) as (_, client):
        address = str(client.base_url).rstrip("/")
        status, report = await schemathesis(tmp_path, address, bearer(key), "--phases", "examples,coverage")
        assert status == 0, report
        paths = openapi.document()["paths"].items()
        operations = sum(len(methods) for path, methods in paths if path not in STREAMS)
        assert f"Tested: {operations}\n" in report, report
        visitor = Visitor(sql, main.name, secret.read_bytes(), "__Host-biogate")
        person = dict(await visitor.headers("program"))
        people = ("--include-path-regex", "^/api/v1/(auth|organization)", "--exclude-path-regex", ENDS_THE_SESSION)
        status, report = await schemathesis(tmp_path, address, person, "--phases", "examples,coverage", *people)
        assert status == 0, report
        key = await api_key(sql)  # it may have ended the other one
        options = ("--phases", "fuzzing,stateful", "--max-examples", "20", "--max-time", str(SECONDS))
        status, report = await schemathesis(tmp_path, address, bearer(key), *options)
        assert status == 0, report
        assert (await client.get("/ready")).status_code == 200
    assert '"level": "error"' not in log.read_text()
    assert "Traceback" not in log.read_text()
    await sql.close()
