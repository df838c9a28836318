"""Publishes the keys and the newest checkpoint of each organization, retained. First it reads what the broker has: a
database and a file that were both set back show by it."""

from __future__ import annotations

import asyncio
import json
from secrets import token_hex

import aiomqtt
import structlog

from gateway.broker.client import MqttClient, client_as
from gateway.errors import SendFailed
from gateway.evidence import metrics
from gateway.evidence.lead import EvidenceLead
from gateway.evidence.signer import Signer
from gateway.runtime.database import FAILURES, Trouble, Troubles
from gateway.runtime.events import wait_at_most
from gateway.settings import Settings
from schema.evidence.canonical import canonical
from schema.evidence.checkpoints import Checkpoint, CheckpointUnreadable
from schema.evidence.sources import key_line
from schema.topics import EVIDENCE, EVIDENCE_KEYS, checkpoint_topic

log = structlog.get_logger()

ANSWER_S = 5.0
REFUSED = 0x80


class CheckpointPublisher:
    """Publishes while the process leads."""

    def __init__(
        self,
        settings: Settings,
        login: tuple[str | None, str | None],
        lead: EvidenceLead,
        signer: Signer,
        troubles: Troubles,
    ) -> None:
        self._settings, self._login = settings, login
        self._lead, self._signer, self._troubles = lead, signer, troubles

    async def run(self) -> None:
        """Publish, for ever, while leading and connected to the broker. Signing does not wait for this."""
        trouble = Trouble(self._troubles, "publish checkpoints")
        while True:
            await self._lead.leading.wait()
            wait = self._settings.timing.look_s
            try:
                client = client_as(self._settings, *self._login, f"biogate-evidence-{token_hex(16)}")
                async with client:
                    await self._read(client)
                    self._signer.broker_read.set()
                    await self._publish(client, trouble)
            except (aiomqtt.MqttError, SendFailed, *FAILURES) as error:
                wait = trouble.failed(error)
            await asyncio.sleep(wait)

    async def _read(self, client: MqttClient) -> None:
        """Read what is retained. The broker sends that before a message that comes after the subscription."""
        mark = f"{EVIDENCE}/read/{token_hex(8)}"
        await client.subscribe(f"{EVIDENCE}/#", qos=1)
        await client.publish(mark, b"", qos=1)
        async with asyncio.timeout(ANSWER_S):
            async for message in client.messages:
                if message.topic.value == mark:
                    break
                self._take(message)
        await client.unsubscribe(f"{EVIDENCE}/#")

    def _take(self, message: aiomqtt.Message) -> None:
        if not message.retain or message.topic.value == EVIDENCE_KEYS or not isinstance(message.payload, bytes):
            return
        try:
            found = Checkpoint.from_json(json.loads(message.payload))
            self._signer.retained[found.says.organization] = found
        except (CheckpointUnreadable, ValueError, TypeError):
            log.error("what the broker has retained is no checkpoint", topic=message.topic.value)

    async def _publish(self, client: MqttClient, trouble: Trouble) -> None:
        """Publish what is new while leading; at first everything."""
        published: dict[int, str] = {}
        keys = 0
        while self._lead.leading.is_set():
            self._signer.told.clear()
            if keys != len(self._signer.file.keys):
                keys = len(self._signer.file.keys)
                await _send(client, EVIDENCE_KEYS, canonical([key_line(key) for key in self._signer.file.keys]))
            for organization, checkpoint in [*self._signer.newest.items()]:
                if published.get(organization) != checkpoint.text:
                    await _send(client, checkpoint_topic(organization), canonical(checkpoint.to_json()))
                    published[organization] = checkpoint.text
                    metrics.PUBLISHED.inc()
            trouble.reset()
            await wait_at_most(self._settings.timing.look_s, self._signer.told)


async def _send(client: MqttClient, topic: str, payload: str) -> None:
    """Publish a retained message. Raises MqttError, SendFailed."""
    await client.publish(topic, payload.encode(), qos=1, retain=True, timeout=ANSWER_S)
    if client.answered >= REFUSED:
        raise SendFailed(f"refused by the broker, {client.answered:#x}: its login may not publish {topic}")
