"""How the simulated plant of `make up` gets in: by the real handshake, once."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import stat
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from deploy.stack import Local, Mosquitto, ports
from deploy.stack.paths import DATA
from tests.conftest import Broker
from tests.system.deploy.conftest import FLOWING, Up

pytestmark = pytest.mark.timeout(600)  # to start a plant on a busy machine
ALL_IN = r"controllers: 3 enrolled\n"
LOGINS = "select username, wanted, applied from credentials where wanted = 'present' order by 1"
FIRST = [(f"sim-{number:04}.1", "present", "present") for number in (1, 2, 3)]


def state(up: Up) -> Path:
    return DATA / up.paths.name / "simulator"


async def test_the_plant_enrolls_once_and_again_when_the_broker_s_port_has_moved(up: Up) -> None:
    up.start()
    up.wait_for(ALL_IN)
    up.wait_for(FLOWING.pattern)
    assert await up.fetch(LOGINS) == FIRST
    assert await up.fetch("select distinct action from audit where action like 'serials%'") == [("serials import",)]
    identities = {path.name: path.read_bytes() for path in state(up).glob("*.identity")}
    assert len(identities) == 3
    secrets_are_in_files_of_their_owner_and_nowhere_else(up)
    assert up.end(signal.SIGINT) == 0

    up.start()
    up.wait_for(ALL_IN)
    before = await up.frames()
    up.wait_for(FLOWING.pattern)
    assert await up.frames() > before
    assert await up.fetch(LOGINS) == FIRST
    assert {path.name: path.read_bytes() for path in state(up).glob("*.identity")} == identities
    await those_that_may_not_enroll_no_more(up)


async def those_that_may_not_enroll_no_more(up: Up) -> None:
    await up.fetch("select device_command('sim-0001', 'revoke', 'tests', 'stolen')")
    await up.fetch("select device_command('sim-0002', 'suspend', 'tests', 'dirty')")
    up.wait_for(r"controllers: \d enrolled.*, 2 blocked\n")
    port = urlsplit(up.endpoints()["BIOGATE_DEVICE_BROKER_URL"]).port
    assert port is not None
    assert up.end(signal.SIGINT) == 0
    with socket.socket() as taken:
        taken.bind((ports.LOOPBACK, port))
        taken.listen()
        up.start()
        up.wait_for("logins are for another port")
        up.wait_for(FLOWING.pattern)
        up.wait_for(r"controllers: \d enrolled.*, 2 blocked\n")
        [(third,)] = await up.fetch("select count(*) from credentials where username = 'sim-0003.2'")
        assert third == 1
        assert up.end(signal.SIGINT) == 0


def secrets_are_in_files_of_their_owner_and_nowhere_else(up: Up) -> None:
    secrets = up.paths.secrets
    for path in (secrets, *secrets.rglob("*"), state(up), *state(up).glob("*.identity"), state(up) / "claims.csv"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE(up.paths.key.stat().st_mode) == 0o600
    words = [up.paths.key.read_text().strip()]
    words += [path.read_text().strip() for path in secrets.iterdir() if path.suffix in (".password", ".key", ".secret")]
    words += [line.split(",")[1] for line in (state(up) / "claims.csv").read_text().splitlines()[1:]]
    words += re.findall(r'"password": ?"([^"]+)"', "".join(path.read_text() for path in state(up).glob("*.identity")))
    assert len(words) == 1 + 9 + 3 + 3
    seen = [up.said, up.paths.env.read_text(), *(log.read_text() for log in up.paths.log.glob("*.log"))]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            seen += [(process / "cmdline").read_text(), (process / "environ").read_text(errors="replace")]
        except OSError:
            continue  # it ended meanwhile
    assert [word for word in words for text in seen if word in text] == []


async def test_a_new_plant_tells_its_past_once_and_raises_no_alarm_over_it(up: Up) -> None:
    up.history = "3d"
    up.start()
    up.wait_for(FLOWING.pattern)
    told = (
        "select count(*), min(time) < now() - '71 hours 50 minutes'::interval, count(distinct boot)"
        " from frames where time < now() - '2 minutes'::interval group by device_id order by 1"
    )
    rows: list[tuple[object, ...]] = []
    async with asyncio.timeout(60):
        while len(rows) < 3 or int(str(rows[0][0])) < 4315:
            rows = await up.fetch(told)
            await asyncio.sleep(0.2)
    assert [row[1:] for row in rows] == [(True, 1)] * 3
    assert await up.fetch("select count(*) from alarm_transitions") == [(0,)]
    made = "select (select count(*) from deviation_links where kind = 'run'), (select count(*) from reports)"
    async with asyncio.timeout(60):
        while await up.fetch(made) != [(1, 1)]:
            await asyncio.sleep(0.2)
    assert await up.fetch("select count(*) from runs where state = 'running'") == [(3,)]
    assert up.end(signal.SIGINT) == 0
    up.start()
    up.wait_for(FLOWING.pattern)
    again = await up.fetch(told)
    assert max(int(str(row[0])) for row in again) < 4400
    assert await up.fetch("select count(*) from quarantine") == [(0,)]
    assert up.end(signal.SIGINT) == 0


async def test_data_from_before_enrollment_are_taken_over(up: Up, stack: Local) -> None:
    """A broker that let in everybody, devices registered by hand, and a simulator that has counted boots."""
    like = stack.mosquitto
    with Mosquitto(like.place, up.paths, port=ports.any_free(), program=like.program) as old:
        up.start(BIOGATE_MQTT_URL=old.url)
        up.wait_for(FLOWING.pattern)
        assert up.end(signal.SIGINT) == 0
    boots = {path.name: int(path.read_text()) for path in state(up).glob("*.boot")}
    assert len(boots) == 3

    up.start()
    up.wait_for(ALL_IN)
    up.wait_for(FLOWING.pattern)
    assert await up.fetch(LOGINS) == FIRST
    assert await up.fetch("select name from devices order by 1") == [(f"sim-{number:04}",) for number in (1, 2, 3)]
    assert all(int((state(up) / name).read_text()) > boot for name, boot in boots.items())
    assert up.end(signal.SIGINT) == 0


def test_a_broker_of_the_user_s_own_can_enroll_too(up: Up, database_url: str, secure_broker: Broker) -> None:
    up.start(
        BIOGATE_DATABASE_URL=database_url,
        BIOGATE_MQTT_URL=f"mqtts://localhost:{secure_broker.tls_port}",
        BIOGATE_SECRETS_DIR=str(secure_broker.secrets),
        BIOGATE_MQTT_CA_FILE=str(secure_broker.secrets / "ca.pem"),
        BIOGATE_ENROLL_URL=f"mqtts://localhost:{secure_broker.enroll_port}",
        BIOGATE_DEVICE_BROKER_URL=f"mqtts://localhost:{secure_broker.tls_port}",
    )
    up.wait_for(r"Mosquitto: the one named by BIOGATE_MQTT_URL: Mosquitto 2\.")
    up.wait_for(ALL_IN)
    up.wait_for(FLOWING.pattern)
    assert "without enrollment" not in up.said
    assert up.end(signal.SIGINT) == 0
    assert not up.paths.secrets.exists()
