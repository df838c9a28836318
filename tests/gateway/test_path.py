"""From publish to query, with the gateway as a process between a real broker and a real database."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable

import aiomqtt
import asyncpg
import msgpack
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.broker.client import MqttClient
from schema.reasons import Reason
from tests.conftest import Broker
from tests.faults.proxy import Mode, Network
from tests.processes import GatewayProcess

CHANNELS = ["temperature", "ph", "dissolved_oxygen", "agitation"]


def now_ms() -> int:
    return int(time.time() * 1000)


def frame(seq: int, t: int, *, boot: int = 1, **values: float | None) -> dict[str, object]:
    return {"boot": boot, "seq": seq, "t": t, "v": values or {name: seq + i / 8 for i, name in enumerate(CHANNELS)}}


async def register(database: asyncpg.Connection, *names: str) -> None:
    await database.execute("insert into devices (name) select unnest($1::text[])", names)


async def publish(
    broker: Broker,
    messages: Iterable[tuple[str, bytes]],
    *,
    qos: int = 1,
    content_type: str | None = None,
    retain: bool = False,
) -> None:
    """Publish `(topic, payload)` in order; returns when the broker has acknowledged all of them."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if content_type is not None:
        properties.ContentType = content_type
    async with MqttClient(
        broker.host, broker.port, protocol=aiomqtt.ProtocolVersion.V5, max_queued_outgoing_messages=0
    ) as client:
        for topic, payload in messages:
            await client.publish(topic, payload, qos=qos, retain=retain, properties=properties)


async def telemetry(database: asyncpg.Connection) -> list[tuple[object, ...]]:
    """(device, seconds, channel, value, quality) of all samples, sorted."""
    rows = await database.fetch(
        """select device, extract(epoch from time)::float8 * 1000, channel, value, quality
             from telemetry order by 1, 2, 3"""
    )
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("form", ["json", "msgpack"])
async def test_what_was_published_is_in_the_table_value_by_value(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection, form: str, qos: int
) -> None:
    await register(database, "r1", "r2")
    gateway.start()
    encode = msgpack.packb if form == "msgpack" else lambda message: json.dumps(message).encode()
    t = now_ms() - 1000
    sent = {(name, seq): frame(seq, t + seq) for name in ("r1", "r2") for seq in range(50)}
    await publish(
        broker,
        [(f"bioreactors/{name}/telemetry", encode(message)) for (name, _), message in sent.items()],
        qos=qos,
        content_type=f"application/{form}",
    )
    account = gateway.settle(100)
    assert account["committed"] == 100
    assert await telemetry(database) == sorted(
        (name, float(t + seq), channel, seq + i / 8, 0) for name, seq in sent for i, channel in enumerate(CHANNELS)
    )
    rows = await database.fetch("select boot, seq, received_at >= time as after from frames order by seq")
    assert {(row["boot"], row["after"]) for row in rows} == {(1, True)}
    assert [row["seq"] for row in rows] == [seq for seq in range(50) for _ in "ab"]


