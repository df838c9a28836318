"""Limits of broker and gateway that cannot work together are refused, with a sentence that says what to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.broker.limits import duration_s, problems
from gateway.settings import Settings
from tests.processes import GatewayProcess

OURS = (Path(__file__).parents[3] / "mosquitto.conf").read_text()
GOOD = "max_inflight_messages 16384\nmax_queued_messages 0\npersistence true\nmax_keepalive 300\n"


def settings(**changes: Any) -> Settings:
    return Settings(database_url="postgresql://u@127.0.0.1/n", mqtt_url="mqtt://127.0.0.1", **changes)


def test_our_own_mosquitto_conf_fits() -> None:
    assert list(problems(OURS, settings())) == []


def test_mosquittos_defaults_do_not_fit() -> None:
    said = "\n".join(problems("listener 1883\n", settings()))
    for option in ("max_inflight_messages", "max_queued_messages", "persistence"):
        assert option in said


@pytest.mark.parametrize(
    ("line", "changes", "word"),
    [
        ("per_listener_settings true", {}, "per_listener_settings"),
        ("max_inflight_messages 20", {}, "BIOGATE_RECEIVE_MAXIMUM"),
        ("max_queued_messages 1000", {}, "max_queued_messages"),
        ("max_queued_bytes 1000000", {}, "720000000"),
        ("", {"plan_messages_per_s": 10_000}, "max_queued_bytes"),
        ("persistence false", {}, "persistence"),
        ("max_keepalive 15", {}, "BIOGATE_KEEP_ALIVE_S"),
        ("persistent_client_expiration 1d", {}, "BIOGATE_SESSION_EXPIRY_S"),
        ("max_packet_size 100000000", {}, "BIOGATE_WINDOW_BYTES"),
        ("max_packet_size 100000", {}, "1048576"),
        ("", {"receive_maximum": 70}, "BIOGATE_LINGER_MS"),
    ],
)
def test_a_limit_that_cannot_work_is_named(line: str, changes: dict[str, Any], word: str) -> None:
    (sentence,) = problems(f"{OURS}\n{line}\n", settings(**changes))
    assert word in sentence


def test_a_limit_of_zero_is_none() -> None:
    assert list(problems(f"{OURS}\nmax_inflight_messages 0\nmax_queued_bytes 0\n", settings())) == []


@pytest.mark.parametrize(("text", "seconds"), [("12h", 43200), ("30d", 2592000), ("", None), ("forever", None)])
def test_durations_are_read_as_mosquitto_writes_them(text: str, seconds: int | None) -> None:
    assert duration_s(text) == seconds


def test_the_gateway_does_not_start_with_them(gateway: GatewayProcess, tmp_path: Path) -> None:
    conf = tmp_path / "mosquitto.conf"
    conf.write_text("listener 1883\n")
    gateway.start(ready=False, broker_conf=conf)
    assert gateway.child.wait(10) == 2
    assert "max_inflight_messages 20 is below BIOGATE_RECEIVE_MAXIMUM=16384" in gateway.log.read_text()


def test_a_file_that_is_not_there_is_named(gateway: GatewayProcess, tmp_path: Path) -> None:
    gateway.start(ready=False, broker_conf=tmp_path / "none.conf")
    assert gateway.child.wait(10) == 2
    assert "none.conf" in gateway.log.read_text()


def doors(conf: str, **more: object) -> list[str]:
    return [problem.split(":")[0] for problem in problems(GOOD + conf, settings(**more))]


def test_an_open_door_is_named_where_logins_are_administered(tmp_path: Path) -> None:
    assert doors("allow_anonymous true\n", secrets_dir=tmp_path) == [
        "allow_anonymous true",
        "no plugin mosquitto_dynamic_security.so",
    ]
    assert doors("plugin /usr/lib/mosquitto_dynamic_security.so\n", secrets_dir=tmp_path) == []
    assert doors("allow_anonymous true\n") == []


@pytest.mark.parametrize(
    ("listener", "named"),
    [
        ("listener 1883 127.0.0.1", []),
        ("listener 1883 ::1", []),
        ("listener 1883", ["listener 1883 (all addresses) without TLS"]),
        ("listener 1883 0.0.0.0", ["listener 1883 0.0.0.0 without TLS"]),
        ("listener 8883 0.0.0.0\ncertfile server.pem\nkeyfile key.pem", []),
        (
            "listener 8883\ncertfile server.pem\nlistener 1884 10.0.0.1",
            ["listener 1884 10.0.0.1 without TLS"],
        ),
    ],
)
def test_a_listener_in_clear_is_for_loopback_only(listener: str, named: list[str]) -> None:
    assert doors(listener + "\n") == named
    assert doors(listener + "\n", insecure=True) == []
