"""The runbooks, followed to the letter: what they print runs, and mends a plant that is broken.

What a page says to put in for words in capitals is taken from what its diagnosis has shown, as a reader would do.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import paho.mqtt.client as mqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from paho.mqtt.enums import CallbackAPIVersion

from deploy.stack import Local
from deploy.stack.paths import CHECKOUT
from deploy.stack.process import holders
from gateway.upkeep.figures import EVERY_S
from schema.migrate import MIGRATIONS
from tests.deploy import rules
from tests.processes import SAMPLE, wait_until
from tests.system.deploy.conftest import FLOWING, Up, gone_afterwards
from tests.system.deploy.shell import Shell

PAGES = sorted((CHECKOUT / "docs" / "runbooks").glob("*.md"))
MENDED_S = 60
END_SESSIONS = "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'biogate-%'"
ELSEWHERE = ("127.0.0.1:9090", "dmesg", "chronyc", "canary", "127.0.0.1:8003")
"""A Prometheus, which `make up` does not start; the kernel's log, which not everybody may read; a time service;
a canary, whose login takes long to make."""
NOTHING_YET = "metrics biogate_write_failures"
"""Has a figure for each error there was."""
NO_FILE = "No such file"
LISTENS, TIMED_OUT = "mosquitto_sub", 27
"""What it ends with when nothing came; alarms need not come."""


class Reader:
    """Somebody with the pages and a shell, beside a plant."""

    def __init__(self, up: Up, home: Path) -> None:
        self.up = up
        ours = {
            ".stack/log/main": str(up.paths.log),
            ".stack/prometheus.yml": str(up.paths.prometheus),
            "biogate restart ": f"biogate restart --name {up.paths.name} ",
            "8000 8001 8002 8003 8004": " ".join(
                up.ports[f"BIOGATE_{part}_PORT"] for part in ("API", "GATEWAY_HTTP", "ALARMS_HTTP", "SIMULATOR_HTTP")
            ),
        }
        self.shell = Shell(up, home, ours, CHECKOUT)
        [beginning, *_] = blocks((CHECKOUT / "docs" / "runbooks" / "README.md").read_text())
        self.shell.run(beginning)

    def diagnose(self, alert: str) -> str:
        """All that its diagnosis shows, also of commands that fail, as they may on a broken plant."""
        shown = [self.shell.try_(line) for block in blocks(said(alert, "Diagnosis")) for line in block.splitlines()]
        return "\n".join(one.stdout + one.stderr for one in shown)

    def mitigate(self, alert: str, first: str, **words: str) -> None:
        """The block of its mitigation that begins so, with these for the words in capitals."""
        [block] = [block for block in blocks(said(alert, "Mitigation")) if block.startswith(first)]
        for word, ours in words.items():
            assert word in block
            block = re.sub(rf"\b{word}\b", ours, block)
        self.shell.run(block, 60)

    def figure(self, part: str, name: str) -> float:
        """A metric of a part; NaN while it does not answer or has none."""
        url = f"http://127.0.0.1:{self.up.ports[f'BIOGATE_{part}_HTTP_PORT']}/metrics"
        try:
            with urllib.request.urlopen(url, timeout=3) as answer:
                text = answer.read().decode()
        except OSError:
            return float("nan")
        values = [float(sample["value"]) for sample in SAMPLE.finditer(text) if sample["name"] == name]
        return sum(values) if values else float("nan")

    def commits(self) -> None:
        """Frames are stored again, and none waits: what had come meanwhile too."""
        stored = "biogate_intake_committed_total"
        wait_until(lambda: self.figure("GATEWAY", stored) >= 0, MENDED_S)
        before = self.figure("GATEWAY", stored)
        wait_until(lambda: self.figure("GATEWAY", stored) > before + 20, MENDED_S)
        wait_until(lambda: self.figure("GATEWAY", "biogate_waiting_bytes") == 0, MENDED_S)

    def stands_still(self) -> None:
        """The gateway holds messages, and commits none."""

        def still() -> bool:
            before = self.figure("GATEWAY", "biogate_commit_seconds_count")
            time.sleep(0.7)
            return (
                self.figure("GATEWAY", "biogate_commit_seconds_count") == before
                and self.figure("GATEWAY", "biogate_waiting_bytes") > 0
            )

        wait_until(still, MENDED_S)

    def kill(self, part: str) -> None:
        os.kill(min(holders(self.up.paths.run / f"{part}.lock")), signal.SIGKILL)


def said(alert: str, part: str) -> str:
    """What the page of an alert says under Diagnosis, Mitigation and so on."""
    url = next(one.annotations["runbook_url"] for one in rules.alerts() if one.name == alert)
    text = (CHECKOUT / url.partition("#")[0]).read_text()
    body = text.split(f"\n## {alert}\n")[1].split("\n## ")[0]
    return body.split(f"**{part}.**")[1].split("\n**")[0]


def blocks(text: str) -> list[str]:
    """Its indented blocks."""
    found = re.findall(r"(?:^ {4}.*\n?)+", text, re.MULTILINE)
    return [re.sub(r"^ {4}", "", block, flags=re.MULTILINE).strip() for block in found]


@pytest.fixture(scope="module")
def reader(stack: Local, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Beside three controllers; a device may have 20 messages in quarantine."""
    home = tmp_path_factory.mktemp("runbooks")
    with gone_afterwards(Up(f"{stack.paths.name}-runbooks", home / "output")) as up:
        up.start(BIOGATE_QUARANTINE_ROWS="20")
        up.wait_for(FLOWING.pattern, 90)
        yield Reader(up, home)
        assert up.end(signal.SIGINT) == 0


