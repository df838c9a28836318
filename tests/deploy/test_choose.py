"""Which servers are taken, and what is said about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.stack import choose
from deploy.stack.choose import Source


def program(folder: Path, name: str, says: str) -> None:
    """An installed program of which only its version matters."""
    path = folder / name
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\n")
    path.chmod(0o755)


def test_servers_named_by_the_environment_are_taken() -> None:
    environment = {"BIOGATE_MQTT_URL": "mqtt://plant:1883", "BIOGATE_DATABASE_URL": "postgresql://plant/x"}
    for choice in (choose.mosquitto(environment), choose.postgres(environment)):
        assert choice.source is Source.ENVIRONMENT
        assert choice.where in environment.values()
        assert "BIOGATE_" in choice.reason


def test_servers_named_by_the_environment_are_left_alone_by_tests_that_kill_theirs() -> None:
    assert choose.mosquitto({"BIOGATE_MQTT_URL": "mqtt://plant:1883"}, given=False).source is not Source.ENVIRONMENT
    assert choose.postgres({"BIOGATE_DATABASE_URL": "x"}, given=False).source is not Source.ENVIRONMENT


def test_an_old_mosquitto_is_not_taken_and_the_reason_is_named(tmp_path: Path) -> None:
    program(tmp_path, "mosquitto", "mosquitto version 2.0.11")
    choice = choose.mosquitto({"PATH": f"{tmp_path}:/bin:/usr/bin"})
    assert choice.source is Source.PRIVATE
    assert "2.0.11, older than 2.0.21" in choice.reason


def test_another_major_version_of_postgresql_is_not_taken(tmp_path: Path) -> None:
    program(tmp_path, "postgres", "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)")
    choice = choose.postgres({"PATH": f"{tmp_path}:/bin:/usr/bin"})
    if choice.source is Source.MACHINE:
        pytest.skip("this machine has a fitting PostgreSQL of its own")
    assert "15.18, not 17" in choice.reason


@pytest.mark.parametrize(
    ("timescale", "objection"), [(None, "has no TimescaleDB"), ("2.18.2", "older than 2.19"), ("2.19.3", None)]
)
def test_postgresql_is_judged_by_its_timescaledb(tmp_path: Path, timescale: str | None, objection: str | None) -> None:
    share = tmp_path / "share" / "extension"
    share.mkdir(parents=True)
    program(tmp_path, "postgres", "postgres (PostgreSQL) 17.5 (Debian 17.5-1)")
    program(tmp_path, "pg_config", str(tmp_path / "share"))
    if timescale is not None:
        (share / "timescaledb.control").write_text(f"comment = 'x'\ndefault_version = '{timescale}'\n")
    choice = choose.postgres({"PATH": f"{tmp_path}:/bin:/usr/bin"})
    if choice.source is Source.MACHINE and choice.where != str(tmp_path):
        pytest.skip("this machine has a fitting PostgreSQL of its own")
    if objection is not None:
        assert choice.source is Source.PRIVATE
        assert objection in choice.reason
    elif choice.source is Source.PRIVATE:  # as root: it also needs the user postgres, with access to the checkout
        assert "postgres" in choice.reason
    else:
        assert "17 with TimescaleDB 2.19.3" in choice.reason


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("mosquitto version 2.0.21", (2, 0, 21)),
        ("postgres (PostgreSQL) 17.5 (Debian 17.5-1)", (17, 5)),
        ("2.19", (2, 19)),
        ("no number", ()),
    ],
)
def test_versions_are_read_from_what_programs_say(text: str, number: tuple[int, ...]) -> None:
    assert choose.version(text) == number
