"""Reads the checkpoint that a broker has retained, for who verifies."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path
from urllib.parse import unquote, urlsplit

import aiomqtt

from schema.errors import BiogateError
from schema.evidence.checkpoints import Checkpoint, CheckpointUnreadable
from schema.topics import checkpoint_topic

ANSWER_S = 5.0


class BrokerUnreadable(BiogateError):
    """The broker could not be asked; says why."""


async def retained_checkpoint(
    url: str, organization: int, password: str | None = None, ca_file: Path | None = None
) -> Checkpoint | None:
    """Return the newest checkpoint of an organization at the broker `mqtts://login@host:port`; None if there is
    none within 5 s. Raises BrokerUnreadable."""
    given = urlsplit(url)
    if given.scheme not in {"mqtt", "mqtts"} or not given.hostname:
        raise BrokerUnreadable(f"{url} is no broker: mqtts://login@host:port")
    secure = given.scheme == "mqtts"
    client = aiomqtt.Client(
        given.hostname,
        given.port or (8883 if secure else 1883),
        username=unquote(given.username) if given.username else None,
        password=password,
        protocol=aiomqtt.ProtocolVersion.V5,
        tls_context=ssl.create_default_context(cafile=ca_file) if secure else None,
        timeout=ANSWER_S,
    )
    try:
        async with asyncio.timeout(ANSWER_S * 3), client:
            await client.subscribe(checkpoint_topic(organization), qos=1)
            return await _first(client)
    except (aiomqtt.MqttError, OSError, TimeoutError) as error:
        raise BrokerUnreadable(f"the broker cannot be asked: {error or type(error).__name__}") from error
    except (CheckpointUnreadable, ValueError, TypeError) as error:
        raise BrokerUnreadable(f"what the broker has retained is no checkpoint: {error}") from error


async def _first(client: aiomqtt.Client) -> Checkpoint | None:
    try:
        async with asyncio.timeout(ANSWER_S):
            async for message in client.messages:
                return Checkpoint.from_json(json.loads(bytes(message.payload)))
    except TimeoutError:
        pass
    return None
