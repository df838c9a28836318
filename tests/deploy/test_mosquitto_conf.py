"""The mosquitto.conf of the checkout: what it must say, and that a broker does it."""

from __future__ import annotations

import asyncio

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from deploy.stack import Local
from deploy.stack.conf import render
from deploy.stack.paths import MOSQUITTO_CONF
from gateway.broker.client import MqttClient
from gateway.settings import Settings
from schema.messages import MOST_PACKET
from tests.conftest import Broker


def options(text: str) -> dict[str, str]:
    lines = [line.split(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
    return dict(lines)


def listeners(text: str) -> list[dict[str, str]]:
    return [found for block in text.split("\n\n") if "listener" in (found := options(block))]


CONF = MOSQUITTO_CONF.read_text()
OPTIONS = options(CONF)
LISTENERS = listeners(CONF)


def default(setting: str) -> int:
    value = Settings.model_fields[setting].default
    assert isinstance(value, int)
    return value


def test_the_limits_fit_the_gateway() -> None:
    assert int(OPTIONS["max_inflight_messages"]) >= default("receive_maximum")
    assert int(OPTIONS["max_packet_size"]) == MOST_PACKET
    assert int(OPTIONS["max_packet_size"]) <= default("window_bytes")
    assert int(OPTIONS["max_packet_size"]) >= default("max_event_bytes")
    days = int(OPTIONS["persistent_client_expiration"].removesuffix("d"))
    assert days * 86400 >= default("session_expiry_s")


def test_nothing_that_loses_messages_is_left_to_a_default() -> None:
    assert OPTIONS["per_listener_settings"] == "false"
    assert OPTIONS["persistence"] == "true"
    assert OPTIONS["autosave_on_changes"] == "false"
    assert int(OPTIONS["autosave_interval"]) <= 60
    assert int(OPTIONS["max_queued_messages"]) >= 2_000_000_000
    assert OPTIONS["set_tcp_nodelay"] == "true"


def test_the_arithmetic_of_max_queued_bytes_is_right() -> None:
    assert int(OPTIONS["max_queued_bytes"]) == 3600 * 500 * 400
    assert f"an hour without gateway × 500 frames/s × 400 bytes = {3600 * 500 * 400:,}" in CONF


def test_everybody_needs_a_login_and_a_client_id() -> None:
    assert OPTIONS["allow_anonymous"] == "false"
    assert OPTIONS["allow_zero_length_clientid"] == "false"
    assert OPTIONS["plugin"].endswith("/mosquitto_dynamic_security.so")
    assert not {"acl_file", "password_file"} & set(OPTIONS)


def test_what_is_plain_is_loopback_and_all_else_is_tls() -> None:
    assert [listener["listener"] for listener in LISTENERS] == ["1883 127.0.0.1", "8883", "8884", "8885"]
    for listener in LISTENERS[1:]:
        assert listener["tls_version"] == "tlsv1.2"
        assert {"certfile", "keyfile", "ciphers"} <= set(listener)
    assert LISTENERS[3].items() >= {("require_certificate", "true"), ("use_identity_as_username", "true")}


def test_every_listener_is_bounded() -> None:
    """Elsewhere the option would bound the last one alone."""
    assert all(int(listener["max_connections"]) > 0 for listener in LISTENERS)
    assert CONF.count("\nmax_connections ") == len(LISTENERS)


def test_options_of_listeners_are_changed_by_listener() -> None:
    ours = render(CONF, {"plugin": "/x.so"}, {"1883": {"listener": "12345 127.0.0.1"}, "8883": {"keyfile": "/k"}})
    changed = [(old, new) for old, new in zip(CONF.splitlines(), ours.splitlines(), strict=True) if old != new]
    assert [new for _, new in changed] == ["plugin /x.so", "listener 12345 127.0.0.1", "keyfile /k"]


def test_options_and_listeners_can_be_left_out_and_added() -> None:
    ours = render(CONF, {"plugin": None, "autosave_interval": "5", "new": "1"}, {"8884": None, "8885": None})
    assert "plugin" not in options(ours)
    assert options(ours).items() >= {("autosave_interval", "5"), ("new", "1")}
    assert [listener["listener"] for listener in listeners(ours)] == ["1883 127.0.0.1", "8883"]


def test_every_group_of_options_is_explained() -> None:
    for group in CONF.split("\n\n"):
        lines = group.splitlines()
        if any(not line.startswith("#") for line in lines) and not lines[0].startswith("listener"):
            assert lines[0].startswith("# "), group


@pytest.mark.parametrize("keep_alive", [0, 60, 300, 3600])
@pytest.mark.parametrize("version", [aiomqtt.ProtocolVersion.V311, aiomqtt.ProtocolVersion.V5])
async def test_a_client_stays_whatever_its_keep_alive(
    broker: Broker, keep_alive: int, version: aiomqtt.ProtocolVersion
) -> None:
    """With max_keepalive set, Mosquitto 2.0.21 throws some of them out as soon as they publish."""
    async with MqttClient(broker.host, broker.port, keepalive=keep_alive, protocol=version) as client:
        for _ in range(15):
            await client.publish("x", b"", qos=1)
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("broker", [{"max_queued_bytes": "1000", "sys_interval": "1"}], indirect=True)
async def test_what_is_over_the_queue_is_dropped_and_counted(broker: Broker) -> None:
    """Why max_queued_bytes is computed: the publisher gets Success all the same."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 60
    v5 = aiomqtt.ProtocolVersion.V5
    async with MqttClient(
        broker.host, broker.port, identifier="away", protocol=v5, clean_start=False, properties=properties
    ) as client:
        await client.subscribe("x", qos=1)
    async with MqttClient(broker.host, broker.port, protocol=v5) as client:
        for _ in range(100):
            await client.publish("x", b"x" * 100, qos=1)
        await client.subscribe("$SYS/broker/publish/messages/dropped")
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            if int(message.payload) >= 80:
                break


def test_what_tests_of_the_intake_run_with_differs_only_at_the_door(stack: Local) -> None:
    conf = options((stack.mosquitto.data / "mosquitto.conf").read_text())
    door = {
        "certfile",
        "keyfile",
        "cafile",
        "tls_version",
        "ciphers",
        "require_certificate",
        "use_identity_as_username",
    }
    changed = {"listener", "persistence_location", "allow_anonymous", "allow_zero_length_clientid"}
    assert set(OPTIONS) - set(conf) == door | {"plugin", "plugin_opt_config_file"}
    assert {name for name in conf if conf[name] != OPTIONS[name]} == changed


def test_production_s_differs_only_in_ports_and_paths(secure_broker: Broker) -> None:
    conf = (secure_broker.server.data / "mosquitto.conf").read_text()
    paths = {"plugin_opt_config_file", "persistence_location", "certfile", "keyfile", "cafile", "listener", "plugin"}
    for ours, theirs in zip([options(conf), *listeners(conf)], [OPTIONS, *LISTENERS], strict=True):
        assert set(ours) == set(theirs)
        assert {name for name in ours if ours[name] != theirs[name]} <= paths
