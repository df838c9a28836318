"""The mosquitto.conf of the checkout: what it must say, and that a broker does it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from ruamel.yaml import YAML

from deploy.stack import Local
from deploy.stack.paths import CHECKOUT, MOSQUITTO_CONF
from deploy.stack.servers import render
from gateway.settings import Settings
from tests.conftest import Broker


def options(text: str) -> dict[str, str]:
    lines = [line.split(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
    return dict(lines)


CONF = MOSQUITTO_CONF.read_text()
OPTIONS = options(CONF)


def default(setting: str) -> int:
    value = Settings.model_fields[setting].default
    assert isinstance(value, int)
    return value


def test_the_limits_fit_the_gateway() -> None:
    assert int(OPTIONS["max_inflight_messages"]) >= default("receive_maximum")
    assert int(OPTIONS["max_packet_size"]) <= default("window_bytes")
    assert int(OPTIONS["max_packet_size"]) >= default("max_event_bytes")
    assert int(OPTIONS["max_keepalive"]) >= default("keep_alive_s")
    days = int(OPTIONS["persistent_client_expiration"].removesuffix("d"))
    assert days * 86400 >= default("session_expiry_s")


def test_nothing_that_loses_messages_is_left_to_a_default() -> None:
    assert OPTIONS["per_listener_settings"] == "false"
    assert OPTIONS["persistence"] == "true"
    assert OPTIONS["autosave_on_changes"] == "false"
    assert int(OPTIONS["autosave_interval"]) <= 60
    assert OPTIONS["max_queued_messages"] == "0"
    assert OPTIONS["set_tcp_nodelay"] == "true"


def test_the_arithmetic_of_max_queued_bytes_is_right() -> None:
    assert int(OPTIONS["max_queued_bytes"]) == 3600 * 500 * 400
    assert f"an hour without gateway × 500 frames/s × 400 bytes = {3600 * 500 * 400:,}" in CONF


def test_the_listener_is_loopback_while_anybody_may_connect() -> None:
    assert OPTIONS["allow_anonymous"] == "true"
    assert OPTIONS["listener"].endswith(" 127.0.0.1")


def test_the_local_stack_changes_two_lines() -> None:
    ours = render(CONF, {"listener": "12345 127.0.0.1", "persistence_location": "/srv/x/"})
    changed = [new for old, new in zip(CONF.splitlines(), ours.splitlines(), strict=True) if old != new]
    assert changed == ["listener 12345 127.0.0.1", "persistence_location /srv/x/"]


def test_the_container_changes_the_same_two_lines(tmp_path: Path) -> None:
    """docker-compose.yml does it with sed; here the same commands run up to the start of the broker."""
    script = YAML(typ="safe").load(CHECKOUT / "docker-compose.yml")["services"]["broker"]["command"][2]
    result = tmp_path / "mosquitto.conf"
    script = script.replace("/etc/biogate/mosquitto.conf", str(MOSQUITTO_CONF)).replace(
        "/tmp/mosquitto.conf", str(result)
    )
    script, _, start = script.partition(" && ")
    assert start == f"exec mosquitto -c {result}"
    subprocess.run(["sh", "-c", script], check=True)
    expected = {"listener": "1883 0.0.0.0", "persistence_location": "/mosquitto/data/"}
    assert result.read_text() == render(CONF, expected)


def test_every_group_of_options_is_explained() -> None:
    for group in CONF.split("\n\n"):
        lines = group.splitlines()
        if any(not line.startswith("#") for line in lines) and not lines[0].startswith("listener"):
            assert lines[0].startswith("# "), group


async def test_a_client_of_the_command_line_needs_no_client_id(broker: Broker) -> None:
    """mosquitto_pub sends an empty one unless told otherwise."""
    server = broker.server
    publish = ["mosquitto_pub", "-h", broker.host, "-p", str(broker.port), "-t", "x", "-m", "1", "-q", "1", "-r"]
    server.place.run(publish, server.user)
    async with aiomqtt.Client(broker.host, broker.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.subscribe("x")
        async for message in client.messages:
            assert message.payload == b"1"
            break


async def test_a_longer_keep_alive_is_cut_to_the_broker_s(broker: Broker) -> None:
    async with aiomqtt.Client(broker.host, broker.port, keepalive=3600, protocol=aiomqtt.ProtocolVersion.V5) as client:
        assert client._client._keepalive == int(OPTIONS["max_keepalive"])


@pytest.mark.parametrize("broker", [{"max_queued_bytes": "1000", "sys_interval": "1"}], indirect=True)
async def test_what_is_over_the_queue_is_dropped_and_counted(broker: Broker) -> None:
    """Why max_queued_bytes is computed: the publisher gets Success all the same."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 60
    v5 = aiomqtt.ProtocolVersion.V5
    async with aiomqtt.Client(
        broker.host, broker.port, identifier="away", protocol=v5, clean_start=False, properties=properties
    ) as client:
        await client.subscribe("x", qos=1)
    async with aiomqtt.Client(broker.host, broker.port, protocol=v5) as client:
        for _ in range(100):
            await client.publish("x", b"x" * 100, qos=1)
        await client.subscribe("$SYS/broker/publish/messages/dropped")
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            if int(message.payload) >= 80:
                break


def test_the_stack_runs_with_it(stack: Local) -> None:
    conf = (stack.mosquitto.data / "mosquitto.conf").read_text()
    differing = {name for name in OPTIONS if options(conf)[name] != OPTIONS[name]}
    assert differing == {"listener", "persistence_location"}
