"""`biogate accounts`: the first accounts, by a command."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
from pathlib import Path

import asyncpg
import httpx2
import pytest

from api.access.passwords import matches_now
from api.access.roles import Scope
from deploy.stack.paths import BIOGATE
from schema.migrate import OPERATOR
from tests.api.plant import Plant
from tests.forked import Forked
from tests.in_turn import in_turn
from tests.roles import as_role

PASSWORD = "correct horse battery"


class Admin:
    def __init__(self, url: str, directory: Path) -> None:
        self.url, self.directory = url, directory
        self.password = directory / "password"
        self.password.write_text(f"{PASSWORD}\n")

    def __call__(self, *arguments: str, status: int = 0) -> str:
        """What it says."""
        words = [*([] if arguments[0] in {"audit", "hold", "sql-login"} else ["accounts"]), *arguments]
        out = self.directory / "said"
        out.unlink(missing_ok=True)
        url = self.url if words[0] == "sql-login" else as_role(self.url, OPERATOR)
        process = Forked("deploy.command", *words, environment={**os.environ, "BIOGATE_DATABASE_URL": url}, out=out)
        ended, said = process.wait(60), out.read_text()
        assert ended == status, said
        return said

    def user(self, email: str, *arguments: str, status: int = 0) -> str:
        return self("user", email, "--password-file", str(self.password), *arguments, status=status)


@pytest.fixture
def admin(database_url: str, tmp_path: Path) -> Admin:
    return Admin(database_url, tmp_path)


async def trail(sql: asyncpg.Connection, organization: str = "main") -> list[tuple[str, str]]:
    rows = await sql.fetch(
        "select action, subject from audit join organizations using (organization_id) where name = $1 order by n",
        organization,
    )
    return [(row["action"], row["subject"]) for row in rows]


async def test_the_first_admin_is_made_once_and_can_log_in(admin: Admin, database: asyncpg.Connection) -> None:
    assert "account made; admin of main" in admin.user("Eva@Example.org", "--name", "Eva", "--who", "root")
    assert "there was such an account; was admin of main already" in admin.user("eva@example.org", "--role", "viewer")
    [row] = await database.fetch("select email, name, password_hash, role from users join memberships using (user_id)")
    assert (row["email"], row["name"], row["role"]) == ("eva@example.org", "Eva", "admin")
    assert matches_now(PASSWORD, row["password_hash"])
    assert row["password_hash"].startswith("$2b$12$")
    assert await trail(database) == [
        ("account create", "user/eva@example.org"),
        ("member join", "user/eva@example.org"),
    ]
    assert await database.fetchval("select who from audit limit 1") == "root"
    assert await database.fetchval("select count(*) from audit_faults()") == 0


async def test_a_password_is_reset_and_its_sessions_end(admin: Admin, database: asyncpg.Connection) -> None:
    admin.user("eva@example.org")
    await database.execute(
        "insert into sessions (user_id, kind, token_hash, expires_at)"
        " select user_id, 'browser', sha256('x'), now() + interval '1 h' from users"
    )
    admin.password.write_text("another password\n")
    assert "password changed" in admin.user("eva@example.org", "--password-reset")
    assert matches_now("another password", await database.fetchval("select password_hash from users"))
    assert await database.fetchval("select count(*) from sessions where ended_at is null") == 0
    assert ("password reset", "user/eva@example.org") in await trail(database)
    assert "there is no account" in admin.user("nobody@example.org", "--password-reset", status=1)


@in_turn(
    ("password", "said"),
    [
        ("short", "10 characters"),
        ("password1234", "several words"),
        ("ü" * 37, "72 bytes"),
        ("a nul \0 in between", "NUL"),
    ],
)
async def test_a_password_that_cannot_be_used_makes_no_account(
    admin: Admin, database: asyncpg.Connection, password: str, said: str
) -> None:
    admin.password.write_text(password)
    assert said in admin.user("eva@example.org", status=1)
    assert await database.fetchval("select count(*) from users") == 0


async def test_without_a_file_or_a_terminal_no_password_is_asked_for(admin: Admin) -> None:
    assert "--password-file" in admin("user", "eva@example.org", status=1)


async def test_an_account_that_somebody_else_may_have_registered_becomes_no_member_by_chance(
    admin: Admin, database: asyncpg.Connection
) -> None:
    await database.execute("insert into users (email, name, password_hash) values ('eva@example.org', 'Eve', 'hers')")
    assert "--password-reset" in admin.user("eva@example.org", status=1)
    assert await database.fetchval("select count(*) from memberships") == 0
    assert "admin of main" in admin.user("eva@example.org", "--password-reset")
    assert matches_now(PASSWORD, await database.fetchval("select password_hash from users"))
    admin("organization", "north")
    assert "viewer of north" in admin.user(
        *("eva@example.org", "--known", "--organization", "north", "--role", "viewer")
    )


async def test_that_somebody_vouches_for_a_member_by_a_command_is_in_the_trail(
    admin: Admin, database: asyncpg.Connection
) -> None:
    admin.user("eva@example.org")
    await database.execute("select account_change(user_id, null, false, 'ida', 'y') from users")
    assert "admin of main already" in admin.user("eva@example.org", "--known")
    assert await database.fetchval("select verified from users")
    last = await database.fetchrow("select action, old, new from audit order by n desc limit 1")
    assert tuple(last) == ("account verify", '{"verified": false}', '{"verified": true}')


async def test_it_says_whose_an_organization_is_that_is_there(admin: Admin) -> None:
    admin.user("eva@example.org")
    assert "there was such an organization; its admins: eva@example.org" in admin("organization", "main")


async def test_what_is_no_address_no_name_or_no_organization_is_refused(admin: Admin) -> None:
    admin.user("not an address", status=2)
    admin("organization", "Not A Name", status=2)
    assert "there is no organization north" in admin.user("eva@example.org", "--organization", "north", status=1)


async def test_a_key_is_written_into_files_of_its_owner_and_works(
    admin: Admin, database: asyncpg.Connection, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    arguments = ("key", "--name", "dash", "--scope", "telemetry:read", "--expires-days", "2", "--to", str(file))
    said = admin(*arguments)
    key = file.read_text().strip()
    assert key not in said
    assert (tmp_path / "key.header").read_text() == f"Authorization: Bearer {key}\n"
    for path in (file, tmp_path / "key.header"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    row = await database.fetchrow("select * from api_keys where name = 'dash'")
    assert (row["role"], row["scopes"]) == ("viewer", ["telemetry:read"])
    assert 47 < (row["expires_at"] - row["created_at"]).total_seconds() / 3600 < 49
    assert (await client.get("/api/v1/latest", headers={"Authorization": f"Bearer {key}"})).status_code == 200
    assert (await client.get("/api/v1/devices", headers={"Authorization": f"Bearer {key}"})).status_code == 403

    assert "File exists" in admin(*arguments, status=1)
    assert file.read_text().strip() == key
    assert await database.fetchval("select count(*) from api_keys where name = 'dash'") == 1

    await asyncio.to_thread(admin, *arguments, "--replace")  # or the API would not hear of it meanwhile
    assert file.read_text().strip() != key
    assert (await client.get("/api/v1/latest", headers={"Authorization": f"Bearer {key}"})).status_code == 401
    assert [action for action, _ in await trail(database)] == ["key create", "key end", "key create"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_key_without_scopes_named_has_all(admin: Admin, database: asyncpg.Connection, tmp_path: Path) -> None:
    admin("key", "--name", "all", "--to", str(tmp_path / "key"), "--role", "admin")
    row = await database.fetchrow("select scopes, expires_at from api_keys")
    assert set(row["scopes"]) == {scope.value for scope in Scope}
    assert row["expires_at"] is None


async def test_a_key_whose_second_file_is_there_is_not_made(
    admin: Admin, database: asyncpg.Connection, tmp_path: Path
) -> None:
    (tmp_path / "key.header").write_text("mine")
    admin("key", "--name", "all", "--to", str(tmp_path / "key"), status=1)
    assert not (tmp_path / "key").exists()
    assert await database.fetchval("select count(*) from api_keys") == 0


async def test_a_device_is_given_and_both_audit_trails_say_so(
    admin: Admin, database: asyncpg.Connection, plant: Plant
) -> None:
    await plant.device("br-1")
    assert "organization made" in admin("organization", "north", "--title", "North")
    assert "there was" in admin("organization", "north")
    admin("organization", "south", "--why", "asked for", "--who", "eva@example.org")
    made = "select new from audit where action = 'organization create' order by organization_id"
    assert [row["new"] for row in await database.fetch(made)] == ['{"title": "North"}', '{"title": "south"}']
    assert "was main's, is north's" in admin("give", "br-1", "north", "--why", "sold")
    assert "was north's already" in admin("give", "br-1", "north", "--why", "sold")
    assert "was north's, is south's" in admin("give", "br-1", "south", "--why", "sold again")
    owner = "select o.name from devices join organizations o using (organization_id)"
    assert await database.fetchval(owner) == "south"
    given = ("device give", "device/br-1")
    assert [(await trail(database, name)).count(given) for name in ("main", "north", "south")] == [
        3,
        2,
        1,
    ]  # by way of main
    assert "no device" in admin("give", "br-2", "north", "--why", "sold", status=1)
    assert "no organization" in admin("give", "br-1", "west", "--why", "sold", status=1)


async def test_the_list_has_organizations_members_and_keys_and_no_secret(admin: Admin, tmp_path: Path) -> None:
    admin.user("eva@example.org", "--name", "Eva")
    admin("key", "--name", "dash", "--to", str(tmp_path / "key"))
    said = admin("list")
    kinds = [line.split("\t")[:2] for line in said.splitlines()]
    assert kinds == [["ORGANIZATION", "WHAT"], ["main", "organization"], ["main", "member"], ["main", "key"]]
    assert (tmp_path / "key").read_text().strip().split("_", 2)[2] not in said


async def test_the_reason_of_a_change_can_be_said(admin: Admin, database: asyncpg.Connection) -> None:
    admin.user("eva@example.org", "--why", "installation", "--who", "eve")
    rows = await database.fetch("select who, why, new from audit order by n")
    assert {(row["who"], row["why"]) for row in rows} == {("eve", "installation")}
    assert json.loads(rows[1]["new"]) == {"role": "admin"}


async def test_without_a_database_it_says_what_to_set() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "BIOGATE_DATABASE_URL"}
    done = subprocess.run([*BIOGATE, "accounts", "list"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "BIOGATE_DATABASE_URL: is not set" in done.stderr


async def test_an_account_is_disabled_and_enabled_and_the_list_says_so(
    admin: Admin, database: asyncpg.Connection
) -> None:
    admin.user("eva@example.org", "--name", "Eva")
    await database.execute(
        "insert into users (email, name, password_hash, verified) values ('ida@example.org', 'Ida', 'hers', false)"
    )
    assert "the last admin" in admin("disable", "eva@example.org", "--why", "has left", status=1)
    assert "disabled" in admin("disable", "ida@example.org", "--why", "has left")
    lines = {line.split("\t")[2]: line.split("\t") for line in admin("list").splitlines()}
    assert lines["ida@example.org"][:2] == ["-", "account"]
    assert lines["ida@example.org"][-1] == "disabled, unverified"
    admin("enable", "ida@example.org", "--why", "is back")
    assert not await database.fetchval("select disabled from users where email = 'ida@example.org'")
    assert "there is no account" in admin("disable", "nobody@example.org", "--why", "x", status=1)
    found = [(action, subject) for action, subject in await trail(database) if "ida" in subject]
    assert found == [("account disable", "user/ida@example.org"), ("account enable", "user/ida@example.org")]


@pytest.mark.parametrize("content", [f"\ufeff{PASSWORD}\r\n", f"{PASSWORD}\n", f"\ufeff{PASSWORD}"])
async def test_a_file_as_windows_writes_it_has_the_same_password(
    admin: Admin, database: asyncpg.Connection, content: str
) -> None:
    admin.password.write_text(content, "utf-8", newline="")
    admin.user("eva@example.org")
    assert matches_now(PASSWORD, await database.fetchval("select password_hash from users"))