async def connect(reader: Reader) -> asyncpg.Connection:
    return await asyncpg.connect(reader.up.owner_url())


async def test_a_lock_on_the_table_of_frames(reader: Reader) -> None:
    somebody = await connect(reader)
    await somebody.execute("begin; lock table frames in access exclusive mode")
    reader.stands_still()
    assert "wait_event" in reader.diagnose("BiogateNothingCommitted")
    rows = re.findall(r"^ *(\d+) \| \{([\d,]+)\}", reader.diagnose("BiogateLocks"), re.MULTILINE)
    waiting = {pid for pid, _ in rows}
    [blocks_all] = {blocker for _, blockers in rows for blocker in blockers.split(",")} - waiting
    reader.mitigate("BiogateLocks", "sql", PID=blocks_all)
    reader.commits()
    assert somebody.is_closed() or not await alive(somebody)


async def alive(connection: asyncpg.Connection) -> bool:
    try:
        await connection.execute("select 1")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return False
    return True


async def test_a_database_that_somebody_has_made_read_only(reader: Reader) -> None:
    somebody = await connect(reader)
    await somebody.execute("alter database biogate set default_transaction_read_only = on")
    await somebody.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'biogate-%'"
    )
    await somebody.close()
    reader.stands_still()
    shown = reader.diagnose("BiogateNothingCommitted")
    assert "25006" in shown
    assert re.search(r"f +\| on +\| database", shown), shown
    reader.mitigate("BiogateNothingCommitted", 'sql "set transaction_read_only')
    reader.commits()


async def test_a_device_that_floods_the_quarantine(reader: Reader, tmp_path: Path) -> None:
    reader.shell.run(f'biogate devices login flood --to {tmp_path}/login --why "tests"')
    login = json.loads((tmp_path / "login" / "login.json").read_text())
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=login["client_id"], protocol=mqtt.MQTTv5)
    client.username_pw_set(login["username"], login["password"])
    client.tls_set(login["ca_file"])
    client.reconnect_delay_set(1, 1)
    client.connect(login["host"], login["port"])
    client.loop_start()

    def publish(*numbers: int) -> None:
        for number in numbers:
            client.publish(f"{login['topic']}/telemetry", f"nonsense {number}", qos=1).wait_for_publish(20)

    publish(*range(50))
    wait_until(lambda: reader.figure("GATEWAY", "biogate_discarded_total") >= 30, MENDED_S)
    shown = reader.diagnose("BiogateDiscarded")
    name = re.findall(r"^ (\S+) +\| malformed +\| +30 ", shown, re.MULTILINE)
    assert name == ["flood"], shown
    reader.mitigate("BiogateDiscarded", "biogate devices suspend", NAME=name[0])
    wait_until(lambda: not client.is_connected(), MENDED_S)
    reader.shell.run('biogate devices resume flood --why "mended"')
    wait_until(client.is_connected, MENDED_S)
    kept = reader.figure("GATEWAY", "biogate_quarantined_total")
    publish(100)
    wait_until(lambda: reader.figure("GATEWAY", "biogate_quarantined_total") == kept + 1, MENDED_S)
    assert reader.figure("GATEWAY", "biogate_discarded_total") == 30
    client.disconnect()
    client.loop_stop()


