"""Figures that are asked for, or that only trouble shows."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from paho.mqtt import publish
from prometheus_client import REGISTRY

from gateway import metrics
from gateway.broker import certificates, sys_topics
from gateway.intake.cell import prepare
from gateway.runtime.database import create_pool
from gateway.runtime.metric_kinds import BusyCounter, OptionalGauge, watch_event_loop
from gateway.upkeep import figures
from gateway.upkeep.figures import Figures
from tests.conftest import Broker
from tests.gateway.material import settings, until
from tests.processes import GatewayProcess, wait_until

FIGURES = [gauge for look in figures.LOOKS.values() for gauges in look.values() for gauge in gauges.values()]

FILL = """
insert into devices (name) values ('r1'), ('r2'), ('r3');
insert into devices (name, state) values ('r4', 'pending'), ('r5', 'suspended'), ('r6', 'retired');
insert into layouts (channel_ids) values (array[1]);
insert into frames (time, device_id, layout_id, received_at, values)
    select now() - interval '20 days', device_id, layout_id, now(), array[1] from devices, layouts order by 2 limit 1;
insert into statuses (device_id, boot, time, online, received_at)
    select device_id, 1, now(), name = 'r1', now() from devices where name <> 'r3';
insert into enrollments (txn, cell, serial, identity_key, claim_version, state, hello, challenge, transcript)
    values (repeat('0', 32), 'main', 'new-1', decode(repeat('00', 32), 'hex'), 1, 'awaiting', '', '', '');
insert into quarantine (cell, received_at, device, topic, reason, detail, payload, sha256)
    values ('main', now(), 'r1', 'x', 'malformed', '', 'abc', sha256('abc')),
           ('main', now(), 'r2', 'x', 'malformed', '', 'abcdef', sha256('abcdef'));
insert into device_cards (organization_id, device_id, card, due_on)
    select 1, device_id, '{}', current_date + 2 * device_id - 4 from devices;
