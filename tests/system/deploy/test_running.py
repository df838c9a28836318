"""What becomes of a running `make up` whose parts are killed or hang, and of a second one."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import asyncpg
import pytest

from deploy.stack.logins import NAMES
from deploy.stack.paths import BIOGATE, CHECKOUT
from deploy.stack.process import holders
from schema.migrate import API, BACKUP, LOGINS, OPERATOR
from tests.system.deploy.conftest import FLOWING, PARTS, Up

pytestmark = pytest.mark.timeout(600)  # to start a plant on a busy machine


def test_a_second_one_says_that_the_first_is_running(running: Up, tmp_path: Path) -> None:
    second = Up(running.paths.name, tmp_path / "second")
    second.start()
    assert second.child is not None
    assert second.child.wait(30) == 1
    assert "is running already, under process" in second.said
    assert running.paths.env.exists()
    assert running.running() == list(PARTS)


async def test_no_session_and_no_variable_has_a_superusers_login(running: Up) -> None:
    given = running.endpoints()
    assert running.paths.owner.stat().st_mode & 0o077 == 0
    assert running.owner_url() not in given.values()
    names = {}
    for variable in ("BIOGATE_DATABASE_URL", LOGINS[API], LOGINS[BACKUP]):
        connection = await asyncpg.connect(given[variable])
        names[variable] = await connection.fetchval("select session_user")
        sessions = await connection.fetch(
            """select usename, rolsuper from pg_stat_activity join pg_roles on rolname = usename
                where backend_type = 'client backend'"""
        )
        await connection.close()
        assert {row["usename"] for row in sessions} <= set(NAMES.values())
        assert not any(row["rolsuper"] for row in sessions)
    assert names == {
        "BIOGATE_DATABASE_URL": NAMES[OPERATOR],
        LOGINS[API]: NAMES[API],
        LOGINS[BACKUP]: NAMES[BACKUP],
    }


async def test_each_command_has_the_rights_that_it_needs(running: Up, tmp_path: Path) -> None:
    """In a shell with the stack's variables alone; the audit trail has the login of each event."""

    def biogate(*words: object) -> None:
        command = [*BIOGATE, *map(str, words)]
        given = {"PATH": os.environ["PATH"], "USER": "eva", **running.endpoints()}
        done = subprocess.run(command, env=given, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    biogate("migrate")
    biogate("sql-login", "add", "grafana", "--to", tmp_path / "password")
    biogate("sql-login", "end", "grafana")
    biogate("accounts", "organization", "other")
    biogate("backup", "take", tmp_path / "backups")
    rows = await running.fetch("select action, login from audit where n > 0 order by n")
    logins: dict[object, set[object]] = {}
    for action, login in rows:
        logins.setdefault(login, set()).add(action)
    assert logins[NAMES[BACKUP]] == {"backup take"}
    assert "organization create" in logins[NAMES[OPERATOR]]
    assert logins["biogate"] == {"sql-login add", "sql-login end"}


def test_a_part_that_is_killed_is_started_again(running: Up) -> None:
    for part, title in (("gateway", "gateway"), ("postgres", "PostgreSQL"), ("mosquitto", "Mosquitto")):
        victims = holders(running.paths.run / f"{part}.lock")
        os.kill(min(victims), signal.SIGKILL)
        running.wait_for(rf"{title} ended \(killed by SIGKILL\) and was started again")
    running.wait_for(FLOWING.pattern, since=len(running.said))


def test_a_part_that_hangs_is_killed_and_started_again(running: Up) -> None:
    before = len(running.said)
    os.kill(min(holders(running.paths.run / "gateway.lock")), signal.SIGSTOP)
    running.wait_for("gateway does not answer: it is killed", since=before)
    again = running.wait_for(r"gateway ended \(killed by SIGKILL\) and was started again", since=before)
    running.wait_for(FLOWING.pattern, since=again.end())