def test_a_broker_whose_certificate_has_expired(reader: Reader) -> None:
    expire(reader.up.paths.secrets)
    reader.kill("mosquitto")
    connected = ("SIMULATOR", "biogate_sim_connected_devices")
    wait_until(lambda: reader.figure(*connected) == 0, MENDED_S)
    ends = re.findall(r"notAfter=(.*) GMT", reader.diagnose("BiogateCertificateExpires"))
    left = [datetime.strptime(end, "%b %d %H:%M:%S %Y").replace(tzinfo=UTC) - datetime.now(UTC) for end in ends]
    assert [one < timedelta() for one in left] == [True, False], "the broker's, not the authority's"
    reader.mitigate("BiogateCertificateExpires", "biogate setup")
    wait_until(lambda: reader.figure(*connected) == 3, MENDED_S)
    reader.commits()


def expire(secrets: Path) -> None:
    """The broker has the certificate that it had, with an end that was yesterday."""
    old = x509.load_pem_x509_certificate((secrets / "broker" / "server.pem").read_bytes())
    key = load_pem_private_key((secrets / "ca.key.pem").read_bytes(), None)
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        old.issuer, old.subject, old.public_key(), x509.random_serial_number(), now - timedelta(9), now - timedelta(1)
    )
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    new = builder.sign(key, SHA256())  # type: ignore[arg-type]
    (secrets / "broker" / "server.pem").write_bytes(new.public_bytes(Encoding.PEM))


async def test_a_database_without_the_newest_migration(reader: Reader) -> None:
    newest = max(MIGRATIONS.glob("*.sql"))
    somebody = await connect(reader)
    await somebody.execute(newest.read_text().split("-- migrate: rollback")[1])
    await somebody.execute("delete from _pogo_migration where migration_id = $1", newest.stem)
    await somebody.close()
    reader.kill("gateway")
    wait_until(lambda: reader.figure("GATEWAY", "biogate_leader") == 0, MENDED_S)
    shown = ""

    def told() -> bool:
        nonlocal shown
        shown = reader.diagnose("BiogateNoLeader")
        return "SchemaBehind" in shown

    wait_until(told, MENDED_S, lambda: shown)
    reader.mitigate("BiogateNoLeader", "biogate migrate")
    wait_until(lambda: reader.figure("GATEWAY", "biogate_leader") == 1, MENDED_S)
    reader.commits()


def test_an_alarms_process_that_hangs(reader: Reader) -> None:
    for pid in holders(reader.up.paths.run / "alarms.lock"):
        os.kill(pid, signal.SIGSTOP)
    shown = reader.diagnose("BiogateAlarmsDown")
    assert "timed out" in shown or "curl: (28)" in shown, shown
    reader.mitigate("BiogateAlarmsDown", "biogate restart")
    wait_until(lambda: reader.figure("ALARMS", "biogate_alarm_leader") == 1, MENDED_S)
    wait_until(lambda: reader.figure("ALARMS", "biogate_alarm_turn_seconds_count") > 0, MENDED_S)


def test_what_a_diagnosis_prints_runs(reader: Reader) -> None:
    """Where nothing is wrong each command ends well; of figures, also that there are any."""
    if not (reader.up.paths.log / "gateway.log.1").exists():
        reader.shell.run("biogate restart gateway")
    wait_until(lambda: reader.figure("GATEWAY", "biogate_devices") > 0, 2 * EVERY_S)
    printed = {
        line
        for alert in rules.alerts()
        for block in blocks(said(alert.name, "Diagnosis"))
        for line in block.splitlines()
        if line != NOTHING_YET and not any(word in line for word in ELSEWHERE)
    }
    slow_first = sorted(printed, key=lambda line: LISTENS not in line)
    with ThreadPoolExecutor(4) as hands:
        ran = dict(zip(slow_first, hands.map(reader.shell.try_, slow_first), strict=True))
    wrong = [
        f"{line}: {done.returncode} {done.stderr}"
        for line, done in ran.items()
        if done.returncode != (TIMED_OUT if LISTENS in line and "alarms/#" in line else 0) or NO_FILE in done.stderr
    ]
    assert len(printed) > 60
    assert wrong == [], "\n".join(wrong)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for name, anchor in re.findall(r"\]\(([\w./-]*)#([\w-]+)\)", page.read_text()):
        text = (page.parent / name if name else page).read_text()
        headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
        assert anchor in headings, f"{name}#{anchor}"
