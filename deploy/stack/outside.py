"""Checks servers that the environment names: whether they can be reached, and whether their version is new enough."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import aiomqtt
import asyncpg

from deploy.stack.choose import MOSQUITTO_TESTED, POSTGRES_TESTED, TIMESCALE_TESTED, dotted, version
from deploy.stack.errors import StackError

TIMEOUT_S = 10


async def check_database(url: str) -> str:
    """Check the database; return its description. Raises StackError if it is unusable."""
    try:
        connection = await asyncpg.connect(url, timeout=TIMEOUT_S)
    except (OSError, ValueError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StackError(f"BIOGATE_DATABASE_URL: cannot connect: {error or type(error).__name__}") from error
    try:
        server = str(await connection.fetchval("show server_version"))
        timescale = await connection.fetchval(
            "select default_version from pg_available_extensions where name = 'timescaledb'"
        )
    finally:
        await connection.close()
    if timescale is None or version(timescale) < TIMESCALE_TESTED:
        raise StackError(
            f"BIOGATE_DATABASE_URL: this server has {f'TimescaleDB {timescale}' if timescale else 'no TimescaleDB'}; "
            f"{dotted(TIMESCALE_TESTED)} or newer is needed"
        )
    tested = "" if version(server)[:1] == (POSTGRES_TESTED,) else f" (tested is {POSTGRES_TESTED})"
    return f"PostgreSQL {dotted(version(server))}{tested} with TimescaleDB {timescale}"


async def check_broker(url: str, environment: Mapping[str, str]) -> str:
    """Check the broker; return its description. Raises StackError if it is unusable."""
    parts = urlsplit(url)
    if parts.scheme not in {"mqtt", "mqtts"} or parts.hostname is None:
        raise StackError(f"BIOGATE_MQTT_URL: {url} is not of the form mqtt://host:port")
    secure = parts.scheme == "mqtts"
    username, password = environment.get("BIOGATE_MQTT_USERNAME"), environment.get("BIOGATE_MQTT_PASSWORD")
    try:
        if username is None and (directory := environment.get("BIOGATE_SECRETS_DIR")):  # as the gateway does
            username, password = "gateway", (Path(directory) / "gateway.password").read_text().strip()
        context = ssl.create_default_context(cafile=environment.get("BIOGATE_MQTT_CA_FILE")) if secure else None
        async with aiomqtt.Client(
            parts.hostname,
            parts.port or (8883 if secure else 1883),
            username=username,
            password=password,
            identifier=f"check-{secrets.token_hex(8)}",  # our own mosquitto.conf refuses clients without an id
            protocol=aiomqtt.ProtocolVersion.V5,
            tls_context=context,
            timeout=TIMEOUT_S,
        ) as client:
            banner = await _banner(client)
    except OSError as error:
        raise StackError(f"BIOGATE_SECRETS_DIR or BIOGATE_MQTT_CA_FILE: {error}") from error
    except aiomqtt.MqttError as error:
        raise StackError(f"BIOGATE_MQTT_URL: cannot connect to {url}: {error}") from error
    if not banner.startswith("mosquitto"):
        return "a broker that is not Mosquitto, or does not say so (not tested)"
    if version(banner) < MOSQUITTO_TESTED:
        raise StackError(f"BIOGATE_MQTT_URL: {banner}; {dotted(MOSQUITTO_TESTED)} or newer is needed")
    return f"Mosquitto {dotted(version(banner))}"


async def _banner(client: aiomqtt.Client) -> str:
    """The retained $SYS/broker/version, or an empty text if there is none."""
    await client.subscribe("$SYS/broker/version")
    try:
        async with asyncio.timeout(1):
            async for message in client.messages:
                if isinstance(message.payload, bytes):
                    return message.payload.decode(errors="replace")
    except TimeoutError:
        pass
    return ""
