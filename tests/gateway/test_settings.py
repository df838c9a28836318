"""Settings come from the environment and are checked before any I/O; a wrong one is named."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gateway.settings import Settings

GOOD = {"BIOGATE_DATABASE_URL": "postgresql://u:secret@127.0.0.1:1/none", "BIOGATE_MQTT_URL": "mqtt://127.0.0.1:1"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in os.environ:
        if name.startswith("BIOGATE_"):
            monkeypatch.delenv(name)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def complaint(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What the command says about the environment before it gives up."""
    from gateway.__main__ import main

    assert main() == 2
    return capsys.readouterr().err


def test_two_variables_are_enough(environment: pytest.MonkeyPatch) -> None:
    settings = Settings()
    assert str(settings.database_url) == GOOD["BIOGATE_DATABASE_URL"]
    assert (settings.cell, settings.gateway_http_host, settings.gateway_http_port) == ("main", "127.0.0.1", 8001)
    assert settings.receive_maximum == 16384


def test_each_setting_is_read_from_its_variable(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("BIOGATE_CELL", "north-1")
    environment.setenv("BIOGATE_LINGER_MS", "10")
    environment.setenv("BIOGATE_MQTT_PASSWORD", "hush")
    settings = Settings()
    assert (settings.cell, settings.linger_ms) == ("north-1", 10)
    assert settings.mqtt_password is not None
    assert settings.mqtt_password.get_secret_value() == "hush"
    assert "hush" not in repr(settings)


WRONG = [
    ("DATABASE_URL", None), ("DATABASE_URL", ""), ("DATABASE_URL", "mysql://x"), ("DATABASE_URL", "localhost:5432"),
    ("MQTT_URL", None), ("MQTT_URL", "http://x"), ("MQTT_URL", "mqtt://"), ("MQTT_URL", "127.0.0.1:1883"),
    ("CELL", ""), ("CELL", "Main"), ("CELL", "a b"), ("CELL", "x" * 33),
    ("GATEWAY_HTTP_PORT", "-1"), ("GATEWAY_HTTP_PORT", "65536"), ("GATEWAY_HTTP_PORT", "http"),
    ("RECEIVE_MAXIMUM", "0"), ("RECEIVE_MAXIMUM", "65535"), ("RECEIVE_MAXIMUM", "many"),
    ("WINDOW_BYTES", "1000"), ("KEEP_ALIVE_S", "0"), ("KEEP_ALIVE_S", "301"),
    ("SESSION_EXPIRY_S", "59"), ("SESSION_EXPIRY_S", "4294967295"),
    ("LINGER_MS", "-1"), ("LINGER_MS", "5001"), ("LINGER_MS", "1.5"),
    ("BATCH_FRAMES", "0"), ("BATCH_BYTES", "1023"), ("BATCH_CHUNKS", "0"),
    ("MAX_AGE_S", "0"), ("MAX_SKEW_S", "-1"), ("MAX_CHANNELS", "0"), ("MAX_CHANNELS", "1601"), ("MAX_LAYOUTS", "0"),
    ("MAX_EVENT_BYTES", "255"), ("SHUTDOWN_TIMEOUT_S", "0"), ("LOG_LEVEL", "loud"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_gives_one_line_that_names_its_variable(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str | None
) -> None:
    if value is None:
        environment.delenv(f"BIOGATE_{name}")
    else:
        environment.setenv(f"BIOGATE_{name}", value)
    (line,) = complaint(capsys, environment).splitlines()
    assert line.startswith(f"gateway: BIOGATE_{name}: ")
    assert len(line) > len(f"gateway: BIOGATE_{name}: ")


@pytest.mark.parametrize(
    "changes",
    [
        {"BATCH_BYTES": "3000000", "WINDOW_BYTES": "2000000"},
        {"RECEIVE_MAXIMUM": "20", "LINGER_MS": "50"},
    ],
)
def test_values_that_do_not_fit_together_are_both_named(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changes: dict[str, str]
) -> None:
    for name, value in changes.items():
        environment.setenv(f"BIOGATE_{name}", value)
    (line,) = complaint(capsys, environment).splitlines()
    assert all(f"BIOGATE_{name} ({value})" in line for name, value in changes.items())


def test_all_wrong_values_are_told_at_once_and_no_secret(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("BIOGATE_DATABASE_URL", "mysql://u:hush@x/y")
    environment.setenv("BIOGATE_LINGER_MS", "soon")
    said = complaint(capsys, environment)
    assert "BIOGATE_DATABASE_URL" in said
    assert "BIOGATE_LINGER_MS" in said
    assert "hush" not in said


def test_the_command_ends_with_status_2(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("BIOGATE_LINGER_MS", "soon")
    done = subprocess.run([sys.executable, "-m", "gateway"], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("gateway: BIOGATE_LINGER_MS: ")
    assert "Traceback" not in done.stderr


def test_a_login_in_the_url_is_refused_and_not_ignored(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("BIOGATE_MQTT_URL", "mqtt://me:secret@127.0.0.1:1")
    said = complaint(capsys, environment)
    assert "BIOGATE_MQTT_USERNAME" in said
    assert "secret" not in said


def test_the_cell_of_replays_is_not_for_a_gateway(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("BIOGATE_CELL", "replay")
    assert "BIOGATE_CELL=replay" in complaint(capsys, environment)
