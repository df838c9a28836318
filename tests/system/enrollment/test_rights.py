"""What a device can do with its login at the broker, and what the login `enroll` can: their own, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
import time
import warnings

import mqtt5
import pytest

from tests.mqtt import NOT_AUTHORIZED, Client, Refused, tls
from tests.system.enrollment.device import Device
from tests.system.enrollment.plant import Plant
from tests.system.enrollment.watch import REFUSED

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("unharmed")]

QUIET_S = 0.3
"""After which nothing more is expected to arrive."""


def filters_of_others(own: str, foreign: str) -> list[str]:
    """Everything that is not one of the four topics it may hear."""
    plain = [
        "#", "+/#", "+/+/+", "bioreactors/#", "bioreactors/+/#", "bioreactors/+/telemetry", "bioreactors/+/status",
        "bioreactors/+/receipt", "bioreactors/+/+/result", f"bioreactors/{own}/#", f"bioreactors/{own}/+",
        f"bioreactors/{own}/backfill/#", f"+/{own}/receipt", f"bioreactors/{own}/telemetry",
        f"bioreactors/{own}/status", f"bioreactors/{foreign}/receipt", f"bioreactors/{foreign}/identity",
        f"bioreactors/{foreign}/telemetry",
        "alarms/#", "alarms/x", "enroll/#", "enroll/v1/req/+", "enroll/v1/res/+", f"enroll/v1/res/{'0' * 32}",
    ]  # fmt: skip
    groups = [f"$share/{group}/{pattern}" for pattern in plain for group in ("mine", "enroll")]
    receipt = [f"$share/mine/bioreactors/{own}/receipt"]
    return plain + groups + receipt + ["$SYS/#", "$SYS/broker/clients/connected", "$CONTROL/#",
                                       "$CONTROL/dynamic-security/v1/response"]  # fmt: skip


def topics_of_others(own: str, foreign: str) -> list[str]:
    """Everything that is not one of the topics it may publish on."""
    return [
        f"bioreactors/{foreign}/telemetry", f"bioreactors/{foreign}/status", f"bioreactors/{foreign}/identity",
        f"bioreactors/{own}/receipt", f"bioreactors/{own}/backfill", f"bioreactors/{own}/command",
        f"bioreactors/{own}/identity", f"bioreactors/{own}/telemetry/x", f"bioreactors/{own}", f"bioreactors/{own}/",
        f"bioreactors/{own}/other", f"BIOREACTORS/{own}/telemetry", f"bioreactors/{own.lower()}/telemetry",
        "bioreactors", "/", "alarms/x", f"enroll/v1/req/{'0' * 32}", f"enroll/v1/res/{'0' * 32}",
        "$CONTROL/dynamic-security/v1", "$SYS/broker/uptime", f"$share/mine/bioreactors/{own}/telemetry",
    ]  # fmt: skip


def connections(plant: Plant) -> float:
    """How often the gateway has connected."""
    return sum(
        value for name, value in plant.gateway.metrics().items() if name.startswith("biogate_mqtt_connects_total")
    )


async def refused(client: Client, topic: str, payload: bytes = b"{}") -> bool:
    """Whether the broker says so. (For some topics it hangs up instead, also a refusal.)"""
    try:
        return await client.publish(topic, payload) >= REFUSED
    except ConnectionError:
        return True


async def test_a_device_hears_its_own_topics_alone(plant: Plant) -> None:
    device, client = await plant.active()
    foreign, theirs = await plant.active()
    for pattern in filters_of_others(device.serial, foreign.serial):
        codes = await client.subscribe(pattern)
        assert codes[0] >= REFUSED, pattern
    assert foreign.login is not None
    await theirs.publish(f"{foreign.login.topic}/telemetry", foreign.frame())
    await asyncio.sleep(QUIET_S)
    assert client.messages.empty()
    await client.close()
    await theirs.close()


async def test_a_device_publishes_on_its_own_topics_alone(plant: Plant) -> None:
    device = await plant.enrolled("Mixed-Case-1")
    foreign, theirs = await plant.active()
    assert device.login is not None
    async with await plant.client("observer") as observer:
        assert await observer.subscribe("bioreactors/#", "alarms/#") == [1, 1]
        await asyncio.sleep(QUIET_S)
        for topic in topics_of_others(device.serial, foreign.serial):
            async with await device.connect(plant.authority) as client:
                assert await refused(client, topic, b"forged"), topic
        await asyncio.sleep(QUIET_S)
        heard = [observer.messages.get_nowait() for _ in range(observer.messages.qsize())]
        assert not [message for message in heard if message.payload == b"forged"]
    await theirs.close()


async def test_a_will_on_a_foreign_topic_is_never_said(plant: Plant) -> None:
    device, client = await plant.active()
    await client.close()
    foreign, theirs = await plant.active()
    assert foreign.login is not None
    async with await plant.client("observer") as observer:
        await observer.subscribe(f"{foreign.login.topic}/status")
        assert b"online" in (await observer.next()).payload
        forged = foreign.status("offline", int(time.time() * 1000) + 5000)
        will = mqtt5.Will(f"{foreign.login.topic}/status", payload=forged, qos=mqtt5.QoS.AT_LEAST_ONCE, retain=True)
        with contextlib.suppress(Refused):
            (await device.connect(plant.authority, will=will)).abort()
        with contextlib.suppress(Refused):
            (await plant.door.open(f"e-{secrets.token_hex(16)}", will=will)).abort()
        await asyncio.sleep(QUIET_S)
        assert observer.messages.empty()
    await theirs.close()


async def test_the_client_id_of_others_is_not_to_be_had(plant: Plant) -> None:
    """Of another device, of the gateway, any other: and nobody is thrown out."""
    device = await plant.enrolled()
    foreign, theirs = await plant.active()
    assert device.login is not None
    assert foreign.login is not None
    gateway = await plant.value("select client_id from cells")
    connects = connections(plant)
    for client_id in (foreign.login.client_id, gateway, "mine", f"e-{secrets.token_hex(16)}"):
        with pytest.raises(Refused):
            await Client.connect(
                device.login.port,
                client_id,
                device.login.username,
                device.login.password,
                context=tls(plant.authority),
            )
    await asyncio.sleep(QUIET_S)
    assert not theirs.ended.done()
    assert connections(plant) == connects
    assert plant.gateway.get("/ready")[0] == 200
    await theirs.close()


async def test_who_only_listens_learns_no_client_id(plant: Plant) -> None:
    """The logins `observer` and `enroll` may use any client id: with one that they know they take over its session."""
    async with await plant.client("observer") as observer:
        assert all(code < REFUSED for code in await observer.subscribe("$SYS/#", "bioreactors/#", "alarms/#"))
        device, client = await plant.active()
        assert device.login is not None
        await client.publish(f"{device.login.topic}/telemetry", device.frame())
        heard: dict[str, bytes] = {}
        async with asyncio.timeout(30):
            while not {"$SYS/broker/uptime", f"{device.login.topic}/telemetry"} <= heard.keys():
                message = await observer.next()
                heard[message.topic] = message.payload
                assert device.login.client_id.encode() not in message.payload, message.topic
    for login in ("observer", "enroll"):
        async with await plant.client(login) as stranger:
            await stranger.subscribe("$SYS/broker/log/#", "$SYS/broker/log/N")
            (await device.connect(plant.authority)).abort()
            await asyncio.sleep(QUIET_S)
            assert stranger.messages.empty()
    await client.close()


async def test_a_login_needs_its_password_and_nobody_enters_without_one(plant: Plant) -> None:
    device = await plant.enrolled()
    assert device.login is not None
    stranger = await plant.enrolled()
    assert stranger.login is not None
    attempts = [
        (device.login.username, stranger.login.password), (device.login.username, None), (device.login.username, ""),
        (None, None), (f"{device.serial}.2", device.login.password), ("enroll", "enroll"), ("admin", "admin"),
        (device.login.username + " ", device.login.password),
    ]  # fmt: skip
    for port in (plant.broker.tls_port, plant.broker.enroll_port):
        for username, password in attempts:
            with pytest.raises(Refused):
                await Client.connect(port, device.login.client_id, username, password, context=tls(plant.authority))


async def test_a_broker_with_another_certificate_is_not_talked_to(plant: Plant) -> None:
    """A device that trusts another authority gives its password to nobody."""
    device = await plant.enrolled()
    assert device.login is not None
    with pytest.raises(ssl.SSLCertVerificationError):
        await Client.connect(device.login.port, "x", context=ssl.create_default_context())
    old = tls(plant.authority)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await Client.connect(device.login.port, device.login.client_id, context=old)


async def test_the_login_for_enrolling_publishes_requests_alone(plant: Plant) -> None:
    device, theirs = await plant.active()
    for topic in [*topics_of_others("me", device.serial), "bioreactors/me/telemetry", f"enroll/v1/req/{'0' * 32}/x"]:
        if topic.startswith("enroll/v1/req/") and topic.count("/") == 3:
            continue
        async with await plant.door.open(f"e-{secrets.token_hex(16)}") as client:
            assert await refused(client, topic, b"forged"), topic
    await theirs.close()


@pytest.mark.parametrize("login", ["gateway", "alarms", "enrollment", "admin", "observer"])
async def test_our_own_logins_can_no_more_than_their_work(plant: Plant, login: str) -> None:
    """Not even the gateway publishes as a device, and people only listen."""
    device: Device = await plant.enrolled()
    for topic in (
        f"bioreactors/{device.serial}/telemetry",
        f"bioreactors/{device.serial}/status",
        *([f"enroll/v1/req/{'0' * 32}"] if login != "enrollment" else []),  # it clears what somebody has retained there
        *(["$CONTROL/dynamic-security/v1"] if login != "admin" else ["enroll/v1/res/x", "alarms/x"]),
    ):
        async with await plant.client(login) as client:
            assert await client.publish(topic, b"{}") == NOT_AUTHORIZED, topic
    async with await plant.client(login) as client:
        for pattern in ("#", "enroll/#", "$CONTROL/#", *(["bioreactors/#"] if login != "observer" else [])):
            assert (await client.subscribe(pattern))[0] >= REFUSED, pattern