insert into organizations (name, title) values ('north', 'North');
insert into device_cards (organization_id, device_id, card, due_on)  -- of who gave the device away
    select o.organization_id, d.device_id, '{}', current_date - 9 from organizations o, devices d
     where o.name = 'north' and d.name = 'r3'"""


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def exported(figure: OptionalGauge) -> bool:
    return any(family.samples for family in figure.collect())


async def test_the_leader_knows_the_database_and_forgets_it_with_the_lead(
    database_url: str, database: asyncpg.Connection
) -> None:
    chosen, begun = settings(database_url, database_bytes=10**12), time.time()
    leading = asyncio.Event()
    async with create_pool(chosen) as pool:
        await prepare(pool, chosen)
        await database.execute(FILL)
        task = asyncio.create_task(Figures(chosen, pool, leading).run())
        await asyncio.sleep(0.1)
        assert value("biogate_database_bytes") is None
        leading.set()
        for what in figures.LOOKS:
            await until(lambda what=what: (value("biogate_figures_timestamp_seconds", what=what) or 0) > begun)  # type: ignore[misc]
        assert 1e6 < (value("biogate_database_bytes") or 0) < (value("biogate_database_limit_bytes") or 0) == 1e12
        assert value("biogate_hypertable_chunks", hypertable="frames") == 1
        assert value("biogate_hypertable_chunks_ahead", hypertable="frames") == 0
        assert (value("biogate_hypertable_bytes", hypertable="frames") or 0) > 0
        oldest = value("biogate_hypertable_oldest_chunk_timestamp_seconds", hypertable="frames") or 0
        assert time.time() - 50 * 86400 < oldest < time.time() - 19 * 86400
        assert value("biogate_devices", presence="online") == 1
        assert value("biogate_devices", presence="offline") == 2
        assert value("biogate_enrollments_pending") == 1
        assert value("biogate_calibrations_due") == 2
        assert value("biogate_quarantine_open_messages") == 2
        assert value("biogate_quarantine_open_bytes") == 516 + 519
        assert value("biogate_quarantine_largest_device_bytes") == 519
        assert value("biogate_database_replicas") is not None
        assert value("biogate_database_jobs", status="failed") == 0
        for _ in range(2):
            leading.clear()
            await until(lambda: not any(exported(figure) for figure in FIGURES))
            leading.set()
            await until(lambda: value("biogate_retention_holds") is not None)
        task.cancel()
        await asyncio.wait([task])
    assert not any(exported(figure) for figure in FIGURES)


async def test_a_question_that_fails_is_counted_and_the_others_are_asked(
    database_url: str, database: asyncpg.Connection
) -> None:
    chosen = settings(database_url)
    leading = asyncio.Event()
    await database.execute("drop table quarantine_usage cascade")
    before = value("biogate_figures_failures_total", what="plant") or 0
    async with create_pool(chosen) as pool:
        await Figures(chosen, pool, leading).look()
    assert value("biogate_figures_failures_total", what="plant") == before + 1
    assert value("biogate_database_bytes") is not None
    figures.forget()


def test_certificates_say_until_when_they_hold(secrets_dir: Path, tmp_path: Path) -> None:
    directory = tmp_path / "secrets"
    shutil.copytree(secrets_dir, directory)
    authority = x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes())
    key = load_pem_private_key((directory / "ca.key.pem").read_bytes(), None)
    now = datetime.now(UTC).replace(microsecond=0)
    revoked = x509.CertificateRevocationListBuilder(authority.subject, now, now + timedelta(days=3))
    (directory / "broker" / "crl.pem").write_bytes(revoked.sign(key, SHA256()).public_bytes(Encoding.PEM))  # type: ignore[arg-type]
    metrics.CERTIFICATE_EXPIRY.forget()
    certificates.look(directory)
    name = "biogate_certificate_expiry_timestamp_seconds"
    assert value(name, certificate="authority") == authority.not_valid_after_utc.timestamp()
    assert abs((value(name, certificate="broker") or 0) - time.time() - 730 * 86400) < 7200
    assert value(name, certificate="crl") == (now + timedelta(days=3)).timestamp()
    assert value(name, certificate="served") is None
    (directory / "broker" / "server.pem").write_text("nothing")
    certificates.look(directory)
    assert value(name, certificate="broker") == 0
    metrics.CERTIFICATE_EXPIRY.forget()


def test_the_certificate_that_the_broker_shows_is_known(
    database_url: str, secure_broker: Broker, tmp_path: Path
) -> None:
    gateway = GatewayProcess(database_url, f"mqtts://localhost:{secure_broker.tls_port}", tmp_path / "gateway.log")
    gateway.start(secrets_dir=secure_broker.secrets, mqtt_ca_file=secure_broker.secrets / "ca.pem")
    try:
        seen = gateway.metrics()
    finally:
        gateway.kill()
    of = 'biogate_certificate_expiry_timestamp_seconds{certificate="%s"}'
    assert seen[of % "served"] == seen[of % "broker"] > time.time() + 700 * 86400


def test_what_the_broker_says_is_known_while_connected() -> None:
    sys_topics.on_change("$SYS/broker/uptime", b"123 seconds")
    sys_topics.on_change("$SYS/broker/clients/connected", b"7")
    sys_topics.on_change("$SYS/broker/store/messages/bytes", b"no number")
    sys_topics.on_change("$SYS/broker/version", b"2")
    assert value("biogate_broker_uptime_seconds") == 123
    assert value("biogate_broker_clients_connected") == 7
    assert value("biogate_broker_stored_bytes") is None
    sys_topics.forget()
    assert value("biogate_broker_uptime_seconds") is None


async def test_work_that_hangs_is_seen_in_the_window_and_the_writer(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    await database.execute("insert into devices (name) values ('r1')")
    gateway.start()
    t = round(time.time() * 1000)
    frame = {"t": t, "v": {"ph": 7.0}}
    publish.single("bioreactors/r1/telemetry", json.dumps(frame), qos=1, port=broker.port)
    gateway.settle(1)
    async with database.transaction():
        await database.execute("lock table frames in access exclusive mode")
        publish.multiple(
            [("bioreactors/r1/telemetry", json.dumps({**frame, "t": t + n}), 1, False) for n in range(1, 21)],
            port=broker.port,
        )
        wait_until(lambda: gateway.metrics()["biogate_unacknowledged_messages"] == 20, 20)
        before = gateway.metrics()
        assert 0 < before["biogate_waiting_bytes"] < before["biogate_window_limit_bytes"]
        assert before["biogate_receive_maximum"] == 16384
        time.sleep(0.3)
        after = gateway.metrics()
        assert after["biogate_writer_busy_seconds_total"] >= before["biogate_writer_busy_seconds_total"] + 0.25
        assert after["biogate_commit_seconds_count"] == before["biogate_commit_seconds_count"]
    gateway.settle(21)
    wait_until(lambda: gateway.metrics()["biogate_unacknowledged_messages"] == 0, 20)
    assert gateway.metrics()["biogate_last_commit_timestamp_seconds"] > t / 1000


def test_busy_seconds_end_with_the_work() -> None:
    busy = BusyCounter("biogate_test_busy_seconds", "for this test")
    try:
        with busy():
            time.sleep(0.05)
            assert (value("biogate_test_busy_seconds_total") or 0) >= 0.05
        spent = value("biogate_test_busy_seconds_total")
        time.sleep(0.05)
        assert value("biogate_test_busy_seconds_total") == spent
    finally:
        REGISTRY.unregister(busy)


async def test_an_event_loop_that_stands_still_is_late() -> None:
    seen: list[float] = []
    task = asyncio.create_task(watch_event_loop(seen.append))
    await asyncio.sleep(0.1)
    time.sleep(1)  # which is what is watched for
    while not seen:
        await asyncio.sleep(0.01)
    task.cancel()
    assert seen[0] > 0.3
