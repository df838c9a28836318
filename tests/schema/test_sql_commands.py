"""Commands that make, list and end logins for SQL, and that verify and export the audit trail."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path

import asyncpg
import pytest

from tests.api.tenants import Tenant
from tests.databases import with_database
from tests.forked import Forked
from tests.roles import forced
from tests.schema.logins import tenants, with_login

__all__ = ["tenants"]


def command(database_url: str, *arguments: str) -> tuple[int, str, str]:
    environment = {**os.environ, "BIOGATE_DATABASE_URL": database_url}
    with tempfile.TemporaryDirectory() as streams:
        out, err = Path(streams) / "out", Path(streams) / "err"
        status = Forked("deploy.command", *arguments, environment=environment, out=out, err=err).wait(60)
        return status, out.read_text(), err.read_text()


async def test_the_commands_make_list_and_end_a_login(
    database: asyncpg.Connection, database_url: str, tenants: dict[str, Tenant], tmp_path: Path
) -> None:
    name, file = f"grafana-{os.getpid()}-{os.urandom(3).hex()}", tmp_path / "password"
    other_databases = [f"other_{os.urandom(4).hex()}"]
    await database.execute(f"create database {other_databases[0]} template template0")
    make = ("sql-login", "add", name, "--organization", "main", "--to", str(file), "--why", "dashboards")
    status, said, _ = command(database_url, *make)
    assert status == 0
    password = file.read_text().strip()
    assert password not in said
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(password) >= 32

    login = await asyncpg.connect(with_login(database_url, name, password))
    for other in ("postgres", "template1", *other_databases):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(with_database(with_login(database_url, name, password), other))
        await (await asyncpg.connect(with_database(database_url, other))).close()  # the owner goes on
    assert await login.fetchval("select device from devices") == tenants["main"].known["device"]
    await database.execute(f"drop database {other_databases[0]}")
    _, listed, _ = command(database_url, "sql-login", "list")
    assert re.search(rf"^{name}\tmain\t\S+ \S+\t1\t$", listed, re.MULTILINE), listed

    file.unlink()
    for wrong, words in (
        (make, "already"),
        (("sql-login", "add", f"{name}-2", "--organization", "none", "--to", str(file)), "no organization none"),
        (("sql-login", "add", f"{name}-2", "--organization", "alpha", "--to", str(file)), "reads through the API"),
        (("sql-login", "add", "Pg;", "--to", str(file)), "is not a name"),
        (("sql-login", "add", "pg_x", "--to", str(file)), "is not a name"),
        (("sql-login", "add", f"{name}-2", "--to", str(tmp_path)), "cannot be made"),
        (("sql-login", "end", "biogate_api"), "no SQL login"),
    ):
        status, _, error = command(database_url, *wrong)
        assert (status, words in error) == (1, True), error
    assert not file.exists()
    assert await database.fetchval("select count(*) from pg_roles where rolname like $1", f"{name}%") == 1

    assert command(database_url, "sql-login", "end", name, "--why", "moved")[0] == 0
    assert await database.fetchval("select count(*) from pg_roles where rolname like $1", f"{name}%") == 0
    assert await database.fetchval("select count(*) from pg_stat_activity where usename = $1", name) == 0
    login.terminate()
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await asyncpg.connect(with_login(database_url, name, password))
    written = await database.fetch(
        "select o.name, action, why from audit a join organizations o using (organization_id)"
        " where subject = $1 order by n",
        f"sql-login/{name}",
    )
    assert [tuple(row) for row in written] == [
        ("main", "sql-login add", "dashboards"),
        ("main", "sql-login end", "moved"),
    ]


async def test_the_commands_verify_and_export_the_audit_trail(
    database: asyncpg.Connection, database_url: str, tenants: dict[str, Tenant], tmp_path: Path
) -> None:
    file = tmp_path / "audit.jsonl"
    await database.execute("insert into organizations (name, title) values ('gamma', 'Gamma'), ('delta', 'Delta')")
    await database.execute(
        "insert into audit (organization_id, who, action, subject, why)"
        " select organization_id, 'eva', 'test ' || n, 'x', 'why' from organizations, generate_series(1, 3) n"
    )
    assert command(database_url, "audit", "export", "--organization", "alpha", "--to", str(file))[0] == 0
    events = [json.loads(line) for line in file.read_text().splitlines()]
    assert [event["n"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["action"] == "test 3"
    assert len(events) == await database.fetchval(
        "select count(*) from audit where organization_id = $1", tenants["alpha"].organization_id
    )
    assert not tenants["beta"].shown(file.read_text())
    assert command(database_url, "audit", "export", "--organization", "alpha", "--to", str(file))[0] == 1

    await forced(database, "truncate checkpoints, evidence_keys")  # those of the tenants are no real ones
    gamma = await database.fetchval("select organization_id from organizations where name = 'gamma'")
    status, said, _ = command(database_url, "audit", "verify", "--organization", "gamma")
    assert status == 0, said
    assert (await database.fetchval("select hash from audit where organization_id = $1 and n = 3", gamma)).hex() in said
    await database.execute("alter table audit disable trigger audit_refuse")
    await database.execute("update audit set why = 'another' where organization_id = $1 and n = 2", gamma)
    status, said, _ = command(database_url, "audit", "verify", "--organization", "gamma")
    assert status == 1
    assert "fault: event 2: changed" in said
    assert command(database_url, "audit", "verify", "--organization", "delta")[0] == 0
    status, said, _ = command(database_url, "audit", "verify", "--organization", "alpha")
    assert status == 1
    assert "no event says who made it" in said, "the tenants' rules and keys were put into the tables"
