"""Publishes values and looks for each in the API, in a task of its own: a late value does not hold up the next."""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
import time
from pathlib import Path
from secrets import token_hex

import aiomqtt
import structlog
from aiomqtt.exceptions import MqttConnectError

from gateway.broker.client import MqttClient
from gateway.canary import metrics
from gateway.canary.reader import ApiUnanswered, CanaryReader, KeyRefused
from gateway.canary.settings import CanarySettings
from gateway.errors import words_of
from schema.topics import Kind, topic

log = structlog.get_logger()

CHANNEL = "canary"
AGAIN_S = (1.0, 30.0)
"""Seconds until the broker is tried again: at first, and at most."""
PUBLISH_AGAIN_S = 0.25
POLL_S = (0.05, 1.0)
"""Seconds between two looks for a value: at first, and at most."""


class CanaryLogin:
    """The login of the canary's device, as `biogate devices login` writes it. It is read anew for each connection."""

    def __init__(self, file: Path) -> None:
        """Read the login from its file. Raises OSError, ValueError, KeyError."""
        self._file = file
        self.device = str(json.loads(file.read_text())["device"])

    def client(self) -> MqttClient:
        given = json.loads(self._file.read_text())
        return MqttClient(
            given["host"],
            given["port"],
            username=given["username"],
            password=given["password"],
            identifier=given.get("client_id")
            or f"{given['username']}-{token_hex(8)}",  # none: made by an older version
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=True,
            keepalive=15,
            timeout=10,
            tls_context=ssl.create_default_context(cafile=given["ca_file"]) if given["tls"] else None,
        )


class CanaryProbe:
    def __init__(self, settings: CanarySettings, login: CanaryLogin, reader: CanaryReader) -> None:
        self._interval_s, self._deadline_s = settings.canary_interval_s, settings.canary_deadline_s
        self._login, self._reader = login, reader
        self._topic = topic(login.device, Kind.TELEMETRY)
        self._client: MqttClient | None = None
        self.trouble: str | None = "starting"
        """Why the last settled value was not read back; None if it was."""

    async def run(self) -> None:
        """Publish a value at each interval, for ever, and follow each."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._stay_connected(), name="connection")
            loop = asyncio.get_running_loop()
            begun = loop.time()
            for number in itertools.count(1):
                metrics.PUBLISHED.inc()
                group.create_task(self._follow(float(number)), name=f"value {number}")
                await asyncio.sleep(max(0.0, begun + number * self._interval_s - loop.time()))

    async def _stay_connected(self) -> None:
        least, most = AGAIN_S
        pause, refused = least, metrics.REFUSED.labels("broker")
        while True:
            try:
                async with self._login.client() as client:
                    self._client = client
                    metrics.CONNECTED.set(1)
                    refused.set(0)
                    pause = least
                    async for _ in client.messages:  # no message is expected: the loop ends with the connection
                        pass
            except (aiomqtt.MqttError, OSError, ValueError) as error:
                refused.set(isinstance(error, MqttConnectError))
                log.warning("not connected to the broker", error=words_of(error), again_s=pause)
            finally:
                self._client = None
                metrics.CONNECTED.set(0)
            await asyncio.sleep(pause)
            pause = min(2 * pause, most)

    async def _follow(self, value: float) -> None:
        """Publish one value and look for it until it is read back or lost."""
        loop = asyncio.get_running_loop()
        begun, t, why = loop.time(), round(time.time() * 1000), "publish"
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._publish(t, value)
                least, most = POLL_S
                pause = least
                while True:
                    try:
                        seen = await self._reader.value_at(t)
                    except ApiUnanswered as error:
                        metrics.REFUSED.labels("api").set(isinstance(error, KeyRefused))
                        why, self.trouble = "read", f"the API does not answer: {words_of(error)}"
                    else:
                        metrics.REFUSED.labels("api").set(0)
                        if seen is not None:
                            break
                        why, self.trouble = "absent", "the API does not have the published value"
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.5, most)
        except TimeoutError:
            metrics.LOST.labels(why).inc()
            log.error("a value is lost", t=t, value=value, why=why, trouble=self.trouble)
            return
        if seen != value:
            self.trouble = f"the API has {seen}, and {value} was published"
            metrics.LOST.labels("wrong").inc()
            log.error("a value is wrong", t=t, published=value, read=seen)
            return
        self.trouble = None
        metrics.SEEN.inc()
        metrics.SECONDS_TO_SEE.observe(loop.time() - begun)

    async def _publish(self, t: int, value: float) -> None:
        """Publish until the broker acknowledges. It may get the value twice: the gateway knows a frame by its time."""
        payload = json.dumps({"t": t, "v": {CHANNEL: value}})
        while True:
            client = self._client
            if client is not None:
                try:
                    await client.publish(self._topic, payload, qos=1)
                    return
                except aiomqtt.MqttError as error:
                    self.trouble = f"the broker does not accept the value: {words_of(error)}"
            else:
                self.trouble = "not connected to the broker"
            await asyncio.sleep(PUBLISH_AGAIN_S)
