"""`make up` as a user sees it: the whole stack, under a name of its own beside one that may be running."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import closing

import pytest

from deploy.stack import ports
from deploy.stack.paths import BIOGATE, CHECKOUT
from tests.conftest import Broker
from tests.system.deploy.conftest import FLOWING, PARTS, Up, without_servers
from tests.system.deploy.test_pages import blocks

pytestmark = pytest.mark.timeout(600)  # to start a plant on a busy machine
CONTROL = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")
"""What moves the cursor and colours."""
ADDRESSES = {
    *(
        "BIOGATE_API_URL",
        "BIOGATE_GATEWAY_URL",
        "BIOGATE_ALARMS_URL",
        "BIOGATE_WORKER_URL",
        "BIOGATE_EVIDENCE_URL",
        "BIOGATE_MQTT_URL",
        "BIOGATE_DATABASE_URL",
        "BIOGATE_ENROLL_URL",
        "BIOGATE_ENROLL_PASSWORD_FILE",
    ),
    *("BIOGATE_DEVICE_BROKER_URL", "BIOGATE_DEVICE_CERTIFICATE_BROKER_URL", "BIOGATE_SECRETS_DIR"),
    *("BIOGATE_MQTT_CA_FILE", "BIOGATE_API_SECRET_FILE", "BIOGATE_API_KEY_FILE", "BIOGATE_API_DATABASE_URL"),
    *("BIOGATE_BACKUP_DATABASE_URL", "BIOGATE_OWNER_DATABASE_URL_FILE"),
}


async def test_it_runs_stops_cleanly_and_keeps_its_data_also_when_a_port_is_taken(up: Up) -> None:
    up.canary = True
    up.start()
    up.wait_for(FLOWING.pattern)
    endpoints = up.endpoints()
    assert set(endpoints) == ADDRESSES
    assert up.paths.env.stat().st_mode & 0o077 == 0
    for url in (f"{endpoints['BIOGATE_API_URL']}/health", f"{endpoints['BIOGATE_GATEWAY_URL']}/ready"):
        with urllib.request.urlopen(url, timeout=5) as answer:
            assert answer.status == 200
    assert up.running() == [*PARTS, "canary"]
    before = await up.frames()

    assert up.end(signal.SIGINT) == 0
    stops = re.findall(r"^  (\w+) stopped after", up.said, re.MULTILINE)
    assert stops == ["canary", "simulator", "worker", "evidence", "alarms", "gateway", "API", "Mosquitto", "PostgreSQL"]
    assert up.running() == []
    assert not up.paths.env.exists()
    assert not up.paths.owner.exists()

    with socket.socket() as taken:
        taken.bind((ports.LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        up.start(BIOGATE_API_PORT=str(port))
        other = up.wait_for(rf"API: port {port} is taken, using (\d+)")[1]
        up.wait_for(rf"Biogate is up: API http://127\.0\.0\.1:{other},")
        assert up.endpoints()["BIOGATE_API_URL"].endswith(f":{other}")
        up.wait_for(FLOWING.pattern)
    assert await up.frames() > before > 0
    assert up.end(signal.SIGTERM) == 0


def test_after_a_kill_nothing_is_left_and_it_starts_again(up: Up) -> None:
    up.start()
    up.wait_for("Biogate is up")
    up.end(signal.SIGKILL)
    assert up.paths.env.exists()
    up.start()  # at once: it waits for what is still ending
    up.wait_for(FLOWING.pattern)
    assert up.end(signal.SIGINT) == 0
    up.end(signal.SIGKILL)
    assert up.running() == []


def test_a_part_that_keeps_ending_stops_the_stack_with_its_log(up: Up) -> None:
    up.start(BIOGATE_MAX_CHANNELS="0")  # the gateway refuses this setting
    assert up.child is not None
    assert up.child.wait(60) == 1
    assert "gateway did not start: exit code" in up.said
    assert "max_channels" in up.said.lower()
    assert f"{up.paths.name}/gateway.log" in up.said
    assert up.running() == []


def test_servers_named_by_the_environment_are_used_and_left_running(up: Up, database_url: str, broker: Broker) -> None:
    up.start(BIOGATE_DATABASE_URL=database_url, BIOGATE_MQTT_URL=broker.url)
    up.wait_for("PostgreSQL: the one named by BIOGATE_DATABASE_URL: PostgreSQL 17.* with TimescaleDB 2")
    up.wait_for(r"Mosquitto: the one named by BIOGATE_MQTT_URL: Mosquitto 2\.")
    up.wait_for("without enrollment, which needs BIOGATE_SECRETS_DIR")
    up.wait_for(FLOWING.pattern)
    assert up.endpoints()["BIOGATE_DATABASE_URL"] == up.owner_url() == database_url
    assert up.running() == ["API", "gateway", "alarms", "evidence", "worker", "simulator"]
    assert up.end(signal.SIGINT) == 0
    assert ports.is_listening(broker.port)


@pytest.mark.parametrize("variable", ["BIOGATE_DATABASE_URL", "BIOGATE_MQTT_URL"])
def test_a_server_of_the_environment_that_does_not_answer_is_named(up: Up, variable: str) -> None:
    scheme = {"BIOGATE_DATABASE_URL": "postgresql", "BIOGATE_MQTT_URL": "mqtt"}[variable]
    up.start(**{variable: f"{scheme}://127.0.0.1:{ports.any_free()}"})
    assert up.child is not None
    assert up.child.wait(60) == 1
    assert f"{variable}: cannot connect" in up.said
    assert "Traceback" not in up.said
    assert up.running() == []


def test_on_a_terminal_it_shows_what_the_readme_shows(up: Up) -> None:
    """Line by line, but for numbers; test_pages has the commands of the page."""
    [_, capture] = blocks("README.md", "Two commands")
    printed = {alike(line) for line in capture.splitlines() if line.strip()}
    ours, theirs = pty.openpty()
    with closing(os.fdopen(ours, "rb", buffering=0)) as screen:
        command = [*BIOGATE, "up", "--name", up.paths.name, "--devices", "3"]
        environment = {**without_servers(), "TERM": "xterm", "COLUMNS": "200", "LINES": "40"}
        up.child = subprocess.Popen(command, env=environment, cwd=CHECKOUT, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        shown, deadline = "", time.monotonic() + 90

        def lines() -> set[str]:
            return {alike(line) for line in CONTROL.sub("", shown).replace(up.paths.name, "main").splitlines()}

        while not printed <= lines():
            assert time.monotonic() < deadline, (printed - lines(), shown)
            shown += screen.read(4096).decode(errors="replace")
        assert "password" not in shown
        up.child.send_signal(signal.SIGINT)
        while "PostgreSQL stopped" not in shown:
            assert time.monotonic() < deadline, shown
            shown += screen.read(4096).decode(errors="replace")
        assert up.child.wait(30) == 0


def alike(line: str) -> str:
    """The line without what differs from one look to the next: numbers and blanks."""
    return " ".join(re.sub(r"\d[\d,.]*", "0", line.replace(".stack/main.env", ".stack/env")).split())