async def test_a_block_is_stored_frame_by_frame(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    await register(database, "r1")
    gateway.start()
    t = now_ms()
    block = {
        "boot": 3,
        "seq": 10,
        "ch": ["ph", "foam"],
        "t": [t, t + 0.25, t + 2],
        "v": [[7, 1], [7.5, None], [8, float("nan")]],
        "q": [[0, 2], [0, 0], [0, 0]],
    }
    await publish(broker, [("bioreactors/r1/telemetry", msgpack.packb(block))])
    assert gateway.settle(3)["committed"] == 3
    rows = await database.fetch("select seq, boot, extract(epoch from time) * 1000 as t from frames order by seq")
    assert [(row["seq"], row["boot"], float(row["t"]) - t) for row in rows] == [(10, 3, 0), (11, 3, 0.25), (12, 3, 2)]
    assert [row[2:] for row in await telemetry(database)] == [
        ("foam", 1, 2), ("ph", 7, 0), ("foam", None, 1), ("ph", 7.5, 0), ("foam", None, 1), ("ph", 8, 0),
    ]  # fmt: skip


async def test_late_and_reordered_frames_are_stored_and_the_latest_stays_the_latest(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    await register(database, "r1")
    gateway.start()
    t = now_ms()
    order = [5, 0, 9, 3, 1, 8, 2, 7, 4, 6]
    await publish(broker, [("bioreactors/r1/telemetry", msgpack.packb(frame(n, t + n, ph=n))) for n in order])
    await publish(
        broker,
        [("bioreactors/r1/history", msgpack.packb(frame(n, t - 86_400_000 * 20 + n, boot=0, ph=-n))) for n in range(5)],
    )
    assert gateway.settle(15)["committed"] == 15
    latest = await database.fetchrow("select seq, values from frames order by time desc limit 1")
    assert (latest["seq"], latest["values"]) == (9, [9.0])


async def test_a_duplicate_frame_is_counted_and_not_stored_twice(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    await register(database, "r1")
    gateway.start()
    t = now_ms()
    first = [("bioreactors/r1/telemetry", msgpack.packb(frame(n, t + n))) for n in range(20)]
    again = [("bioreactors/r1/history", json.dumps(frame(n, t + n)).encode()) for n in range(0, 20, 2)]
    await publish(broker, [*first, *again, *again])
    account = gateway.settle(40)
    assert (account["committed"], account["duplicate"]) == (20, 20)
    assert await database.fetchval("select count(*) from frames") == 20
    total = await database.fetchrow("select committed, duplicate from intake_totals where kind = 'frame'")
    assert tuple(total) == (20, 20)


async def test_the_same_instant_with_other_values_is_a_conflict_and_the_first_stays(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    await register(database, "r1")
    gateway.start()
    t = now_ms()
    await publish(broker, [("bioreactors/r1/telemetry", msgpack.packb(frame(0, t, ph=7.0)))])
    await publish(broker, [("bioreactors/r1/telemetry", msgpack.packb(frame(1, t, ph=7.5)))] * 3)
    account = gateway.settle(4)
    assert (account["committed"], account["quarantined"], account["duplicate"]) == (1, 1, 2)
    row = await database.fetchrow("select reason, payload from quarantine")
    assert row["reason"] == "conflict"
    assert msgpack.unpackb(row["payload"]) == frame(1, t, ph=7.5)
    assert await database.fetchval("select values from frames") == [7.0]


async def test_a_frame_sent_in_parts_with_one_time_is_stored_whole(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    await register(database, "r1")
    gateway.start()
    t = now_ms()
    whole = [msgpack.packb(frame(0, t - 1000, ph=7, foam=1, level=2))]
    parts = [msgpack.packb(frame(1, t, ph=7.1)), msgpack.packb(frame(2, t, foam=3, level=4))]
    for _ in "ab":
        await publish(broker, [("bioreactors/r1/telemetry", payload) for payload in whole + parts])
    account = gateway.settle(6)
    assert (account["committed"], account["duplicate"]) == (3, 3)
    assert [row[2:] for row in await telemetry(database)][3:] == [("foam", 3, 0), ("level", 4, 0), ("ph", 7.1, 0)]


def bad_messages(t: int) -> list[tuple[str, bytes, Reason]]:
    """(device, payload, reason), of more than ten kinds."""
    good = frame(0, t, ph=7)
    return [
        ("r1", b"", Reason.EMPTY),
        ("r1", b"\xc1\xff\x00garbage", Reason.MALFORMED),
        ("r1", msgpack.packb(good)[:-3], Reason.MALFORMED),
        ("r1", b'{"t": 1, "v": {"ph": 7', Reason.MALFORMED),
        ("r1", b'{"t": 1, "v": {"p\xff": 7}}', Reason.MALFORMED),
        ("r1", b'{"x": ' + b"[" * 100_000, Reason.MALFORMED),
        ("r1", b"21.5", Reason.WRONG_TYPE),
        ("r1", json.dumps({"t": t, "v": {"ph": "seven"}}).encode(), Reason.WRONG_TYPE),
        ("r1", json.dumps({"v": {"ph": 7}}).encode(), Reason.WRONG_TYPE),
        ("r1", json.dumps(good | {"boot": -1}).encode(), Reason.WRONG_TYPE),
        ("r1", json.dumps(good | {"v": {}}).encode(), Reason.EMPTY),
        ("r1", json.dumps(good | {"ch": ["ph", "foam"], "t": [t], "v": [[1]]}).encode(), Reason.WRONG_SHAPE),
        ("r1", json.dumps(good | {"v": {"a\nb": 1}}).encode(), Reason.BAD_CHANNEL),
        ("r1", json.dumps(good | {"v": {"x" * 65: 1}}).encode(), Reason.BAD_CHANNEL),
        ("r1", json.dumps(good | {"v": {f"c{i}": 1 for i in range(300)}}).encode(), Reason.TOO_MANY_CHANNELS),
        ("r1", json.dumps(good | {"t": 0}).encode(), Reason.TOO_OLD),
        ("r1", json.dumps(good | {"t": t + 86_400_000}).encode(), Reason.TOO_NEW),
        ("r1", msgpack.packb(good | {"t": float("nan")}), Reason.WRONG_TYPE),
        ("nobody", msgpack.packb(good), Reason.UNKNOWN_DEVICE),
        ("no body!", msgpack.packb(good), Reason.UNKNOWN_DEVICE),
    ]


async def test_malformed_messages_go_to_quarantine_with_their_reason_and_their_neighbours_are_stored(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    await register(database, "r1")
    gateway.start()
    t = now_ms()
    bad = bad_messages(t)
    messages: list[tuple[str, bytes]] = []
    for n, (device, payload, _) in enumerate(bad):
        messages.append(("bioreactors/r1/telemetry", msgpack.packb(frame(n + 1, t + n))))
        messages.append((f"bioreactors/{device}/telemetry", payload))
    await publish(broker, messages)
    account = gateway.settle(len(messages))
    assert (account["committed"], account["quarantined"]) == (len(bad), len(bad))
    rows = await database.fetch("select topic, payload, reason, detail from quarantine")
    found = {(row["topic"].split("/")[1], bytes(row["payload"])): row["reason"] for row in rows}
    assert found == {(device, payload): reason.value for device, payload, reason in bad}
    assert all(row["detail"] for row in rows)
    assert await database.fetchval("select array_agg(seq order by seq) from frames") == list(range(1, len(bad) + 1))
    metrics = gateway.metrics()
    for reason in {reason for _, _, reason in bad}:
        expected = sum(1 for _, _, other in bad if other is reason)
        assert metrics[f'biogate_quarantined_total{{reason="{reason}"}}'] == expected


async def test_a_device_registered_meanwhile_is_accepted_at_once(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    gateway.start()
    t = now_ms()
    await publish(broker, [("bioreactors/r1/telemetry", msgpack.packb(frame(0, t)))])
    assert gateway.settle(1)["quarantined"] == 1
    await register(database, "r1")
    await publish(broker, [("bioreactors/r1/telemetry", msgpack.packb(frame(1, t + 1)))])
    assert gateway.settle(2)["committed"] == 1


async def test_a_late_will_does_not_take_a_device_offline(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    await register(database, "r1")
    gateway.start()
    t = now_ms()
    first = {"status": "online", "boot": 1, "t": t - 5000, "firmware": "1.0"}
    second = {"status": "online", "boot": 1, "t": t, "firmware": "1.1"}
    will_of_first = {"status": "offline", "boot": 1, "t": t - 5000}
    topic = "bioreactors/r1/status"
    await publish(broker, [(topic, json.dumps(status).encode()) for status in (first, second, will_of_first)])
    gateway.settle(3, "status")
    row = await database.fetchrow("select online, firmware from presence where device = 'r1'")
    assert tuple(row) == (True, "1.1")
    await publish(broker, [(topic, json.dumps({"status": "offline", "boot": 1, "t": t}).encode())])
    gateway.settle(4, "status")
    assert await database.fetchval("select online from presence where device = 'r1'") is False


async def test_the_will_of_a_device_that_dies_takes_it_offline(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    await register(database, "r1")
    gateway.start()
    topic, begun = "bioreactors/r1/status", {"boot": 7, "t": now_ms()}
    will = aiomqtt.Will(topic, json.dumps(begun | {"status": "offline"}), qos=1, retain=True)
    with Network() as network, contextlib.suppress(aiomqtt.MqttError):
        link = network.link(broker.port)
        async with MqttClient(broker.host, link.port, will=will) as client:
            await client.publish(topic, json.dumps(begun | {"status": "online"}), qos=1, retain=True)
            gateway.settle(1, "status")
            assert await database.fetchval("select online from presence") is True
            link.set(Mode.CUT)  # no DISCONNECT
            gateway.settle(2, "status")
    assert await database.fetchval("select online from presence") is False


async def test_events_are_stored_once_with_their_data(
    gateway: GatewayProcess, broker: Broker, database: asyncpg.Connection
) -> None:
    await register(database, "r1")
    gateway.start()
    t = now_ms()
    events = [
        {"type": "phase", "boot": 1, "t": t, "data": {"phase": "batch"}},
        {"type": "dosing", "boot": 1, "t": t, "data": {"pump": "feed_a", "volume_ml": 1.5}},
        {"type": "dosing", "boot": 1, "t": t, "data": {"pump": "feed_b", "volume_ml": 1.5}},
    ]
    for _ in "ab":
        await publish(broker, [("bioreactors/r1/event", msgpack.packb(event)) for event in events])
    await publish(broker, [("bioreactors/r1/event", json.dumps({"t": t, "type": "x", "data": {"a": "\0"}}).encode())])
    account = gateway.settle(7, "event")
    assert (account["committed"], account["duplicate"], account["quarantined"]) == (3, 3, 1)
    rows = await database.fetch("select type, data from device_events order by type, data->>'pump'")
    assert [(row["type"], json.loads(row["data"])) for row in rows] == [
        (event["type"], event["data"]) for event in (events[1], events[2], events[0])
    ]
